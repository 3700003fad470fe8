"""The signed commit: its bytes, how it is made, and how it is opened by somebody who trusts nobody.

A commit travels as four byte strings.  The header alone is signed; everything else hangs on it by hash, so a
verifier needs the standard library and PyNaCl (or any Ed25519) and no codec.  Integers are big-endian.

    offset size  header field
         0   16  domain         b"knhk.commit.v1\\0\\0": a commit can be read as nothing else
        16   32  network        which mesh it is for
        48   32  author         the agent id, which is the Ed25519 public key
        80   16  incarnation    random, new whenever the author has lost its disk
        96    8  seq            0, 1, 2, ... within (author, incarnation)
       104   32  prev           id of the commit before it in its slot chain; zeros where seq is 0
       136   32  dependencies   H("deps", the ids in `deps`)
       168   32  body           H("body", `body`)
       200    8  clock          hybrid logical clock: 48 bits of milliseconds since 1970, 16 bits of counter

    id        = H("commit", header)            H: BLAKE2b-256, the name is its personalisation
    signature = Ed25519(author, header)
    deps      = dependency ids, strictly ascending, 32 bytes each, without `prev`
    body      = msgpack [operations, proof | nil]

A *slot* is (author, incarnation, seq).  Two commits for one slot are a *fork*, and their two signed headers are
the *proof*: it convinces whoever sees it, with nothing else at hand (spec/byzantine.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec

from knhk_mesh.crdt import TYPES, InvalidOperation
from knhk_mesh.errors import BadCommit
from knhk_mesh.identity import AgentId, Signer, verify

DOMAIN = b"knhk.commit.v1\0\0"
NO_COMMIT = bytes(32)
"""Stands where seq is 0 and there is no previous commit."""

_HEADER = struct.Struct(">16s32s32s16sQ32s32s32sQ")
HEADER_BYTES = _HEADER.size
ID_BYTES = 32
INCARNATION_BYTES = 16

DEPENDENCIES_MAX = 512
OPERATIONS_MAX = 1024
BODY_BYTES_MAX = 32 * 1024
NAME_BYTES_MAX = 256
WIRE_BYTES_MAX = HEADER_BYTES + 64 + DEPENDENCIES_MAX * ID_BYTES + BODY_BYTES_MAX + 64
"""No commit is larger than this in a frame: the four parts and what the codec adds."""

Slot = tuple[bytes, bytes, int]
Verify = Callable[[AgentId, bytes, bytes], bool]


class Operation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One change to one object.  `type` is a key of `crdt.TYPES`; an object is named by (type, object)."""

    object: str
    type: str
    action: str
    value: Any


class Proof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Two signed headers of one author for one slot.  The one with the smaller id stands first."""

    first: bytes
    first_signature: bytes
    second: bytes
    second_signature: bytes

    @property
    def author(self) -> AgentId:
        """Whom it convicts, once it has been checked."""
        return _header_author(self.first)


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a commit says: operations, and for a fence the proof that it accuses with."""

    operations: tuple[Operation, ...]
    proof: Proof | None = None


class WireCommit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A commit as it travels and is stored; the module's docstring has the bytes."""

    header: bytes
    signature: bytes
    deps: bytes
    body: bytes

    @property
    def size(self) -> int:
        """Bytes it takes in a frame, give or take the codec's few."""
        return HEADER_BYTES + 80 + len(self.deps) + len(self.body)


class Commit(msgspec.Struct, frozen=True, eq=False):
    """An opened commit: well-formed, and signed by its author.  Whether its past fits is the log's question."""

    id: bytes
    author: AgentId
    incarnation: bytes
    seq: int
    prev: bytes
    deps: tuple[bytes, ...]
    clock: int
    operations: tuple[Operation, ...]
    proof: Proof | None
    accused: AgentId | None
    parents: tuple[bytes, ...]
    wire: WireCommit

    @property
    def slot(self) -> Slot:
        """(author, incarnation, seq): an author that uses one twice has forked."""
        return (self.author, self.incarnation, self.seq)


_encode_body = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(Body).decode
encode_wire: Callable[[WireCommit], bytes] = msgspec.msgpack.Encoder().encode
decode_wire: Callable[[bytes], WireCommit] = msgspec.msgpack.Decoder(WireCommit).decode


def commit_id(header: bytes) -> bytes:
    """The id of the commit with this header: 32 bytes."""
    return blake2b(header, digest_size=ID_BYTES, person=b"knhk.commit").digest()


def _deps_hash(deps: bytes) -> bytes:
    return blake2b(deps, digest_size=ID_BYTES, person=b"knhk.deps").digest()


def _body_hash(body: bytes) -> bytes:
    return blake2b(body, digest_size=ID_BYTES, person=b"knhk.body").digest()


def network_id(name: str) -> bytes:
    """The 32 bytes that bind a commit to the mesh called `name`."""
    return blake2b(name.encode(), digest_size=32, person=b"knhk.network").digest()


