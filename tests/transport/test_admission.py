"""Both transports, on loopback: what arrives, who gets in, and what is left at the end."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from pathlib import Path

import pytest

from knhk_mesh.errors import ConfigError
from knhk_mesh.transport import MILLISECOND, TransportConfig, TransportError
from knhk_mesh.transport.channel import AcceptorChannel
from tests.transport.forwarders import HOST
from tests.transport.members import (
    IDS,
    PATIENT,
    Member,
    Raw,
    free_addresses,
    full_mesh,
    proof_for,
    raw_dial,
    started,
    until,
)

# --- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 4])
def test_frames_of_all_sizes_arrive_in_order_from_everyone_to_everyone(kind, count):
    async def run():
        members = full_mesh(kind, count, **PATIENT)
        choose = random.Random(1)
        sizes = [1, 2, 3, 1024, 65535, 65536, *(choose.randrange(1, 65537) for _ in range(14))]
        frames = [choose.randbytes(size) for size in sizes]
        async with started(*members):
            await until(lambda: all(member.connected() for member in members))
            for frame in frames:
                for member in members:
                    for other in range(count):
                        assert other == member.number or member.send(other, frame)
                await asyncio.sleep(0)
            await until(lambda: all(len(member.got) == len(frames) * (count - 1) for member in members))
            for member in members:
                for other in range(count):
                    if other != member.number:
                        assert [frame for sender, frame in member.got if sender == other] == frames
                        assert member.link(other).sent == len(frames) and member.link(other).dropped == 0
                assert member.counters["connected"] == member.counters["accepted"] == count - 1

    asyncio.run(run())


def test_a_link_reports_its_round_trip_and_its_last_echo(kind):
    async def run():
        one, two = full_mesh(kind, 2)
        assert (one.link(1).connected, one.link(1).round_trip_ns, one.link(1).last_echo_ns) == (False, None, None)
        async with started(one, two):
            await until(lambda: one.link(1).round_trip_ns is not None)
            assert 0 < one.link(1).round_trip_ns < 2_000 * MILLISECOND
            assert 0 <= one.link(1).last_echo_ns < 2_000 * MILLISECOND

    asyncio.run(run())


def test_frames_that_cannot_go_are_dropped_and_counted(kind):
    async def run():
        one, two = full_mesh(kind, 2)
        assert not one.send(1, b"early") and not one.send(5, b"nobody")
        async with started(one, two):
            await until(one.connected)
            assert not one.send(1, b"") and not one.send(1, bytes(65537))
        assert {name: many for name, many in one.counters.items() if name.startswith("dropped")} == {
            "dropped-unconnected": 1,
            "dropped-unknown-peer": 1,
            "dropped-unsendable": 2,
        }

    asyncio.run(run())


def test_the_queue_and_the_window_are_bounded_when_the_peer_acknowledges_nothing(kind):
    class Deaf(Raw):
        def opened(self) -> None:
            self.channel = AcceptorChannel(
                IDS[1], network="test", nonce=bytes(32), members=frozenset(IDS), config=TransportConfig()
            )
            self.connection.write(self.channel.hello)

        def received(self, data: bytes) -> None:
            had, self.got = self.got, self.got + data
            self.channel.receive(0, data)
            if len(had) < 96 <= len(self.got):
                self.connection.write(bytes(8))

    def deaf(connection):
        handler = Deaf()
        handler.connection = connection
        return handler

    async def run():
        one, two = full_mesh(kind, 2, window_bytes=200_000, queue_bytes_max=300_000)
        two.transport._acceptor.accept = deaf
        async with started(one, two):
            await until(lambda: one.link(1).connected)
            took = 0
            while one.send(1, bytes(10_000)):
                took += 1
            await asyncio.sleep(0.05)
            while one.send(1, bytes(10_000)):
                took += 1
            link = one.link(1)
            assert link.queued_bytes <= 300_000 and link.sent * 10_004 <= 200_000
            assert took * 10_004 <= 500_000 and one.counters["dropped-full"] == link.dropped == 2
            waiting = took - link.sent
            await until(lambda: one.counters["silent"] > 0)
            assert one.counters["dropped-disconnected"] == waiting
            assert one.link(1).dropped == waiting + 2

    asyncio.run(run())


# --- who gets in --------------------------------------------------------------------------------


def test_a_peer_with_another_key_at_that_address_is_refused(kind):
    async def run():
        at = free_addresses(2)
        impostor = Member(kind, 2, at[1], {0: at[0]})
        one = Member(kind, 0, at[0], {1: at[1]})
        async with started(impostor, one):
            await until(lambda: one.counters["wrong-certificate"] >= 2)
            assert one.counters["connected"] == 0 and not one.link(1).connected
            assert impostor.counters["accepted"] == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("number", "network", "reason"), [(3, "test", "stranger"), (1, "another", "bad-proof")], ids=["stranger", "network"]
)
def test_a_dialler_that_is_no_member_of_this_network_is_refused(kind, number, network, reason):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        other = Member(kind, number, at[2], {0: at[0]}, network=network)
        async with started(one, other):
            await until(lambda: one.counters[reason] >= 2)
            assert other.counters["connected"] == 0 and one.counters["accepted"] == 0

    asyncio.run(run())


def test_frames_of_a_stranger_are_never_read(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        stranger = Member(kind, 3, at[2], {})
        async with started(one, stranger):
            raw = await raw_dial(stranger, one, number=0)
            raw.connection.write(proof_for(3, raw.got) + b"\0\0\0\5frame" + b"\xff" * 100)
            await until(lambda: raw.ended)
            assert one.got == [] and one.counters["stranger"] == 1 and one.counters["oversized"] == 0

    asyncio.run(run())


def test_a_proof_cannot_be_used_again_on_another_connection(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        thief = Member(kind, 3, at[2], {})
        async with started(one, thief):
            first = await raw_dial(thief, one, number=0)
            proof = proof_for(1, first.got)  # as if it had been overheard
            second = await raw_dial(thief, one, number=0)
            second.connection.write(proof + b"\0\0\0\5frame")
            await until(lambda: second.ended)
            assert one.counters["bad-proof"] == 1 and one.got == []
            first.connection.write(proof + b"\0\0\0\5frame")
            await until(lambda: one.got == [(1, b"frame")])

    asyncio.run(run())


def test_a_frame_that_is_too_long_ends_the_connection(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        hand = Member(kind, 3, at[2], {})
        async with started(one, hand):
            raw = await raw_dial(hand, one, number=0)
            raw.connection.write(proof_for(1, raw.got) + b"\0\0\0\2ok" + b"\0\1\0\1" + bytes(65537))
            await until(lambda: raw.ended)
            assert one.got == [(1, b"ok")] and one.counters["oversized"] == 1

    asyncio.run(run())


def test_a_newer_connection_replaces_the_older_once_it_is_used(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        hand = Member(kind, 3, at[2], {})
        async with started(one, hand):
            old = await raw_dial(hand, one, number=0)
            old.connection.write(proof_for(1, old.got) + b"\0\0\0\3old")
            await until(lambda: one.got == [(1, b"old")])
            new = await raw_dial(hand, one, number=0)
            new.connection.write(proof_for(1, new.got))
            await until(lambda: len(new.got) == 48)
            assert old.ended is None
            new.connection.write(b"\0\0\0\3new")
            await until(lambda: old.ended)
            await until(lambda: one.got == [(1, b"old"), (1, b"new")])
            assert new.ended is None

    asyncio.run(run())


def test_a_peer_has_no_more_connections_than_attempts(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]}, attempts_max=2, **PATIENT)
        hand = Member(kind, 3, at[2], {})
        async with started(one, hand):
            raws = [await raw_dial(hand, one, number=0) for _ in range(4)]
            for raw in raws:
                raw.connection.write(proof_for(1, raw.got))
                await until(lambda: len(raw.got) == 48)  # noqa: B023
            await until(lambda: raws[0].ended and raws[1].ended)
            assert len(one.transport._acceptor._peers[IDS[1]]) == 2

    asyncio.run(run())


def test_strangers_are_few_and_have_little_time(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]}, strangers_max=4, proof_timeout_ns=700 * MILLISECOND)
        hand = Member(kind, 3, at[2], {})
        async with started(one, hand):
            raws = [Raw() for _ in range(12)]
            for raw in raws:
                raw.connection = hand.transport._dial(IDS[0], one.transport.address, raw)
            await until(lambda: sum(raw.is_open for raw in raws) >= 4 and one.counters["crowded"] >= 8)
            assert len(one.transport._acceptor._strangers) <= 4
            await until(lambda: one.counters["proof-timeout"] >= 4)
            for raw in raws:
                raw.connection.close()
            again = await raw_dial(hand, one, number=0)
            assert again.ended is None

    asyncio.run(run())


def test_a_member_that_falls_silent_is_forgotten(kind):
    async def run():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]})
        hand = Member(kind, 3, at[2], {})
        async with started(one, hand):
            raw = await raw_dial(hand, one, number=0)
            raw.connection.write(proof_for(1, raw.got))
            await until(lambda: one.counters["silent"] == 1)
            await until(lambda: raw.ended)
            assert one.transport._acceptor._peers == {}

    asyncio.run(run())


# --- beginning and end --------------------------------------------------------------------------


def test_a_port_in_use_is_one_clear_line(kind):
    async def run():
        one = Member(kind, 0, f"{HOST}:0", {})
        async with started(one):
            other = Member(kind, 1, one.transport.address, {})
            with pytest.raises(TransportError) as caught:
                await other.transport.start()
            await other.transport.stop()
            assert one.transport.address in str(caught.value) and "in use" in str(caught.value)
            assert "\n" not in str(caught.value)

    asyncio.run(run())


@pytest.mark.parametrize("wrong", ["nowhere", "host:", ":1", "host:65536", "host:-1"])
def test_an_address_that_is_none_is_refused(kind, wrong):
    with pytest.raises(ConfigError, match="listen: "):
        Member(kind, 0, wrong, {})
    with pytest.raises(ConfigError, match="peers: "):
        Member(kind, 0, f"{HOST}:0", {1: wrong})


def test_stop_waits_for_what_was_sent(kind):
    async def run():
        one, two = full_mesh(kind, 2)
        async with started(one, two):
            await until(one.connected)
            for number in range(50):
                assert one.send(1, bytes([number]) * 50_000)
            await one.transport.stop(5.0)
            assert len(two.got) == 50

    asyncio.run(run())


def test_stop_leaves_no_task_no_socket_and_no_thread(kind):
    def open_files() -> int:
        gc.collect()
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else 0

    async def run():
        await asyncio.sleep(0)
        files, threads = open_files(), threading.active_count()
        at = free_addresses(3)
        members = [
            Member(kind, 0, at[0], {1: at[1], 2: at[2]}),  # nobody is at the third: attempts are under way at the end
            Member(kind, 1, at[1], {0: at[0]}),
        ]
        async with started(*members):
            await until(lambda: members[0].link(1).connected and members[1].connected())
            members[0].send(1, bytes(60_000))
        for member in members:
            await member.transport.stop()  # once more is no harm
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (open_files(), threading.active_count()) == (files, threads)
        loop = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

    asyncio.run(run())
