"""The frames that peers exchange, and their bytes.

A frame is one msgpack array whose first element says which it is:

    ["push",  session, sequence, root]                       "this is where I stand"
    ["pull",  session, sequence, root, heads, low, high, wants, answer]
                                                             "this is what I have: send me what I lack"
    ["delta", session, sequence, commits]                    commits, each after its past as far as the sender knows

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

from knhk_mesh.commits import ID_BYTES, WIRE_BYTES_MAX, Commit, WireCommit
from knhk_mesh.errors import BadFrame

FRAME_BYTES_MIN = WIRE_BYTES_MAX + 64
"""Every commit fits a frame whole, so none is ever cut; `config` refuses less."""

HEAD_BYTES = 48
TAG_BYTES = 8
WANTS_MAX = 64

_HEAD = struct.Struct(">8sQ32s")

Counter64 = Annotated[int, msgspec.Meta(ge=0)]
"""An unsigned 64-bit integer, msgpack's widest."""


class Push(msgspec.Struct, array_like=True, tag="push", gc=False, frozen=True):
    """The sender's root (32 bytes).  Equal roots end the exchange at once."""

    session: Counter64
    sequence: Counter64
    root: bytes


class Pull(msgspec.Struct, array_like=True, tag="pull", frozen=True):
    """The sender's root and branch heads, and ids that it wants by name."""

    session: Counter64
    sequence: Counter64
    root: bytes
    heads: bytes
    low: bytes
    high: bytes
    wants: list[bytes]
    answer: bool


class Delta(msgspec.Struct, array_like=True, tag="delta", frozen=True):
    """Commits that the sender believes the receiver lacks."""

    session: Counter64
    sequence: Counter64
    commits: list[WireCommit]


Frame = Push | Pull | Delta

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
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BadFrame("garbage", str(error)) from None
    if isinstance(frame, Push):
        if len(frame.root) != ID_BYTES:
            raise BadFrame("layout", "a root has 32 bytes")
    elif isinstance(frame, Pull) and (
        len(frame.root) != ID_BYTES
        or len(frame.heads) % HEAD_BYTES
        or len(frame.low) not in (0, TAG_BYTES)
        or len(frame.high) not in (0, TAG_BYTES)
        or len(frame.wants) > WANTS_MAX
        or any(len(want) != ID_BYTES for want in frame.wants)
    ):
        raise BadFrame("layout", "a pull's root, heads, range or wants have an impossible length")
    return frame


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
