"""Bodies as Toxiproxy reads them, and the errors of the API.

Toxiproxy's handlers decode with Go's `encoding/json`: the first value of the body counts and the rest is not looked
at; a field's name matches in any case; `null` leaves the default; integers have 64 bits and no fraction.  Whoever
gets a 201 there gets one here.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

_INT64_MAX = 2**63 - 1


class ApiError(Exception):
    """Answered as `{"error": message, "status": status}`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def bad_body(why: str) -> ApiError:
    """400 `bad request body: ...`."""
    return ApiError(f"bad request body: {why}", 400)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"invalid character {name[0]!r} looking for beginning of value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def decode(body: bytes) -> Any:
    """The first JSON value of a body.  Raises ApiError 400."""
    text = body.decode("utf-8", errors="replace").lstrip(" \t\r\n")
    if not text:
        raise bad_body("EOF")
    try:
        return _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError) as error:
        raise bad_body(str(error)) from None


def as_fields(value: Any, place: str) -> dict[str, Any]:
    """An object by the lower case of its keys; `null` is an empty one.  Raises ApiError 400."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_body(f"{place}: an object, not {_kind(value)}")
    return {key.lower(): one for key, one in value.items()}


def text_of(fields: dict[str, Any], name: str, default: str) -> str:
    """A string; half a surrogate pair becomes U+FFFD, since nothing could print it.  Raises ApiError 400."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad_body(f"{name}: a string, not {_kind(value)}")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def flag_of(fields: dict[str, Any], name: str, default: bool) -> bool:
    """`true` or `false`.  Raises ApiError 400."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad_body(f"{name}: true or false, not {_kind(value)}")
    return value


def number_of(fields: dict[str, Any], name: str, default: float) -> float:
    """A number within a 32-bit float's range, as Go has it.  Raises ApiError 400."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_body(f"{name}: a number, not {_kind(value)}")
    if not abs(value) <= 3.4028235e38:
        raise bad_body(f"{name}: out of range")
    return float(value)


def integer_of(fields: dict[str, Any], name: str, default: int) -> int:
    """An integer of 64 bits, written without fraction or exponent.  Raises ApiError 400."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_body(f"{name}: an integer, not {_kind(value)}")
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise bad_body(f"{name}: out of range")
    return value


def _kind(value: Any) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a fraction", str: "a string", list: "an array"}
    return kinds.get(type(value), "an object" if isinstance(value, dict) else "null")
