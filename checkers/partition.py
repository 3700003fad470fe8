"""Partition: a node that is cut off from a quorum knows it in time, nobody else believes it, and all recover in time.

Decides, for each correct node, from its `state` events and from whom the faults let it reach (`reach`):

`undetected`      it surely could reach fewer than `size` members for longer than detection_ns, and was not partitioned
                  detection_ns after that began; for a node that is dead or paused meanwhile it begins when it is back
`healthy-while-cut-off`   it had seen that, and called itself healthy while it still could not
`not-recovered`   it surely could reach `size` correct members for recovery_ns, over links that no fault touches, and
                  was at no time of that healthy; from whenever it ceased to be
`false-alarm`     it became partitioned though it surely ran and could reach `size` correct members throughout the
                  detection_ns before, over links that lose nothing, are not narrow, and whose round trips, the
                  network's own included, stay below 3/4 of detection_ns, and below what echoes count less an interval
                  (`reach.spare_ns`); what a fault had cut off, or has yet to start, counts from when it may have found
                  the others again, and may have written to its disk what it must before it answers
                  (reconnect_ns + exchange_ns)
`bad-transition`  anything but healthy -> partitioned, partitioned -> recovering, recovering -> healthy and
                  recovering -> partitioned, in a row; a node begins, and begins anew after a restart, as recovering
`healthy-before-reconciled`   see `rejoining`

Members that lie are reachable as far as anybody can tell, and need not answer: they count for the first and for none of
the others.  Who was late, or rash, while its machine had no idle processor (`starved`) for at least half of the time in
question is not blamed, and the run is unknown.  Definition: spec-defects 1, 3, 4, 7 and 10; the bounds are the header's
`quorum`, which computes them from the configuration.  Complexity: O(1) an event, O(n^2) a fault.

Unknown where a run ends before a node is healthy again and before it has to be, where some of what a node told is lost,
and where the network by itself is so slow, or so lossy, that nobody knows who could reach whom.

Cannot see: how a node came to its belief; a state that it never tells of; and a partition by faults that only slow
links down or lose frames.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any, NamedTuple

from checkers.availability import percentiles_ms
from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.reach import FOREVER, Reach, Span, spare_ns, without
from checkers.rejoining import Rejoining
from checkers.timeline import Timeline
from checkers.verdict import Anomaly, CheckResult, result

NAME = "partition"
ALLOWED = {
    ("healthy", "partitioned"),
    ("partitioned", "recovering"),
    ("recovering", "healthy"),
    ("recovering", "partitioned"),
}
BEGINNING = "recovering"
EXCUSED_MAX = 20
"""How many are told; one is enough to know nothing."""


class _Change(NamedTuple):
    """A node's state from `t` on; `event` is -1 for a beginning that nobody told of."""

    t: int
    state: str
    event: int


class _Node:
    """What one node told of its state, in its own order."""

    def __init__(self) -> None:
        self.changes: list[_Change] = [_Change(-FOREVER, BEGINNING, -1)]
        self.kills: set[str] = set()  # in force
        self.silent = True  # told of no state since it was killed
        self.expected: set[str] | None = {BEGINNING}  # None: what it told last is lost
        self.lost = False
        self.starved: list[Span] = []

    def starved_ns(self, begin: int, end: int) -> int:
        """For how much of that time its machine had no idle processor."""
        return sum(max(0, min(span.end, end) - max(span.begin, begin)) for span in self.starved)

    def add(self, change: _Change) -> None:
        """What a node told before it was killed may come in after that."""
        insort(self.changes, change, key=lambda one: one.t)

    def at(self, t: int) -> str:
        """Its state at `t`."""
        return self.changes[bisect_right(self.changes, t, key=lambda change: change.t) - 1].state


