"""One way through a proxy: its toxics, its link policy, and what it has counted.

All sessions of a proxy share a direction, so that a seed and the sequence of datagrams decide everything, whoever
sent them.  A toxic that is changed or removed takes what it still holds with it: what is under way arrives by the
time that the toxics left would give it, and a link heals at once however long the latency was.
"""

from __future__ import annotations

import time
from typing import Literal

from faults.link import Delivery, LinkPolicy
from faults.relay_udp.timers import Send, Timers
from faults.relay_udp.toxics import Toxic, fault_of
from faults.vocabulary import Link

WAITING_MAX = 100_000
WAITING_BYTES_MAX = 128 * 1024 * 1024
"""Of one direction: a slow link must not use up the room of all others."""
TOXICS_MAX = 64
NAMES_MAX = 256
"""Toxics that have gone and are told apart in the metrics; those after are counted as OTHERS."""
OTHERS = "(others)"

Name = Literal["upstream", "downstream"]


class Direction:
    """`upstream` is from the clients to the upstream address, `downstream` the way back.

    received, forwarded: datagrams in and out; with `_bytes`, payload.  A datagram that is dropped by a toxic, or for
    which there was no room (`queue_full`), or that the kernel would not take (`send_failed`) is not forwarded.
    """

    __slots__ = (
        "_past",
        "_timers",
        "_waiting_bytes",
        "forwarded",
        "forwarded_bytes",
        "name",
        "policy",
        "queue_full",
        "received",
        "received_bytes",
        "send_failed",
        "toxics",
        "waiting",
    )

    def __init__(self, proxy: str, name: Name, *, seed: int, timers: Timers) -> None:
        self.name = name
        self.policy = LinkPolicy(proxy, name, seed=seed, base=Link(links=((0, 1),)))
        self.toxics: dict[str, Toxic] = {}
        self.received = self.received_bytes = self.forwarded = self.forwarded_bytes = 0
        self.queue_full = self.send_failed = 0
        self._past: dict[tuple[str, str, str], int] = {}
        self._timers = timers
        self.waiting = self._waiting_bytes = 0

    def add(self, toxic: Toxic) -> None:
        """Put a toxic in force; its name is free."""
        self.toxics[toxic.name] = toxic
        self.policy.apply(toxic.name, fault_of(toxic), toxic.toxicity)

    def replace(self, toxic: Toxic) -> None:
        """The toxic of that name is now this one, and decides anew from the beginning of its streams."""
        self._lift(self.toxics[toxic.name])
        self.toxics[toxic.name] = toxic
        self.policy.apply(toxic.name, fault_of(toxic), toxic.toxicity)
        self._settle()

    def remove(self, *names: str) -> None:
        """Take toxics off."""
        for name in names:
            self._lift(self.toxics.pop(name))
        self._settle()

    def _settle(self) -> None:
        by = self.policy.settle(time.monotonic_ns())
        if self.waiting:  # the heap is everybody's, and long
            self._timers.hasten(self, by)

    def _lift(self, toxic: Toxic) -> None:
        for effect, times in self.policy.forget(toxic.name).items():
            key = (toxic.name, toxic.type, effect)
            if key not in self._past and len(self._past) >= NAMES_MAX:
                key = (OTHERS, toxic.type, effect)
            self._past[key] = self._past.get(key, 0) + times

    def effects(self) -> dict[tuple[str, str, str], int]:
        """How often (toxic, type, effect) was seen, those of toxics that have gone included."""
        found = dict(self._past)
        for toxic in self.toxics.values():
            for effect, times in self.policy.counts(toxic.name).items():
                key = (toxic.name, toxic.type, effect)
                found[key] = found.get(key, 0) + times
        return found

    def carry_out(self, fate: tuple[Delivery, ...], data: memoryview, now: int, send: Send) -> None:
        """Do with a datagram what was decided; `data` is only valid during the call."""
        whole = bytes(data)
        for at, flip in fate:
            altered = whole if flip < 0 else turned(whole, flip)
            if at <= now:
                if self._timers.due <= now:
                    self._timers.fire(now)
                send(altered)
            elif self._has_room(len(altered)) and self._timers.push(at, self, send, altered):
                self.waiting += 1
                self._waiting_bytes += len(altered)
            else:
                self.queue_full += 1

    def _has_room(self, size: int) -> bool:
        return self.waiting < WAITING_MAX and self._waiting_bytes + size <= WAITING_BYTES_MAX

    def released(self, size: int) -> None:
        """One that waited has been sent, or given up."""
        self.waiting -= 1
        self._waiting_bytes -= size

    def discard(self) -> None:
        """What is under way is lost: the sockets are closed."""
        if self.waiting:
            self._timers.discard(self)


def turned(data: bytes, bit: int) -> bytes:
    """The payload with one bit turned, counted from the lowest of the first byte."""
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)
