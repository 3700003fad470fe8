"""Ticks: how long the phases of a node's own work take, without the waiting (spec-defects 28 and 30).

One tick is 250 ns.  A node is handed a tick source and reads it around each phase; which phases there are is
fixed here.  Recording is two calls and an append, because a histogram's own `record_value` would cost four ticks.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

TICK_NS = 250
PHASES = ("select", "validate", "push", "pull", "merge", "convergence")

TickSource = Callable[[], int]
"""Returns nanoseconds on some monotonic scale."""


def no_ticks() -> int:
    """The tick source of a node whose ticks nobody asked for: time stands still."""
    return 0


class PhaseTimes:
    """Nanoseconds that each phase took, in order, at most `samples_max` a phase; later ones are counted only."""

    __slots__ = ("_samples_max", "now", "skipped", "times")

    def __init__(self, source: TickSource = no_ticks, *, samples_max: int = 1_000_000) -> None:
        self.now = source
        self.times: dict[str, array[int]] = {phase: array("Q") for phase in PHASES}
        self.skipped = 0
        self._samples_max = 0 if source is no_ticks else samples_max

    def since(self, phase: str, start: int) -> None:
        """Record that `phase`, one of PHASES, ran from `start` until now."""
        if self._samples_max:
            samples = self.times[phase]
            if len(samples) < self._samples_max:
                samples.append(self.now() - start)
            else:
                self.skipped += 1
