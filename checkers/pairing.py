"""Joins invocations with their completions, and knows which nodes lost their disks when."""

from __future__ import annotations

from typing import NamedTuple

from checkers.history import Complete, Event, FaultEvent, Invoke


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
    """When each node lost its disk: a write that only that node held went with it."""

    def __init__(self) -> None:
        self._injected: dict[str, int] = {}
        self._times: dict[int, list[int]] = {}

    def on_event(self, event: Event) -> list[int]:
        """The nodes of which `event` tells that they were wiped."""
        if type(event) is not FaultEvent:
            return []
        if event.stage == "injected":
            self._injected[event.fault] = event.t
        elif event.evidence.get("disk") == "wipe":
            nodes = [int(node) for node in str(event.evidence.get("nodes", "")).split(",") if node]
            for node in nodes:
                self._times.setdefault(node, []).append(self._injected.get(event.fault, event.t))
            return nodes
        return []

    def after(self, node: int, t: int) -> bool:
        """Whether `node` lost its disk at `t` or later."""
        return any(wiped >= t for wiped in self._times.get(node, ()))

    def ever(self, node: int) -> bool:
        """Whether `node` lost its disk at any time."""
        return node in self._times
