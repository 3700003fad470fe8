"""A toxic as data: what may be asked for, in which order it is checked, and which fault of the vocabulary it is.

Standard toxics take the attributes that Toxiproxy gives them and ignore others, as it does.  Ours are new, so a name
that is not theirs can only be a mistake, and is refused.  What has no meaning for datagrams is refused too: a toxic
that did nothing would be believed.

    latency     latency, jitter (ms)     later, uniformly within [latency - jitter, latency + jitter), in order; with
                                         our own attribute unordered = 1 as each datagram's delay has it
    bandwidth   rate (KB/s of 1000 B)    one after another through a narrow link; beyond two seconds' queue: dropped
    timeout     timeout (ms)             all dropped, whatever the number, until the toxic is removed
    limit_data  bytes                    passes that many bytes, then drops everything; a datagram is never cut
    noop                                 nothing
    loss        probability              dropped
    duplicate   probability              sent twice
    reorder     probability, gap         moved back, by 1 ms and up to twice the latency of all toxics; at least `gap`
                                         datagrams between two that are moved
    corrupt     probability              one bit of the payload turned
    blackhole                            all dropped

Where Toxiproxy takes a negative number or a delay of days, we say 400: a fault has to mean something.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from faults.relay_udp.wire import ApiError, as_fields, bad_body, integer_of, number_of, text_of
from faults.vocabulary import Cut, Link

NAME_CHARACTERS_MAX = 128
"""Of a proxy or a toxic: names are labels in every line of the metrics."""

Number = int | float
UNORDERED = "unordered"
_HERE = ((0, 1),)
_STANDARD: dict[str, tuple[str, ...]] = {
    "bandwidth": ("rate",),
    "latency": ("latency", "jitter"),
    "limit_data": ("bytes",),
    "noop": (),
    "timeout": ("timeout",),
}
_OURS: dict[str, tuple[str, ...]] = {
    "blackhole": (),
    "corrupt": ("probability",),
    "duplicate": ("probability",),
    "loss": ("probability",),
    "reorder": ("probability", "gap"),
}
_FOR_CONNECTIONS_ONLY = ("reset_peer", "slicer", "slow_close")


class Toxic(msgspec.Struct, frozen=True, kw_only=True):
    """One toxic.  `stream` is spelt as it was sent; `direction` is what it means."""

    name: str
    type: str
    stream: str
    direction: Literal["upstream", "downstream"]
    toxicity: float
    attributes: dict[str, Number]

    def to_json(self) -> dict[str, Any]:
        """The toxic as the API shows it."""
        return {
            "attributes": self.attributes,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": int(self.toxicity) if self.toxicity.is_integer() else self.toxicity,
        }


def parse(body: Any, *, taken: frozenset[str]) -> Toxic:
    """A toxic from a decoded body; `taken` are the names that the proxy has.

    Raises ApiError in Toxiproxy's order: body, stream, type, name, attributes.
    """
    fields = as_fields(body, "the body")
    kind, stream = text_of(fields, "type", ""), text_of(fields, "stream", "downstream")
    toxicity = number_of(fields, "toxicity", 1.0)
    name = text_of(fields, "name", "") or f"{kind}_{stream}"
    attributes = as_fields(fields.get("attributes"), "attributes")
    direction = stream.lower()
    if direction not in ("upstream", "downstream"):
        raise ApiError("stream was invalid, can be either upstream or downstream", 400)
    if kind in _FOR_CONNECTIONS_ONLY:
        raise ApiError(f"invalid toxic type: {kind} acts on connections, and datagrams have none", 400)
    if kind not in _STANDARD and kind not in _OURS:
        raise ApiError("invalid toxic type", 400)
    check_name(name)
    if name in taken:
        raise ApiError("toxic already exists", 409)
    return _checked(
        Toxic(
            name=name,
            type=kind,
            stream=stream,
            direction="upstream" if direction == "upstream" else "downstream",
            toxicity=toxicity,
            attributes=_attributes(kind, attributes, {}),
        )
    )


def update(toxic: Toxic, body: Any) -> Toxic:
    """The toxic with the `attributes` named and the `toxicity` of a decoded body.  Raises ApiError 400."""
    fields = as_fields(body, "the body")
    attributes = as_fields(fields.get("attributes"), "attributes")
    changed = _attributes(toxic.type, attributes, toxic.attributes)
    toxicity = number_of(fields, "toxicity", toxic.toxicity)
    return _checked(msgspec.structs.replace(toxic, attributes=changed, toxicity=toxicity))


def check_name(name: str) -> None:
    """Raises ApiError 400 for a name that is too long."""
    if len(name) > NAME_CHARACTERS_MAX:
        raise bad_body(f"name: {len(name)} characters, at most {NAME_CHARACTERS_MAX}")


def _attributes(kind: str, given: dict[str, Any], before: dict[str, Number]) -> dict[str, Number]:
    names = _STANDARD.get(kind)
    if names is None:
        names = _OURS[kind]
        for name in given:
            if name not in names:
                raise bad_body(f"{kind} has no attribute {name[:64]!r}; it has {', '.join(names) or 'none'}")
    found: dict[str, Number] = {}
    for name in names:
        default = before.get(name, 0)
        if name == "probability":
            found[name] = number_of(given, name, default)
        else:
            found[name] = integer_of(given, name, int(default))
        if found[name] < 0:
            raise bad_body(f"{name}: below 0")
    if kind == "latency" and (UNORDERED in given or UNORDERED in before):
        found[UNORDERED] = integer_of(given, UNORDERED, int(before.get(UNORDERED, 0)))
        if found[UNORDERED] not in (0, 1):
            raise bad_body(f"{UNORDERED}: is 0 or 1")
    return found


def _checked(toxic: Toxic) -> Toxic:
    try:
        fault_of(toxic)
    except ValueError as error:  # of the vocabulary: the number is out of its range
        raise bad_body(str(error)) from None
    return toxic


def fault_of(toxic: Toxic) -> Cut | Link:
    """The fault for the link policy.  Raises ValueError, one line, if a number is out of range."""
    number = toxic.attributes
    match toxic.type:
        case "latency":
            return Link(
                links=_HERE,
                latency_ms=float(number["latency"]),
                jitter_ms=float(number["jitter"]),
                unordered=bool(number.get(UNORDERED, 0)),
            )
        case "bandwidth":
            return Link(links=_HERE, rate_kb_s=float(number["rate"]))
        case "limit_data":
            return Link(links=_HERE, limit_bytes=int(number["bytes"]))
        case "loss":
            return Link(links=_HERE, loss=number["probability"])
        case "duplicate":
            return Link(links=_HERE, duplicate=number["probability"])
        case "reorder":
            return Link(links=_HERE, reorder=number["probability"], reorder_gap=int(number["gap"]))
        case "corrupt":
            return Link(links=_HERE, corrupt=number["probability"])
        case "timeout" | "blackhole":
            return Cut(links=_HERE)
    assert toxic.type == "noop"
    return Link(links=_HERE)
