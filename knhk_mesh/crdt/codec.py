"""Reading an encoded state: garbage and every encoding but the canonical one are refused.

A snapshot may come from a liar, and digests compare bytes, so a state must have exactly one encoding. Rather
than list the ways in which msgpack can say one thing twice (wide integers, unsorted or repeated entries),
the state that was read is encoded again and must give the same bytes.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from knhk_mesh.crdt.dot import InvalidOperation

T = TypeVar("T")


def read(decoder: msgspec.msgpack.Decoder[T], data: bytes, *, type_name: str) -> T:
    """The plain data in `data`; raises InvalidOperation if it is not of the decoder's shape."""
    try:
        return decoder.decode(data)
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError
        raise InvalidOperation(f"{type_name}: not an encoded state: {error}") from None


def require_canonical(encoded_again: bytes, data: bytes, *, type_name: str) -> None:
    """Raise InvalidOperation unless encoding the state that was read from `data` gives `data`."""
    if encoded_again != data:
        raise InvalidOperation(f"{type_name}: not the canonical encoding of its state")
