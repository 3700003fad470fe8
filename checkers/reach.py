"""Who could reach whom, and when: from what the history tells of its faults.

Two nodes reach each other while both run and no fault holds a link between them, in either direction: reachability is
two-way (spec-defects 7), and a link that carries nothing one way carries no echo.  A node reaches itself.

What is known of a fault is when putting it in force began (`injected`), when it was confirmed (`observed`, where the
backend needs time; else it was at once), and when it was confirmed to be gone (`lifted`).  In between lies what nobody
knows, so there are two views, and each question takes the one in which a node cannot be wronged:

    surely cut        from confirmed, until `lifted` less the time that confirming had taken: lifting is not told of
                      when it begins, and takes the same calls as injecting
    surely connected  outside injected .. lifted of every fault, the run having begun

A fault that was skipped after it was begun is surely nothing, and possibly until it was undone; one that was never
lifted is possibly for ever.  Nodes that ended by themselves are gone for good.  Slow and lossy links cut nobody off;
whether they leave somebody connected depends on the question, and is an argument.  Byzantine nodes count where they may
answer, and not where somebody must.

Complexity: O(n^2) a change of the faults.  Cannot see: losses of the network that no fault makes, links that are merely
narrow, and a machine that is too busy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from checkers.history import Event, FaultEntry, FaultEvent, Header, NodeEvent

FOREVER = 1 << 62
_STILL = ("kill", "pause")
_ALONE = (*_STILL, "disconnect")
HARMLESS = ("skew", "byzantine")
"""Kinds of faults that keep no correct node from another, nor from its clients."""


class _Probes(msgspec.Struct, frozen=True):
    """Of a plan's cluster."""

    probe_interval_ns: int
    probe_misses: int


class Span(NamedTuple):
    """From `begin` to `end`, in nanoseconds on the harness's clock."""

    begin: int
    end: int


@dataclass
class _Window:
    """One fault while it lasts; None for what was not told."""

    entry: FaultEntry
    injected: int
    confirmed: int | None = None
    failed: int | None = None
    undone: int | None = None
    lifted: int | None = None

    def surely(self) -> Span:
        begin = self.injected if self.confirmed is None else self.confirmed
        told = self.lifted if self.lifted is not None else self.failed
        if told is None:
            told = FOREVER if self.confirmed is not None else begin
        return Span(begin, told - (begin - self.injected))

    def possibly(self) -> Span:
        told = self.undone if self.lifted is None else self.lifted
        return Span(self.injected, FOREVER if told is None else told)


@dataclass
class _State:
    """What holds nodes and links at one moment; counters, since faults overlap."""

    away: Counter[int] = field(default_factory=Counter)
    held: Counter[tuple[int, int]] = field(default_factory=Counter)
    delay_ns: Counter[tuple[int, int]] = field(default_factory=Counter)


_Edit = Callable[[_State, int], None]
_Timed = tuple[int, int, _Edit]  # when, +1 or -1, what
_Reaches = Callable[[_State, int, int], bool]
_Step = tuple[int, int]


