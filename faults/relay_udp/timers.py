"""What is delayed leaves on time: one heap of pending deliveries and one timerfd, watched by the event loop.

asyncio's own timers go through epoll's timeout, which has millisecond steps: half a millisecond late at the median.
A timerfd on the monotonic clock wakes the same loop within 0.05 ms.  Python has it from 3.13 on, so ctypes asks libc.

Limits: as many deliveries and bytes as `WAITING_MAX` and `WAITING_BYTES_MAX` wait in all; beyond, `push` refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import os
import time
from collections.abc import Callable
from typing import Protocol

WAITING_MAX = 400_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
NEVER = 2**63 - 1
"""`due` of an empty heap."""

_SECOND = 1_000_000_000
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME

Send = Callable[[bytes], None]


class Owner(Protocol):
    """Who waits for deliveries, and is told of each before it is sent."""

    def released(self, size: int) -> None:
        """One of `size` bytes waits no more."""


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`: interval and first expiry, each of seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timers:
    """Deliveries by time; `due` is when the next one is (monotonic ns), for callers that must not overtake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError if the kernel gives no timerfd."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _TimerSpec()
        self._loop = loop
        self._heap: list[tuple[int, int, Owner, Send, bytes]] = []
        self._serial = 0
        self._bytes = 0
        self._armed = NEVER
        self.due = NEVER
        loop.add_reader(self._fd, self._expired)

    def push(self, due: int, owner: Owner, send: Send, data: bytes) -> bool:
        """Have `send(data)` called at `due` (monotonic ns), those of one time in order; False if the heap is full."""
        if len(self._heap) >= WAITING_MAX or self._bytes + len(data) > WAITING_BYTES_MAX:
            return False
        self._serial += 1
        self._bytes += len(data)
        heapq.heappush(self._heap, (due, self._serial, owner, send, data))
        if due < self.due:
            self.due = due
            self._arm()
        return True

    def fire(self, now: int) -> None:
        """Send all that is due at `now`."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, owner, send, data = heapq.heappop(heap)
            self._bytes -= len(data)
            owner.released(len(data))
            send(data)
        self.due = heap[0][0] if heap else NEVER

    def hasten(self, owner: Owner, by: int) -> None:
        """Nothing of `owner` waits beyond `by`; what is sent then is sent in the order in which it would have been."""
        held = sorted(one[:2] for one in self._heap if one[2] is owner and one[0] >= by)
        serials = dict(zip((serial for _, serial in held), sorted(serial for _, serial in held), strict=True))
        self._heap = [(by, serials[one[1]], *one[2:]) if one[1] in serials else one for one in self._heap]
        self._rebuild()

    def discard(self, owner: Owner) -> None:
        """Nothing of `owner` is sent any more."""
        kept = [one for one in self._heap if one[2] is not owner]
        for one in self._heap:
            if one[2] is owner:
                self._bytes -= len(one[4])
                owner.released(len(one[4]))
        self._heap = kept
        self._rebuild()

    def close(self) -> None:
        """Forget everything and give the timer back."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._heap.clear()

    def _rebuild(self) -> None:
        heapq.heapify(self._heap)
        self.due = self._heap[0][0] if self._heap else NEVER
        self._arm()

    def _expired(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it was set anew between the wake-up and now
            os.read(self._fd, 8)
        self._armed = NEVER
        self.fire(time.monotonic_ns())
        self._arm()

    def _arm(self) -> None:
        """Wake at `due`.  An earlier wake-up that was already set may stay: it finds nothing due, and sets the next."""
        if self.due >= self._armed:
            return
        self._armed = self.due
        self._spec.value_s, self._spec.value_ns = divmod(max(self.due, 1), _SECOND)  # all zero would disarm it
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
