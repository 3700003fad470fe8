"""Unserved: a node that serves nobody hides among those that do, since shares are of all nodes together.

`unserved-node`  a core node answered not one of a level's operations with ok, of those that were asked of it and ended
                 in its quiet: so many that whoever keeps to the level's budget does so less often than CHANCE_MAX, and
                 ASKED_MIN at least

**Quiet** is, for a node, while it surely runs and, for what needs a quorum, could reach n - f correct nodes that kept
their disks, over links that no fault touches (`reach`), and has for as long as it may take to recover: the header's
`quorum.recovery_ns`, without a roster `deadline.exchange_ns`; not while a machine starved, nor for as long after that.
For what needs a quorum there is none where the network by itself loses frames, where a round trip takes as long as an
echo counts, or where two of them, or an exchange with its disk writes, take a client's time-out, or that is unknown.

Who hangs is asked less often than it was meant to be, since each of its clients waits for it alone: from BEGUN_MIN that
began in quiet on, those that were due in quiet and never began count with them.  Who answered nobody, and cannot be
judged so, is noted.

Complexity: O(1) an operation; in the end O(n^2) a fault where a node left many unserved.  Cannot see: a node that
serves only some of those who ask.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from checkers.history import Event, Header, Invoke, NodeEvent
from checkers.pairing import Operation, Wipes
from checkers.reach import FOREVER, Reach, Span, spare_ns, without
from checkers.timeline import Timeline
from checkers.verdict import Anomaly

ASKED_MIN = 10
BEGUN_MIN = 2
CHANCE_MAX = 1e-6


class _Asked(NamedTuple):
    """One operation of a client: its span, and whether it was answered ok."""

    span: Span
    ok: bool


class Unserved:
    """Feed it every event, and what clients asked for; `judge` in the end.

    `budgets` is the least share of ok of each level, 0 for none; `patience_ns` the clients' time-out, 0 if unknown.
    """

    def __init__(self, header: Header, budgets: dict[str, float], *, patience_ns: int) -> None:
        self._header = header
        self._budgets = budgets
        self._patience_ns = patience_ns
        self._reach = Reach(header)
        self._wipes = Wipes(header)
        self._timeline = Timeline()
        self._starved: list[Span] = []
        self._begun: Counter[tuple[str, int]] = Counter()  # (level, node) -> how many were begun
        self._asked: dict[tuple[str, int], list[_Asked]] = {}  # what it was asked for, and how that ended
        self._waiting: dict[tuple[str, int], list[Span]] = {}  # and what never began, as it was meant to be
        self._quiet_at: dict[str, dict[int, list[Span]]] = {}

    def on_event(self, event: Event) -> None:
        """Follow faults, and machines that starve."""
        self._reach.on_event(event)
        self._wipes.on_event(event)
        self._timeline.on_event(event)
        if type(event) is NodeEvent and event.name == "starved":
            self._starved.append(self._timeline.starving(event))

    def on_begun(self, invoke: Invoke) -> None:
        """One that a client asks for, which may never end; not what the harness itself asks."""
        self._begun[invoke.level, invoke.node] += 1

    def on_operation(self, operation: Operation) -> None:
        """One of them has ended."""
        invoke, complete = operation.invoke, operation.complete
        asked = _Asked(Span(invoke.t, complete.t), complete.outcome == "ok")
        self._asked.setdefault((invoke.level, invoke.node), []).append(asked)

    def on_never_begun(self, level: str, node: int, at_ns: int) -> None:
        """One that was due at `at_ns`, and whose turn never came."""
        self._waiting.setdefault((level, node), []).append(Span(at_ns, at_ns + self._patience_ns))

    def judge(self) -> tuple[list[Anomaly], list[str]]:
        """(`unserved-node`, once a level and node; who answered nobody and cannot be judged)."""
        anomalies, notes = [], []
        for level, node in self._suspects():
            asked, waiting = self._asked.get((level, node), []), self._waiting.get((level, node), [])
            quiet = self._quiet(level)[node]
            judged = [one for one in asked if _within(quiet, one.span)]
            never = sum(_within(quiet, one) for one in waiting)
            count = len(judged) + never
            chance = (1 - self._budgets[level]) ** count
            if len(judged) >= BEGUN_MIN and count >= ASKED_MIN and chance <= CHANCE_MAX:
                if not any(one.ok for one in judged):
                    said = f"node {node} was asked for {count} operations ({level}) in quiet, and answered none with ok"
                    data = {"node": node, "level": level, "asked": count}
                    anomalies.append(Anomaly("unserved-node", said, [], data))
            elif not any(one.ok for one in asked):
                total = self._begun[level, node] + len(waiting)
                said = f"node {node} answered none of {total} operations ({level}) with ok"
                quiet_ones = f"in quiet {len(judged)} of them ended, and {never} were due and never begun"
                notes.append(f"{said}: {quiet_ones}, too few to judge it by")
        return anomalies, notes

    def _suspects(self) -> list[tuple[str, int]]:
        """(level, core node) where there is a budget, and the node refused many or all."""
        found = []
        for level, node in sorted({*self._begun, *self._waiting}):
            served = sum(one.ok for one in self._asked.get((level, node), []))
            unserved = self._begun[level, node] - served + len(self._waiting.get((level, node), []))
            many = unserved >= ASKED_MIN or not served
            if many and node in self._header.core and self._budgets[level] > 0:
                found.append((level, node))
        return found

    def _quiet(self, level: str) -> dict[int, list[Span]]:
        """Of each correct node, when it has to serve; in order."""
        if level not in self._quiet_at:
            quorum, network = self._header.quorum, self._header.network
            settle_ns = self._header.deadline.exchange_ns if quorum is None else quorum.recovery_ns
            size, but = 1, []
            if quorum is not None and (level != "local" or quorum.gated):
                far = self._patience_ns <= max(4e6 * network.latency_ms, self._header.deadline.exchange_ns)
                far |= spare_ns(self._header) <= 0
                size = FOREVER if far or network.loss else quorum.size
                but = [entry.index for entry in self._header.nodes if self._wiped(entry.index)]
            connected = self._reach.connected(size, settle_ns=settle_ns, but=but)
            starved = [Span(one.begin, one.end + settle_ns) for one in self._starved]
            self._quiet_at[level] = {
                node: [part for span in spans for part in without(span, sorted([*starved, self._unheard(node)]))]
                for node, spans in connected.items()
            }
        return self._quiet_at[level]

    def _wiped(self, node: int) -> bool:
        """Whether it lost its disk, or may have."""
        return self._wipes.ever(node) or self._wipes.untold(FOREVER, node)

    def _unheard(self, node: int) -> Span:
        """The end of the run, of which it may not have been heard that a machine starved."""
        return Span(self._timeline.heard_until(node) + 1, FOREVER)


def _within(spans: list[Span], one: Span) -> bool:
    return any(span.begin <= one.begin and one.end <= span.end for span in spans)
