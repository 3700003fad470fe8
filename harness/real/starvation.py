"""Sees when the machine that all nodes share had no idle processor.

A node that is not run is late with everything, and that is no evidence against it: whoever judges times is told.
Linux only: elsewhere nothing is seen, and everybody is judged as if there had been processors to spare.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

EVERY_S = 0.1
IDLE_MIN = 0.05
"""A machine has none to spare when less than this share of its processors' time was idle."""

TELL_NS = 500_000_000
"""A longer time without is told in pieces, so that one that outlasts the run is told as well."""

_IDLE, _WAITS_FOR_IO, _COLUMNS = 3, 4, 8


class Ticks(NamedTuple):
    """Time of all processors together since the machine was started, in ticks of whatever length."""

    idle: int
    total: int


def processor_ticks(stat: Path = Path("/proc/stat")) -> Ticks | None:
    """From proc(5); None where there is no such file.  Guests' time, which the first columns hold already, is left."""
    try:
        with stat.open() as lines:
            columns = [int(one) for one in lines.readline().split()[1 : 1 + _COLUMNS]]
        return Ticks(columns[_IDLE] + columns[_WAITS_FOR_IO], sum(columns))
    except (OSError, ValueError, IndexError):
        return None


class Span(NamedTuple):
    """A time without an idle processor: up to when (as `look` was told, ns), and for how long (ns)."""

    end: int
    lasted: int


class Starvation:
    """Ask it every EVERY_S; `read` gives the processors' time."""

    def __init__(self, now: int, read: Callable[[], Ticks | None] = processor_ticks) -> None:
        self._read = read
        self._before = read()
        self._looked = now
        self._lasting = 0

    def look(self, now: int) -> Span | None:
        """The time without an idle processor that has just ended or has lasted for TELL_NS by `now`, if any."""
        ticks, before, looked = self._read(), self._before, self._looked
        self._before, self._looked = ticks, now
        starved = _is_starved(before, ticks)
        self._lasting += now - looked if starved else 0
        if not self._lasting or (starved and self._lasting < TELL_NS):
            return None
        span = Span(now if starved else looked, self._lasting)
        self._lasting = 0
        return span


def _is_starved(before: Ticks | None, after: Ticks | None) -> bool:
    if before is None or after is None:
        return False
    return (after.idle - before.idle) < IDLE_MIN * (after.total - before.total)
