"""What a client may ask of a node, and what it is told: the node contract's operations, as data.

Every request gets exactly one result.  `Refused` is definite: nothing was done.  A write's result is given only
when the write is durable here; a read's result names the branch heads that its value was computed from, so that
an observer can hold the node to what it claims to have seen.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ClientOperation(msgspec.Struct, frozen=True):
    """One operation as a client says it.  `value` is the element or amount; a remove's dots are the node's to find."""

    object: str
    type: str
    action: str
    value: Any


class Write(msgspec.Struct, frozen=True, tag_field="request", tag="write"):
    """Carry out all of these in one commit.  Level `local`: acknowledged when durable on this node."""

    operations: tuple[ClientOperation, ...]


class Read(msgspec.Struct, frozen=True, tag_field="request", tag="read"):
    """The value of an object as this node has it.  Level `local`."""

    object: str
    type: str


class Digest(msgspec.Struct, frozen=True, tag_field="request", tag="digest"):
    """The root and, atomically with it, a digest of the values themselves."""


class Status(msgspec.Struct, frozen=True, tag_field="request", tag="status"):
    """How the node sees itself and its peers."""


Request = Write | Read | Digest | Status


class Written(msgspec.Struct, frozen=True):
    """`commit`: 32-byte id.  `resolved`: for each operation what it came to, e.g. {"dots": 2} for a remove."""

    commit: bytes
    resolved: tuple[dict[str, int], ...]


class Value(msgspec.Struct, frozen=True):
    """`value`: sorted list or integer.  `visible`: ids of the branch heads that it was computed from."""

    value: Any
    visible: tuple[bytes, ...]


class Digests(msgspec.Struct, frozen=True):
    """`root` and `digest`: 32 bytes each.  `heads`: ids of the branch heads that the state was computed from."""

    root: bytes
    digest: bytes
    heads: tuple[bytes, ...] = ()


class StatusReport(msgspec.Struct, frozen=True):
    """A snapshot; `monotonic` and `wall` are this node's own clocks in nanoseconds."""

    root: bytes
    monotonic: int
    wall: int
    rounds: int
    peers: int
    active: int
    accepted: int
    pending: int
    proven: tuple[bytes, ...]
    rejected: dict[str, int]
    sent: dict[str, int]


class Refusal(msgspec.Struct, frozen=True):
    """The request was definitely not carried out; `reason` is one line."""

    reason: str


Result = Written | Value | Digests | StatusReport | Refusal
