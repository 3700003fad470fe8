"""Token buckets: how much a peer may ask of this node a second, whoever it is.

A bucket delays and never refuses for ever: what it does not let through is dropped here and comes again, because the
peer's heads stay unknown, its proposals unanswered and its probes without echo, until they have got through.
"""

from __future__ import annotations

SECOND = 1_000_000_000


class TokenBucket:
    """At most `burst` at once, and `rate` a second in the long run.  Integer arithmetic: time is monotonic ns."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, *, rate: int, burst: int, now: int) -> None:
        self._rate = rate
        self._burst = burst * SECOND
        self._level = self._burst
        self._at = now

    def take(self, now: int, amount: int = 1) -> bool:
        """Take `amount` tokens; False, and nothing taken, if there are fewer."""
        if now > self._at:
            level = self._level + (now - self._at) * self._rate
            self._level = level if level < self._burst else self._burst
            self._at = now
        wanted = amount * SECOND
        if wanted > self._level:
            return False
        self._level -= wanted
        return True

    def available(self, now: int) -> int:
        """How many whole tokens there are."""
        self.take(now, 0)
        return self._level // SECOND

    def give(self, amount: int) -> None:
        """Put tokens back, as far as they fit."""
        self._level = min(self._burst, self._level + amount * SECOND)
