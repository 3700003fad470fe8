"""The log of commits: what is held, what is accepted, who is proven, and what is still waiting for its past.

The rule, from spec/byzantine.md (Kleppmann, PaPoC 2022, for the pasts; Blocklace, arXiv 2402.08068, for fences):

* A commit is *held* once it is valid and its whole past is held.  Held sets are closed under past.
* Two held commits for one slot are a fork.  Whoever learns that proof first writes a *fence*: a commit whose past
  is everything it had accepted, with the proof in it.  Only then does it hold what came with the proof.
* A commit may depend directly on an author only if no proof against that author is in its past.
* *Accepted* = the commits of unproven authors, and everything in the past of those.

Why accepted sets only grow: learning a proof against X could only take away commits of X that no unproven author
vouches for, and the fence, written by this node a moment before, vouches for all that it had accepted.  Why they
converge: accepted is a function of (held commits of unproven authors, proofs), proofs travel inside commits, and
whatever one correct node has accepted of X is in the past of some unproven author's commit, which reaches all.

Whether a commit is valid is a function of the commit and its past, never of this node's circumstances.
"""

from __future__ import annotations

from collections.abc import Iterator

from knhk_mesh.commits import NO_COMMIT, Commit, Proof, Slot, make_proof
from knhk_mesh.errors import BadCommit
from knhk_mesh.identity import AgentId
from knhk_mesh.merkle import MerkleSet

CLOCK_ALLOWANCE_MS = 600_000
"""How far a commit's clock may run ahead of the greatest in its past, whatever a wall clock says."""

_NOBODY: frozenset[AgentId] = frozenset()


class Chain:
    """The accepted commits of one (author, incarnation).

    `commits` is one unbroken branch, by seq; `forked` says that there are others, found by their heads.
    """

    __slots__ = ("commits", "forked")

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.forked = False


class CommitLog:
    """Holds commits and decides which of them count.

    `network_start_ms` is the clock before the first commit, in milliseconds since 1970.
    """

    def __init__(self, *, network_start_ms: int) -> None:
        self._start_clock = network_start_ms << 16
        self.held: dict[bytes, Commit] = {}
        self.accepted: dict[bytes, int] = {}  # id -> its place in the order of acceptance, which is topological
        self.proofs: dict[AgentId, Proof] = {}
        self.frontier: dict[bytes, None] = {}  # accepted commits that no accepted commit has in its past
        self.heads: dict[bytes, Commit] = {}  # branch heads: accepted commits that are nobody's accepted `prev`
        self.chains: dict[tuple[AgentId, bytes], Chain] = {}
        self._slots: dict[Slot, Commit] = {}
        self._accused_in_past: dict[bytes, frozenset[AgentId]] = {}  # only the commits for which it is not empty
        self._accusations = 0  # commits held that carry a proof; while there are none, no past has to be looked at
        self._root = MerkleSet()

    def root(self) -> bytes:
        """32 bytes: the Merkle root over the branch heads.  Equal roots, equal accepted sets."""
        return self._root.root()

    def missing_past(self, commit: Commit) -> list[bytes]:
        """The direct parents of `commit` that are not held yet."""
        return [parent for parent in commit.parents if parent not in self.held]

    def check(self, commit: Commit) -> None:
        """Raise BadCommit unless `commit` fits its past, which must be held.

        Reasons: link (prev is not the slot before), clock, vouches (depends on an author against whom its past
        holds a proof).
        """
        if commit.seq:
            prev = self.held[commit.prev]
            if (prev.author, prev.incarnation, prev.seq + 1) != commit.slot:
                raise BadCommit("link", "the previous commit is not the slot before")
        floor = self.clock_of(commit.parents)
        if not floor < commit.clock <= floor + (CLOCK_ALLOWANCE_MS << 16):
            raise BadCommit("clock", "not within the allowance after its past")
        accused = self.accused_before(commit)
        if accused:
            for dep in commit.deps:
                author = self.held[dep].author
                if author in accused and author != commit.author:
                    raise BadCommit("vouches", "depends on an author whom its own past proves faulty")

    def clock_of(self, parents: tuple[bytes, ...] | list[bytes]) -> int:
        """The greatest clock among `parents`, all held; the network's start if there are none."""
        return max((self.held[parent].clock for parent in parents), default=self._start_clock)

    def new_proofs(self, commit: Commit) -> list[Proof]:
        """The proofs that holding `commit`, checked, would teach: by the fork it makes, by what it accuses of."""
        proofs = []
        rival = self._slots.get(commit.slot)
        if rival is not None and rival.id != commit.id and commit.author not in self.proofs:
            proofs.append(make_proof(rival, commit))
        if commit.proof is not None and commit.accused not in self.proofs:
            already = proofs and commit.accused == commit.author
            if not already:
                proofs.append(commit.proof)
        return proofs

    def learn(self, author: AgentId, proof: Proof) -> None:
        """Count `author` as proven from now on.  This node's fence against it must be held already."""
        self.proofs.setdefault(author, proof)

    def hold(self, commit: Commit) -> list[Commit]:
        """Hold `commit`, which is checked and whose proofs are learnt; return what is newly accepted, past first."""
        assert commit.id not in self.held
        self.held[commit.id] = commit
        self._slots.setdefault(commit.slot, commit)
        accused = self.accused_before(commit)
        if accused:
            self._accused_in_past[commit.id] = accused
        self._accusations += commit.accused is not None
        if commit.author in self.proofs:
            return []
        newly = list(self._unaccepted_past_first(commit))
        for one in newly:
            self._accept(one)
        return newly

    def accused_before(self, commit: Commit) -> frozenset[AgentId]:
        """Authors against whom the past of `commit`, itself excepted, holds a proof."""
        accused = _NOBODY
        if not self._accusations:
            return accused
        for parent in commit.parents:
            inherited = self._accused_in_past.get(parent)
            if inherited is not None:
                accused = accused | inherited if accused else inherited
            by_parent = self.held[parent].accused
            if by_parent is not None and by_parent not in accused:
                accused = accused | {by_parent}
        return accused

    def _unaccepted_past_first(self, commit: Commit) -> Iterator[Commit]:
        """`commit` and all of its past that is not accepted yet, every commit after its parents."""
        seen: set[bytes] = set()
        stack = [(commit, False)]
        while stack:
            one, expanded = stack.pop()
            if expanded:
                yield one
                continue
            if one.id in seen:
                continue
            seen.add(one.id)
            stack.append((one, True))
            stack.extend(
                (self.held[parent], False)
                for parent in one.parents
                if parent not in self.accepted and parent not in seen
            )

    def _accept(self, commit: Commit) -> None:
        self.accepted[commit.id] = len(self.accepted)
        for parent in commit.parents:
            self.frontier.pop(parent, None)
        self.frontier[commit.id] = None
        if commit.prev != NO_COMMIT and self.heads.pop(commit.prev, None) is not None:
            self._root.remove(commit.prev)
        self.heads[commit.id] = commit
        self._root.add(commit.id)
        key = (commit.author, commit.incarnation)
        chain = self.chains.get(key)
        if chain is None:
            chain = self.chains[key] = Chain()
        follows = not chain.commits if commit.seq == 0 else chain.commits[-1].id == commit.prev
        if follows:
            chain.commits.append(commit)
        else:
            chain.forked = True
