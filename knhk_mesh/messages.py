"""The frames that peers exchange, and their bytes.

A frame is one msgpack array whose first element says which it is:

    ["push",  session, sequence, root]                       "this is where I stand"
    ["pull",  session, sequence, root, heads, low, high, wants, answer]
                                                             "this is what I have: send me what I lack"
    ["delta", session, sequence, commits]                    commits, each after its past as far as the sender knows
    ["probe", session, sequence, nonce, incarnation]         "send this number back"; and who I am since my last disk
    ["echo",  session, sequence, nonce, enrolled]            the number, and which incarnation of you I have enrolled
    ["ask",   session, sequence, nonce]                      "what have you accepted?"
    ["frontier", session, sequence, nonce, ids]              ids whose past is all that I have accepted
    ["propose", session, sequence, commits]                  commits of my own: vote for them
    ["votes", session, sequence, votes]                      my votes for commits of yours
    ["certificates", session, sequence, certificates]        what members have certified

`session` is a random 64-bit number, new at each start of a node; `sequence` grows by one for each frame to that
peer.  `heads` is a row of 48-byte entries, one a branch head (`pack_head`): 8 bytes that name the chain, the seq
in 8 bytes big-endian, and the commit's id.  They are a claim, and a claim changes nothing but where to ask
(spec-defects 17).  The row speaks of the chains with low <= tag < high alone, so that more heads than a frame
holds are compared part by part; two empty strings mean all chains.  `wants` are ids that the sender has seen named
and does not hold.  `answer` says that a pull replies to a pull, so that two nodes never ask each other in a circle.

Frames are not signed: peers authenticate their channel, and what must prove itself (commits, proofs) carries its
own signature (spec-defects 12).  The codec takes structs without maps, so equal frames have equal bytes.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Annotated

import msgspec

from knhk_mesh.commits import DEPENDENCIES_MAX, ID_BYTES, INCARNATION_BYTES, WIRE_BYTES_MAX, Commit, WireCommit
from knhk_mesh.errors import BadFrame
from knhk_mesh.quorum import Certificate, Vote

FRAME_BYTES_MIN = WIRE_BYTES_MAX + 64
"""Every commit fits a frame whole, so none is ever cut; `config` refuses less."""

HEAD_BYTES = 48
TAG_BYTES = 8
WANTS_MAX = 64
PROBE_BYTES = 8
FRONTIER_MAX = DEPENDENCIES_MAX + 1
VOTES_MAX = 64
CERTIFICATES_MAX = 16

_HEAD = struct.Struct(">8sQ32s")

Counter64 = Annotated[int, msgspec.Meta(ge=0)]
"""An unsigned 64-bit integer, msgpack's widest."""


class Push(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="push", gc=False, frozen=True):
    """The sender's root (32 bytes).  Equal roots end the exchange at once."""

    session: Counter64
    sequence: Counter64
    root: bytes


class Pull(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="pull", frozen=True):
    """The sender's root and branch heads, and ids that it wants by name."""

    session: Counter64
    sequence: Counter64
    root: bytes
    heads: bytes
    low: bytes
    high: bytes
    wants: list[bytes]
    answer: bool


class Delta(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="delta", frozen=True):
    """Commits that the sender believes the receiver lacks."""

    session: Counter64
    sequence: Counter64
    commits: list[WireCommit]


class Probe(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="probe", gc=False, frozen=True):
    """`nonce` has 8 random bytes; whoever sends them back in time can be reached, and can reach us."""

    session: Counter64
    sequence: Counter64
    nonce: bytes
    incarnation: bytes


class Echo(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="echo", gc=False, frozen=True):
    """The answer to a probe; `enrolled` is empty where there is no roster."""

    session: Counter64
    sequence: Counter64
    nonce: bytes
    enrolled: bytes


class Ask(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="ask", gc=False, frozen=True):
    """Asks for the receiver's frontier as it is now."""

    session: Counter64
    sequence: Counter64
    nonce: bytes