class Partition:
    """Option: `detections_min`: with fewer detections the run is unknown.  The default is 1 where a correct node was
    cut off for long enough to see it, and 0 where the faults give nobody anything to detect."""

    def __init__(self, header: Header, *, detections_min: int | None = None) -> None:
        self._quorum = header.quorum
        self._settle_ns = header.deadline.reconnect_ns + header.deadline.exchange_ns
        self._network = header.network
        self._spare_ns = spare_ns(header)
        self._detections_min = detections_min
        self._nodes = {entry.index: _Node() for entry in header.nodes if not entry.byzantine}
        self._kills = {entry.id: entry.nodes for entry in header.faults if entry.fault == "kill"}
        self._reach = Reach(header)
        self._timeline = Timeline()
        self._rejoining = Rejoining(header)
        self._anomalies: list[Anomaly] = []
        self._tardy: list[Anomaly] = []  # whether excused or not
        self._excused: list[str] = []
        self._told = 0

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """A bad transition is certain at once; times are judged in the end."""
        self._reach.on_event(event)
        self._timeline.on_event(event)
        self._rejoining.on_event(index, event)
        if type(event) is FaultEvent:
            self._on_kill(event)
        elif type(event) is NodeEvent and event.node in self._nodes:
            return self._on_node(index, event, self._nodes[event.node])
        return None

    def _on_kill(self, event: FaultEvent) -> None:
        """A node that is killed begins anew, and until it is back it may or may not have died yet."""
        for number in self._kills.get(event.fault, ()):
            node = self._nodes.get(number)
            if node is None:
                continue
            if event.stage == "injected":
                node.kills.add(event.fault)
                node.silent = True
                node.expected = None if node.expected is None else {*node.expected, BEGINNING}
                node.add(_Change(event.t, BEGINNING, -1))
            elif event.stage == "lifted":
                node.kills.discard(event.fault)
                if node.silent and not node.kills:
                    node.expected = {BEGINNING}

    def _on_node(self, index: int, event: NodeEvent, node: _Node) -> Anomaly | None:
        if event.name == "events-lost":
            node.expected = None
            node.lost = True
        elif event.name == "started":
            node.expected = {BEGINNING}
        elif event.name == "starved":
            node.starved.append(self._timeline.starving(event))
        elif event.name == "state":
            return self._on_state(index, event, node)
        return None

    def _on_state(self, index: int, event: NodeEvent, node: _Node) -> Anomaly | None:
        self._told += 1
        before, after = str(event.data.get("from")), str(event.data.get("to"))
        known = node.expected is None or before in node.expected
        node.expected = {after, BEGINNING} if node.kills else {after}
        node.silent = False
        node.add(_Change(self._timeline.place(event), after, index))
        if known and (before, after) in ALLOWED:
            return None
        why = "" if known else ", and was not in that state"
        said = f"node {event.node} went from {before} to {after}{why}"
        anomaly = Anomaly("bad-transition", said, [index], {"node": event.node, "from": before, "to": after})
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Times against their bounds; unknown without a roster, and without the detections that were asked for."""
        quorum = self._quorum
        if quorum is None:
            return result(NAME, self._anomalies, unknown=["there is no roster, so there is nothing to be cut off from"])
        if not self._told:
            return result(NAME, self._anomalies, unknown=["no correct node told of its state"])
        unreconciled, mute = self._rejoining.judge()
        self._anomalies += unreconciled
        cut_off = self._reach.cut_off(quorum.size)
        calm = self._spare_ns > 0 and not self._network.loss
        size = quorum.size if calm else FOREVER
        undisturbed = self._reach.connected(size)
        connected = self._reach.connected(size, settle_ns=self._settle_ns, slow_ns=max(self._spare_ns, 0))
        detections: list[int] = []
        recoveries: list[int] = []
        for number, node in self._nodes.items():
            if not node.lost:
                self._judge_detection(number, node, cut_off[number], quorum.detection_ns)
                self._judge_recovery(number, node, undisturbed[number], quorum.recovery_ns)
            self._judge_alarms(number, node, connected[number], quorum.detection_ns)
            detections += _detections(node, cut_off[number], quorum.detection_ns)
            recoveries += _recoveries(node, undisturbed[number])
        unknown = self._excused[:EXCUSED_MAX] + mute
        wanted = self._wanted(cut_off, quorum.detection_ns) if self._detections_min is None else self._detections_min
        if len(detections) < wanted:
            unknown.append(f"{len(detections)} partitions were detected, at least {wanted} are needed")
        if not calm:
            slow, lost_share = f"{2 * self._network.latency_ms:.0f} ms", f"{self._network.loss:.0%}"
            unknown.append(
                f"without any fault round trips take up to {slow} and {lost_share} of the frames are lost: who could "
                "reach a quorum is not known"
            )
        late = [number for number, node in self._nodes.items() if self._unfinished(number, node, undisturbed[number])]
        if late:
            unknown.append(f"the run ended before nodes {late} were healthy again, and before they had to be")
        lost = [number for number, node in self._nodes.items() if node.lost]
        if lost:
            unknown.append(f"some of what nodes {lost} told is lost: what they saw in time is not known")
        figures: dict[str, Any] = {
            "detections": len(detections),
            **percentiles_ms("detection", detections),
            "detection_bound_ms": quorum.detection_ns / 1e6,
            "recoveries": len(recoveries),
            **percentiles_ms("recovery", recoveries),
            "recovery_bound_ms": quorum.recovery_ns / 1e6,
        }
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)

    def _wanted(self, cut_off: dict[int, list[Span]], bound: int) -> int:
        """1 if there was anything to detect."""
        return int(any(due < until for node in self._nodes for _, due, until in self._dues(node, cut_off[node], bound)))

    def _dues(self, number: int, cut_off: list[Span], bound: int) -> Iterator[tuple[int, int, int]]:
        """(since when, when it must know, until when that lasts and is heard) of each time that a node is cut off."""
        heard = self._timeline.heard_until(number)
        still = self._reach.still(number)
        for begin, end in (piece for span in cut_off for piece in without(span, still)):
            yield begin, begin + bound, min(end, heard)

    def _unfinished(self, number: int, node: _Node, connected: list[Span]) -> bool:
        """Whether it could reach a quorum in the end, was not healthy, and nobody can blame it for that yet."""
        heard = self._timeline.heard_until(number)
        if node.lost or node.changes[-1].state == "healthy" or not connected or connected[-1].end < heard:
            return False
        return not any(one.name == "not-recovered" and one.data["node"] == number for one in self._tardy)

    def _judge_detection(self, number: int, node: _Node, cut_off: list[Span], bound: int) -> None:
        for begin, due, until in self._dues(number, cut_off, bound):
            if due >= until:
                continue
            if node.at(due) == "partitioned":
                self._judge_staying(number, node, Span(due, until))
                continue
            said = (
                f"node {number} was cut off from a quorum for {(until - begin) / 1e6:.0f} ms, and after "
                f"{bound / 1e6:.0f} ms of them it was {node.at(due)}"
            )
            events = _events_within(node, begin, until)
            found = Anomaly("undetected", said, events, {"node": number, "begin_ns": begin})
            self._late(Span(begin, due), found)

    def _judge_staying(self, number: int, node: _Node, rest: Span) -> None:
        """Who knows that it is cut off does not call itself healthy as long as it is."""
        for change in node.changes:
            if change.state == "healthy" and rest.begin < change.t < rest.end:
                said = f"node {number} calls itself healthy though it was cut off from a quorum, and knew it"
                self._anomalies.append(Anomaly("healthy-while-cut-off", said, [change.event], {"node": number}))

    def _judge_recovery(self, number: int, node: _Node, connected: list[Span], bound: int) -> None:
        heard = self._timeline.heard_until(number)
        for unhealthy in _unhealthy(node):
            for begin, end in connected:
                since = max(begin, unhealthy.begin)
                due = since + bound
                if due >= min(end, heard) or due >= unhealthy.end:
                    continue
                said = (
                    f"node {number} could reach a quorum and was not healthy, and was still {node.at(due)} "
                    f"{bound / 1e6:.0f} ms later"
                )
                events = _events_within(node, since, due)
                found = Anomaly("not-recovered", said, events, {"node": number, "begin_ns": since})
                self._late(Span(since, due), found)

    def _judge_alarms(self, number: int, node: _Node, connected: list[Span], bound: int) -> None:
        for change in node.changes:
            if change.state != "partitioned":
                continue
            if any(begin + bound <= change.t < end for begin, end in connected):
                said = f"node {number} calls itself partitioned, and could reach a quorum of correct members all along"
                found = Anomaly("false-alarm", said, [change.event], {"node": number})
                self._late(Span(change.t - bound, change.t), found)

    def _late(self, meanwhile: Span, anomaly: Anomaly) -> None:
        """Nobody is blamed for what he did not do in time where nobody let him run."""
        node = self._nodes[anomaly.data["node"]]
        self._tardy.append(anomaly)
        starved, whole = node.starved_ns(*meanwhile), meanwhile.end - meanwhile.begin
        if starved * 2 < whole:
            self._anomalies.append(anomaly)
        else:
            told = f"its machine had no idle processor for {starved / 1e6:.0f} of those {whole / 1e6:.0f} ms"
            self._excused.append(f"{anomaly.message}; but {told}")


def _unhealthy(node: _Node) -> list[Span]:
    """When it was anything but healthy; of no length between states that are of one moment."""
    found = []
    begin: int | None = None
    for change in node.changes:
        if change.state != "healthy":
            begin = change.t if begin is None else begin
        elif begin is not None:
            found.append(Span(begin, change.t))
            begin = None
    return found if begin is None else [*found, Span(begin, FOREVER)]


def _events_within(node: _Node, begin: int, end: int) -> list[int]:
    return [change.event for change in node.changes if begin <= change.t <= end and change.event >= 0][:20]


def _detections(node: _Node, cut_off: list[Span], bound: int) -> list[int]:
    """How long each detection took, from when the cut was in force.  One that came just after its end counts, too."""
    found = []
    for change in node.changes:
        if change.state == "partitioned":
            began = [begin for begin, end in cut_off if begin <= change.t <= end + bound]
            found += [change.t - max(began)] if began else []
    return found


def _recoveries(node: _Node, connected: list[Span]) -> list[int]:
    """How long each recovery took, from when a quorum could be reached; no time if it came before that was certain."""
    found = []
    partitioned = False
    for change in node.changes:
        partitioned = partitioned or change.state == "partitioned"
        if change.state == "healthy" and partitioned:
            began = [begin for begin, end in connected if begin <= change.t < end]
            found.append(change.t - max(began) if began else 0)
            partitioned = False
    return found
