"""Random commit graphs with liars in them, run through real replicas.

A port of the argument in spec/byzantine.md to the code that ships: correct replicas write, exchange and fence;
liars sign whatever they like (forks, chains on either branch, colluders that vouch for each other, accusations)
and hand it to whom they like, with or without its past.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from knhk_mesh.commits import NO_COMMIT, Commit, Operation, make_commit, make_proof
from knhk_mesh.config import NodeConfig
from knhk_mesh.effects import Instant
from knhk_mesh.identity import Signer
from knhk_mesh.log import CLOCK_ALLOWANCE_MS
from knhk_mesh.replica import Replica

NETWORK = "graphs"
START_MS = 1_767_225_600_000
NOW = Instant(0, START_MS * 1_000_000)


def replica(name: str, seed: int) -> Replica:
    """A correct replica with a fresh incarnation."""
    config = NodeConfig(network=NETWORK, peers=(), faulty=0, network_start_ms=START_MS)
    made = Replica(config, signer(name), random=random.Random(f"{seed}/{name}"))
    made.begin()
    return made


def signer(name: str) -> Signer:
    """The key called `name`."""
    return Signer(name.encode().ljust(32, b"\0"))


def add(value: int) -> Operation:
    """An operation that marks a commit."""
    return Operation("set", "gset", "add", value)


def send(receiver: Replica, commits: Iterable[Commit]) -> None:
    """Hand `commits` to a correct replica, as a peer would."""
    receiver.merge(NOW, [commit.wire for commit in commits])


def accepted(replica: Replica) -> list[Commit]:
    """The accepted commits, past first."""
    return [replica.log.held[one] for one in replica.log.accepted]


class Liar:
    """Holds a key and no scruples."""

    def __init__(self, name: str, replica: Replica) -> None:
        self.signer = signer(name)
        self.network = replica.network
        self.own: list[Commit] = []

    def sign(self, r: random.Random, world: Sequence[Commit]) -> Commit:
        """A commit on any branch of its own, with any dependencies, accusing anybody it can."""
        by_id = {commit.id: commit for commit in world}
        prev = r.choice(self.own) if self.own and r.random() < 0.85 else None
        others = [commit for commit in world if commit.author != self.signer.agent_id]
        deps = r.sample(others, min(len(others), r.randint(0, 3)))
        proof = None
        if r.random() < 0.2:
            forks = [make_proof(a, b) for a in world for b in world if a.slot == b.slot and a.id < b.id]
            proof = r.choice(forks) if forks else None
        parents = [*deps, *([prev] if prev else [])]
        floor = max((by_id[p.id].clock if p.id in by_id else p.clock for p in parents), default=START_MS << 16)
        commit = make_commit(
            self.signer,
            network=self.network,
            incarnation=bytes(16),
            seq=prev.seq + 1 if prev else 0,
            prev=prev.id if prev else NO_COMMIT,
            deps=[dep.id for dep in deps],
            clock=floor + r.randint(1, CLOCK_ALLOWANCE_MS << 16),
            operations=[add(r.randint(0, 1000))],
            proof=proof,
        )
        self.own.append(commit)
        return commit


def past_of(commit: Commit, world: dict[bytes, Commit]) -> list[Commit]:
    """`commit` and everything that it reaches, past first."""
    order: dict[bytes, Commit] = {}
    stack = [(commit, False)]
    while stack:
        one, expanded = stack.pop()
        if expanded:
            order[one.id] = one
        elif one.id not in order:
            stack.append((one, True))
            stack.extend((world[parent], False) for parent in one.parents if parent not in order)
    return list(order.values())
