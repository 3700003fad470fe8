"""The mesh's state: the fold of the accepted commits, and two ways to compare two of them.

`VersionedState` keeps the specification's three fields, with the defects resolved: `version` is the branch heads
of the accepted set (dots and causal contexts instead of a "Lamport clock per peer", spec-defects 34), `data` the
objects, `merkle_root` the incremental root over the heads (19).

The root says which commits were taken in, and nothing about the fold.  `digest` is computed from the values
themselves, never cached, so that a fold which loses an operation cannot hide behind an equal root.
"""

from __future__ import annotations

from hashlib import blake2b

from knhk_mesh.commits import Commit
from knhk_mesh.crdt import TYPES, CrdtType
from knhk_mesh.log import CommitLog

ObjectKey = tuple[str, str]
"""(type, object name): two types under one name are two objects, so no operation can meet the wrong type."""


class VersionedState:
    """The join of the deltas of every commit that `log` has accepted."""

    __slots__ = ("_log", "data")

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self.data: dict[ObjectKey, CrdtType] = {}

    @property
    def version(self) -> list[bytes]:
        """The ids of the accepted set's branch heads, ascending."""
        return sorted(self._log.heads)

    @property
    def merkle_root(self) -> bytes:
        """32 bytes; equal roots, equal accepted sets."""
        return self._log.root()

    def fold(self, commit: Commit) -> None:
        """Join the deltas of a newly accepted commit, whose past is folded already.  The dot is (id, index)."""
        for index, operation in enumerate(commit.operations):
            target = self.object(operation.type, operation.object)
            target.apply(operation.action, operation.value, (commit.id, index))

    def object(self, kind: str, name: str) -> CrdtType:
        """The object called `name` of type `kind` (a key of `crdt.TYPES`), made if absent."""
        key = (kind, name)
        found = self.data.get(key)
        if found is None:
            found = self.data[key] = TYPES[kind]()
        return found

    def digest(self) -> bytes:
        """32 bytes over the values themselves: equal values, equal digest.  O(state), never cached."""
        hasher = blake2b(digest_size=32, person=b"knhk.values")
        empty: dict[str, bytes] = {}
        for kind, name in sorted(self.data):
            encoded = self.data[kind, name].encode()
            if kind not in empty:
                empty[kind] = TYPES[kind]().encode()
            if encoded == empty[kind]:
                continue  # an object that was only looked at is no difference
            for part in (kind.encode(), name.encode(), encoded):
                hasher.update(len(part).to_bytes(8, "big"))
                hasher.update(part)
        return hasher.digest()
