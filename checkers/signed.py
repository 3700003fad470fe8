"""What is signed, from its recorded bytes: vote statements, certificates, commit headers and proofs of forks.

Whoever judges must not ask who is judged, so the layouts stand here once more, as `checkers.history` has them, and
are verified with the standard library and PyNaCl alone.  Definitions: spec/byzantine.md, "Commits" and "Certificates".

A certificate is good if its statement has the domain, network and epoch of the header and the id of the commit that
it was given for, and if `size` distinct members have signed exactly those 144 bytes.  A proof is good if it is two
different headers of one author for one slot of this network, in any order, each with its author's signature.

What is not so has a reason, one word; nothing here raises for what was recorded, whatever it is.  A signature is
verified once, however many nodes tell of it: n nodes keep each of n - f votes.  Complexity: O(1) a signature.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any, NamedTuple

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import CryptoError

from checkers.history import Header

VOTE_DOMAIN = b"knhk.vote.v1".ljust(16, b"\0")
COMMIT_DOMAIN = b"knhk.commit.v1".ljust(16, b"\0")

_STATEMENT = struct.Struct(">16s32sQ32s16sQ32s")
_COMMIT = struct.Struct(">16s32s32s16sQ32s32s32sQ")
_AGENT_BYTES = 32

Slot = tuple[str, str, int]
"""(author, incarnation, seq), the first two in hex."""


class Statement(NamedTuple):
    """What a vote says: in this network and epoch, `id` has this slot.  Bytes as hex, but `network` raw."""

    network: bytes
    epoch: int
    slot: Slot
    id: str


class Certificate(NamedTuple):
    """A recorded certificate as far as it can be read.

    `statement` is None unless it is one of the header's network and epoch; `signers` are the members whose votes for it
    verify, by number; `problem` is None for a good certificate, else one of malformed, network, epoch, id,
    signer-twice, not-a-member, too-few, signature.
    """

    statement: Statement | None
    signers: frozenset[int]
    problem: str | None


def network_id(name: str) -> bytes:
    """The 32 bytes that stand for the mesh called `name`."""
    return blake2b(name.encode(), digest_size=32, person=b"knhk.network").digest()


def commit_id(header: bytes) -> bytes:
    """The id of the commit with this header."""
    return blake2b(header, digest_size=32, person=b"knhk.commit").digest()


def from_hex(text: Any, *, count: int | None = None) -> bytes | None:
    """The bytes that `text` spells, or None: no text, no hex, or not `count` of them."""
    if not isinstance(text, str):
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if count is None or len(found) == count else None


def verifies(agent: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is Ed25519 of `message` by the key `agent`; False for keys and signatures of no length."""
    if len(agent) != _AGENT_BYTES or len(signature) != crypto_sign_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, agent)
    except (CryptoError, ValueError):
        return False
    return True


def read_statement(text: Any) -> Statement | None:
    """The statement in hex, or None if it is none: length or domain."""
    data = from_hex(text, count=_STATEMENT.size)
    if data is None:
        return None
    domain, network, epoch, author, incarnation, seq, commit = _STATEMENT.unpack(data)
    if domain != VOTE_DOMAIN:
        return None
    return Statement(network, epoch, (author.hex(), incarnation.hex(), seq), commit.hex())


class Certificates:
    """Verifies certificates under one header, whose `quorum` must be there."""

    def __init__(self, header: Header) -> None:
        assert header.quorum is not None
        self._epoch = header.quorum.epoch
        self._network = network_id(header.quorum.network)
        self._members = {entry.agent: entry.index for entry in header.nodes}
        self._size = header.quorum.size
        self._votes: dict[tuple[str, str, str], bool] = {}

    def read(self, recorded: Any, commit: Any) -> Certificate:
        """The certificate in `recorded`, {statement, votes}, which was given for `commit` (hex)."""
        votes = _votes(recorded)
        statement = read_statement(recorded.get("statement")) if isinstance(recorded, dict) else None
        if statement is None:
            return Certificate(None, frozenset(), "malformed")
        if statement.network != self._network:
            return Certificate(None, frozenset(), "network")
        if statement.epoch != self._epoch:
            return Certificate(None, frozenset(), "epoch")
        if votes is None:
            return Certificate(statement, frozenset(), "malformed")
        signed = recorded["statement"].lower()
        good = [
            voter for voter, signature in votes if voter in self._members and self._signed(signed, voter, signature)
        ]
        signers = frozenset(self._members[voter] for voter in good)
        return Certificate(statement, signers, self._problem(statement, commit, votes, good))

    def _problem(self, statement: Statement, commit: Any, votes: list[tuple[str, str]], good: list[str]) -> str | None:
        voters = [voter for voter, _ in votes]
        if not isinstance(commit, str) or statement.id != commit.lower():
            return "id"
        if len(set(voters)) < len(voters):
            return "signer-twice"
        if any(voter not in self._members for voter in voters):
            return "not-a-member"
        if len(voters) < self._size:
            return "too-few"
        return "signature" if len(good) < len(voters) else None

    def _signed(self, statement: str, voter: str, signature: str) -> bool:
        key = (statement, voter, signature)
        known = self._votes.get(key)
        if known is None:
            parts = map(bytes.fromhex, (voter, statement, signature))
            known = self._votes[key] = verifies(*parts)
        return known


def _votes(recorded: Any) -> list[tuple[str, str]] | None:
    """(voter, signature) in lower-case hex of each vote, or None if they are not such."""
    votes = recorded.get("votes") if isinstance(recorded, dict) else None
    if not isinstance(votes, list | tuple):
        return None
    found = []
    for vote in votes:
        if not isinstance(vote, list | tuple) or len(vote) != 2:
            return None
        voter, signature = from_hex(vote[0]), from_hex(vote[1])
        if voter is None or signature is None:
            return None
        found.append((voter.hex(), signature.hex()))
    return found


def proof_problem(proof: Any, agent: Any, *, network: bytes | None) -> str | None:
    """Why `proof` does not prove that `agent` (hex) has forked; None if it does.

    One of malformed, network, slot (not one slot of one author), same (one commit), author (another's),
    signature.  `network` is not compared where it is None; the two headers' must be one.
    """
    names = ("first", "first_signature", "second", "second_signature")
    parts = [from_hex(proof.get(name)) if isinstance(proof, dict) else None for name in names]
    first, first_signature, second, second_signature = parts
    if first is None or first_signature is None or second is None or second_signature is None:
        return "malformed"
    if len(first) != _COMMIT.size or len(second) != _COMMIT.size:
        return "malformed"
    one, other = _COMMIT.unpack(first), _COMMIT.unpack(second)
    if one[0] != COMMIT_DOMAIN or other[0] != COMMIT_DOMAIN:
        return "malformed"
    if one[1] != other[1] or (network is not None and one[1] != network):
        return "network"
    if one[2:5] != other[2:5]:
        return "slot"
    if first == second:
        return "same"
    if not isinstance(agent, str) or one[2].hex() != agent.lower():
        return "author"
    signed = verifies(one[2], first, first_signature) and verifies(one[2], second, second_signature)
    return None if signed else "signature"
