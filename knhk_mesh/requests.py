"""What a client may ask of a node, and what it is told: the node contract's operations, as data.

Every request gets exactly one result.  `Refusal` is definite: nothing was done.  `Indefinite` says that nobody knows
yet.  A local write's result is given only when the write is durable here, a stable one's when it is certified, and a
quorum read's when this node has reconciled with a quorum since it was asked; a read's result names the branch heads
that its value was computed from, so that an observer can hold the node to what it claims to have seen.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from knhk_mesh.commits import Proof
from knhk_mesh.partition import PartitionStatus
from knhk_mesh.quorum import Certificate
from knhk_mesh.round_trips import RoundTripReport


class ClientOperation(msgspec.Struct, frozen=True):
    """One operation as a client says it.  `value` is the element or amount; a remove's dots are the node's to find."""

    object: str
    type: str
    action: str
    value: Any


class Write(msgspec.Struct, frozen=True, tag_field="request", tag="write"):
    """Carry out all of these in one commit.

    Level `local`: acknowledged when durable on this node; `stable`: with a certificate of n - f members.
    """

    operations: tuple[ClientOperation, ...]
    level: Literal["local", "stable"] = "local"


class Read(msgspec.Struct, frozen=True, tag_field="request", tag="read"):
    """The value of an object: as this node has it (`local`), or after reconciling with n - f members (`quorum`)."""

    object: str
    type: str
    level: Literal["local", "quorum"] = "local"


class Digest(msgspec.Struct, frozen=True, tag_field="request", tag="digest"):
    """The root and, atomically with it, a digest of the values themselves."""


class CertificateOf(msgspec.Struct, frozen=True, tag_field="request", tag="certificate"):
    """The certificate of a commit (32-byte id), if this node keeps one."""

    commit: bytes


class Status(msgspec.Struct, frozen=True, tag_field="request", tag="status"):
    """How the node sees itself and its peers."""


Request = Write | Read | Digest | CertificateOf | Status


class Written(msgspec.Struct, frozen=True):
    """`commit`: 32-byte id.  `resolved`: for each operation what it came to, e.g. {"dots": 2} for a remove.

    `certificate`: of a stable write.
    """

    commit: bytes
    resolved: tuple[dict[str, int], ...]
    certificate: Certificate | None = None


class Value(msgspec.Struct, frozen=True):
    """`value`: sorted list or integer.  `visible`: ids of the branch heads that it was computed from."""

    value: Any
    visible: tuple[bytes, ...]


class Digests(msgspec.Struct, frozen=True):
    """`root` and `digest`: 32 bytes each.  `heads`: ids of the branch heads that the state was computed from."""

    root: bytes
    digest: bytes
    heads: tuple[bytes, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """The certificate that this node keeps of a commit; None if it keeps none."""

    certificate: Certificate | None


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
    partition: PartitionStatus
    voting: Literal["no roster", "enrolling", "votes", "abstains"]
    suspected: tuple[bytes, ...]
    proofs: dict[bytes, Proof]
    used: dict[str, int]
    round_trips: dict[bytes, RoundTripReport]


class Refusal(msgspec.Struct, frozen=True):
    """The request was definitely not carried out; `reason` is one line."""

    reason: str


class Indefinite(msgspec.Struct, frozen=True):
    """Whether the request was or will be carried out, nobody knows yet; `reason` is one line."""

    reason: str


Result = Written | Value | Digests | Kept | StatusReport | Refusal | Indefinite
