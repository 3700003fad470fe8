"""The link policy: what becomes of one frame or datagram on one directed link.

One rule answers with the deliveries: none (dropped), one, or several (duplicated).  Cuts come first; then each
fault in force, in the order in which it was applied, may drop, delay, duplicate, reorder or corrupt; the link's
own ordinary shape is one more such fault, under no name.  The simulator asks for each frame and the UDP relay for
each datagram, so a campaign meets the same network in both.

Every purpose of every fault on every link has a random stream of its own, and a frame takes exactly one number
from each stream that is in use, whatever the other purposes decide.  So taking one fault away, or making it never
bite, leaves all other decisions as they were.

Frames keep their order, as on a stream, unless `reorder` picks one: that one may overtake and be overtaken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from faults.streams import stream
from faults.vocabulary import Cut, Link

QUEUE_NS_MAX = 2_000_000_000
"""A narrow link holds back at most two seconds of traffic; what would wait longer is dropped."""
REORDER_NS_MIN = 1_000_000
"""How far a reordered frame is moved at the least; otherwise up to twice the latency."""
MILLISECOND = 1_000_000

_NOBODY = ""


class Delivery(NamedTuple):
    """Arrives at `at` (ns).  `flip` is the bit of the payload that was turned, -1 for none."""

    at: int
    flip: int = -1


class _Shape:
    """One Link fault on one link, with its streams and its counts."""

    __slots__ = ("_draws", "_free_at", "_link", "_random_of", "counts", "latency")

    def __init__(self, link: Link, seed: int, source: int, target: int, fault: str) -> None:
        self.counts: dict[str, int] = {}
        self.latency = int(link.latency_ms * MILLISECOND)
        self._link = link
        self._free_at = 0
        self._draws: dict[str, Callable[[], float]] = {
            purpose: stream(seed, "link", source, target, fault, purpose).random
            for purpose, used in (
                ("loss", link.loss),
                ("duplicate", link.duplicate),
                ("reorder", link.reorder),
                ("shift", link.reorder),
                ("corrupt", link.corrupt),
                ("bit", link.corrupt),
                ("jitter", link.jitter_ms),
                ("jitter-of-copy", link.jitter_ms and link.duplicate),
            )
            if used
        }
        self._random_of = self._draws.get

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def draw(self) -> dict[str, float]:
        """One number from each stream in use."""
        return {purpose: random() for purpose, random in self._draws.items()}

    def jitter(self, drawn: float) -> int:
        return int((2 * drawn - 1) * self._link.jitter_ms * MILLISECOND)

    def narrow(self, now: int, size: int) -> int | None:
        """Nanoseconds that a frame waits for and takes on a narrow link; None if the queue is full."""
        if not self._link.rate_kb_s:
            return 0
        begin = max(now, self._free_at)
        if begin - now > QUEUE_NS_MAX:
            return None
        self._free_at = begin + int(size * MILLISECOND / self._link.rate_kb_s)
        return self._free_at - now

    @property
    def link(self) -> Link:
        return self._link


class LinkPolicy:
    """The directed link from `source` to `target`; `base` is what it ordinarily does."""

    __slots__ = (
        "_base",
        "_base_latency",
        "_cuts",
        "_jitter",
        "_last",
        "_past",
        "_plain",
        "_seed",
        "_shapes",
        "_source",
        "_target",
    )

    def __init__(self, source: int, target: int, *, seed: int, base: Link) -> None:
        self._source = source
        self._target = target
        self._seed = seed
        self._base = base
        self._base_latency = int(base.latency_ms * MILLISECOND)
        self._jitter: Callable[[], float] | None = None
        self._cuts: dict[str, int] = {}
        self._shapes: dict[str, _Shape] = {}
        self._past: dict[str, dict[str, int]] = {}
        self._last = 0
        ordinary = base.loss or base.duplicate or base.reorder or base.corrupt or base.rate_kb_s
        if ordinary:
            self._shapes[_NOBODY] = _Shape(base, seed, source, target, _NOBODY)
        elif base.jitter_ms:
            self._jitter = stream(seed, "link", source, target, _NOBODY, "jitter").random
        self._plain = not ordinary

    def apply(self, fault: str, what: Cut | Link) -> None:
        """Put a fault in force under its id."""
        assert fault and fault not in self._cuts and fault not in self._shapes
        if isinstance(what, Cut):
            self._cuts[fault] = 0
        else:
            self._shapes[fault] = _Shape(what, self._seed, self._source, self._target, fault)
        self._plain = False

    def lift(self, fault: str) -> None:
        """Take a fault off; its counts stay."""
        if fault in self._cuts:
            self._past[fault] = {"dropped": self._cuts.pop(fault)}
        elif fault in self._shapes:
            self._past[fault] = self._shapes.pop(fault).counts
        self._plain = not self._cuts and not self._shapes

    def counts(self, fault: str) -> dict[str, int]:
        """How often a fault bit, by kind: dropped, delayed, duplicated, reordered, corrupted, throttled."""
        if fault in self._cuts:
            return {"dropped": self._cuts[fault]} if self._cuts[fault] else {}
        shape = self._shapes.get(fault)
        found = shape.counts if shape is not None else self._past.get(fault, {})
        return {kind: times for kind, times in found.items() if times}

    def decide(self, now: int, size: int) -> tuple[Delivery, ...]:
        """What becomes of `size` bytes sent at `now` (ns, never going backwards)."""
        if self._plain:
            at = now + self._base_latency
            if self._jitter is not None:
                at += int((2 * self._jitter() - 1) * self._base.jitter_ms * MILLISECOND)
            if at < self._last:
                at = self._last
            elif at < now:
                at = now
            self._last = at
            return (Delivery(at),)
        return self._decide_under_faults(now, size)

    def _decide_under_faults(self, now: int, size: int) -> tuple[Delivery, ...]:
        if self._jitter is not None:
            own_jitter = int((2 * self._jitter() - 1) * self._base.jitter_ms * MILLISECOND)
        else:
            own_jitter = 0
        at = now + own_jitter + (0 if _NOBODY in self._shapes else self._base_latency)
        dropped, copies, reordered, flip = bool(self._cuts), 0, False, -1
        for fault in self._cuts:
            self._cuts[fault] += 1
        for shape in self._shapes.values():
            drawn = shape.draw()
            if dropped:
                continue
            link = shape.link
            wait = shape.narrow(now, size)
            if wait is None or drawn.get("loss", 1.0) < link.loss:
                shape.count("dropped" if wait is not None else "throttled")
                dropped = True
                continue
            delay = shape.latency + wait + (shape.jitter(drawn["jitter"]) if "jitter" in drawn else 0)
            if delay:
                shape.count("throttled" if wait else "delayed")
            at += delay
            if drawn.get("duplicate", 1.0) < link.duplicate:
                shape.count("duplicated")
                copies += 1
            if drawn.get("reorder", 1.0) < link.reorder:
                shape.count("reordered")
                reordered = True
                at += REORDER_NS_MIN + int(drawn["shift"] * 2 * (shape.latency + self._base_latency))
            if drawn.get("corrupt", 1.0) < link.corrupt:
                shape.count("corrupted")
                flip = int(drawn["bit"] * 8 * size)
        if dropped:
            return ()
        at = max(at, now)
        if not reordered:
            at = self._last = max(at, self._last)
        return (Delivery(at, flip), *(Delivery(at + (copy + 1) * REORDER_NS_MIN) for copy in range(copies)))
