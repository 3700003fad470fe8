"""What one node holds: the log and its fold, the commits that wait, and this node's own branch.

Two things come in: operations of clients (`write`) and commits of others (`merge`).  Both end in the same three
steps, in this order: a journal record, the log, the fold.  The node makes sure that nothing which rests on a
journal record leaves before the record is durable.

A *fence* is written here: when a commit teaches a proof, this node first signs a commit whose past is all that it
had accepted and which carries the proof, and only then holds the commit that taught it (see `log`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from knhk_mesh.commits import (
    DEPENDENCIES_MAX,
    INCARNATION_BYTES,
    NO_COMMIT,
    Commit,
    Operation,
    Proof,
    WireCommit,
    commit_id,
    decode_wire,
    encode_wire,
    make_commit,
    network_id,
    open_commit,
)
from knhk_mesh.config import NodeConfig
from knhk_mesh.effects import Event, Instant, RandomSource, Record
from knhk_mesh.errors import BadCommit, ConfigError
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.log import CLOCK_ALLOWANCE_MS, CommitLog
from knhk_mesh.pending import PendingCommits
from knhk_mesh.quotas import TokenBucket
from knhk_mesh.reconcile import HeadTable
from knhk_mesh.state import VersionedState

OpenCommit = Callable[[bytes, WireCommit], Commit]

INCARNATIONS_BURST = 8
"""An author may bring so many chains that it begins at once, and one more every INCARNATION_SECONDS: each is an entry
in every row of heads for ever.  One that another member brings, or that a commit of another's names, comes in at once:
that one has let it in, and its author could otherwise keep members from ever having what the others have."""
INCARNATION_SECONDS = 10


class Replica:
    """One node's log, state and branch.  `journal` and `events` are drained by the node after each call.

    Commits of others than `members` are thrown out; None takes everybody for one.
    """

    def __init__(
        self,
        config: NodeConfig,
        signer: Signer,
        *,
        random: RandomSource,
        opener: OpenCommit = open_commit,
        members: frozenset[AgentId] | None = None,
    ) -> None:
        self.network = network_id(config.network)
        self.log = CommitLog(network_start_ms=config.network_start_ms)
        self.state = VersionedState(self.log)
        self.heads = HeadTable(self.log)
        self.pending = PendingCommits(commits_max=config.pending_commits_max, bytes_max=config.pending_bytes_max)
        self.journal: list[Record] = []
        self.events: list[Event] = []
        self.incarnation: bytes | None = None
        self._signer = signer
        self._random = random
        self._open = opener
        self._next_seq = 0
        self._tip = NO_COMMIT
        self._members = members
        self._beginnings: dict[AgentId, TokenBucket] = {}
        self.delayed = 0

    def recover(self, records: Iterable[Record]) -> None:
        """Take in the commits of this node's journal, in order.  Raises ConfigError if they are not ours."""
        for place, record in enumerate(records):
            if record.kind == "incarnation":
                self.incarnation = record.data
            elif record.kind == "commit":
                self._recover_commit(place, record.data)

    def _recover_commit(self, place: int, data: bytes) -> None:
        try:
            commit = self._open(self.network, decode_wire(data))
        except (BadCommit, msgspec.MsgspecError) as error:
            raise ConfigError(f"journal record {place} is no commit of this network: {error}") from None
        if self.log.missing_past(commit):
            raise ConfigError(f"journal record {place} is a commit whose past is not in the journal")
        me = self._signer.agent_id
        own = commit.author == me
        for proof in [] if own else self.log.new_proofs(commit):
            if proof.author != me:
                raise ConfigError(
                    f"journal record {place} brings a proof of {proof.author.hex()} before this node's fence"
                )
            self.log.learn(me, proof)  # as in `_take_in`: nobody fences against itself
        self._hold(commit)
        if own and commit.proof is not None and commit.accused is not None:
            self.log.learn(commit.accused, commit.proof)
            self.events.append(_proven(commit.accused, commit.proof))
        if own and commit.incarnation == self.incarnation:
            self._next_seq, self._tip = commit.seq + 1, commit.id
        if own:  # told again: what was told before the crash may not have been heard
            self.events.append(committed(commit))

    def begin(self) -> None:
        """Choose an incarnation if the disk held none: an author that lost its disk must never reuse a slot."""
        if self.incarnation is None:
            self.incarnation = self._random.getrandbits(8 * INCARNATION_BYTES).to_bytes(INCARNATION_BYTES, "big")
            self.journal.append(Record("incarnation", self.incarnation))

    def write(self, now: Instant, operations: Sequence[Operation] = (), proof: Proof | None = None) -> Commit:
        """Sign, journal and accept this node's next commit; its past is everything that the node has accepted."""
        while True:
            deps = [one for one in self.log.frontier if one != self._tip]
            # What a proven author writes is not accepted, and so gathers nothing: it names what it can.
            if len(deps) <= DEPENDENCIES_MAX or self._signer.agent_id in self.log.proofs:
                deps = deps[:DEPENDENCIES_MAX]
                return self._append(now, deps, operations, proof)
            # More heads than one commit may name: gather them by commits that say nothing else.
            self._append(now, deps[:DEPENDENCIES_MAX], (), None)

    def _append(self, now: Instant, deps: list[bytes], operations: Sequence[Operation], proof: Proof | None) -> Commit:
        assert self.incarnation is not None
        floor = self.log.clock_of(deps if self._next_seq == 0 else [self._tip, *deps])
        wall = (now.wall // 1_000_000) << 16
        commit = make_commit(
            self._signer,
            network=self.network,
            incarnation=self.incarnation,
            seq=self._next_seq,
            prev=self._tip,
            deps=deps,
            clock=min(max(wall, floor + 1), floor + (CLOCK_ALLOWANCE_MS << 16)),
            operations=operations,
            proof=proof,
        )
        self._next_seq, self._tip = commit.seq + 1, commit.id
        self._journal(commit)
        self._hold(commit)
        self.events.append(committed(commit))
        return commit

    def merge(
        self,
        now: Instant,
        wires: Sequence[WireCommit],
        *,
        source: AgentId = b"",
        may_open: Callable[[], bool] = lambda: True,
    ) -> tuple[list[Commit], list[tuple[AgentId, BadCommit]]]:
        """Take in what `source` sent: (commits newly accepted, past first; who brought others, and why they are bad).

        What has waited here may turn out to be bad when `source` brings its past: that is no fault of `source`'s.
        A commit whose past is incomplete waits; one that is held or waiting already is passed over.  `may_open` is
        asked for each other one, before it costs anything.
        """
        accepted: list[Commit] = []
        bad: list[tuple[AgentId, BadCommit]] = []
        ready: deque[tuple[Commit, AgentId]] = deque()
        for wire in wires:
            identity = commit_id(wire.header)
            if identity in self.log.held or identity in self.pending or not may_open():
                continue
            try:
                commit = self._open(self.network, wire)
                self._check_members(commit)
            except BadCommit as error:
                bad.append((source, error))
                continue
            missing = self.log.missing_past(commit)
            if missing:
                self.pending.add(commit, missing, source)
                continue
            ready.append((commit, source))
            while ready:
                one, bringer = ready.popleft()
                if one.id in self.log.held:
                    continue
                if not self._may_begin(now, one, bringer):
                    self.delayed += 1
                    continue
                try:
                    self.log.check(one)
                except BadCommit as error:
                    bad.append((bringer, error))
                    continue
                accepted.extend(self._take_in(now, one))
                ready.extend(self.pending.arrived(one.id))
        if accepted:
            self.events.append(Event("accepted", {"ids": [one.id.hex() for one in accepted]}))
        return accepted, bad

    def _check_members(self, commit: Commit) -> None:
        """Only members write, and only members can be accused: anybody can make up a key that forks, and its proof."""
        if self._members is None:
            return
        if commit.author not in self._members:
            raise BadCommit("stranger", "its author is no member")
        if commit.accused is not None and commit.accused not in self._members:
            raise BadCommit("proof", "it accuses somebody who is no member")

    def _may_begin(self, now: Instant, commit: Commit, source: AgentId) -> bool:
        """Whether the chain that `commit` begins, if it does, may come in now; if not, it comes again."""
        if commit.seq or source not in (commit.author, b"") or self.pending.awaited_by_another(commit):
            return True
        bucket = self._beginnings.get(commit.author)
        if bucket is None:
            bucket = TokenBucket(rate=1, burst=INCARNATIONS_BURST * INCARNATION_SECONDS, now=now.monotonic)
            self._beginnings[commit.author] = bucket
        return bucket.take(now.monotonic, INCARNATION_SECONDS)

    def _take_in(self, now: Instant, commit: Commit) -> list[Commit]:
        fences: list[Commit] = []
        for proof in self.log.new_proofs(commit):
            liar = proof.author
            if liar != self._signer.agent_id:
                fences.append(self.write(now, (), proof))
            self.log.learn(liar, proof)
            self.events.append(_proven(liar, proof))
        self._journal(commit)
        return [*fences, *self._hold(commit)]

    def _journal(self, commit: Commit) -> None:
        self.journal.append(Record("commit", encode_wire(commit.wire)))

    def _hold(self, commit: Commit) -> list[Commit]:
        newly = self.log.hold(commit)
        for one in newly:
            self.state.fold(one)
            self.heads.accepted(one)
        return newly


def _plain(value: Any) -> Any:
    """`value` with every byte string as hex: what an observer is shown must be readable in any format."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _proven(agent: AgentId, proof: Proof) -> Event:
    return Event("proven", {"agent": agent.hex(), "proof": _plain(msgspec.structs.asdict(proof))})


def committed(commit: Commit) -> Event:
    """What an observer is told of a commit by its author."""
    return Event(
        "committed",
        {
            "id": commit.id.hex(),
            "author": commit.author.hex(),
            "incarnation": commit.incarnation.hex(),
            "seq": commit.seq,
            "prev": commit.prev.hex() if commit.seq else None,
            "deps": [dep.hex() for dep in commit.deps],
            "operations": [_plain(msgspec.structs.asdict(operation)) for operation in commit.operations],
            "accuses": commit.accused.hex() if commit.accused else None,
        },
    )
