"""Byzantine nodes: a real node with a real key, whose effects are rewritten on their way out.

`Liar` wraps a node and has its five calls, so every shell that runs a node runs a liar.  While a fault has it lie, the
fault's strategy sees each frame that comes, each effect that leaves, and each gossip round, and does what it likes with
them.  Several strategies may be in force at once.  What a strategy is, and what the mesh does about it, stands in
the module that has it:

    commits   equivocate, forge, bad-signature, clocks, slander, vouch
    pasts     deep, wide, orphan, scatter
    frames    replay, inflate, behind, withhold, selective, garbage, flood, silent, lie-latency
    votes     double-vote, double-propose, late-propose, hollow-propose, short-certificate
    strategies   mix: every few rounds another one of those, save vouch

An attacker's own writes go to an object of its own (`LIARS`), so that no client's value depends on them, and it tells
the harness of every commit that it signs: a nemesis keeps no secrets from whoever judges.
"""

from faults.byzantine.liar import LIARS, Liar
from faults.byzantine.strategies import STRATEGIES

__all__ = ["LIARS", "STRATEGIES", "Liar"]
