"""ORSet: a set in which an add wins over a remove that had not seen it.

State: two sets of pairs (element, dot). *Present* holds the adds that nobody removed, *removed* the pairs
that removals named: their causal context. Join: the removed are united; the present are united, less the
removed. An element is in the set while it has a present dot.

A remove names the dots that its author saw and takes those away; a concurrent add has another dot and stays.
A removal that arrives before the add it names is remembered, and wins over that add when it comes.

Definition: Shapiro, Preguica, Baquero and Zawirski, INRIA RR-7506 (2011), specification 15; deltas as in
Almeida, Shoker and Baquero, "Delta state replicated data types" (J. Parallel Distrib. Comput. 111, 2018).
Bieniusa et al., "An optimized conflict-free replicated set" (INRIA RR-8083, 2012) replaces the removed dots
by one version vector. It cannot be done here: a vector says "all of this actor up to here", which is not one
set of operations once the actor has signed two branches. So removed dots are kept, until compaction.

The removed are kept for each element, not as one set of dots: a removal is then looked up where it strikes,
and one in which a liar names the dot of some other element strikes nothing.

Encoded: msgpack `[present, removed]`, each `[[element, [[commit id, index], ...]], ...]`, elements in the
order of `element.sorted_elements`, dots ascending, no empty list of dots.
"""

from __future__ import annotations

from typing import ClassVar, Self, TypeAlias

import msgspec

from knhk_mesh.crdt.codec import read, require_canonical
from knhk_mesh.crdt.dot import Dot, InvalidOperation, check_dots, sorted_dots, unknown_action
from knhk_mesh.crdt.element import Element, check_element, sorted_elements

DOTS_PER_REMOVE_MAX = 768
"""The dots that one remove may name: at most 40 bytes each, which fit a commit's body of 32 KiB.

A remove of an element with more present dots is refused, never cut: to take away some of what the client saw
would leave the element there after an acknowledged remove.
"""

_Pairs: TypeAlias = dict[Element, set[Dot]]
_Plain: TypeAlias = list[tuple[Element, list[tuple[bytes, int]]]]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[tuple[_Plain, _Plain]] = msgspec.msgpack.Decoder(tuple[_Plain, _Plain])


class ORSet:
    """An add-wins set of elements.

    Actions: `add`, whose value is the element, and `remove`, whose value is `[element, [[id, index], ...]]`
    with the dots that the remove's author saw. A client asks for a remove with the element alone; `prepare`
    finds the dots.
    """

    __slots__ = ("_present", "_removed")

    ACTIONS: ClassVar[tuple[str, ...]] = ("add", "remove")

    def __init__(self) -> None:
        # Neither dict holds an empty set, so equal states are equal dicts.
        self._present: _Pairs = {}
        self._removed: _Pairs = {}

    @classmethod
    def check(cls, action: str, value: object) -> None:
        """Raise InvalidOperation unless (action, value) is a well-formed operation."""
        if action == "add":
            check_element(value)
        elif action == "remove":
            _removal(value)
        else:
            raise unknown_action("ORSet", action, cls.ACTIONS)

    @classmethod
    def delta(cls, action: str, value: object, dot: Dot) -> Self:
        """The smallest state that holds the operation; raises InvalidOperation if it is ill-formed."""
        new = cls()
        new.apply(action, value, dot)
        return new

    def apply(self, action: str, value: object, dot: Dot) -> None:
        """Join the operation's delta into this state, in place and without building the delta."""
        if action == "add":
            self._add(check_element(value), dot)
        elif action == "remove":
            self._remove(*_removal(value))
        else:
            raise unknown_action("ORSet", action, self.ACTIONS)

    def prepare(self, action: str, value: object) -> object:
        """A client's request as the operation's value: a remove takes on the dots that this state shows.

        Removing what is absent is a removal of no dots, and does nothing. Raises InvalidOperation if the
        element of a remove is none.
        """
        if action != "remove":
            return value
        element = check_element(value)
        return [element, sorted_dots(self._present.get(element, ()))]

    def absorb(self, delta: Self) -> None:
        """Join `delta` into this state, in place, in time of the size of `delta`."""
        # The order of these loops shows nowhere: whatever leaves this object is sorted first.
        for element, dots in delta._removed.items():
            self._remove(element, dots)
        for element, dots in delta._present.items():
            removed = self._removed.get(element)
            fresh = dots - removed if removed else set(dots)  # a new set either way, never the delta's own
            if fresh:
                present = self._present.get(element)
                if present is None:
                    self._present[element] = fresh
                else:
                    present |= fresh

    def join(self, other: Self) -> Self:
        """The least upper bound, as a new state."""
        new = type(self)()
        new._present = {element: set(dots) for element, dots in self._present.items()}
        new._removed = {element: set(dots) for element, dots in self._removed.items()}
        new.absorb(other)
        return new

    def value(self) -> list[Element]:
        """The elements: integers ascending, then strings ascending."""
        return sorted_elements(self._present)

    def encode(self) -> bytes:
        """The canonical bytes: equal states, equal bytes."""
        return _ENCODER.encode((_plain(self._present), _plain(self._removed)))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that `encode` gave as `data`; raises InvalidOperation for any other bytes."""
        new = cls()
        present, removed = read(_DECODER, data, type_name="ORSet")
        # Built by the operations' own rules: a pair both present and removed, an empty list of dots or a
        # repeated element does not survive that, and the bytes then differ.
        for element, dots in removed:
            new._remove(check_element(element), check_dots(dots))
        for element, dots in present:
            check_element(element)
            for dot in check_dots(dots):
                new._add(element, dot)
        require_canonical(new.encode(), data, type_name="ORSet")
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ORSet):
            return NotImplemented
        return self._present == other._present and self._removed == other._removed

    def __le__(self, other: Self) -> bool:
        """The lattice order: `a <= b` if and only if `a.join(b) == b`."""
        nothing: set[Dot] = set()
        return all(dots <= other._removed.get(element, nothing) for element, dots in self._removed.items()) and all(
            dots - other._present.get(element, nothing) <= other._removed.get(element, nothing)
            for element, dots in self._present.items()
        )

    def __repr__(self) -> str:
        return f"ORSet(present={self._present}, removed={self._removed})"

    def _add(self, element: Element, dot: Dot) -> None:
        removed = self._removed.get(element)
        if removed is not None and dot in removed:
            return
        present = self._present.get(element)
        if present is None:
            self._present[element] = {dot}
        else:
            present.add(dot)

    def _remove(self, element: Element, dots: list[Dot] | set[Dot]) -> None:
        if not dots:
            return
        removed = self._removed.get(element)
        if removed is None:
            self._removed[element] = set(dots)
        else:
            removed.update(dots)
        present = self._present.get(element)
        if present is not None:
            present.difference_update(dots)
            if not present:
                del self._present[element]


def _removal(value: object) -> tuple[Element, list[Dot]]:
    """The two parts of a remove's value `[element, dots]`; raises InvalidOperation if they are none."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InvalidOperation("ORSet: the value of a remove is a pair [element, dots seen]")
    return check_element(value[0]), check_dots(value[1], limit=DOTS_PER_REMOVE_MAX)


def _plain(pairs: _Pairs) -> list[tuple[Element, list[list[bytes | int]]]]:
    return [(element, sorted_dots(pairs[element])) for element in sorted_elements(pairs)]
