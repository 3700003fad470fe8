"""Joins invocations with their completions, and knows which nodes lost their disks when."""

from __future__ import annotations

from typing import NamedTuple

from checkers.history import Complete, Event, FaultEvent, Header, Invoke


class Operation(NamedTuple):
    """An invocation and its completion, with their places among the events."""

    invoked_at: int
    invoke: Invoke
    completed_at: int
    complete: Complete


class Pairing:
    """Feed it every event; it gives an Operation at each completion.  Completions of nothing are passed over."""

    def __init__(self) -> None:
        self.open: dict[int, tuple[int, Invoke]] = {}

    def on_event(self, index: int, event: Event) -> Operation | None:
        """The operation that `event` completes, if it does."""
        if type(event) is Invoke:
            self.open[event.op] = (index, event)
        elif type(event) is Complete:
            begun = self.open.pop(event.op, None)
            if begun is not None:
                return Operation(begun[0], begun[1], index, event)
        return None


class Wipes:
    """When each node lost its disk: a write that only that node held went with it.

    All that is known of a wipe is that it happened between the `injected` event of its fault and the event whose
    evidence tells of it; what the node shows in between may come from before it or from after it.
    """

    def __init__(self, header: Header) -> None:
        self._kills = {entry.id: entry.nodes for entry in header.faults if entry.fault == "kill"}
        self._injected: dict[str, int] = {}
        self._pending: set[str] = set()
        self._wipes: dict[int, list[tuple[int, int]]] = {}  # node -> (injected, told)

    def on_event(self, event: Event) -> list[int]:
        """The nodes of which `event` tells that they were wiped."""
        if type(event) is not FaultEvent:
            return []
        if event.stage == "injected":
            self._injected[event.fault] = event.t
            if event.fault in self._kills:
                self._pending.add(event.fault)
        elif event.stage == "lifted":
            self._pending.discard(event.fault)
        if event.evidence.get("disk") != "wipe":
            return []
        told = [int(node) for node in str(event.evidence.get("nodes", "")).split(",") if node]
        nodes = [node for node in told if node in self._kills.get(event.fault, ())]
        for node in nodes:
            self._wipes.setdefault(node, []).append((self._injected.get(event.fault, event.t), event.t))
        return nodes

    def pending(self) -> bool:
        """Whether a node may have lost its disk already, of which the history will tell only later."""
        return bool(self._pending)

    def untold(self, end: int, node: int | None = None) -> bool:
        """Whether a kill (of `node`, if one is given) was begun by `end` of which the history never tells what became
        of the disks."""
        begun = [fault for fault in self._pending if self._injected[fault] <= end]
        return any(node is None or node in self._kills[fault] for fault in begun)

    def within(self, node: int, begin: int, end: int) -> bool:
        """Whether `node` may have lost its disk between `begin` and `end`."""
        return any(injected <= end and told >= begin for injected, told in self._wipes.get(node, ()))

    def after(self, node: int, t: int) -> bool:
        """Whether `node` may have lost its disk at `t` or later: it was wiped at some time until that was told."""
        return any(told >= t for _, told in self._wipes.get(node, ()))

    def ever(self, node: int) -> bool:
        """Whether `node` lost its disk at any time."""
        return node in self._wipes
