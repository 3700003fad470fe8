"""The protocol on a connection, driven by whoever means ill: what is refused, and what it may cost to refuse it.

What an honest end may count on is in `test_channel_rules.py`.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.identity import Signer
from knhk_mesh.transport import LENGTH_BYTES, TransportConfig
from knhk_mesh.transport.channel import (
    ACKNOWLEDGE_BYTES,
    ACKNOWLEDGE_INTERVAL_NS,
    HELLO_BYTES,
    MAGIC,
    PING,
    PINGS_MAX,
    PROOF_BYTES,
    TOTAL_BYTES,
    AcceptorChannel,
    DiallerChannel,
)

ME, PEER, OTHER = (Signer(bytes([number]) * 32) for number in (1, 2, 3))
NONCE = bytes(range(32))
FULL = TransportConfig()
SMALL = TransportConfig(frame_bytes_max=500, window_bytes=1200, queue_bytes_max=2000)

SIZES = st.one_of(
    st.sampled_from([1, 2, 3, 4, 5, 1024, FULL.frame_bytes_max - 1, FULL.frame_bytes_max]),
    st.integers(1, FULL.frame_bytes_max),
)
PLACES = st.lists(st.integers(0, 2**20), max_size=30)


def acceptor(*, me: Signer = PEER, network: str = "net", nonce: bytes = NONCE, config=SMALL) -> AcceptorChannel:
    members = frozenset([ME.agent_id])
    return AcceptorChannel(me.agent_id, network=network, nonce=nonce, members=members, config=config)


def dialler(config=SMALL) -> DiallerChannel:
    return DiallerChannel(ME, network="net", peer=PEER.agent_id, config=config)


def connected(config=SMALL) -> tuple[DiallerChannel, AcceptorChannel]:
    one, two = dialler(config), acceptor(config=config)
    two.receive(0, one.receive(0, two.hello))
    one.receive(0, two.acknowledgement(0))
    assert one.connected
    return one, two


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(at)]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- frames -------------------------------------------------------------------------------------


@given(st.lists(SIZES, max_size=6), PLACES)
def test_frames_up_to_the_greatest_pass_between_the_two_ends_however_they_are_cut(sizes, places):
    one, two = connected(FULL)
    frames = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    for each in frames:
        assert one.queue(each) is None
    assert [got for chunk in cut(one.take(), places) for got in two.receive(0, chunk)] == frames
    two.receive(0, one.ping(0))
    one.receive(0, two.acknowledgement(0))
    assert one.idle and (one.failed, two.failed) == (None, None)


def test_a_frame_that_comes_byte_by_byte_is_one_frame():
    _, two = connected()
    assert [got for byte in frame(b"slowly") for got in two.receive(0, bytes([byte]))] == [b"slowly"]


# --- who is there -------------------------------------------------------------------------------


@given(st.integers(0, 8 * PROOF_BYTES - 1), st.lists(st.binary(min_size=1, max_size=50), max_size=3), PLACES)
def test_a_proof_with_any_bit_changed_is_refused_and_nothing_after_it_is_read(bit, frames, places):
    two = acceptor()
    stream = flipped(dialler().receive(0, two.hello), bit) + b"".join(map(frame, frames)) + b"\xff" * 8
    assert [got for chunk in cut(stream, places) for got in two.receive(0, chunk)] == []
    assert two.failed == ("stranger" if bit < 8 * len(ME.agent_id) else "bad-proof")
    assert (two.peer, two.total, two.acknowledgement(0)) == (None, 0, b"")


@pytest.mark.parametrize(
    "elsewhere",
    [{"me": OTHER}, {"network": "another"}, {"network": "ne"}, {"nonce": bytes(32)}],
    ids=["another acceptor", "another network", "a shorter name", "another connection"],
)
def test_a_proof_that_held_elsewhere_does_not_hold_here(elsewhere):
    there, here = acceptor(**elsewhere), acceptor()
    proof = DiallerChannel(
        ME,
        network=elsewhere.get("network", "net"),
        peer=elsewhere.get("me", PEER).agent_id,
        config=SMALL,
    ).receive(0, there.hello)
    assert there.receive(0, proof + frame(b"good")) == [b"good"]
    assert here.receive(0, proof + frame(b"replayed")) == [] and here.failed == "bad-proof"


@given(st.integers(0, 8 * HELLO_BYTES - 1), PLACES)
def test_a_greeting_with_any_bit_changed_connects_nobody(bit, places):
    one, two = dialler(), acceptor()
    proof = b"".join(one.receive(0, chunk) for chunk in cut(flipped(two.hello, bit), places))
    if bit < 8 * len(MAGIC):
        assert (one.failed, proof) == ("bad-magic", b"")
    else:
        assert two.receive(0, proof + frame(b"relayed")) == [] and two.failed == "bad-proof"


# --- flow control -------------------------------------------------------------------------------


STEPS = st.sampled_from(["queue", "queue", "take", "take", "pings", "deliver", "acknowledge"])


@given(st.lists(st.tuples(STEPS, st.integers(1, 500) | st.just(500)), min_size=20, max_size=60))
def test_what_is_out_and_what_waits_stay_within_their_bounds(steps):
    one, two = connected()
    wire, frames_out, pings_out, acknowledged = b"", 0, 0, 0
    for now, (step, size) in enumerate(steps):
        if step == "queue":
            fits = one.queued_bytes + LENGTH_BYTES + size <= SMALL.queue_bytes_max
            assert one.queue(bytes(size)) == (None if fits else "full")
        elif step == "take":
            out = one.take()
            assert not out or frames_out + pings_out - acknowledged + len(out) <= SMALL.window_bytes
            wire, frames_out = wire + out, frames_out + len(out)
        elif step == "pings":
            out = b"".join(one.ping(now) for _ in range(size))
            wire, pings_out = wire + out, pings_out + len(out)
        elif step == "deliver":
            two.receive(now, wire[:size])
            wire = wire[size:]
        else:
            total = two.acknowledgement(now)
            one.receive(now, total)
            acknowledged = int.from_bytes(total, "big") if total else acknowledged
        assert one.queued_bytes <= SMALL.queue_bytes_max
        assert frames_out + pings_out - acknowledged <= SMALL.window_bytes + PINGS_MAX * len(PING)
    assert (one.failed, two.failed) == (None, None)


@pytest.mark.parametrize("chunk", [1000, 1024, ACKNOWLEDGE_BYTES, 3 * ACKNOWLEDGE_BYTES])
def test_a_busy_link_is_acknowledged_about_every_64_kib(chunk):
    _, two = connected(FULL)
    stream = frame(bytes(1024)) * 1024
    told = 0
    for number in range(len(stream) // chunk):
        two.receive(1, stream[number * chunk : (number + 1) * chunk])
        told += bool(two.acknowledgement(1))
    assert told == len(stream) // chunk // -(-ACKNOWLEDGE_BYTES // chunk)


def test_a_slow_link_is_acknowledged_at_intervals():
    _, two = connected(FULL)
    told = 0
    for step in range(1, 101):  # ten seconds
        now = step * ACKNOWLEDGE_INTERVAL_NS // 2
        two.receive(now, b"\0\0\0\1x")
        told += bool(two.acknowledgement(now))
    assert told == 50
    assert two.acknowledgement(10**18) == b""  # nothing has come since


@given(
    st.lists(st.integers(1, 500), max_size=2), st.integers(0, 2**64 - 1) | st.integers(0, 1100), st.integers(0, 1100)
)
def test_a_total_is_taken_if_it_is_neither_backward_nor_beyond_what_was_given(sizes, total, before):
    one, _ = connected()
    for size in sizes:
        one.queue(bytes(size))
    given_ = len(one.take())
    before = min(before, given_)
    one.receive(1, before.to_bytes(TOTAL_BYTES, "big"))
    assert one.failed is None
    one.receive(2, total.to_bytes(TOTAL_BYTES, "big") + given_.to_bytes(TOTAL_BYTES, "big"))
    assert (one.failed is None) == (before <= total <= given_)
    assert one.heard_at == (1 if total < before or total > given_ else 2)


# --- garbage ------------------------------------------------------------------------------------


@given(st.booleans(), st.binary(max_size=3000), PLACES)
def test_a_dialler_fails_or_goes_on_whatever_it_hears_and_holds_less_than_a_word_of_it(greeted, garbage, places):
    one = dialler()
    if greeted:
        one.receive(0, acceptor().hello)
    for chunk in cut(garbage, places):
        one.receive(0, chunk)
        one.ping(0)
        assert one.failed in (None, "bad-magic", "bad-total")
        assert one.failed == "bad-magic" or len(one._buffer) < (TOTAL_BYTES if one._greeted else HELLO_BYTES)
        assert len(one._pings) <= PINGS_MAX


@given(st.booleans(), st.lists(st.binary(max_size=700) | st.binary(max_size=200).map(frame), max_size=30), PLACES)
def test_an_acceptor_fails_or_goes_on_whatever_it_hears_and_holds_less_than_a_frame(proven, pieces, places):
    two = acceptor()
    if proven:
        two.receive(0, dialler().receive(0, two.hello))
    heard = 0
    for chunk in cut(b"".join(pieces), places):
        heard += len(chunk) if two.failed is None else 0
        frames = two.receive(0, chunk)
        assert len(two.acknowledgement(0)) in (0, TOTAL_BYTES)
        assert all(0 < len(each) <= SMALL.frame_bytes_max for each in frames) and (proven or not frames)
        if two.failed is None:
            assert len(two._buffer) < (LENGTH_BYTES + SMALL.frame_bytes_max if proven else PROOF_BYTES)
        else:
            assert two.failed == ("oversized" if proven else "stranger")
            assert two.receive(0, bytes(10**6)) == [] and len(two._buffer) <= heard
