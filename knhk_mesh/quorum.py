"""Who the members are, what a member's vote says, and what a certificate proves: bytes and pure functions.

Everything here must convince somebody who was not there, with the standard library and PyNaCl, so layouts are fixed,
integers are big-endian, and each kind of statement begins with a domain of its own.

    roster      domain b"knhk.roster.v1" and zeros (16), network (32), epoch (8), f (4), n (4),
                the members' ids, ascending (32 n)
    statement   domain b"knhk.vote.v1" and zeros (16), network (32), epoch (8),
                slot: author (32), incarnation (16), seq (8), and the id of the commit (32)
    vote        Ed25519(member, statement)
    certificate one statement, and the votes for it of q = n - f distinct members of that epoch's roster

A *roster* is signed by an authority whom the members were told to trust: the configuration says who they are, and the
signature that they are so for all (spec-defects 6).  The epoch is in every statement, so that no vote counts under
another roster; nothing here assumes that the first one stays.

Two certificates for one slot share at least 2q - n signers, who then have voted twice, and can be named.  With at most
f = (n - 1) // 3 faulty, 2q - n > f: one of those would be correct, and correct members vote once (spec/byzantine.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from knhk_mesh.commits import Commit, Slot, Verify
from knhk_mesh.errors import BadCertificate, ConfigError
from knhk_mesh.identity import AGENT_ID_BYTES, SIGNATURE_BYTES, AgentId, Signer, verify

ROSTER_DOMAIN = b"knhk.roster.v1\0\0"
VOTE_DOMAIN = b"knhk.vote.v1\0\0\0\0"

_ROSTER = struct.Struct(">16s32sQII")
_STATEMENT = struct.Struct(">16s32sQ32s16sQ32s")
STATEMENT_BYTES = _STATEMENT.size


class Roster(msgspec.Struct, frozen=True):
    """The members of one epoch.  `members` ascend; `network` has 32 bytes; `signature` is the authority's."""

    network: bytes
    epoch: int
    faulty: int
    members: tuple[AgentId, ...]
    authority: AgentId
    signature: bytes

    @property
    def quorum_size(self) -> int:
        """q = n - f, self among the n (spec-defects 4 and 5)."""
        return len(self.members) - self.faulty


class Statement(NamedTuple):
    """What a vote says: under this epoch's roster, `id` is the one commit of this slot."""

    epoch: int
    author: AgentId
    incarnation: bytes
    seq: int
    id: bytes

    @property
    def slot(self) -> Slot:
        """(author, incarnation, seq)."""
        return (self.author, self.incarnation, self.seq)


class Vote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member's signature of a statement's bytes; who the member is, whoever counts it knows."""

    statement: bytes
    signature: bytes


class Certificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A statement's bytes and (voter, signature) of each vote, by ascending voter."""

    statement: bytes
    votes: tuple[tuple[bytes, bytes], ...]


def roster_bytes(network: bytes, epoch: int, faulty: int, members: Sequence[AgentId]) -> bytes:
    """What the authority signs."""
    return _ROSTER.pack(ROSTER_DOMAIN, network, epoch, faulty, len(members)) + b"".join(sorted(members))


def sign_roster(authority: Signer, *, network: bytes, epoch: int, faulty: int, members: Sequence[AgentId]) -> Roster:
    """The roster of `members`, in any order.  Raises ConfigError where quorums would not intersect."""
    unsigned = Roster(network, epoch, faulty, tuple(sorted(members)), authority.agent_id, b"")
    _check_shape(unsigned)
    return msgspec.structs.replace(unsigned, signature=authority.sign(roster_bytes(network, epoch, faulty, members)))


def check_roster(roster: Roster) -> None:
    """Raise ConfigError unless the roster is well-formed, its quorums intersect, and its authority has signed it."""
    _check_shape(roster)
    signed = roster_bytes(roster.network, roster.epoch, roster.faulty, roster.members)
    if not verify(roster.authority, signed, roster.signature):
        raise ConfigError("roster: the signature is not its authority's over these members, f and epoch")


def _check_shape(roster: Roster) -> None:
    members = roster.members
    if len(roster.network) != 32:
        raise ConfigError("roster: network has 32 bytes")
    if any(a >= b for a, b in pairwise(members)) or any(len(one) != AGENT_ID_BYTES for one in members):
        raise ConfigError("roster: members are ids of 32 bytes, each once, in ascending order")
    if not 0 <= roster.faulty <= (len(members) - 1) // 3:
        raise ConfigError(f"roster: faulty is at most (n - 1) // 3, n is {len(members)}")
    assert 2 * roster.quorum_size - len(members) > roster.faulty
    if not 0 <= roster.epoch < 1 << 64:
        raise ConfigError("roster: epoch is in 0 .. 2^64 - 1")


def statement_of(network: bytes, epoch: int, commit: Commit) -> bytes:
    """The 144 bytes that a vote for `commit` signs."""
    return _STATEMENT.pack(VOTE_DOMAIN, network, epoch, commit.author, commit.incarnation, commit.seq, commit.id)


def read_statement(network: bytes, data: bytes) -> Statement:
    """The statement in these bytes.  Raises BadCertificate: layout, network."""
    if len(data) != STATEMENT_BYTES:
        raise BadCertificate("layout", f"a statement has {STATEMENT_BYTES} bytes")
    domain, found, epoch, author, incarnation, seq, commit = _STATEMENT.unpack(data)
    if domain != VOTE_DOMAIN or found != network:
        raise BadCertificate("network", "another domain or another mesh")
    return Statement(epoch, author, incarnation, seq, commit)


def check_vote(roster: Roster, voter: AgentId, vote: Vote, verify: Verify = verify) -> Statement:
    """What `voter` says.  Raises BadCertificate: layout, network, epoch, member, signature."""
    statement = read_statement(roster.network, vote.statement)
    if statement.epoch != roster.epoch:
        raise BadCertificate("epoch", f"epoch {statement.epoch}, the roster's is {roster.epoch}")
    if voter not in roster.members:
        raise BadCertificate("member", "the voter is no member")
    if not verify(voter, vote.statement, vote.signature):
        raise BadCertificate("signature")
    return statement


def check_certificate(roster: Roster, certificate: Certificate, verify: Verify = verify) -> Statement:
    """What a certificate proves.  Raises BadCertificate: layout, network, epoch, member, signature, twice, few.

    A pure function of its arguments, so a simulator may memoise the verification.
    """
    statement = read_statement(roster.network, certificate.statement)
    if any(len(voter) != AGENT_ID_BYTES or len(vote) != SIGNATURE_BYTES for voter, vote in certificate.votes):
        raise BadCertificate("layout", "a voter or a signature has an impossible length")
    if any(a >= b for (a, _), (b, _) in pairwise(certificate.votes)):
        raise BadCertificate("twice", "voters ascend, each once")
    if len(certificate.votes) < roster.quorum_size:
        raise BadCertificate("few", f"{len(certificate.votes)} votes, {roster.quorum_size} make a certificate")
    for voter, signature in certificate.votes:
        check_vote(roster, voter, Vote(certificate.statement, signature), verify)
    return statement


def double_signers(one: Certificate, other: Certificate) -> list[AgentId]:
    """Who signed both, ascending: of two certificates for one slot and different ids, these have voted twice."""
    signers = {voter for voter, _ in other.votes}
    return [voter for voter, _ in one.votes if voter in signers]