class Frontier(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="frontier", frozen=True):
    """Commits that together have all in their past that the sender has accepted."""

    session: Counter64
    sequence: Counter64
    nonce: bytes
    ids: list[bytes]


class Propose(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="propose", frozen=True):
    """Commits of the sender's own, for which it wants votes."""

    session: Counter64
    sequence: Counter64
    commits: list[WireCommit]


class Votes(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="votes", frozen=True):
    """Votes of the sender."""

    session: Counter64
    sequence: Counter64
    votes: list[Vote]


class Certificates(msgspec.Struct, array_like=True, forbid_unknown_fields=True, tag="certificates", frozen=True):
    """Certificates, which prove themselves, whoever made them."""

    session: Counter64
    sequence: Counter64
    certificates: list[Certificate]


Frame = Push | Pull | Delta | Probe | Echo | Ask | Frontier | Propose | Votes | Certificates

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def encode_frame(frame: Frame) -> bytes:
    """The frame's bytes; equal frames, equal bytes."""
    return _encode(frame)


def decode_frame(data: bytes, *, bytes_max: int) -> Frame:
    """Read a frame.  Raises BadFrame with one of the reasons oversized, garbage, layout."""
    if len(data) > bytes_max:
        raise BadFrame("oversized", f"{len(data)} bytes, the limit is {bytes_max}")
    try:
        frame: Frame = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # a tag may be no text
        raise BadFrame("garbage", str(error)) from None
    if not _fits(frame):
        raise BadFrame("layout", f"a {type(frame).__name__.lower()} with fields of an impossible length")
    return frame


def is_free(data: bytes) -> bool:
    """Whether these bytes begin as a probe or an echo does: frames that no disk holds up."""
    return data[1:7] == b"\xa5probe" or data[1:6] == b"\xa4echo"


def _fits(frame: Frame) -> bool:
    """Whether every field that the codec does not bound has a length that a correct peer would send."""
    match frame:
        case Push(root=root):
            return len(root) == ID_BYTES
        case Pull(root=root, heads=heads, low=low, high=high, wants=wants):
            whole = len(root) == ID_BYTES and not len(heads) % HEAD_BYTES and len(wants) <= WANTS_MAX
            bounds = len(low) in (0, TAG_BYTES) and len(high) in (0, TAG_BYTES)
            return whole and bounds and all(len(want) == ID_BYTES for want in wants)
        case Probe(nonce=nonce, incarnation=incarnation):
            return len(nonce) == PROBE_BYTES and len(incarnation) == INCARNATION_BYTES
        case Echo(nonce=nonce, enrolled=enrolled):
            return len(nonce) == PROBE_BYTES and len(enrolled) in (0, INCARNATION_BYTES)
        case Ask(nonce=nonce):
            return len(nonce) == PROBE_BYTES
        case Frontier(nonce=nonce, ids=ids):
            return len(nonce) == PROBE_BYTES and len(ids) <= FRONTIER_MAX and all(len(one) == ID_BYTES for one in ids)
        case Votes(votes=votes):
            return len(votes) <= VOTES_MAX
        case Certificates(certificates=certificates):
            return len(certificates) <= CERTIFICATES_MAX
        case _:
            return True


def chain_tag(author: bytes, incarnation: bytes) -> bytes:
    """8 bytes that name a chain among branch heads.  A collision costs a fruitless question, nothing else."""
    return blake2b(author + incarnation, digest_size=TAG_BYTES, person=b"knhk.chain").digest()


def pack_head(tag: bytes, commit: Commit) -> bytes:
    """The 48-byte entry of a branch head."""
    return _HEAD.pack(tag, commit.seq, commit.id)


def unpack_head(entry: bytes) -> tuple[bytes, int, bytes]:
    """(chain tag, seq, commit id) of a 48-byte entry."""
    tag, seq, commit = _HEAD.unpack(entry)
    return tag, seq, commit


def split_heads(heads: bytes) -> list[bytes]:
    """The 48-byte entries of a row of heads."""
    return [heads[at : at + HEAD_BYTES] for at in range(0, len(heads), HEAD_BYTES)]