def make_commit(
    signer: Signer,
    *,
    network: bytes,
    incarnation: bytes,
    seq: int,
    prev: bytes,
    deps: Sequence[bytes],
    clock: int,
    operations: Sequence[Operation] = (),
    proof: Proof | None = None,
) -> Commit:
    """Sign a commit.  `deps` in any order, without `prev`; the caller vouches for seq, prev and clock."""
    ordered = tuple(sorted(deps))
    packed = b"".join(ordered)
    body = _encode_body(Body(operations=tuple(operations), proof=proof))
    author = signer.agent_id
    header = _HEADER.pack(DOMAIN, network, author, incarnation, seq, prev, _deps_hash(packed), _body_hash(body), clock)
    return Commit(
        id=commit_id(header),
        author=author,
        incarnation=incarnation,
        seq=seq,
        prev=prev,
        deps=ordered,
        clock=clock,
        operations=tuple(operations),
        proof=proof,
        accused=_header_author(proof.first) if proof else None,
        parents=ordered if seq == 0 else (prev, *ordered),
        wire=WireCommit(header, signer.sign(header), packed, body),
    )


def open_commit(network: bytes, wire: WireCommit, verify: Verify = verify) -> Commit:
    """Check everything about `wire` that needs no other commit, and return it opened.

    A pure function of its arguments, so a simulator may memoise it.  Raises BadCommit with one of the reasons
    layout, network, link, hash, signature, body, operation, proof.
    """
    if len(wire.header) != HEADER_BYTES or len(wire.deps) % ID_BYTES or len(wire.body) > BODY_BYTES_MAX:
        raise BadCommit("layout", "header, dependencies or body has an impossible length")
    domain, net, author, incarnation, seq, prev, deps_hash, body_hash, clock = _HEADER.unpack(wire.header)
    if domain != DOMAIN or net != network:
        raise BadCommit("network", "another domain or another mesh")
    if (seq == 0) != (prev == NO_COMMIT):
        raise BadCommit("link", "seq 0, and only it, has no previous commit")
    deps = tuple(wire.deps[i : i + ID_BYTES] for i in range(0, len(wire.deps), ID_BYTES))
    if len(deps) > DEPENDENCIES_MAX or prev in deps or any(a >= b for a, b in pairwise(deps)):
        raise BadCommit("link", "dependencies must ascend, without prev, within the limit")
    if deps_hash != _deps_hash(wire.deps) or body_hash != _body_hash(wire.body):
        raise BadCommit("hash", "dependencies or body are not those that were signed")
    if not verify(author, wire.header, wire.signature):
        raise BadCommit("signature")
    body = _open_body(wire.body)
    return Commit(
        id=commit_id(wire.header),
        author=author,
        incarnation=incarnation,
        seq=seq,
        prev=prev,
        deps=deps,
        clock=clock,
        operations=body.operations,
        proof=body.proof,
        accused=check_proof(network, body.proof, verify) if body.proof else None,
        parents=deps if seq == 0 else (prev, *deps),
        wire=wire,
    )


def _open_body(data: bytes) -> Body:
    try:
        body = _decode_body(data)
    # How deep the decoder goes depends on the stack, and whether a commit is valid must not: so there are no unknown
    # fields, which would be valid at any depth that it reaches, and no type takes a value that is deeply nested.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadCommit("body", str(error)) from None
    if len(body.operations) > OPERATIONS_MAX:
        raise BadCommit("body", f"more than {OPERATIONS_MAX} operations")
    for index, operation in enumerate(body.operations):
        try:
            check_operation(operation)
        except InvalidOperation as error:
            raise BadCommit("operation", f"operations[{index}]: {error}") from None
    return body


def check_operation(operation: Operation) -> None:
    """Raise InvalidOperation unless the operation names a known type and fits it."""
    kind = TYPES.get(operation.type)
    if kind is None:
        raise InvalidOperation(f'unknown type "{operation.type[:40]}"; one of {", ".join(sorted(TYPES))}')
    if not operation.object or len(operation.object.encode("utf-8", "replace")) > NAME_BYTES_MAX:
        raise InvalidOperation(f"an object's name has 1 to {NAME_BYTES_MAX} bytes")
    kind.check(operation.action, operation.value)


def fits_a_commit(operations: Sequence[Operation]) -> bool:
    """Whether these operations, checked, fit one commit's body.  An author must ask before it signs."""
    if len(operations) > OPERATIONS_MAX:
        return False
    return len(_encode_body(Body(operations=tuple(operations)))) <= BODY_BYTES_MAX


def _header_author(header: bytes) -> AgentId:
    return header[48:80]


def make_proof(a: Commit, b: Commit) -> Proof:
    """The proof that the author of `a` and `b`, two commits for one slot, has forked."""
    assert a.slot == b.slot and a.id != b.id
    first, second = sorted((a, b), key=lambda commit: commit.id)
    return Proof(first.wire.header, first.wire.signature, second.wire.header, second.wire.signature)


def check_proof(network: bytes, proof: Proof, verify: Verify = verify) -> AgentId:
    """The agent that `proof` convicts.  Raises BadCommit("proof") if it convicts nobody.

    Both headers must be of this network, share author, incarnation and seq (offsets 48 to 104), differ, be in
    ascending order of id, and carry their author's signatures.
    """
    first, second = proof.first, proof.second
    if len(first) != HEADER_BYTES or len(second) != HEADER_BYTES:
        raise BadCommit("proof", "a header has another length")
    if any(header[:48] != DOMAIN + network for header in (first, second)):
        raise BadCommit("proof", "another domain or another mesh")
    if first[48:104] != second[48:104] or commit_id(first) >= commit_id(second):
        raise BadCommit("proof", "not two different commits for one slot, in order")
    author = _header_author(first)
    if not (verify(author, first, proof.first_signature) and verify(author, second, proof.second_signature)):
        raise BadCommit("proof", "a signature does not verify")
    return author
