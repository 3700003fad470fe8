"""Whom to dial again, and when: for ever, with exponential backoff up to a cap (spec-defects 11).

A healed partition closes by itself only if somebody keeps trying, and it closes soon only if the wait between two
tries stays short, so the backoff is capped; that everyone is dialled in turn, the heap sees to.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

DIAL_BACKOFF_MIN_NS = 100_000_000
_NO_TICKET = (-1, 0)

K = TypeVar("K", bytes, str)


class DialQueue(Generic[K]):
    """Whom to dial again, for ever: exponential backoff for each key, the longest due first.

    The first dial is due DIAL_BACKOFF_MIN_NS after `add`; each dial doubles the wait, up to `backoff_max_ns`.
    """

    __slots__ = ("_backoff_max_ns", "_heap", "_tickets", "_waits")

    def __init__(self, *, backoff_max_ns: int) -> None:
        self._backoff_max_ns = backoff_max_ns
        self._heap: list[tuple[int, int, K]] = []  # (due, ticket, key); a ticket that is not current is void
        self._waits: dict[K, tuple[int, int]] = {}  # key -> (current ticket, backoff)
        self._tickets = 0

    def __contains__(self, key: K) -> bool:
        return key in self._waits

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, key: K, now: int) -> None:
        """Begin to dial `key`; without effect if it waits already."""
        if key not in self._waits:
            self._schedule(key, now, DIAL_BACKOFF_MIN_NS)

    def discard(self, key: K) -> None:
        """Dial `key` no more, and forget its backoff."""
        self._waits.pop(key, None)

    def due(self, now: int, limit: int, *, wanted: Callable[[K], bool] | None = None) -> list[K]:
        """At most `limit` keys whose wait has run out, the longest due first.

        Keys that are not `wanted` at the moment are passed over and wait anew.
        """
        found: list[K] = []
        while len(found) < limit and self._heap and self._heap[0][0] <= now:
            _, ticket, key = heapq.heappop(self._heap)
            current, backoff = self._waits.get(key, _NO_TICKET)
            if ticket == current:
                self._schedule(key, now, 2 * backoff)
                if wanted is None or wanted(key):
                    found.append(key)
        return found

    def _schedule(self, key: K, now: int, backoff: int) -> None:
        backoff = min(backoff, self._backoff_max_ns)
        self._tickets += 1
        self._waits[key] = (self._tickets, backoff)
        heapq.heappush(self._heap, (now + backoff, self._tickets, key))