class Reach:
    """Feed it every event; ask it when the history is over."""

    def __init__(self, header: Header) -> None:
        self._entries = {entry.id: entry for entry in header.faults}
        self._nodes = [entry.index for entry in header.nodes]
        self._correct = {entry.index for entry in header.nodes if not entry.byzantine}
        self._windows: list[_Window] = []
        self._open: dict[str, _Window] = {}
        self._ended: dict[int, int] = {}

    def on_event(self, event: Event) -> None:
        """Follow the faults, and nodes that end by themselves."""
        if type(event) is FaultEvent:
            self._on_fault(event)
        elif type(event) is NodeEvent and event.name == "crashed":
            self._ended.setdefault(event.node, event.t)

    def _on_fault(self, event: FaultEvent) -> None:
        window = self._open.get(event.fault)
        if event.stage == "injected":
            entry = self._entries.get(event.fault)
            if entry is not None and entry.fault not in HARMLESS:
                window = self._open[event.fault] = _Window(entry, event.t)
                self._windows.append(window)
        elif window is None:
            return
        elif event.stage == "lifted":
            window.lifted = event.t
            del self._open[event.fault]
        elif event.stage == "skipped":
            window.failed = window.confirmed = window.injected
            window.undone = event.t
            del self._open[event.fault]
        elif window.confirmed is None:
            window.confirmed = event.t
        else:
            window.failed = event.t  # lifting it went wrong

    def cut_off(self, size: int) -> dict[int, list[Span]]:
        """Of each node, when it surely could reach fewer than `size` nodes, itself counted, whether it ran or not."""
        steps = self._follow(self._surely(), self._nodes, _reaches)
        return {node: _spans(found, lambda count: count < size) for node, found in steps.items()}

    def unheard(self) -> dict[int, list[Span]]:
        """Of each node, when surely nothing that it sent could come to another correct node that ran: to be heard, a
        link that carries one way is enough."""
        steps = self._follow(self._surely(), self._correct, _is_heard_by)
        return {node: _spans(found, lambda count: count == 0) for node, found in steps.items()}

    def connected(
        self, size: int, *, settle_ns: int = 0, slow_ns: int | None = None, but: Collection[int] = ()
    ) -> dict[int, list[Span]]:
        """Of each correct node, when it surely ran and could reach `size` correct nodes, itself counted, and those of
        `but` not counted.

        What a fault had cut counts as reachable `settle_ns` after it was lifted.  A link under a fault of the kind
        `link` counts as cut; with `slow_ns` only if it loses frames, if it is narrow, if nothing is known of what it
        does, or if the round trip is longer by `slow_ns` or more.
        """
        edits = _edits(Span(-FOREVER, settle_ns), _away(self._nodes))
        for window in self._windows:
            entry, (begin, end) = window.entry, window.possibly()
            whole = entry.fault == "link" and not entry.loss and not entry.rate_kb_s
            merely_slow = slow_ns is not None and whole and entry.latency_ms > 0
            edits += _edits(Span(begin, end + settle_ns), _slows(entry) if merely_slow else self._stops(entry))
        edits += self._endings()

        def reaches(state: _State, node: int, other: int) -> bool:
            delay = state.delay_ns[node, other] + state.delay_ns[other, node]
            return state.away[node] <= 0 and _reaches(state, node, other) and (slow_ns is None or delay < slow_ns)

        steps = self._follow(edits, self._correct.difference(but), reaches)
        return {node: _spans(found, lambda count: count >= size) for node, found in steps.items()}

    def still(self, node: int) -> list[Span]:
        """When `node` may have been dead or paused."""
        found = [one.possibly() for one in self._windows if one.entry.fault in _STILL and node in one.entry.nodes]
        if node in self._ended:
            found.append(Span(self._ended[node], FOREVER))
        return sorted(found)

    def calm_from(self, nodes: Collection[int], *, after: int, lasting_ns: int) -> int:
        """The first moment from `after` on at which these nodes, and the links between two of them, are left alone by
        every fault for `lasting_ns`."""
        calm = after
        for begin, end in sorted(one.possibly() for one in self._windows if _touches(one.entry, nodes)):
            if begin >= calm + lasting_ns:
                break
            calm = max(calm, end)
        return calm

    def _surely(self) -> list[_Timed]:
        """What surely keeps nodes from each other."""
        edits = self._endings()
        for window in self._windows:
            if window.entry.fault != "link":
                edits += _edits(window.surely(), self._stops(window.entry))
        return edits

    def _endings(self) -> list[_Timed]:
        return [edit for node, t in self._ended.items() for edit in _edits(Span(t, FOREVER), _away((node,)))]

    def _follow(self, edits: list[_Timed], counted: Collection[int], reaches: _Reaches) -> dict[int, list[_Step]]:
        """(since when, how many of `counted` a node reaches) of each node."""
        state = _State()
        steps: dict[int, list[_Step]] = {node: [] for node in self._nodes}
        moments: dict[int, list[tuple[int, _Edit]]] = {-FOREVER: []}
        for t, sign, edit in edits:
            moments.setdefault(t, []).append((sign, edit))
        for t in sorted(moments):
            for sign, edit in moments[t]:
                edit(state, sign)
            for node, found in steps.items():
                count = sum(reaches(state, node, other) for other in counted)
                if not found or found[-1][1] != count:
                    found.append((t, count))
        return steps

    def _stops(self, entry: FaultEntry) -> _Edit:
        """What it holds lets nothing pass.  A node without a network runs, and has no links."""
        if entry.fault in _STILL:
            return _away(entry.nodes)
        if entry.fault == "disconnect":
            return _holds([(node, other) for node in entry.nodes for other in self._nodes if other != node])
        return _holds(entry.links)


