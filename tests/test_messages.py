"""Frames: one encoding each, limits, and nothing that a stranger sends ends in a crash."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import WIRE_BYTES_MAX, WireCommit
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Instant
from knhk_mesh.errors import BadFrame
from knhk_mesh.messages import (
    CERTIFICATES_MAX,
    FRAME_BYTES_MIN,
    FRONTIER_MAX,
    VOTES_MAX,
    WANTS_MAX,
    Ask,
    Certificates,
    Delta,
    Echo,
    Frontier,
    Probe,
    Propose,
    Pull,
    Push,
    Votes,
    decode_frame,
    encode_frame,
    is_free,
)
from knhk_mesh.node import Node
from knhk_mesh.quorum import Certificate, Vote
from knhk_mesh.requests import ClientOperation, Digest, Write
from tests.commit_graphs import signer

LIMIT = 65536
IDS = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**64 - 1)
PARTS = st.binary(max_size=300)
WIRES = st.builds(WireCommit, PARTS, PARTS, PARTS, PARTS)
NONCES = st.binary(min_size=8, max_size=8)
INCARNATIONS = st.binary(min_size=16, max_size=16)
CERTIFICATES = st.builds(Certificate, PARTS, st.lists(st.tuples(PARTS, PARTS), max_size=4).map(tuple))
FRAMES = st.one_of(
    st.builds(Push, NUMBERS, NUMBERS, IDS),
    st.builds(
        Pull,
        NUMBERS,
        NUMBERS,
        IDS,
        st.integers(0, 5).flatmap(lambda n: st.binary(min_size=48 * n, max_size=48 * n)),
        st.just(b"") | st.binary(min_size=8, max_size=8),
        st.just(b"") | st.binary(min_size=8, max_size=8),
        st.lists(IDS, max_size=4),
        st.booleans(),
    ),
    st.builds(Delta, NUMBERS, NUMBERS, st.lists(WIRES, max_size=4)),
    st.builds(Probe, NUMBERS, NUMBERS, NONCES, INCARNATIONS),
    st.builds(Echo, NUMBERS, NUMBERS, NONCES, st.just(b"") | INCARNATIONS),
    st.builds(Ask, NUMBERS, NUMBERS, NONCES),
    st.builds(Frontier, NUMBERS, NUMBERS, NONCES, st.lists(IDS, max_size=4)),
    st.builds(Propose, NUMBERS, NUMBERS, st.lists(WIRES, max_size=4)),
    st.builds(Votes, NUMBERS, NUMBERS, st.lists(st.builds(Vote, PARTS, PARTS), max_size=4)),
    st.builds(Certificates, NUMBERS, NUMBERS, st.lists(CERTIFICATES, max_size=4)),
)


@given(FRAMES)
def test_decoding_is_the_inverse_of_encoding(frame):
    data = encode_frame(frame)
    assert decode_frame(data, bytes_max=LIMIT) == frame
    assert encode_frame(decode_frame(data, bytes_max=LIMIT)) == data


@given(FRAMES)
def test_what_overtakes_is_told_by_its_first_bytes(frame):
    assert is_free(encode_frame(frame)) == isinstance(frame, Probe | Echo)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (["push", 1, 1, bytes(31)], "layout"),
        (["pull", 1, 1, bytes(32), bytes(47), b"", b"", [], False], "layout"),
        (["pull", 1, 1, bytes(32), b"", b"1", b"", [], False], "layout"),
        (["pull", 1, 1, bytes(32), b"", b"", b"", [bytes(31)], False], "layout"),
        (["pull", 1, 1, bytes(32), b"", b"", b"", [bytes(32)] * (WANTS_MAX + 1), False], "layout"),
        (["probe", 1, 1, bytes(7), bytes(16)], "layout"),
        (["probe", 1, 1, bytes(8), bytes(15)], "layout"),
        (["probe", 1, 1, bytes(8), b""], "layout"),
        (["echo", 1, 1, bytes(9), b""], "layout"),
        (["echo", 1, 1, bytes(8), bytes(17)], "layout"),
        (["ask", 1, 1, b""], "layout"),
        (["frontier", 1, 1, bytes(7), []], "layout"),
        (["frontier", 1, 1, bytes(8), [bytes(31)]], "layout"),
        (["frontier", 1, 1, bytes(8), [bytes(32)] * (FRONTIER_MAX + 1)], "layout"),
        (["votes", 1, 1, [[b"", b""]] * (VOTES_MAX + 1)], "layout"),
        (["certificates", 1, 1, [[b"", []]] * (CERTIFICATES_MAX + 1)], "layout"),
        (["votes", 1, 1, [[b""]]], "garbage"),
        (["push", -1, 1, bytes(32)], "garbage"),
        (["shove", 1, 1, bytes(32)], "garbage"),
        (["push", 1, 1], "garbage"),
        ([], "garbage"),
        (None, "garbage"),
        (["delta", 1, 1, [[b"", b"", b"", bytes(LIMIT)]]], "oversized"),
    ],
)
def test_what_is_no_frame_is_named(frame, reason):
    with pytest.raises(BadFrame) as error:
        decode_frame(msgspec.msgpack.encode(frame), bytes_max=LIMIT)
    assert error.value.reason == reason


def test_every_commit_fits_a_frame_whole():
    assert FRAME_BYTES_MIN > WIRE_BYTES_MAX


@pytest.mark.parametrize(
    "frame",
    [
        Frontier(1, 1, bytes(8), [bytes(32)] * FRONTIER_MAX),
        Votes(1, 1, [Vote(bytes(144), bytes(64))] * VOTES_MAX),
        Pull(1, 1, bytes(32), b"", b"", b"", [bytes(32)] * WANTS_MAX, False),
    ],
    ids=["frontier", "votes", "pull"],
)
def test_the_longest_that_a_correct_member_sends_fits_the_smallest_frame(frame):
    assert decode_frame(encode_frame(frame), bytes_max=FRAME_BYTES_MIN) == frame


class Pair:
    """A node and one peer of it, whose frames we make up."""

    def __init__(self):
        self.peer = signer("peer").agent_id
        config = NodeConfig(network="fuzz", peers=(PeerConfig(self.peer, "peer"),), faulty=0, fanout=1)
        self.node = Node(config, signer("node"), random=random.Random(1))
        self.now = Instant(0, 1_767_225_600_000_000_000)
        self.settle(self.node.start(self.now))

    def settle(self, effects):
        """Complete every Persist at once; returns everything that was let go."""
        out = list(effects)
        for effect in effects:
            if type(effect).__name__ == "Persist":
                out += self.node.persisted(self.now, effect.token)
        return out

    def works(self):
        """Whether the node still takes a write and tells its digest."""
        asked = Write((ClientOperation("o", "gset", "add", 1),))
        replies = [
            effect
            for request in (asked, Digest())
            for effect in self.settle(self.node.submit(self.now, 0, request))
            if type(effect).__name__ == "Reply"
        ]
        return len(replies) == 2


PAIR = Pair()


@given(st.binary(max_size=400) | FRAMES.map(encode_frame), st.booleans())
def test_hostile_bytes_are_counted_and_dropped(data, stranger):
    before = PAIR.node.validator.validated + sum(PAIR.node.validator.rejected.values())
    PAIR.node.registry.update_reputation(PAIR.peer, 1000, now=0)  # a shunned peer would not be listened to
    PAIR.settle(PAIR.node.receive(PAIR.now, signer("stranger").agent_id if stranger else PAIR.peer, data))
    assert PAIR.node.validator.validated + sum(PAIR.node.validator.rejected.values()) > before
    assert len(PAIR.node.replica.log.proofs) == 0


def test_the_node_lives_on_after_hostile_bytes():
    pair = Pair()
    for data in (b"", b"\xc1", bytes(100_000), b"\x94" * 5000, encode_frame(Push(1, 1, bytes(32)))[:-1]):
        pair.settle(pair.node.receive(pair.now, pair.peer, data))
    assert sum(pair.node.validator.rejected.values()) == 5
    assert pair.works()


def test_a_peer_that_only_sends_garbage_is_shunned_and_forgiven():
    pair = Pair()
    for _ in range(20):
        pair.node.receive(pair.now, pair.peer, b"garbage")
    assert pair.node.validator.rejected["shunned"] > 0
    later = Instant(3600 * 10**9, pair.now.wall)
    pair.node.timer(later, "gossip")
    pair.node.receive(later, pair.peer, encode_frame(Push(1, 1, bytes(32))))
    assert pair.node.validator.validated == 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]])
def test_a_sequence_number_is_taken_once_in_any_order(order):
    pair = Pair()
    for sequence in [*order, *order]:
        pair.node.receive(pair.now, pair.peer, encode_frame(Push(5, sequence, bytes(32))))
    assert (pair.node.validator.validated, pair.node.validator.rejected["replay"]) == (4, 4)


def test_a_session_that_was_replaced_is_over():
    pair = Pair()
    for session, sequence in [(5, 0), (6, 0), (5, 1), (6, 1), (6, 2**63), (6, 3)]:
        pair.node.receive(pair.now, pair.peer, encode_frame(Push(session, sequence, bytes(32))))
    assert (pair.node.validator.validated, pair.node.validator.rejected["replay"]) == (4, 2)
