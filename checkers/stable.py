"""Stable writes and quorum reads: what was acknowledged with a certificate is never lost, and is read from then on.

`stable-write-lost`  a stable write that a correct node acknowledged is not on every core node in the end: a final read
                     names heads whose past lacks its commit, or lacks an element that no remove can have taken away
                     (`Elements.protected`)
`certificate-of-another-write`   what a correct node acknowledged as stable with a commit is not among the operations
                     of that commit, or it has acknowledged another write already
`stale-quorum-read`  a quorum read on a correct node began after a stable write had been acknowledged, and the past of
                     the heads that it names lacks that write's commit

Why it must be so: a certificate says that q members have the commit, with its past, on disk; a quorum read reconciles
with q.  Two quorums share 2q - n > f members, so as long as at most f lie or have lost their disks, one that has kept
it is among those who are asked (Malkhi and Reiter, "Byzantine quorum systems", 1998).  Beyond f neither is judged.

Complexity: O(chains) a commit, a read, and a write and core node.  Cannot see: writes whose commits, and reads whose
heads, are not in the table that the authors told; they are counted, and most of either being so, or any final read, is
unknown.  Of a commit, only what its author tells is believed.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import Any, NamedTuple

from checkers.elements import Change, Elements
from checkers.history import Element, Header, HistoryError, Invoke, NodeEvent, as_set_read
from checkers.pairing import Operation
from checkers.past import Commits
from checkers.reach import FOREVER
from checkers.verdict import Anomaly

_CLOCK = tuple[int, ...]


class _Write(NamedTuple):
    """An acknowledged stable write; `element` and `change` of an add to a set, else None."""

    node: int
    acknowledged: int
    event: int
    commit: str | None
    object: str
    element: Element | None
    change: Change | None
    operation: tuple[str, ...]


class _Read(NamedTuple):
    """A quorum read, or a final one."""

    node: int
    invoked: int
    event: int
    object: str
    heads: list[str] | None
    members: frozenset[Element] | None


class StableWrites:
    """Follows operations and commits; `writes` and `reads` are the stable writes and quorum reads answered ok."""

    def __init__(self, header: Header) -> None:
        self._sets = {entry.name: Elements() for entry in header.objects if entry.type in ("gset", "orset")}
        self._objects = len(header.objects)
        self._core = header.core
        self._correct = {entry.index for entry in header.nodes if not entry.byzantine}
        self._commits = Commits({entry.agent for entry in header.nodes if not entry.byzantine})
        self._agents = {entry.index: entry.agent for entry in header.nodes}
        self._operations: dict[str, Counter[tuple[str, ...]]] = {}  # commit -> what is in it, how often
        self._finals: list[_Read] = []
        self._reads_asked = 0
        self.writes: list[_Write] = []
        self.reads: list[_Read] = []
        self.notes: list[str] = []
        self.unknown: list[str] = []

    def on_committed(self, event: NodeEvent) -> None:
        """A commit for the table, if its author tells of it."""
        data = event.data
        if data["author"] == self._agents.get(event.node) and data["id"] not in self._commits:
            self._commits.tell(data)
            self._operations[data["id"]] = Counter(map(_operation, data["operations"]))

    def on_operation(self, operation: Operation) -> None:
        """An operation of a client that came to its end."""
        invoke, complete = operation.invoke, operation.complete
        elements = self._sets.get(invoke.object)
        self._reads_asked += invoke.level == "quorum" and invoke.node in self._correct
        if elements is not None and invoke.action == "remove" and complete.outcome != "fail":
            elements.end(operation)
        if complete.outcome != "ok":
            return
        if invoke.action == "read":
            if invoke.final and invoke.node in self._core:
                self._finals.append(self._read(operation))
            if invoke.level == "quorum" and invoke.node in self._correct:
                read = _Read(invoke.node, invoke.t, operation.completed_at, invoke.object, complete.visible, None)
                self.reads.append(read)
        elif invoke.level == "stable" and invoke.node in self._correct:
            self.writes.append(self._write(operation, adds=elements is not None and invoke.action == "add"))

    def on_abandoned(self, index: int, invoke: Invoke) -> None:
        """An operation that never came to an end: a remove may have happened."""
        elements = self._sets.get(invoke.object)
        if elements is not None and invoke.action == "remove":
            elements.abandon("remove", invoke.node, invoke.t, invoke.value, index)

    def _write(self, operation: Operation, *, adds: bool) -> _Write:
        invoke, complete, event = operation.invoke, operation.complete, operation.completed_at
        change = Change(invoke.node, invoke.t, complete.t, True, event) if adds else None
        element = invoke.value if adds else None
        asked = (invoke.object, invoke.action, repr(invoke.value))
        return _Write(invoke.node, complete.t, event, complete.commit, invoke.object, element, change, asked)

    def _read(self, operation: Operation) -> _Read:
        invoke, complete = operation.invoke, operation.complete
        members = None
        if invoke.object in self._sets:
            read = as_set_read(complete.value)
            if read.base is not None:
                raise HistoryError(f"op {invoke.op} is a final read, and does not stand whole")
            members = frozenset(read.add)
        return _Read(invoke.node, invoke.t, operation.completed_at, invoke.object, complete.visible, members)

    def slot(self, commit: str) -> tuple[str, str, int] | None:
        """(author, incarnation, seq) of a commit, as its author told it."""
        return self._commits.slot(commit)

    def unfounded(self) -> list[Anomaly]:
        """Writes that were acknowledged with the commit of something else: what is certified is not what was asked."""
        left = {commit: Counter(operations) for commit, operations in self._operations.items()}
        found = []
        for write in self.writes:
            operations = left.get(write.commit or "")
            if operations is None:
                continue
            operations[write.operation] -= 1
            if operations[write.operation] < 0:
                what = " ".join(write.operation[1:])
                said = (
                    f"{write.object}: node {write.node} acknowledged {what} as stable with commit "
                    f"{str(write.commit)[:12]}, which does not hold it, or held it for another write"
                )
                data = {"node": write.node, "object": write.object, "commit": write.commit}
                found.append(Anomaly("certificate-of-another-write", said, [write.event], data))
        return found

    def judge(self) -> list[Anomaly]:
        """Lost writes and stale reads; `notes` and `unknown` say afterwards what limits the evidence."""
        return [*self._lost(), *self._stale()]

    def _lost(self) -> list[Anomaly]:
        reads = {(read.node, read.object) for read in self._finals}
        if not self._core:
            self.unknown.append("there is no core node, so nobody has to have what is stable")
        missing = [node for node in self._core if sum(node == one for one, _ in reads) < self._objects]
        if missing and self.writes:
            self.unknown.append(f"a final read of core nodes {missing} is missing")
        clocks = [(read, self._clock(read)) for read in self._finals]
        first = min((write.acknowledged for write in self.writes), default=FOREVER)
        blind = sum(clock is None and read.invoked > first for read, clock in clocks)
        if blind:
            self.unknown.append(f"of {blind} final reads, what they claim to have seen is not known")
        found, untold = [], 0
        for write in self.writes:
            position = self._position(write)
            untold += position is None
            lacking = [read for read, clock in clocks if self._lacks(write, position, read, clock)]
            if lacking:
                found.append(_lost(write, lacking))
        if untold:
            said = f"of {untold} stable writes, the commit was never told of by its author"
            (self.unknown if untold * 2 > len(self.writes) else self.notes).append(said)
        return found

    def _lacks(self, write: _Write, position: tuple[int, int] | None, read: _Read, clock: _CLOCK | None) -> bool:
        if read.invoked < write.acknowledged:
            return False
        if position is not None and clock is not None and clock[position[0]] < position[1]:
            return True
        if read.object != write.object or write.change is None or read.members is None or write.element is None:
            return False
        return write.element not in read.members and self._sets[write.object].protected(write.element, write.change)

    def _stale(self) -> list[Anomaly]:
        """Reads in the order in which they began, each against the furthest write of each chain so far."""
        writes = sorted(self.writes, key=attrgetter("acknowledged"))
        furthest: dict[int, tuple[int, _Write]] = {}
        found: list[Anomaly] = []
        at = passed_over = 0
        for read in sorted(self.reads, key=attrgetter("invoked")):
            while at < len(writes) and writes[at].acknowledged < read.invoked:
                position = self._position(writes[at])
                if position is not None and position[1] > furthest.get(position[0], (0, None))[0]:
                    furthest[position[0]] = (position[1], writes[at])
                at += 1
            clock = self._clock(read)
            if clock is None:
                passed_over += 1
                continue
            unseen = [write for place, (count, write) in furthest.items() if clock[place] < count]
            if unseen:
                found.append(_stale(read, unseen))
        if passed_over:
            self.notes.append(f"{passed_over} quorum reads of unknown commits were passed over")
        if self._reads_asked and not self.reads:
            self.unknown.append(f"none of {self._reads_asked} quorum reads was answered")
        if passed_over * 2 > len(self.reads):
            self.unknown.append("of most quorum reads, what they claim to have seen was never told")
        return found

    def _clock(self, read: _Read) -> _CLOCK | None:
        return None if read.heads is None else self._commits.reach(read.heads)

    def _position(self, write: _Write) -> tuple[int, int] | None:
        return None if write.commit is None else self._commits.position(write.commit)


def _operation(told: Any) -> tuple[str, ...]:
    """An operation of a commit as a client would name it: a remove also says what it takes away."""
    value = told["value"]
    if told["action"] == "remove" and isinstance(value, list | tuple) and value:
        value = value[0]
    return (told["object"], told["action"], repr(value))


def _lost(write: _Write, lacking: list[_Read]) -> Anomaly:
    nodes = sorted({read.node for read in lacking})
    what = f"commit {str(write.commit)[:12]}" if write.element is None else f"element {write.element!r}"
    said = f"{write.object}: {what}, acknowledged as stable by node {write.node}, is not on nodes {nodes} in the end"
    data = {"object": write.object, "commit": write.commit, "element": write.element, "nodes": nodes}
    return Anomaly("stable-write-lost", said, [write.event, *(read.event for read in lacking)][:20], data)


def _stale(read: _Read, unseen: list[_Write]) -> Anomaly:
    first = unseen[0]
    ago = (read.invoked - first.acknowledged) / 1e6
    said = (
        f"{read.object}: a quorum read on node {read.node} does not see what node {first.node} had acknowledged as "
        f"stable {ago:.1f} ms before it began"
    )
    data = {"nodes": [read.node], "commits": [write.commit for write in unseen]}
    return Anomaly("stale-quorum-read", said, [*(write.event for write in unseen), read.event], data)
