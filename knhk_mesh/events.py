"""What a node has to tell an observer, kept until it is fetched or until there is too much of it."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

EVENTS_MAX = 16_384


class ToldEvent(msgspec.Struct, frozen=True):
    """An event with its number, from 1 on, and the node's own clocks (ns) when it happened."""

    number: int
    name: str
    monotonic: int
    wall: int
    data: dict[str, Any]


class EventLog:
    """The last `events_max` events."""

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self._kept: deque[ToldEvent] = deque(maxlen=events_max)
        self._last = 0

    def tell(self, name: str, monotonic: int, wall: int, data: dict[str, Any]) -> None:
        """Append an event; the oldest goes if there are too many."""
        self._last += 1
        self._kept.append(ToldEvent(self._last, name, monotonic, wall, data))

    def after(self, number: int, limit: int) -> tuple[list[ToldEvent], int]:
        """(at most `limit` events that follow `number`, how many between are gone)."""
        first = self._last - len(self._kept) + 1
        start = max(number + 1, first)
        lost = max(0, first - number - 1)
        found = [self._kept[at] for at in range(start - first, min(len(self._kept), start - first + limit))]
        return found, lost
