"""The protocol on a connection, without any: both ends, whatever arrives and however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.errors import ConfigError
from knhk_mesh.identity import Signer
from knhk_mesh.transport import MILLISECOND, TransportConfig
from knhk_mesh.transport.certificate import is_certificate_of, make_certificate
from knhk_mesh.transport.channel import (
    ACKNOWLEDGE_BYTES,
    ACKNOWLEDGE_INTERVAL_NS,
    HELLO_BYTES,
    MAGIC,
    PING,
    PINGS_MAX,
    PROOF_BYTES,
    AcceptorChannel,
    DiallerChannel,
    proof_message,
)

ME, PEER, OTHER = (Signer(bytes([number]) * 32) for number in (1, 2, 3))
NONCE = bytes(range(32))
SMALL = TransportConfig(frame_bytes_max=1000, window_bytes=4000, queue_bytes_max=4000)


def dialler(signer: Signer = ME, *, peer: Signer = PEER, network: str = "net", config=SMALL) -> DiallerChannel:
    return DiallerChannel(signer, network=network, peer=peer.agent_id, config=config)


def acceptor(nonce: bytes = NONCE, *, network: str = "net", config=SMALL, members=(ME,)) -> AcceptorChannel:
    ids = frozenset(member.agent_id for member in members)
    return AcceptorChannel(PEER.agent_id, network=network, nonce=nonce, members=ids, config=config)


def connected(config=SMALL) -> tuple[DiallerChannel, AcceptorChannel]:
    one, two = dialler(config=config), acceptor(config=config)
    assert two.receive(0, one.receive(0, two.hello)) == []
    assert one.receive(0, two.acknowledgement(0)) == b""
    assert one.connected and two.peer == ME.agent_id
    return one, two


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(at)]


# --- who is there -------------------------------------------------------------------------------


def test_the_proof_is_a_signature_over_both_ends_the_nonce_and_the_network():
    proof = dialler().receive(0, acceptor().hello)
    assert len(proof) == PROOF_BYTES and proof[:32] == ME.agent_id
    assert proof[32:] == ME.sign(proof_message("net", PEER.agent_id, ME.agent_id, NONCE))


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (lambda hello: dialler(OTHER).receive(0, hello), "stranger"),
        (lambda hello: dialler(network="another").receive(0, hello), "bad-proof"),
        (lambda hello: dialler(peer=OTHER).receive(0, hello), "bad-proof"),
        (lambda hello: dialler().receive(0, MAGIC + bytes(32)), "bad-proof"),
        (lambda hello: ME.agent_id + bytes(64), "bad-proof"),
        (lambda hello: ME.agent_id + dialler(OTHER).receive(0, hello)[32:], "bad-proof"),
    ],
    ids=["not a member", "another network", "another acceptor", "another connection", "no signature", "not its own"],
)
def test_a_proof_that_does_not_hold_is_refused_and_no_frame_is_read(proof, reason):
    two = acceptor()
    assert two.receive(0, proof(two.hello) + frame(b"too soon")) == []
    assert (two.failed, two.peer, two.acknowledgement(0)) == (reason, None, b"")
    assert two.receive(0, dialler().receive(0, two.hello) + frame(b"again")) == []


def test_the_dialler_is_connected_by_the_first_acknowledgement_and_not_before():
    one, two = dialler(), acceptor()
    proof = one.receive(0, two.hello)
    assert not one.connected and one.queue(b"frame") == "unconnected" and one.ping(0) == b""
    two.receive(0, proof)
    assert two.acknowledgement(0) == bytes(8)
    one.receive(0, bytes(8))
    assert one.connected and one.queue(b"frame") is None


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 300)))
def test_a_dialler_that_hears_garbage_closes(garbage, places):
    one = dialler()
    out = b"".join(one.receive(0, chunk) for chunk in cut(garbage, places))
    assert one.connected is False or garbage.startswith(MAGIC)
    if not garbage.startswith(MAGIC[: len(garbage)]):
        assert one.failed == "bad-magic" and out == b""


@given(st.binary(max_size=400), st.lists(st.integers(0, 500)))
def test_an_acceptor_that_hears_garbage_reads_no_frame(garbage, places):
    two = acceptor()
    assert [two.receive(0, chunk) for chunk in cut(garbage, places)] == [[] for _ in cut(garbage, places)]
    assert two.peer is None and (two.failed == "stranger") == (len(garbage) >= PROOF_BYTES)


# --- frames -------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=1000), max_size=12), st.lists(st.integers(0, 20_000), max_size=20))
def test_frames_arrive_whole_and_in_order_however_they_are_cut(frames, places):
    two = acceptor()
    proof = dialler().receive(0, two.hello)
    stream = proof + b"".join(map(frame, frames))
    got = [one for chunk in cut(stream, places) for one in two.receive(0, chunk)]
    assert got == [one for one in frames if one]
    assert two.failed is None


@given(
    st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(1001, 2**32 - 1), st.lists(st.integers(0, 200))
)
def test_a_frame_that_is_too_long_fails_after_those_before_it(frames, length, places):
    _, two = connected()
    stream = b"".join(map(frame, frames)) + length.to_bytes(4, "big") + b"beginning" + frame(b"after")
    got = [one for chunk in cut(stream, places) for one in two.receive(0, chunk)]
    assert got == frames and two.failed == "oversized"


@given(st.binary(max_size=5000), st.lists(st.integers(0, 6000)))
def test_what_a_member_sends_is_frames_or_fails_alike_however_it_is_cut(garbage, places):
    _, whole = connected()
    _, pieces = connected()
    want = whole.receive(0, garbage)
    assert [one for chunk in cut(garbage, places) for one in pieces.receive(0, chunk)] == want
    assert pieces.failed == whole.failed


@pytest.mark.parametrize("size", [0, 1001])
def test_an_empty_or_too_long_frame_is_not_queued(size):
    one, _ = connected()
    assert one.queue(bytes(size)) == "unsendable" and one.take() == b""


# --- flow control -------------------------------------------------------------------------------


def test_no_more_than_the_window_is_given_and_no_more_than_the_queue_waits():
    one, two = connected()
    for _ in range(4):
        assert one.queue(bytes(900)) is None
    given_ = one.take()
    assert len(given_) == 4 * 904
    for _ in range(4):
        assert one.queue(bytes(900)) is None
    assert one.take() == b"" and one.queued_bytes == 4 * 904 and one.queue(bytes(900)) == "full"
    assert len(two.receive(0, given_ + one.ping(0))) == 4
    one.receive(0, two.acknowledgement(0))
    assert len(one.take()) == 4 * 904 and one.queued == 0 and one.sent == 8


def test_idle_means_that_all_is_acknowledged():
    one, two = connected()
    assert one.idle
    one.queue(b"frame")
    assert not one.idle
    two.receive(0, one.take())
    assert not one.idle
    two.receive(0, one.ping(0))
    one.receive(0, two.acknowledgement(0))
    assert one.idle


def test_it_acknowledges_at_once_a_ping_and_else_by_bytes_or_by_time():
    big = TransportConfig()
    _, two = connected(big)
    two.receive(1, frame(bytes(100)))
    assert two.acknowledgement(1) == b""
    two.receive(2, PING)
    assert two.acknowledgement(2) == (108).to_bytes(8, "big") and two.acknowledgement(2) == b""
    two.receive(3, frame(bytes(ACKNOWLEDGE_BYTES - 4)))
    assert two.acknowledgement(3) == (108 + ACKNOWLEDGE_BYTES).to_bytes(8, "big")
    two.receive(4, b"\0\0\0\2x")  # half a frame, on a slow link
    assert two.acknowledgement(4) == b""
    assert two.acknowledgement(3 + ACKNOWLEDGE_INTERVAL_NS) == (113 + ACKNOWLEDGE_BYTES).to_bytes(8, "big")


def test_the_round_trip_is_from_a_ping_to_its_acknowledgement():
    one, two = connected()
    two.receive(0, one.ping(10 * MILLISECOND))
    one.receive(17 * MILLISECOND, two.acknowledgement(0))
    assert one.round_trip_ns == 7 * MILLISECOND and one.heard_at == 17 * MILLISECOND


def test_pings_that_never_come_back_are_bounded():
    one, _ = connected()
    assert sum(len(one.ping(now)) for now in range(1000)) == PINGS_MAX * len(PING)


@pytest.mark.parametrize("total", [1, 2**64 - 1])
def test_an_acknowledgement_of_what_was_not_sent_fails(total):
    one, _ = connected()
    one.receive(0, total.to_bytes(8, "big"))
    assert one.failed == "bad-total"


def test_an_acknowledgement_that_goes_back_fails():
    one, two = connected()
    two.receive(0, one.ping(0))
    one.receive(0, two.acknowledgement(0) + bytes(8))
    assert one.failed == "bad-total" and one.receive(0, bytes(8)) == b""


@given(st.data())
def test_any_run_loses_nothing_keeps_the_order_and_ends_idle(data):
    one, two = connected()
    queued: list[bytes] = []
    got: list[bytes] = []
    wire, back = b"", b""
    for step in range(data.draw(st.integers(0, 40))):
        kind = data.draw(st.sampled_from(["queue", "ping", "deliver", "acknowledge"]))
        if kind == "queue":
            one_frame = step.to_bytes(2, "big") * data.draw(st.integers(1, 400))
            if one.queue(one_frame) is None:
                queued.append(one_frame)
            wire += one.take()
        elif kind == "ping":
            wire += one.take() + one.ping(step)
        elif kind == "deliver":
            size = data.draw(st.integers(0, len(wire)))
            got += two.receive(step, wire[:size])
            wire, back = wire[size:], back + two.acknowledgement(step)
        else:
            size = data.draw(st.integers(0, len(back)))
            one.receive(step, back[:size])
            back = back[size:]
        assert one.queued_bytes <= SMALL.queue_bytes_max
        assert len(wire) <= SMALL.window_bytes + PINGS_MAX * len(PING)
    while not one.idle:
        wire += one.take() + one.ping(100)
        got += two.receive(100, wire)
        wire, back = b"", back + two.acknowledgement(100)
        one.receive(100, back)
        back = b""
    assert got == queued and one.sent == len(queued) and (one.failed, two.failed) == (None, None)


# --- certificate and limits ---------------------------------------------------------------------


def test_the_certificate_is_the_same_in_every_life_and_names_its_key_alone():
    first, _ = make_certificate(bytes([1]) * 32)
    again, _ = make_certificate(bytes([1]) * 32)
    assert first == again
    assert is_certificate_of(ME.agent_id, first)
    assert not is_certificate_of(PEER.agent_id, first) and not is_certificate_of(ME.agent_id, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts_max": 0},
        {"window_bytes": 1000},
        {"queue_bytes_max": 1003},
        {"silence_timeout_ns": 250 * MILLISECOND},
        {"backoff_max_ns": MILLISECOND},
        {"datagram_bytes_max": 1199},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_limits_that_cannot_work_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TransportConfig(**({"frame_bytes_max": 1000} | wrong))


def test_the_sizes_on_the_wire():
    assert (HELLO_BYTES, PROOF_BYTES) == (40, 96)
