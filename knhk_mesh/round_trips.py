"""What is known of the round trips to one peer: over a window of the last ones, and how many there ever were."""

from __future__ import annotations

from collections import deque

import msgspec

WINDOW = 128


class RoundTripReport(msgspec.Struct, frozen=True):
    """Nanoseconds, over the last WINDOW round trips; `count` is of all of them."""

    current_ns: int
    min_ns: int
    max_ns: int
    mean_ns: int
    p99_ns: int
    count: int


class RoundTrips:
    """The last WINDOW round trips to one peer."""

    __slots__ = ("_count", "_last", "_sum")

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=WINDOW)
        self._sum = 0
        self._count = 0

    def add(self, round_trip_ns: int) -> None:
        """One more.  O(1)."""
        if len(self._last) == WINDOW:
            self._sum -= self._last[0]
        self._last.append(round_trip_ns)
        self._sum += round_trip_ns
        self._count += 1

    @property
    def mean_ns(self) -> int:
        """The mean over the window; there must have been one."""
        return self._sum // len(self._last)

    def report(self) -> RoundTripReport:
        """All figures; there must have been one.  p99 is the nearest rank."""
        ordered = sorted(self._last)
        rank = max(0, -(-99 * len(ordered) // 100) - 1)
        return RoundTripReport(
            current_ns=self._last[-1],
            min_ns=ordered[0],
            max_ns=ordered[-1],
            mean_ns=self.mean_ns,
            p99_ns=ordered[rank],
            count=self._count,
        )
