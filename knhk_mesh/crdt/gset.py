"""GSet: a set that only grows.

State: the set of elements ever added. Join: union. Dots play no part in it, so a duplicate, a replay and
the two branches of a fork add the element once.

Definition: Shapiro, Preguica, Baquero and Zawirski, "A comprehensive study of convergent and commutative
replicated data types" (INRIA RR-7506, 2011), specification 11. The delta of an add is the singleton set, as
in Almeida, Shoker and Baquero, "Delta state replicated data types" (J. Parallel Distrib. Comput. 111, 2018).

Encoded: msgpack `[element, ...]` in the order of `element.sorted_elements`.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from knhk_mesh.crdt.codec import read, require_canonical
from knhk_mesh.crdt.dot import Dot, unknown_action
from knhk_mesh.crdt.element import Element, check_element, sorted_elements

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[list[Element]] = msgspec.msgpack.Decoder(list[Element])


class GSet:
    """A grow-only set of elements. One action: `add`, whose value is the element."""

    __slots__ = ("_elements",)

    ACTIONS: ClassVar[tuple[str, ...]] = ("add",)

    def __init__(self) -> None:
        self._elements: set[Element] = set()

    @classmethod
    def check(cls, action: str, value: object) -> None:
        """Raise InvalidOperation unless (action, value) is a well-formed operation."""
        _added(action, value)

    @classmethod
    def delta(cls, action: str, value: object, dot: Dot) -> Self:
        """The smallest state that holds the operation; raises InvalidOperation if it is ill-formed."""
        new = cls()
        new.apply(action, value, dot)
        return new

    def apply(self, action: str, value: object, dot: Dot) -> None:
        """Join the operation's delta into this state, in place and without building the delta."""
        self._elements.add(_added(action, value))

    def prepare(self, action: str, value: object) -> object:
        """A client's request as the operation's value: for this type the same."""
        return value

    def absorb(self, delta: Self) -> None:
        """Join `delta` into this state, in place, in time of the size of `delta`."""
        self._elements |= delta._elements

    def join(self, other: Self) -> Self:
        """The least upper bound, as a new state."""
        new = type(self)()
        new._elements = self._elements | other._elements
        return new

    def value(self) -> list[Element]:
        """The elements: integers ascending, then strings ascending."""
        return sorted_elements(self._elements)

    def encode(self) -> bytes:
        """The canonical bytes: equal states, equal bytes."""
        return _ENCODER.encode(self.value())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that `encode` gave as `data`; raises InvalidOperation for any other bytes."""
        new = cls()
        elements = read(_DECODER, data, type_name="GSet")
        new._elements.update(map(check_element, elements))
        require_canonical(new.encode(), data, type_name="GSet")
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GSet):
            return NotImplemented
        return self._elements == other._elements

    def __le__(self, other: Self) -> bool:
        """The lattice order: `a <= b` if and only if `a.join(b) == b`."""
        return self._elements <= other._elements

    def __repr__(self) -> str:
        return f"GSet({self.value()})"


def _added(action: str, value: object) -> Element:
    if action != "add":
        raise unknown_action("GSet", action, GSet.ACTIONS)
    return check_element(value)
