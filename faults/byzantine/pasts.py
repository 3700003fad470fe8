"""Lies about pasts: commits that are sound, or not, and given to some before, or without, what they rest on.

deep      long chains whose first commit is kept back: they wait in the receivers' buffers.
wide      commits that depend on hundreds of commits which do not exist.
orphan    bad commits to one peer, their sound parent to the others: who passes that on in good faith looks guilty of
          what was waiting for it.
scatter   new chains, other ones to each peer: nobody has what another one names.
"""

from __future__ import annotations

from faults.byzantine.attacker import Attacker, Chain, Strategy
from knhk_mesh.commits import DEPENDENCIES_MAX, Commit
from knhk_mesh.effects import Effect, Instant
from knhk_mesh.log import CLOCK_ALLOWANCE_MS

DEEP = 128
WIDE_A_ROUND = 4
ORPHANS_A_ROUND = 6


class Deep(Strategy):
    """Chains without their beginning."""

    def round(self, now: Instant) -> list[Effect]:
        """DEEP commits, each on the one before it; the first is kept back."""
        chain = Chain(self.attacker)
        commits: list[Commit] = []
        for _ in range(DEEP + 1):
            commits.append(chain.next(now))
            chain.advance(commits[-1])
        self.attacker.lies += 1
        return self.attacker.together(self.attacker.peers, [commit.wire for commit in commits[1:]])


class Wide(Strategy):
    """Pasts that nobody has."""

    def round(self, now: Instant) -> list[Effect]:
        """WIDE_A_ROUND commits with as many made-up dependencies as a commit may have."""
        attacker = self.attacker
        found: list[Effect] = []
        for _ in range(WIDE_A_ROUND):
            made_up = [attacker.random.getrandbits(256).to_bytes(32, "big") for _ in range(DEPENDENCIES_MAX)]
            found += attacker.deltas(attacker.some(2), [Chain(attacker).next(now, deps=made_up).wire])
        attacker.lies += 1
        return found


class Orphan(Strategy):
    """Children that are bad, and a parent that is not."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._chain = Chain(attacker)

    def round(self, now: Instant) -> list[Effect]:
        """The children, whose clocks run away, to one peer; their parent to everybody else."""
        attacker = self.attacker
        parent = self._chain.next(now)
        attacker.tell(parent)
        self._chain.advance(parent)
        too_far = (CLOCK_ALLOWANCE_MS << 16) + 1
        children = [self._chain.next(now, deps=[], clock_ahead=too_far + number) for number in range(ORPHANS_A_ROUND)]
        victim, *others = attacker.some(len(attacker.peers))
        attacker.lies += 1
        bad = attacker.together([victim], [child.wire for child in children])
        return [*bad, *attacker.deltas(others, [parent.wire])]


class Scatter(Strategy):
    """As many beginnings as it likes."""

    def round(self, now: Instant) -> list[Effect]:
        """A new chain for each peer."""
        attacker = self.attacker
        found: list[Effect] = []
        for peer in attacker.peers:
            commit = Chain(attacker).next(now, deps=[])
            attacker.tell(commit)
            found += attacker.deltas([peer], [commit.wire])
        attacker.lies += 1
        return found
