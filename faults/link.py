"""The link policy: what becomes of one frame or datagram on one directed link.

One rule answers with the deliveries: none (dropped), one, or several (duplicated).  Cuts come first; then each
fault in force, in the order in which it was applied, may drop, delay, duplicate, reorder or corrupt; the link's
own ordinary shape is one more such fault, under no name.  The simulator asks for each frame and the UDP relay for
each datagram, so a campaign meets the same network in both.

Every purpose of every fault on every link has a random stream of its own, and a frame takes exactly one number
from each stream that is in use, whatever the other purposes decide.  So taking one fault away, or making it never
bite, leaves all other decisions as they were.  Toxicity, the share of frames that a fault touches at all, is one more
such purpose.

Frames keep their order, as on a stream, unless `reorder` picks one: that one is moved back, may overtake and be
overtaken; so may every frame on a link that is `unordered`, as its jitter has it.  A copy arrives with its original,
or in its place in the line when the original was moved back.

What a fault is said to have done is counted when it has happened, since a verdict rests on it: a frame that was
moved back and that nobody overtook was not reordered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from faults.streams import light_stream
from faults.vocabulary import Cut, Link

QUEUE_NS_MAX = 2_000_000_000
"""A narrow link holds back at most two seconds of traffic; what would wait longer is dropped."""
REORDER_NS_MIN = 1_000_000
"""How far a reordered frame is moved back at the least; at most by twice the latency of the whole link more."""
ASTRAY_MAX = 64
"""Frames on a link that were moved back and may yet be overtaken; beyond that the oldest goes uncounted."""
MILLISECOND = 1_000_000

_NOBODY = ""


class Delivery(NamedTuple):
    """Arrives at `at` (ns).  `flip` is the bit of the payload that was turned, -1 for none."""

    at: int
    flip: int = -1


class _Shape:
    """One Link fault on one link, with its streams and its counts."""

    __slots__ = (
        "_jitter_ns",
        "_names",
        "_streams",
        "_unmoved",
        "counts",
        "free_at",
        "latency",
        "left",
        "link",
        "toxicity",
    )

    def __init__(self, link: Link, *, seed: int, source: int | str, target: int | str, fault: str, toxicity: float):
        self.counts: dict[str, int] = {}
        self.latency = int(link.latency_ms * MILLISECOND)
        self.link = link
        self.toxicity = toxicity
        self.free_at = 0
        self.left = link.limit_bytes
        self._jitter_ns = int(link.jitter_ms * MILLISECOND)
        self._unmoved = link.reorder_gap  # the first frame may be moved
        self._names = (seed, source, target, fault)
        self._streams: dict[str, Callable[[], float]] | None = None

    def _open_streams(self) -> dict[str, Callable[[], float]]:
        """Opened with the first frame: a fault on every link of a large mesh meets many that carry nothing."""
        link = self.link
        seed, source, target, fault = self._names
        return {
            purpose: light_stream(seed, "link", source, target, fault, purpose).random
            for purpose, used in (
                ("loss", link.loss),
                ("duplicate", link.duplicate),
                ("reorder", link.reorder),
                ("shift", link.reorder),
                ("corrupt", link.corrupt),
                ("bit", link.corrupt),
                ("jitter", link.jitter_ms),
                ("toxicity", self.toxicity < 1),
            )
            if used
        }

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def draw(self) -> dict[str, float]:
        """One number from each stream in use."""
        if self._streams is None:
            self._streams = self._open_streams()
        return {purpose: random() for purpose, random in self._streams.items()}

    def admit(self, now: int, size: int, drawn: dict[str, float]) -> int | None:
        """Nanoseconds that the frame waits for and takes on a narrow link; None if it is lost or the queue is full."""
        wait = 0
        if self.left is not None:
            if size > self.left:
                self.left = -1  # so that nothing passes any more, not even what would still fit
                return None
            self.left -= size
        if self.link.rate_kb_s:
            begin = max(now, self.free_at)
            if begin - now > QUEUE_NS_MAX:
                return None
            self.free_at = begin + int(size * MILLISECOND / self.link.rate_kb_s)
            wait = self.free_at - now
        return None if drawn.get("loss", 1.0) < self.link.loss else wait

    def moves(self, drawn: dict[str, float]) -> bool:
        """Whether the frame is moved back: if it was drawn, and the last one moved is far enough away."""
        if drawn.get("reorder", 1.0) < self.link.reorder and self._unmoved >= self.link.reorder_gap:
            self._unmoved = 0
            return True
        self._unmoved += 1
        return False

    def slow(self, at: int, now: int, wait: int, drawn: dict[str, float]) -> int:
        """When the frame arrives that without this fault would arrive at `at`."""
        delay = self.latency
        if self._jitter_ns:
            delay += int((2 * drawn["jitter"] - 1) * self._jitter_ns)
        if delay and max(at + delay, now) != max(at, now):
            self.count("delayed")
        if wait:
            self.count("throttled")
        return at + delay + wait


class LinkPolicy:
    """The directed link from `source` to `target`; `base` is what it ordinarily does."""

    __slots__ = (
        "_astray",
        "_base_latency",
        "_cuts",
        "_jitter",
        "_jitter_ns",
        "_last",
        "_past",
        "_plain",
        "_seed",
        "_shapes",
        "_simple",
        "_source",
        "_target",
    )

    def __init__(self, source: int | str, target: int | str, *, seed: int, base: Link) -> None:
        self._source = source
        self._target = target
        self._seed = seed
        self._base_latency = int(base.latency_ms * MILLISECOND)
        self._jitter: Callable[[], float] | None = None
        self._cuts: dict[str, int] = {}
        self._shapes: dict[str, _Shape] = {}
        self._past: dict[str, dict[str, int]] = {}
        self._astray: tuple[tuple[int, _Shape], ...] = ()
        self._last = 0
        self._simple = not (base.loss or base.duplicate or base.reorder or base.corrupt or base.rate_kb_s)
        self._jitter_ns = int(base.jitter_ms * MILLISECOND) if self._simple else 0
        if not self._simple:
            self._shapes[_NOBODY] = self._shape(base, _NOBODY)
        self._plain = self._simple

    def _shape(self, link: Link, fault: str, toxicity: float = 1.0) -> _Shape:
        source, target = self._source, self._target
        return _Shape(link, seed=self._seed, source=source, target=target, fault=fault, toxicity=toxicity)

    def apply(self, fault: str, what: Cut | Link, toxicity: float = 1.0) -> None:
        """Put a fault in force under its id; it touches a share `toxicity` of the frames, drawn for each."""
        assert fault and fault not in self._cuts and fault not in self._shapes
        if isinstance(what, Link):
            self._shapes[fault] = self._shape(what, fault, toxicity)
        elif toxicity < 1:  # a cut that spares some frames is a loss of the others
            self._shapes[fault] = self._shape(Link(links=what.links, loss=1.0), fault, toxicity)
        else:
            self._cuts[fault] = 0
        self._plain = False

    def lift(self, fault: str) -> None:
        """Take a fault off; its counts stay."""
        if fault in self._cuts:
            self._past[fault] = {"dropped": self._cuts.pop(fault)}
        elif fault in self._shapes:
            self._past[fault] = self._shapes.pop(fault).counts
        self._plain = not self._cuts and not self._shapes

    def forget(self, fault: str) -> dict[str, int]:
        """Take a fault off, and its counts, which are returned: its id may be used again, and nothing piles up."""
        self.lift(fault)
        return {kind: times for kind, times in self._past.pop(fault, {}).items() if times}

    def settle(self, now: int) -> int:
        """After a fault has gone: the time (ns) by which all that is under way would arrive under the faults left.

        What was sent while a fault held it back would otherwise hold back all that follows, for as long as the
        fault would have.  From here on frames wait for the time returned and no longer; who keeps what is under
        way delivers it by then, in its order.
        """
        ordinary = self._base_latency if self._simple else 0  # otherwise the shape under no name has it
        latency = ordinary + sum(shape.latency for shape in self._shapes.values())
        by = max([now + latency, *(shape.free_at for shape in self._shapes.values())])
        self._last = min(self._last, by)
        self._astray = ()
        return by

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
            if self._jitter_ns:
                jitter = self._jitter or self._open_jitter()
                at += int((2 * jitter() - 1) * self._jitter_ns)
                if at < now:
                    at = now
            if at < self._last:
                at = self._last
            self._last = at
            return (Delivery(at),)
        return self._decide_under_faults(now, size)

    def _open_jitter(self) -> Callable[[], float]:
        self._jitter = light_stream(self._seed, "link", self._source, self._target, _NOBODY, "jitter").random
        return self._jitter

    def _decide_under_faults(self, now: int, size: int) -> tuple[Delivery, ...]:
        ordinary = self._base_latency if self._simple else 0  # otherwise the shape under no name has it
        at = now + ordinary
        if self._jitter_ns:
            jitter = self._jitter or self._open_jitter()
            at += int((2 * jitter() - 1) * self._jitter_ns)
        dropped, copies, moves, shift, flip = bool(self._cuts), 0, 0, 0.0, -1
        latency = ordinary
        mover: _Shape | None = None
        for fault in self._cuts:
            self._cuts[fault] += 1
        for shape in self._shapes.values():
            drawn = shape.draw()
            if dropped or drawn.get("toxicity", 0.0) >= shape.toxicity:
                continue
            link = shape.link
            latency += shape.latency
            wait = shape.admit(now, size, drawn)
            if wait is None:
                shape.count("dropped")
                dropped = True
                continue
            at = shape.slow(at, now, wait, drawn)
            if drawn.get("duplicate", 1.0) < link.duplicate:
                shape.count("duplicated")
                copies += 1
            if link.reorder and shape.moves(drawn):
                mover = shape
                moves += 1
                shift += drawn["shift"]
            elif link.unordered and mover is None:
                mover = shape  # out of the line, though moved by its own delay alone
            # Of two faults that would corrupt one frame the first does: a delivery has one turned bit to report.
            if size and flip < 0 and drawn.get("corrupt", 1.0) < link.corrupt:
                shape.count("corrupted")
                flip = int(drawn["bit"] * 8 * size)
        if dropped:
            return ()
        at = max(at, now)
        if mover is None:
            return (self._in_line(at, flip), *(Delivery(self._last) for _ in range(copies)))
        in_line = [self._in_line(at, -1) for _ in range(copies)]
        # Of the latency of all faults, in whatever order they came: one fault delays and another reorders.
        back = moves * REORDER_NS_MIN + int(shift * 2 * latency)
        return (self._moved(at + back, flip, mover), *in_line)

    def _in_line(self, at: int, flip: int) -> Delivery:
        """Behind all that was sent before; so whatever was moved back has now been overtaken, or never will be."""
        at = self._last = max(at, self._last)
        if self._astray:
            for late, mover in self._astray:
                if at < late:
                    mover.count("reordered")
            self._astray = ()
        return Delivery(at, flip)

    def _moved(self, late: int, flip: int, mover: _Shape) -> Delivery:
        """Out of the line: it may overtake what is in it, or others that were moved back, and be overtaken later."""
        for other_late, other in self._astray:
            if late < other_late:
                other.count("reordered")
        astray = [one for one in self._astray if one[0] <= late]
        if late < self._last:
            mover.count("reordered")
        else:
            astray.append((late, mover))
        self._astray = tuple(astray[-ASTRAY_MAX:])
        return Delivery(late, flip)
