"""Dots: the names of operations, and the error for an operation that is not well-formed.

A dot is (commit id, index of the operation in that commit). The usual dot of the literature, (actor,
counter), trusts each actor to count honestly; a Byzantine author signs two commits for one counter, and
two operations would share a name. A commit id is a hash of everything the commit says, so two branches of
a liar never collide (Kleppmann, "Making CRDTs Byzantine Fault Tolerant", PaPoC 2022).

In a signed body a list of dots travels as `[[id, index], ...]`, strictly ascending: one list of dots has
one encoding, and a duplicate has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

Dot: TypeAlias = tuple[bytes, int]

COMMIT_ID_BYTES = 32
DOT_INDEX_MAX = 2**32 - 1


class InvalidOperation(ValueError):
    """An operation, or an encoded state, that no correct node produces. The message names the part."""


def unknown_action(type_name: str, action: object, known: tuple[str, ...]) -> InvalidOperation:
    """The error for an action that the type does not have."""
    return InvalidOperation(f"{type_name}: unknown action {str(action)[:40]!r}; one of {', '.join(known)}")


def check_dots(value: object, *, limit: int | None = None) -> list[Dot]:
    """The dots in `[[id, index], ...]`.

    Raises InvalidOperation unless they are pairs of 32 bytes and an index below 2**32, strictly ascending,
    and at most `limit` of them.
    """
    if not isinstance(value, (list, tuple)):
        raise InvalidOperation(f"dots: expected a list of [commit id, index], got {type(value).__name__}")
    if limit is not None and len(value) > limit:
        raise InvalidOperation(f"dots: {len(value)} of them; one operation names at most {limit}")
    dots = [_check_dot(item) for item in value]
    if any(left >= right for left, right in pairwise(dots)):
        raise InvalidOperation("dots: must be strictly ascending")
    return dots


def sorted_dots(dots: Iterable[Dot]) -> list[list[bytes | int]]:
    """The one form in which a set of dots travels: `[[id, index], ...]`, ascending."""
    return [[commit_id, index] for commit_id, index in sorted(dots)]


def _check_dot(value: object) -> Dot:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InvalidOperation("dots: each must be a pair [commit id, index]")
    commit_id, index = value
    if type(commit_id) is not bytes or len(commit_id) != COMMIT_ID_BYTES:
        raise InvalidOperation(f"dots: a commit id is {COMMIT_ID_BYTES} bytes")
    if type(index) is not int or not 0 <= index <= DOT_INDEX_MAX:
        raise InvalidOperation(f"dots: an index is an integer from 0 to {DOT_INDEX_MAX}")
    return commit_id, index
