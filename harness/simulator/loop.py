"""Virtual time: a heap of events, and the hash of all that happened.

Events at one time run in the order in which they were scheduled, so a run is a function of its plan.  The trace
hash covers each delivered frame with its time, sender, receiver and bytes, and whatever else is noted: two runs
with one hash did the same things at the same times.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

_NOTES_A_BATCH = 512


class Loop:
    """A virtual clock in integer nanoseconds, starting at 0."""

    __slots__ = ("_count", "_hash", "_heap", "_notes", "events", "now", "stopped")

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self.stopped = False
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = count().__next__
        self._hash = blake2b(digest_size=16)
        self._notes: list[bytes] = []

    def at(self, when: int, call: Callable[..., None], *arguments: Any) -> None:
        """Run `call(*arguments)` at `when`, or now if that is past."""
        now = self.now
        heappush(self._heap, (when if when > now else now, self._count(), call, arguments))

    def hasten(self, call: Callable[..., None], line: Callable[..., tuple[Hashable, int] | None]) -> None:
        """What waits as `call(*arguments)` happens by a time: `line(*arguments)` is (its line, that time), or None.

        Those of one line happen in the order in which they would have.
        """
        heap, now = self._heap, self.now
        lines: dict[Hashable, list[tuple[int, int, int, int]]] = {}
        for index, (when, number, waiting, arguments) in enumerate(heap):
            found = line(*arguments) if waiting == call else None
            if found is not None and when >= (by := max(now, found[1])):
                lines.setdefault(found[0], []).append((when, number, index, by))
        for held in lines.values():
            numbers = sorted(number for _, number, _, _ in held)
            for (_, _, index, by), number in zip(sorted(held), numbers, strict=True):
                heap[index] = (by, number, *heap[index][2:])
        heapify(heap)

    def note(self, entry: bytes) -> None:
        """Let `entry` count in the trace hash."""
        self._notes.append(entry)
        if len(self._notes) >= _NOTES_A_BATCH:
            self._flush()

    def run(self, until: int | None = None) -> None:
        """Run events until `stopped`, or none is left, or the next is after `until`."""
        heap = self._heap
        while heap and not self.stopped:
            if until is not None and heap[0][0] > until:
                self.now = until
                return
            self.now, _, call, arguments = heappop(heap)
            self.events += 1
            call(*arguments)

    def trace_hash(self) -> str:
        """32 hex digits over everything noted so far."""
        self._flush()
        return self._hash.copy().hexdigest()

    def _flush(self) -> None:
        self._hash.update(b"".join(self._notes))
        self._notes.clear()