def _reaches(state: _State, node: int, other: int) -> bool:
    """Whether `other` runs and nothing holds a link between the two; a node always reaches itself."""
    held = state.held[node, other] > 0 or state.held[other, node] > 0
    return node == other or (state.away[other] <= 0 and not held)


def _is_heard_by(state: _State, node: int, other: int) -> bool:
    """Whether both run, are two, and nothing holds the link there."""
    return node != other and state.away[node] <= 0 and state.away[other] <= 0 and state.held[node, other] <= 0


def spare_ns(header: Header) -> int:
    """How much longer than ordinarily round trips may take before peers that answer seem silent, in nanoseconds; 0 or
    less: they may seem so as it is.

    An echo of a probe counts for `probe_misses` intervals from when the probe was sent, and the next one comes an
    interval later: so a round trip may take one interval less than that.  It is three quarters of the detection bound
    at most, and just that where the header has no plan of ours.
    """
    if header.quorum is None:
        return FOREVER
    most_ns = header.quorum.detection_ns * 3 // 4
    with suppress(msgspec.ValidationError):
        probes = msgspec.convert(header.plan.get("cluster"), _Probes)
        most_ns = min(most_ns, (probes.probe_misses - 1) * probes.probe_interval_ns)
    return most_ns - int(2 * header.network.latency_ms * 1e6)


def without(span: Span, gaps: list[Span]) -> list[Span]:
    """What is left of `span` between `gaps`, which are in order."""
    left = []
    begin = span.begin
    for gap in gaps:
        if gap.begin > begin:
            left.append(Span(begin, min(gap.begin, span.end)))
        begin = max(begin, gap.end)
    left.append(Span(begin, span.end))
    return [one for one in left if one.begin < one.end]


def _edits(span: Span, edit: _Edit) -> list[_Timed]:
    if span.end <= span.begin:
        return []
    return [(span.begin, 1, edit), *([(span.end, -1, edit)] if span.end < FOREVER else [])]


def _away(nodes: Iterable[int]) -> _Edit:
    def edit(state: _State, sign: int) -> None:
        for node in nodes:
            state.away[node] += sign

    return edit


def _holds(links: Iterable[tuple[int, int]]) -> _Edit:
    def edit(state: _State, sign: int) -> None:
        for link in links:
            state.held[link] += sign

    return edit


def _slows(entry: FaultEntry) -> _Edit:
    delay = int(entry.latency_ms * 1e6)

    def edit(state: _State, sign: int) -> None:
        for link in entry.links:
            state.delay_ns[link] += sign * delay

    return edit


def _touches(entry: FaultEntry, nodes: Collection[int]) -> bool:
    if entry.fault in _ALONE:
        return any(node in nodes for node in entry.nodes)
    return any(source in nodes and target in nodes for source, target in entry.links)


def _spans(steps: list[_Step], holds: Callable[[int], bool]) -> list[Span]:
    found: list[Span] = []
    begin: int | None = None
    for t, count in steps:
        if holds(count):
            begin = t if begin is None else begin
        elif begin is not None:
            found.append(Span(begin, t))
            begin = None
    return found if begin is None else [*found, Span(begin, FOREVER)]
