"""What a node may ask of the world, and the time that the world tells it.

A node never acts: each call into it returns effects, and a shell (the simulator, or an asyncio server)
carries them out in order.  The set is closed; a shell that handles these five handles every node.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec


class Instant(NamedTuple):
    """A point in time, in integer nanoseconds.  Only `wall` can be skewed; only `monotonic` measures spans."""

    monotonic: int
    wall: int


class RandomSource(Protocol):
    """The part of `random.Random` that a node uses."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A non-negative integer of at most `k` bits."""
        ...


class Send(msgspec.Struct, frozen=True, gc=False):
    """Hand `frame` (at most `NodeConfig.frame_bytes_max` bytes) to `peer`.  May be lost, never altered by the shell.

    `free` is for the node itself: the frame says nothing that a crash could take back.
    """

    peer: bytes
    frame: bytes
    free: bool = False


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Call `Node.timer(now, timer)` once `now.monotonic >= at`.  Setting a timer again moves it."""

    timer: str
    at: int


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One durable fact: `kind` is "commit" (data: the encoded wire commit) or "incarnation" (data: 16 bytes)."""

    kind: str
    data: bytes


class Persist(msgspec.Struct, frozen=True):
    """Append `records` in order; when they and all before them are durable, call `Node.persisted(now, token)`."""

    token: int
    records: tuple[Record, ...]


class Reply(msgspec.Struct, frozen=True):
    """The answer to the request that was submitted under the number `request`; exactly one for each."""

    request: int
    result: Any


class Event(msgspec.Struct, frozen=True):
    """Something an observer may want to know.  Nothing in the mesh depends on its being seen.  `free` as in `Send`."""

    name: str
    data: dict[str, Any]
    free: bool = False


Effect = Send | SetTimer | Persist | Reply | Event
