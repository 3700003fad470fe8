"""When a peer is dialled, and which attempt becomes the connection: on a clock of the test's own."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from knhk_mesh.identity import Signer
from knhk_mesh.transport import MILLISECOND, TransportConfig
from knhk_mesh.transport import dialler as module
from knhk_mesh.transport.channel import AcceptorChannel
from knhk_mesh.transport.dialler import Dialler

ME, PEER = Signer(b"\1" * 32), Signer(b"\2" * 32)
CONFIG = TransportConfig()


class Wire:
    """A connection that goes nowhere."""

    def __init__(self, handler, at: int) -> None:
        self.handler, self.at, self.sent, self.is_closed = handler, at, b"", False

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.is_closed = True

    def connect(self) -> None:
        """The acceptor's part, up to the first acknowledgement."""
        members = frozenset([ME.agent_id])
        acceptor = AcceptorChannel(PEER.agent_id, network="n", nonce=bytes(32), members=members, config=CONFIG)
        self.handler.received(acceptor.hello)
        acceptor.receive(0, self.sent)
        self.handler.received(acceptor.acknowledgement(0))


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 10**15
        self.wires: list[Wire] = []
        self.counters: Counter[str] = Counter()
        monkeypatch.setattr(module.time, "monotonic_ns", lambda: self.now)
        self.dialler = Dialler(
            PEER.agent_id, "host:1", signer=ME, network="n", config=CONFIG, random=random.Random(1), dial=self.dial,
            counters=self.counters,
        )  # fmt: skip

    def dial(self, peer, address, handler) -> Wire:
        assert (peer, address) == (PEER.agent_id, "host:1")
        self.wires.append(Wire(handler, self.now))
        return self.wires[-1]

    def run(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 5):
            self.now += 5 * MILLISECOND
            self.dialler.tick(self.now)

    def open(self) -> list[Wire]:
        return [wire for wire in self.wires if not wire.is_closed]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_attempts_start_ever_rarer_but_at_least_every_500_ms_and_few_are_open(clock):
    for _ in range(100):
        clock.run(100)
        assert len(clock.open()) <= CONFIG.attempts_max
        assert all(clock.now - wire.at <= 3005 * MILLISECOND for wire in clock.open())
    gaps = [(later.at - wire.at) / MILLISECOND for wire, later in zip(clock.wires, clock.wires[1:], strict=False)]
    assert 35 <= gaps[0] <= 55 and gaps == sorted(gaps[:4]) + gaps[4:]
    assert all(395 <= gap <= 505 for gap in gaps[4:])


def test_the_first_to_connect_wins_and_the_others_are_closed(clock):
    clock.run(1000)
    winner = clock.open()[1]
    winner.connect()
    assert clock.open() == [winner] and clock.counters["connected"] == 1
    assert clock.dialler.report(clock.now).connected and winner.sent[-4:] == bytes(4)
    dialled = len(clock.wires)
    clock.run(1000)
    assert len(clock.wires) == dialled


def test_silence_ends_the_connection_and_it_is_dialled_at_once(clock):
    clock.run(5)
    clock.wires[0].connect()
    clock.run(1490)
    assert clock.open() == [clock.wires[0]]
    clock.run(20)
    assert clock.wires[0].is_closed and clock.counters["silent"] == 1 and len(clock.open()) == 1


def test_attempts_that_fail_at_once_are_not_repeated_faster(clock):
    for _ in range(2000):
        clock.run(5)
        for wire in clock.open():
            wire.close()
            wire.handler.closed("unreachable")
    assert 20 <= len(clock.wires) <= 30


def test_connections_that_end_at_once_are_not_repeated_faster(clock):
    for _ in range(2000):
        clock.run(5)
        for wire in clock.open():
            wire.connect()
            wire.close()
            wire.handler.closed("closed")
    assert 20 <= len(clock.wires) <= 30 and clock.counters["connected"] == len(clock.wires)


def test_an_attempt_that_hung_and_is_ended_brings_the_next_at_once(clock):
    clock.run(2500)
    hung = clock.open()[0]
    begun = len(clock.wires)
    hung.close()
    hung.handler.closed("closed")
    clock.run(5)
    assert len(clock.wires) == begun + 1
