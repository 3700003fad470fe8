"""Both transports, on loopback: links that are cut, slow or lossy, peers that restart, garbage, a full kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket

from knhk_mesh.transport import MILLISECOND
from tests.transport.forwarders import UdpForwarder
from tests.transport.members import (
    IDS,
    KINDS,
    PATIENT,
    Member,
    free_addresses,
    full_mesh,
    proof_for,
    raw_dial,
    started,
    until,
)

# --- links that fail ----------------------------------------------------------------------------


def test_a_blackholed_link_is_found_silent_and_comes_back_soon_after_it_heals(kind):
    async def run():
        at = free_addresses(2)
        async with KINDS[kind][2](at[1]) as link:
            one, two = Member(kind, 0, at[0], {1: link.address}), Member(kind, 1, at[1], {0: at[0]}, **PATIENT)
            async with started(one, two):
                await until(lambda: one.connected() and two.connected())
                link.blackholed = True
                assert await until(lambda: one.counters["silent"] > 0) < 1.75 + 1.0
                assert two.link(0).connected  # the other direction has a connection of its own
                await asyncio.sleep(4.0)
                assert not one.link(1).connected and not one.send(1, b"lost")
                link.blackholed = False
                assert await until(one.connected) < 0.6 + 1.0
                assert one.send(1, b"healed")
                await until(lambda: two.got == [(0, b"healed")])

    asyncio.run(run())


def test_a_link_of_400_ms_each_way_connects_and_stays(kind):
    async def run():
        at = free_addresses(2)
        async with KINDS[kind][2](at[1], delay_s=0.4) as link:
            one = Member(kind, 0, at[0], {1: link.address}, **PATIENT)
            two = Member(kind, 1, at[1], {0: at[0]}, **PATIENT)
            async with started(one, two):
                await until(one.connected)
                assert one.send(1, bytes(60_000))
                await until(lambda: two.got)
                await asyncio.sleep(2.0)
                assert one.connected() and one.counters["connected"] == 1
                assert 790 * MILLISECOND < one.link(1).round_trip_ns < 2_000 * MILLISECOND

    asyncio.run(run())


def test_datagrams_that_are_lost_are_sent_again():
    async def run():
        at = free_addresses(2)
        async with UdpForwarder(at[1], loss=0.05) as link:
            one = Member("quic", 0, at[0], {1: link.address}, **PATIENT)
            two = Member("quic", 1, at[1], {0: at[0]}, **PATIENT)
            async with started(one, two):
                await until(one.connected)
                frames = [bytes([number]) * 3000 for number in range(100)]
                for frame in frames:
                    assert one.send(1, frame)
                await until(lambda: len(two.got) == len(frames), 20.0)
                assert [frame for _, frame in two.got] == frames and one.counters["connected"] == 1

    asyncio.run(run())


def test_a_kernel_that_takes_no_datagram_now_and_then_ends_nothing():
    class Full:
        def __init__(self, real, error: int) -> None:
            self.real, self.error, self.sent, self.received = real, error, 0, 0

        def __getattr__(self, name: str):
            return getattr(self.real, name)

        def fileno(self) -> int:
            return self.real.fileno()

        def sendto(self, data, address):
            self.sent += 1  # counted apart: together, an even rhythm of one and the other might never come to a fifth
            if self.sent % 5 == 2:
                raise OSError(self.error, os.strerror(self.error))
            return self.real.sendto(data, address)

        def recvfrom(self, size: int):
            self.received += 1
            if self.received % 7 == 0:
                raise OSError(self.error, os.strerror(self.error))
            return self.real.recvfrom(size)

    async def run():
        for error in (errno.ECONNREFUSED, errno.ENOBUFS, errno.EAGAIN, errno.EPERM):
            one, two = full_mesh("quic", 2, **PATIENT)
            async with started(one, two):
                listener = two.transport._listener.socket
                listener._socket = Full(listener._socket, error)
                await until(one.connected)
                for number in range(50):
                    assert one.send(1, bytes([number]) * 5000)
                await until(lambda: len(two.got) == 50)  # noqa: B023
                assert one.counters["connected"] == 1 and two.counters["unsent"] > 0

    asyncio.run(run())


def test_a_failure_inside_aioquic_ends_that_connection_alone(monkeypatch):
    async def run():
        at = free_addresses(3)
        one, two, three = (
            Member("quic", number, at[number], {other: at[other] for other in range(3) if other != number})
            for number in range(3)
        )
        async with started(one, two, three):
            await until(lambda: one.connected() and two.connected() and three.connected())
            bad = one.transport._acceptor._peers[IDS[1]][0].connection

            def fail(*_):
                raise IndexError("hostile")

            monkeypatch.setattr(bad.quic, "receive_datagram", fail)
            await until(lambda: one.counters["broken"] == 1)
            await until(lambda: two.counters["closed"] + two.counters["silent"] == 1)
            await until(two.connected)
            assert two.send(0, b"again") and three.send(0, b"unharmed")
            await until(lambda: sorted(one.got) == [(1, b"again"), (2, b"unharmed")])
            assert three.counters["connected"] == 2

    asyncio.run(run())


def test_what_comes_on_another_stream_ends_the_connection():
    async def run():
        at = free_addresses(3)
        one = Member("quic", 0, at[0], {1: at[1]}, **PATIENT)
        hand = Member("quic", 3, at[2], {})
        async with started(one, hand):
            raw = await raw_dial(hand, one, number=0)
            raw.connection.write(proof_for(1, raw.got))
            await until(lambda: len(raw.got) == 48)
            raw.connection._end.quic.send_stream_data(6, b"elsewhere")
            raw.connection.write(b"\0\0\0\5frame")
            await until(lambda: raw.ended and one.counters["bad-stream"] == 1)
            assert not one.transport._acceptor._peers and not one.transport._listener._ends

    asyncio.run(run())


def test_a_dialler_that_stops_our_stream_ends_its_connection():
    async def run():
        at = free_addresses(3)
        one = Member("quic", 0, at[0], {1: at[1]}, **PATIENT)
        hand = Member("quic", 3, at[2], {})
        async with started(one, hand):
            raw = await raw_dial(hand, one, number=0)
            raw.connection.write(proof_for(1, raw.got))
            await until(lambda: len(raw.got) == 48)
            raw.connection._end.quic.stop_stream(3, 0)
            raw.connection.write(b"\0\0\0\0" * 100)
            await asyncio.sleep(0.1)
            raw.connection.write(b"\0\0\0\0")
            await until(lambda: raw.ended and one.counters["broken"] == 1)
            assert not one.transport._listener._ends

    asyncio.run(run())


def test_a_node_that_restarts_is_connected_again(kind):
    async def run():
        at = free_addresses(2)
        one = Member(kind, 0, at[0], {1: at[1]})
        async with started(one):
            for life in (b"first", b"second", b"third"):
                two = Member(kind, 1, at[1], {0: at[0]})
                async with started(two):
                    await until(lambda: one.connected() and two.connected())  # noqa: B023
                    one.send(1, life), two.send(0, life)
                    await until(lambda: two.got == [(0, life)])  # noqa: B023
                    await until(lambda: one.got[-1:] == [(1, life)])  # noqa: B023
                await until(lambda: not one.connected())

    asyncio.run(run())


def test_garbage_on_the_port_harms_nobody(kind):
    async def run():
        one, two = full_mesh(kind, 2, **PATIENT)
        choose = random.Random(2)
        async with started(one, two):
            await until(lambda: one.connected() and two.connected())
            host, _, port = one.transport.address.rpartition(":")
            for _ in range(200):
                garbage = choose.randbytes(choose.choice([1, 20, 1200, 1400]))
                if choose.random() < 0.3:  # looks like the beginning of a QUIC connection, or of a TLS one
                    garbage = choose.choice([b"\xc3\0\0\0\1\x08" + garbage, b"\x16\x03\x01\x02\0\1" + garbage])
                with socket.socket(socket.AF_INET, KINDS[kind][1]) as sender:
                    sender.connect((host, int(port)))
                    sender.send(garbage)
                await asyncio.sleep(0.001)
            assert (
                one.counters.keys() & {"garbage", "unknown-connection", "handshake-failed", "crowded"} or kind == "tcp"
            )
            assert two.send(0, b"unharmed")
            await until(lambda: one.got == [(1, b"unharmed")])
            assert one.counters["connected"] == two.counters["connected"] == 1

    asyncio.run(run())
