"""Both transports, on loopback, treated badly; after each test nothing of them is left.

What is left is looked at in one place, `play`: tasks, timers, files and what the event loop was told of.
The rest of what transports promise is in `test_admission.py` and `test_links.py`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import threading
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from knhk_mesh.errors import ConfigError
from knhk_mesh.transport.carrier import split_address
from tests.transport.forwarders import HOST
from tests.transport.members import (
    IDS,
    KINDS,
    PATIENT,
    SECOND,
    Member,
    free_addresses,
    full_mesh,
    proof_for,
    raw_dial,
    started,
    until,
)

STRANGERS = 200
SLACK_S = 1.5
"""More than any of the times that are promised: two noisy cores are no stop-watch."""


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else 0


def play(test) -> None:
    """Run `test`, a coroutine function, and look at what it leaves behind."""

    async def run():
        loop = asyncio.get_running_loop()
        complaints = []
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        gc.collect()
        files, threads = open_files(), threading.active_count()
        await test()
        await until(lambda: open_files() <= files, SLACK_S)  # the forwarders' own take a turn or two
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        assert threading.active_count() == threads
        gc.collect()  # a task that nobody awaited complains when it is collected
        await asyncio.sleep(0)
        assert complaints == []

    asyncio.run(run())


def kept(member: Member) -> int:
    """Connections that a transport knows, and ids that it knows them by; dialled ones included."""
    transport, acceptor = member.transport, member.transport._acceptor
    known = len(acceptor._strangers) + sum(len(ones) for ones in acceptor._peers.values())
    if hasattr(transport, "_shared"):
        return known + len(transport._shared.ends) + len(transport._tasks)
    return known + len(transport._listener._ends) + len(transport._resolving)


@asynccontextmanager
async def pair(kind: str, **options):
    """Two members and the forwarders that all of what they say passes: (one, two, links)."""
    at = free_addresses(2)
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(KINDS[kind][2](address, **options)) for address in at]
        one = Member(kind, 0, at[0], {1: links[1].address})
        two = Member(kind, 1, at[1], {0: links[0].address})
        await stack.enter_async_context(started(one, two))
        yield one, two, links


@asynccontextmanager
async def silent_strangers(kind: str, count: int, address: str):
    """So many who begin a connection and then say nothing more."""
    host, _, port = address.rpartition(":")
    to = (host, int(port))
    with ExitStack() as stack:
        for _ in range(count):
            made = stack.enter_context(socket.socket(socket.AF_INET, KINDS[kind][1]))
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, to)
            if kind == "quic":
                for datagram in first_datagrams(to):
                    made.send(datagram)
                await asyncio.sleep(0)
        yield


def first_datagrams(to) -> list[bytes]:
    options = {"is_client": True, "alpn_protocols": ["knhk"], "verify_mode": ssl.CERT_NONE}
    quic = QuicConnection(configuration=QuicConfiguration(**options))
    quic.connect(to, now=0.0)
    return [datagram for datagram, _ in quic.datagrams_to_send(0.0)]


async def exchange(one: Member, two: Member, frame: bytes) -> None:
    """A frame each way arrives."""
    assert one.send(two.number, frame) and two.send(one.number, frame)
    await until(lambda: (one.number, frame) in two.got and (two.number, frame) in one.got)


# --- links that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut_s", [0.3, 1.0, 2.5])
def test_a_link_that_was_cut_both_ways_carries_frames_soon_after_it_heals(kind, cut_s):
    async def test():
        async with pair(kind) as (one, two, links):
            await until(lambda: one.connected() and two.connected())
            await exchange(one, two, b"before")
            for link in links:
                link.blackholed = True
            await asyncio.sleep(cut_s)
            if cut_s > 2.0:
                assert one.counters["silent"] and two.counters["silent"]
                assert not one.connected() and not two.connected()
            for link in links:
                link.blackholed = False
            number = 0

            def both() -> bool:
                nonlocal number
                number += 1  # frames that are sent into a connection that is about to end are lost, and may be
                one.send(1, b"%d" % number), two.send(0, b"%d" % number)
                return len(one.got) > 1 and len(two.got) > 1

            assert await until(both) < 1.0 + SLACK_S
            await until(lambda: one.connected() and two.connected(), 1.0 + SLACK_S)
            await asyncio.sleep(0.5)
            await exchange(one, two, b"after")

    play(test)


def test_a_link_that_loses_a_third_connects_and_delivers_in_order():
    async def test():
        async with pair("quic", loss=0.3) as (one, two, _):
            number = 0

            def some() -> bool:
                nonlocal number
                for _ in range(2):
                    number += one.send(1, number.to_bytes(4, "big") + bytes(1000))
                return len(two.got) >= 200

            await until(some, 25.0)
            numbers = [int.from_bytes(frame[:4], "big") for _, frame in two.got]
            assert numbers == sorted(set(numbers))

    play(test)


def test_a_peer_that_comes_late_is_connected_when_it_comes(kind):
    async def test():
        at = free_addresses(2)
        one, two = Member(kind, 0, at[0], {1: at[1]}), Member(kind, 1, at[1], {0: at[0]})
        async with started(one):
            await until(lambda: one.counters["dialled"] >= 3, 1.2 + SLACK_S)
            assert not one.connected()
            assert kept(one) <= 2 * 8
            async with started(two):
                await until(lambda: one.connected() and two.connected(), 1.0 + SLACK_S)
                await exchange(one, two, b"late")

    play(test)


def test_the_same_process_may_end_one_transport_and_begin_another_on_its_port(kind):
    async def test():
        one, two = full_mesh(kind, 2)
        async with started(one):
            async with started(two):
                await until(lambda: one.connected() and two.connected())
            again = Member(kind, 1, two.transport._listen_on, {0: one.transport.address})
            async with started(again):
                await until(again.connected)
                assert again.send(0, b"again")
                await until(lambda: one.got == [(1, b"again")])
                # What goes into the former connection is lost, until its end is known.
                await until(lambda: one.send(1, b"also") and again.got, 3.0 + SLACK_S)

    play(test)


# --- who gets in, and what the others cost ------------------------------------------------------


def test_a_member_id_with_a_wrong_signature_gets_nothing_read(kind):
    async def test():
        at = free_addresses(3)
        one, thief = Member(kind, 0, at[0], {1: at[1]}), Member(kind, 3, at[2], {})
        async with started(one, thief):
            raw = await raw_dial(thief, one, number=0)
            raw.connection.write(IDS[1] + bytes(64) + b"\0\0\0\5frame")
            await until(lambda: raw.ended)
            assert one.got == [] and one.counters["bad-proof"] == 1
            assert not one.transport._acceptor._peers

    play(test)


def test_a_node_lives_on_when_a_member_breaks_the_protocol(kind):
    async def test():
        at = free_addresses(4)
        one = Member(kind, 0, at[0], {1: at[1], 2: at[2]}, **PATIENT)
        two, hand = Member(kind, 1, at[1], {0: at[0]}, **PATIENT), Member(kind, 3, at[3], {})
        async with started(one, two, hand):
            await until(lambda: one.link(1).connected and two.connected())
            for _ in range(20):
                raw = await raw_dial(hand, one, number=0)
                raw.connection.write(proof_for(2, raw.got) + b"\0\1\0\1" + bytes(70_000))
                await until(lambda: raw.ended)  # noqa: B023
            assert one.counters["oversized"] == 20
            await exchange(one, two, b"unharmed")
            assert one.counters["connected"] == two.counters["connected"] == 1

    play(test)


def test_strangers_without_number_hinder_no_member_that_is_connected_and_are_all_forgotten(kind):
    async def test():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1], 2: at[2]}, proof_timeout_ns=SECOND, **PATIENT)
        two, late = Member(kind, 1, at[1], {0: at[0]}, **PATIENT), Member(kind, 2, at[2], {0: at[0]})
        async with started(one, two):
            await until(lambda: one.link(1).connected and two.connected())
            await asyncio.sleep(0.1)
            async with silent_strangers(kind, STRANGERS, one.transport.address):
                for number in range(20):
                    await exchange(one, two, b"%d" % number)
                assert len(one.transport._acceptor._strangers) <= one.transport._config.strangers_max
                assert one.counters["crowded"] > 0
                async with started(late):
                    await until(late.connected, 1.0 + 0.5 + SLACK_S)
                    await until(lambda: one.counters["proof-timeout"] >= 64)
                    await until(lambda: not one.transport._acceptor._strangers)
            assert one.counters["connected"] <= 2 and two.counters["connected"] == 1
            await exchange(one, two, b"unharmed")

    play(test)


def test_garbage_is_garbage_to_every_connection_there_is(kind):
    async def test():
        one, two = full_mesh(kind, 2, **PATIENT)
        choose = random.Random(3)
        async with started(one, two):
            await until(lambda: one.connected() and two.connected())
            host, _, port = one.transport.address.rpartition(":")
            to = (host, int(port))
            with socket.socket(socket.AF_INET, KINDS[kind][1]) as sender:
                sender.connect(to)
                if kind == "tcp":
                    sender.send(choose.randbytes(100_000))
                else:  # to ids that are known, and with the beginnings of packets of all kinds
                    ids = list(one.transport._listener._ends)
                    for number in range(1000):
                        first = choose.choice([0x40, 0x41, 0xC0, 0xD0, 0xE0, 0xF0, 0xC3])
                        version = b"" if first < 0x80 else choose.choice([b"\0\0\0\1", bytes(4), b"\x6b\x33\x43\xcf"])
                        length = b"" if first < 0x80 else b"\x08"
                        data = bytes([first]) + version + length + choose.choice(ids) + choose.randbytes(1200)
                        sender.send(data[: choose.choice([9, 20, 50, 1200])])
                        if number % 50 == 0:
                            await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            await exchange(one, two, b"unharmed")
            assert one.counters["connected"] == two.counters["connected"] == 1 and one.counters["broken"] == 0

    play(test)


# --- what is left -------------------------------------------------------------------------------


def test_connections_that_have_ended_are_forgotten(kind):
    async def test():
        at = free_addresses(3)
        one = Member(kind, 0, at[0], {1: at[1]}, proof_timeout_ns=SECOND, **PATIENT)
        two, hand = Member(kind, 1, at[1], {0: at[0]}, **PATIENT), Member(kind, 3, at[2], {})
        async with started(one, two, hand):
            await until(lambda: one.connected() and two.connected())
            await asyncio.sleep(0.5)  # connection ids are still being given out, and other attempts ended
            usual = kept(one)
            for number in range(30):
                raw = await raw_dial(hand, one, number=0)
                if number % 3 == 0:  # refused
                    raw.connection.write(proof_for(3, raw.got))
                    await until(lambda: raw.ended)  # noqa: B023
                elif number % 3 == 1:  # leaves in the middle
                    raw.connection.close()
            async with silent_strangers(kind, 30, one.transport.address):
                await until(lambda: kept(one) > usual)
            assert one.counters["stranger"] == 10
            await until(lambda: kept(one) <= usual, 1.0 + SLACK_S)
            for _ in range(10):  # what is dialled anew leaves nothing of what there was
                former = one.counters["accepted"]
                one.transport._acceptor._peers[IDS[1]][-1].connection.close()
                await until(lambda: one.counters["accepted"] > former)  # noqa: B023
            await until(lambda: one.connected() and two.connected())
            await until(lambda: kept(one) <= usual, 1.0 + SLACK_S)

    play(test)


@pytest.mark.parametrize("stop_ms", [0, 1, 3, 6, 10, 15, 25, 60, 120])
def test_a_transport_can_be_stopped_at_any_moment(kind, stop_ms):
    async def test():
        one, two = full_mesh(kind, 2)
        host, _, port = one.transport._listen_on.rpartition(":")
        files = open_files()
        async with started(one, two):
            await asyncio.sleep(stop_ms / 1000)
            await one.transport.stop(0.0)
            assert kept(one) == 0
        assert open_files() == files  # and not a turn of the loop later
        with socket.socket(socket.AF_INET, KINDS[kind][1]) as other:
            if kind == "tcp":
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((host, int(port)))

    play(test)


def test_whoever_comes_while_a_transport_stops_is_forgotten_too(kind):
    async def test():
        for turns in range(40):
            one, two = full_mesh(kind, 2)
            async with started(one, two):
                for _ in range(turns):
                    await asyncio.sleep(0)
                await one.transport.stop(0.0)
                assert kept(one) == 0, turns

    play(test)


def test_a_transport_that_was_never_started_or_could_not_start_stops_too(kind):
    async def test():
        one = Member(kind, 0, f"{HOST}:0", {1: f"{HOST}:1"})
        await one.transport.stop()
        async with started(Member(kind, 1, f"{HOST}:0", {})) as _:
            pass

    play(test)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 60 + ".b"])
def test_a_host_whose_name_no_name_server_could_be_asked_for_is_refused_at_once(kind, host):
    with pytest.raises(ConfigError, match=r"listen: .*no host has such a name"):
        Member(kind, 0, f"{host}:1", {})
    with pytest.raises(ConfigError, match=r"peers: .*no host has such a name"):
        Member(kind, 0, f"{HOST}:0", {1: f"{host}:1"})


@pytest.mark.parametrize("address", ["host:1", "a.host.:1", "[::1]:1", "[fe80::1%eth0]:1", "m\xfcnchen.example:1"])
def test_an_address_may_be_a_name_or_a_number(address):
    host, port = split_address(address)
    assert (host, port) == (address.rpartition(":")[0].strip("[]"), 1)


def test_twenty_lives_leave_nothing(kind):
    async def test():
        at, files = free_addresses(3), open_files()
        for life in range(20):
            one = Member(kind, 0, at[0], {1: at[1], 2: at[2]}, **PATIENT)
            two = Member(kind, 1, at[1], {0: at[0]}, **PATIENT)
            async with started(one, two):
                await until(lambda: one.link(1).connected and two.connected())  # noqa: B023
                assert one.send(1, b"%d" % life)
                if life % 2:
                    await one.transport.stop(10.0)
                    assert two.got == [(0, b"%d" % life)]
            assert (kept(one), kept(two), open_files()) == (0, 0, files)

    play(test)
