"""Elements of the set types: which values may be one, and in which order they are listed.

An element is an integer of signed 64 bits or a string of at most 1024 bytes of UTF-8. Nothing else, because
equality must mean the same to every reader of a history: Python holds 1 == 1.0 == True, other languages do
not, and a float does not survive every codec. The order is integers first, then strings by code point (which
is also the order of their UTF-8 bytes); it is part of the canonical encoding.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from knhk_mesh.crdt.dot import InvalidOperation

Element: TypeAlias = int | str

ELEMENT_INT_MIN = -(2**63)
ELEMENT_INT_MAX = 2**63 - 1
ELEMENT_BYTES_MAX = 1024


def check_element(value: object) -> Element:
    """The value, known to be an element; raises InvalidOperation for any other."""
    # `type() is`, not isinstance: a bool is an int to isinstance, and a subclass may redefine equality.
    if type(value) is int:
        if ELEMENT_INT_MIN <= value <= ELEMENT_INT_MAX:
            return value
        raise InvalidOperation(f"element: an integer of {value.bit_length()} bits; signed 64 bits at most")
    if type(value) is str:
        # isascii is a flag lookup, so the common element is checked without encoding it.
        size = len(value) if value.isascii() else _utf8_size(value)
        if size <= ELEMENT_BYTES_MAX:
            return value
        raise InvalidOperation(f"element: a string of {size} bytes of UTF-8; at most {ELEMENT_BYTES_MAX}")
    raise InvalidOperation(f"element: expected an integer or a string, got {type(value).__name__}")


def sorted_elements(elements: Collection[Element]) -> list[Element]:
    """The elements in their one order: integers ascending, then strings ascending."""
    try:
        # Sets are read often and hold one kind of element nearly always. In a mixed one some integer must
        # be compared with some string, whatever the order of iteration, so this fails for each of those.
        return sorted(elements)
    except TypeError:
        integers = sorted(element for element in elements if type(element) is int)
        strings = sorted(element for element in elements if type(element) is str)
        return [*integers, *strings]


def _utf8_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidOperation("element: a string with a lone surrogate has no UTF-8 form") from None
