"""An incremental, domain-separated Merkle root over a set of 32-byte ids.

The shape depends on the set alone, never on the order in which it grew: an id goes into the leaf that its first
byte names, 16 leaves hang on each of 16 inner nodes, and those on the root.

    leaf  = H("leaf",  the leaf's ids, ascending, one after the other)      256 of them
    inner = H("inner", its 16 leaves' hashes)                               16
    root  = H("root",  the 16 inner hashes)

H is BLAKE2b-256 with the name as its personalisation, so a leaf can never be read as an inner node (spec-defects
19).  A change costs one leaf, one inner node and the root, all put off until somebody asks: O(ids / 256) bytes.
"""

from __future__ import annotations

from hashlib import blake2b

ID_BYTES = 32
_FAN = 16


def _hash(name: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=ID_BYTES, person=b"knhk." + name).digest()


_EMPTY_LEAF = _hash(b"leaf", b"")
_EMPTY_INNER = _hash(b"inner", _EMPTY_LEAF * _FAN)
EMPTY_ROOT = _hash(b"root", _EMPTY_INNER * _FAN)
"""The root of the empty set."""


class MerkleSet:
    """A set of ids with a root.  `add` of a present id and `remove` of an absent one are our own mistakes."""

    __slots__ = ("_dirty", "_inner_hashes", "_leaf_hashes", "_leaves", "_root")

    def __init__(self) -> None:
        self._leaves: list[set[bytes]] = [set() for _ in range(_FAN * _FAN)]
        self._leaf_hashes = [_EMPTY_LEAF] * (_FAN * _FAN)
        self._inner_hashes = [_EMPTY_INNER] * _FAN
        self._root = EMPTY_ROOT
        self._dirty: set[int] = set()

    def add(self, member: bytes) -> None:
        """Put `member` (32 bytes) in.  O(1)."""
        leaf = self._leaves[member[0]]
        assert member not in leaf
        leaf.add(member)
        self._dirty.add(member[0])

    def remove(self, member: bytes) -> None:
        """Take `member` out.  O(1)."""
        self._leaves[member[0]].remove(member)
        self._dirty.add(member[0])

    def root(self) -> bytes:
        """The 32-byte root of the present members."""
        if self._dirty:
            self._refresh()
        return self._root

    def _refresh(self) -> None:
        for index in sorted(self._dirty):
            self._leaf_hashes[index] = _hash(b"leaf", b"".join(sorted(self._leaves[index])))
        for inner in sorted({index // _FAN for index in self._dirty}):
            below = self._leaf_hashes[inner * _FAN : (inner + 1) * _FAN]
            self._inner_hashes[inner] = _hash(b"inner", b"".join(below))
        self._root = _hash(b"root", b"".join(self._inner_hashes))
        self._dirty.clear()
