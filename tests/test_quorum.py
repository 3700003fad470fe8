"""Rosters, votes and certificates: what convinces somebody who was not there, and what must not."""

import struct

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knhk_mesh.commits import make_commit, network_id
from knhk_mesh.errors import BadCertificate, ConfigError
from knhk_mesh.quorum import (
    STATEMENT_BYTES,
    Certificate,
    Vote,
    check_certificate,
    check_roster,
    check_vote,
    double_signers,
    read_statement,
    sign_roster,
    statement_of,
)
from tests.commit_graphs import NOW, add, replica, signer

COMMIT = replica("author", 0).write(NOW, [add(1)])
OTHER = replica("author", 1).write(NOW, [add(2)])
NETWORK = network_id("graphs")
AUTHORITY = signer("authority")
MEMBERS = sorted((signer(f"m{number}") for number in range(7)), key=lambda one: one.agent_id)
IDS = [one.agent_id for one in MEMBERS]


def roster_of(count=7, **changes):
    fields = {"network": NETWORK, "epoch": 3, "faulty": (count - 1) // 3, "members": IDS[:count]} | changes
    return sign_roster(AUTHORITY, **fields)


ROSTER = roster_of()


def certificate(*, commit=COMMIT, roster=ROSTER, voters=range(5), statement=None):
    said = statement_of(roster.network, roster.epoch, commit) if statement is None else statement
    return Certificate(said, tuple((IDS[at], MEMBERS[at].sign(said)) for at in voters))


def refused(what, roster=ROSTER):
    with pytest.raises(BadCertificate) as error:
        check_certificate(roster, what)
    return error.value.reason


@pytest.mark.parametrize("n", range(1, 31))
def test_a_quorum_is_all_but_the_faulty_and_two_share_more_than_those(n):
    members = [signer(f"q{number}").agent_id for number in range(n)]
    for faulty in range((n - 1) // 3 + 1):
        made = sign_roster(AUTHORITY, network=NETWORK, epoch=0, faulty=faulty, members=members)
        check_roster(made)
        assert made.quorum_size == n - faulty
        assert 2 * made.quorum_size - n > faulty
    with pytest.raises(ConfigError, match="faulty"):
        sign_roster(AUTHORITY, network=NETWORK, epoch=0, faulty=(n - 1) // 3 + 1, members=members)


def test_a_roster_is_the_same_whatever_order_its_members_were_named_in():
    assert roster_of(members=IDS[::-1]) == ROSTER


@pytest.mark.parametrize(
    "members",
    [[], [*IDS, IDS[0]], [*IDS[:-1], IDS[-1][:31]], [*IDS[:-1], IDS[-1] + b"x"]],
    ids=["nobody", "twice", "short", "long"],
)
def test_a_roster_names_ids_each_once(members):
    with pytest.raises(ConfigError):
        sign_roster(AUTHORITY, network=NETWORK, epoch=0, faulty=0, members=members)


@pytest.mark.parametrize("epoch", [-1, 1 << 64])
def test_a_roster_s_epoch_fits_its_bytes(epoch):
    with pytest.raises(ConfigError, match="epoch"):
        roster_of(epoch=epoch)


@pytest.mark.parametrize(
    "change",
    [
        {"network": network_id("another")},
        {"epoch": 4},
        {"faulty": 1},
        {"members": ROSTER.members[:-1]},
        {"members": tuple(sorted([*ROSTER.members[:-1], signer("foreigner").agent_id]))},
        {"members": ROSTER.members[::-1]},
        {"authority": signer("usurper").agent_id},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
    ids=lambda change: "-".join(change),
)
def test_the_authority_s_signature_covers_all_of_a_roster(change):
    check_roster(ROSTER)
    with pytest.raises(ConfigError):
        check_roster(msgspec.structs.replace(ROSTER, **change))


@pytest.mark.parametrize("network", [NETWORK + b"more", NETWORK[:-1]], ids=["long", "short"])
def test_the_network_of_a_roster_has_32_bytes(network):
    with pytest.raises(ConfigError):
        check_roster(roster_of(network=network))


def test_a_statement_has_the_bytes_that_the_layout_says():
    said = statement_of(NETWORK, 3, COMMIT)
    parts = (b"knhk.vote.v1\0\0\0\0", NETWORK, struct.pack(">Q", 3), COMMIT.author, COMMIT.incarnation)
    assert said == b"".join(parts) + struct.pack(">Q", COMMIT.seq) + COMMIT.id
    assert len(said) == STATEMENT_BYTES == 144
    read = read_statement(NETWORK, said)
    assert (read.epoch, read.slot, read.id) == (3, COMMIT.slot, COMMIT.id)


@pytest.mark.parametrize("voters", [range(5), range(2, 7), range(7), (0, 2, 3, 5, 6)], ids=str)
def test_any_quorum_makes_a_certificate(voters):
    statement = check_certificate(ROSTER, certificate(voters=voters))
    assert (statement.slot, statement.id) == (COMMIT.slot, COMMIT.id)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_one_vote_fewer_than_a_quorum_is_too_few(n):
    small = roster_of(n)
    check_certificate(small, certificate(roster=small, voters=range(small.quorum_size)))
    assert refused(certificate(roster=small, voters=range(small.quorum_size - 1)), small) == "few"


def said(**changes):
    """The statement for COMMIT with one field put otherwise."""
    fields = {
        "domain": b"knhk.vote.v1\0\0\0\0", "network": NETWORK, "epoch": 3, "author": COMMIT.author,
        "incarnation": COMMIT.incarnation, "seq": 0, "id": COMMIT.id,
    } | changes  # fmt: skip
    return struct.pack(">16s32sQ32s16sQ32s", *fields.values())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (certificate(voters=(0, 1, 2, 3, 3)), "twice"),
        (certificate(voters=(0, 0, 1, 2, 3, 4)), "twice"),
        (certificate(voters=(4, 3, 2, 1, 0)), "twice"),
        (certificate(voters=()), "few"),
        (certificate(statement=said(epoch=2)), "epoch"),
        (certificate(statement=said(network=network_id("another"))), "network"),
        (certificate(statement=said(domain=b"knhk.commit.v1\0\0")), "network"),
        (certificate(statement=said() + b"\0"), "layout"),
        (certificate(statement=b""), "layout"),
        (Certificate(certificate(commit=OTHER).statement, certificate().votes), "signature"),
        (Certificate(said(), (*certificate(voters=range(4)).votes, (IDS[4], bytes(64)))), "signature"),
        (Certificate(said(), (*certificate(voters=range(4)).votes, (IDS[4], b""))), "layout"),
        (Certificate(said(), ((b"", bytes(64)), *certificate().votes)), "layout"),
    ],
)
def test_what_proves_nothing_is_named(wrong, reason):
    assert refused(wrong) == reason


@pytest.mark.parametrize("field", ["author", "incarnation", "seq", "id"])
def test_every_field_of_a_statement_is_under_the_votes(field):
    value = {"author": IDS[0], "incarnation": bytes(16), "seq": 1, "id": OTHER.id}[field]
    assert refused(Certificate(said(**{field: value}), certificate().votes)) == "signature"


def test_a_foreigner_s_vote_spoils_a_certificate_though_enough_members_signed():
    foreign, statement = signer("foreigner"), said()
    votes = sorted([*certificate().votes, (foreign.agent_id, foreign.sign(statement))])
    assert refused(Certificate(statement, tuple(votes))) == "member"


def test_a_vote_is_counted_for_whom_signed_it_and_nobody_else():
    vote = Vote(said(), MEMBERS[0].sign(said()))
    assert check_vote(ROSTER, IDS[0], vote).id == COMMIT.id
    for voter, reason in ((IDS[1], "signature"), (signer("foreigner").agent_id, "member")):
        with pytest.raises(BadCertificate) as error:
            check_vote(ROSTER, voter, vote)
        assert error.value.reason == reason


def test_an_author_s_signature_of_its_commit_is_no_vote():
    with pytest.raises(BadCertificate):
        check_vote(ROSTER, COMMIT.author, Vote(COMMIT.wire.header, COMMIT.wire.signature))


ENCODED = msgspec.msgpack.encode(certificate())


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
@example(0, 1)
@example(1, 0xC5 ^ 0xC4)
def test_no_byte_of_a_certificate_can_be_another(place, flip):
    changed = bytearray(ENCODED)
    changed[place] ^= flip
    with pytest.raises((msgspec.MsgspecError, BadCertificate)):
        check_certificate(ROSTER, msgspec.msgpack.decode(bytes(changed), type=Certificate))


@given(st.sets(st.integers(0, 6), min_size=5), st.sets(st.integers(0, 6), min_size=5))
def test_who_signed_two_certificates_of_a_slot_is_named_and_more_than_f_are(one, other):
    rival = make_commit(
        signer("author"), network=NETWORK, incarnation=COMMIT.incarnation, seq=0, prev=bytes(32), deps=[],
        clock=COMMIT.clock + 1,
    )  # fmt: skip
    first, second = (certificate(commit=c, voters=sorted(v)) for c, v in ((COMMIT, one), (rival, other)))
    assert check_certificate(ROSTER, first).slot == check_certificate(ROSTER, second).slot
    named = double_signers(first, second)
    assert named == [IDS[at] for at in sorted(one & other)] and len(named) > ROSTER.faulty
