"""The replicated data types, and what each of them must offer.

A replicated object is the join of the deltas of the operations in the accepted commits. That one sentence
fixes the interface: an operation is plain data, (action, value), as it stands in a signed commit's body; its
delta is a pure function of the operation and its dot (`dot.py`), never of the node that computes it; the join
is a least upper bound. So nodes that accepted the same commits hold equal states, in whatever order, however
often and by whatever snapshots these came. `tests/test_crdt_laws.py` holds every type in `TYPES` to this.

Sources: Shapiro, Preguica, Baquero and Zawirski, "A comprehensive study of convergent and commutative
replicated data types" (INRIA RR-7506, 2011); Almeida, Shoker and Baquero, "Delta state replicated data types"
(J. Parallel Distrib. Comput. 111, 2018); Bieniusa et al., "An optimized conflict-free replicated set" (INRIA
RR-8083, 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

from knhk_mesh.crdt.dot import Dot, InvalidOperation
from knhk_mesh.crdt.element import Element, check_element
from knhk_mesh.crdt.gset import GSet
from knhk_mesh.crdt.orset import ORSet
from knhk_mesh.crdt.pncounter import PNCounter


class CrdtType(Protocol):
    """A state of one type: a value, except to its one owner, who may `apply` to and `absorb` into it.

    Called without arguments, the class gives the least state, which every object starts from.
    """

    ACTIONS: ClassVar[tuple[str, ...]]

    def __init__(self) -> None: ...

    @classmethod
    def check(cls, action: str, value: object) -> None:
        """Raise InvalidOperation, in one line, unless (action, value) is a well-formed operation."""

    @classmethod
    def delta(cls, action: str, value: object, dot: Dot) -> Self:
        """The smallest state that holds the operation: a pure function of the arguments.

        Total for well-formed operations, also where their target is absent. Raises InvalidOperation for
        others. `dot` is the caller's own computation and is not checked.
        """
        ...

    def apply(self, action: str, value: object, dot: Dot) -> None:
        """The same as `absorb(delta(action, value, dot))`, without building the delta.

        On InvalidOperation the state is as before.
        """

    def prepare(self, action: str, value: object) -> object:
        """Turn a client's request into the value of an operation, by what this state shows.

        The result still has to pass `check`.
        """
        ...

    def absorb(self, delta: Self) -> None:
        """Join `delta` into this state, in place; time O(size of delta); shares nothing with it after."""

    def join(self, other: Self) -> Self:
        """The least upper bound, as a new state that shares nothing with its arguments."""
        ...

    def value(self) -> Any:
        """What a reader sees, as plain data: a list in a fixed order, or an integer."""

    def encode(self) -> bytes:
        """The canonical bytes of the state: equal states, equal bytes."""
        ...

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse of `encode`; raises InvalidOperation for bytes that no state encodes to."""
        ...

    def __le__(self, other: Self) -> bool:
        """The lattice order: `a <= b` if and only if `a.join(b) == b`."""
        ...


TYPES: Mapping[str, type[CrdtType]] = MappingProxyType({"gset": GSet, "orset": ORSet, "pncounter": PNCounter})
"""The types by the names that campaigns and object declarations use, in the order of those names."""

__all__ = [
    "TYPES",
    "CrdtType",
    "Dot",
    "Element",
    "GSet",
    "InvalidOperation",
    "ORSet",
    "PNCounter",
    "check_element",
]
