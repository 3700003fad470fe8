"""The schedule compiler: from faults as a person writes them to planned faults.

What a person writes names shapes ("halves") and counts ("two nodes"); a plan names links and nodes.  Each entry
draws from a stream of its own, by its place in the list, so taking one out of a plan leaves the others as they
were.  Times are seconds in TOML and integer nanoseconds in a plan.

Every entry has: `start_s` (default 0) or `after` (a trigger), `duration_s` (default: until the heal), `every_s` and
`times` (flapping), `jitter_s` (each start moves by up to so much, by the seed), `required` (default true).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import Any, Literal

import msgspec

from faults.grudges import GRUDGES, groups
from faults.streams import stream
from faults.vocabulary import (
    At,
    Byzantine,
    Cut,
    CutWay,
    Disconnect,
    DiskFate,
    Fault,
    Kill,
    Link,
    Links,
    Pause,
    PlannedFault,
    Skew,
    SkewMode,
    Trigger,
)

SECOND = 1_000_000_000
TIMES_MAX = 10_000
SECONDS_MAX = 1e6
"""No time in a campaign is longer than eleven days; so an `inf` of TOML is refused like any other mistake."""


class FaultError(Exception):
    """A fault that cannot be; `place` is where in the campaign, `message` one line."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


class After(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trigger: right after `node` has done for the `count`-th time what `after` names."""

    after: Literal["persist", "send", "accept"]
    node: int
    count: int


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """What every entry has; the module's docstring explains it."""

    start_s: float | None = None
    after: After | None = None
    duration_s: float | None = None
    every_s: float | None = None
    times: int = 1
    jitter_s: float = 0.0
    required: bool = True


class CutSpec(_Spec, frozen=True, tag="cut"):
    """Exactly one of `shape` (a grudge), `groups` (cut from each other) and `links`; `by` relay or packet filter."""

    shape: str | None = None
    groups: tuple[tuple[int, ...], ...] | None = None
    links: Links | None = None
    by: CutWay = "relay"


class LinkSpec(_Spec, frozen=True, tag="link"):
    """On all links, or those of one of `shape`, `groups`, `links` and `between` (two regions, both ways)."""

    shape: str | None = None
    groups: tuple[tuple[int, ...], ...] | None = None
    links: Links | None = None
    between: tuple[str, str] | None = None
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_kb_s: float = 0.0


class _NodeSpec(_Spec, frozen=True):
    """Exactly one of `nodes` and `pick`, the number of nodes that the seed draws."""

    nodes: tuple[int, ...] | None = None
    pick: int | None = None


class PauseSpec(_NodeSpec, frozen=True, tag="pause"):
    """Nodes stand still."""


class KillSpec(_NodeSpec, frozen=True, tag="kill"):
    """Nodes die; `duration_s` is how long they stay dead."""

    disk: DiskFate = "keep"


class DisconnectSpec(_NodeSpec, frozen=True, tag="disconnect"):
    """Nodes lose their network."""


class SkewSpec(_NodeSpec, frozen=True, tag="skew"):
    """Wall clocks are wrong."""

    mode: SkewMode = "offset"
    offset_ms: float = 0.0
    period_ms: float = 0.0


class ByzantineSpec(_NodeSpec, frozen=True, tag="byzantine", kw_only=True):
    """Nodes lie.  Of several strategies the seed draws one, for all of them."""

    strategy: str | tuple[str, ...]


FaultSpec = CutSpec | LinkSpec | PauseSpec | KillSpec | DisconnectSpec | SkewSpec | ByzantineSpec
FAULTS = ("cut", "link", "pause", "kill", "disconnect", "skew", "byzantine")

_LINK_NUMBERS = ("latency_ms", "jitter_ms", "loss", "duplicate", "reorder", "corrupt", "rate_kb_s")


def compile_faults(
    specs: Sequence[FaultSpec], *, nodes: int, regions: Sequence[str], seed: int, load_ns: int
) -> list[PlannedFault]:
    """The planned faults, by start (triggered ones first), then id.  Raises FaultError naming `faults[i]...`.

    `regions` has one entry a node.  A repeat of entry i is called "cut-i.r".
    """
    planned: list[PlannedFault] = []
    for index, spec in enumerate(specs):
        place = f"faults[{index}]"
        random = stream(seed, "fault", index)
        _check_timing(spec, place, nodes, load_ns)
        kind = type(spec).__name__.removesuffix("Spec").lower()
        for repeat in range(spec.times):
            try:
                fault, what = _fault(spec, place, nodes, regions, random)
            except ValueError as error:
                field, _, message = str(error).partition(": ")
                raise FaultError(f"{place}.{field}" if message else place, message or field) from None
            start = _start(spec, repeat, random)
            if isinstance(start, At) and start.at_ns >= load_ns:
                raise FaultError(f"{place}.start_s", f"begins after the load of {load_ns / SECOND:g} s has ended")
            planned.append(
                PlannedFault(
                    id=f"{kind}-{index}" + (f".{repeat}" if repeat else ""),
                    fault=fault,
                    start=start,
                    duration_ns=None if spec.duration_s is None else int(spec.duration_s * SECOND),
                    required=spec.required,
                    what=what,
                )
            )
    _check_one_death_at_a_time(planned)
    return sorted(planned, key=lambda one: (one.start.at_ns if isinstance(one.start, At) else -1, one.id))


def _check_timing(spec: FaultSpec, place: str, nodes: int, load_ns: int) -> None:
    def require(holds: bool, field: str, message: str) -> None:
        if not holds:
            raise FaultError(f"{place}.{field}", message)

    require(spec.start_s is None or spec.after is None, "after", "stands beside start_s: a fault has one beginning")
    for field in ("start_s", "jitter_s"):
        seconds = getattr(spec, field)
        require(seconds is None or 0 <= seconds <= SECONDS_MAX, field, f"is not in 0 .. {SECONDS_MAX:g}")
    for field in ("duration_s", "every_s"):
        seconds = getattr(spec, field)
        lasting = seconds is None or 1 <= seconds * SECOND <= SECONDS_MAX * SECOND
        require(lasting, field, f"is not above 0 and at most {SECONDS_MAX:g}")
    require(1 <= spec.times <= TIMES_MAX, "times", f"is not in 1 .. {TIMES_MAX}")
    if spec.times > 1:
        require(spec.every_s is not None, "every_s", "is needed when times is above 1")
        require(spec.after is None, "times", "a trigger happens once")
        every, lasts = spec.every_s or 0.0, spec.duration_s
        require(
            lasts is not None and lasts + spec.jitter_s <= every,
            "duration_s",
            "and jitter_s together are at most every_s, or two repeats would overlap",
        )
    if spec.after is not None:
        require(spec.jitter_s == 0, "jitter_s", "moves a time, and a trigger has none")
        require(0 <= spec.after.node < nodes, "after.node", f"no node {spec.after.node}; nodes are 0 to {nodes - 1}")
        require(spec.after.count >= 1, "after.count", "is at least 1")


def _start(spec: FaultSpec, repeat: int, random: Random) -> At | Trigger:
    shift = random.random() * spec.jitter_s
    if spec.after is not None:
        return Trigger(after=spec.after.after, node=spec.after.node, count=spec.after.count)
    return At(int(((spec.start_s or 0.0) + repeat * (spec.every_s or 0.0) + shift) * SECOND))


def _fault(spec: FaultSpec, place: str, nodes: int, regions: Sequence[str], random: Random) -> tuple[Fault, str]:
    match spec:
        case CutSpec():
            links, where = _links(spec, place, nodes, regions, random)
            return Cut(links=links, by=spec.by), f"cut {where}" + (" by packet filter" if spec.by == "filter" else "")
        case LinkSpec():
            links, where = _links(spec, place, nodes, regions, random)
            numbers = {name: getattr(spec, name) for name in _LINK_NUMBERS}
            if not any(numbers.values()):
                raise FaultError(place, f"changes nothing: set one of {', '.join(_LINK_NUMBERS)}")
            said = ", ".join(f"{name} {value:g}" for name, value in numbers.items() if value)
            return Link(links=links, **numbers), f"{said} on {where}"
    chosen = _nodes(spec, place, nodes, random)
    where = "node " + ", ".join(map(str, chosen))
    match spec:
        case PauseSpec():
            return Pause(nodes=chosen), f"pause {where}"
        case DisconnectSpec():
            return Disconnect(nodes=chosen), f"disconnect {where}"
        case KillSpec(disk=disk):
            return Kill(nodes=chosen, disk=disk), f"kill {where}, disk {disk}"
        case SkewSpec(mode=mode, offset_ms=offset_ms, period_ms=period_ms):
            skew = Skew(nodes=chosen, mode=mode, offset_ms=offset_ms, period_ms=period_ms)
            return skew, f"skew {where} by {mode} of {offset_ms:g} ms"
        case ByzantineSpec(strategy=named):
            if not named:
                raise FaultError(f"{place}.strategy", "names none")
            if not isinstance(named, str) and len(set(named)) < len(named):
                raise FaultError(f"{place}.strategy", "names each at most once")
            strategy = named if isinstance(named, str) else random.choice(named)
            return Byzantine(nodes=chosen, strategy=strategy), f"{where} lies: {strategy}"


def _nodes(
    spec: PauseSpec | KillSpec | DisconnectSpec | SkewSpec | ByzantineSpec, place: str, nodes: int, random: Random
) -> tuple[int, ...]:
    if (spec.nodes is None) == (spec.pick is None):
        raise FaultError(f"{place}.nodes", "name nodes, or say how many to pick: exactly one of the two")
    if spec.nodes is not None:
        _check_known(spec.nodes, f"{place}.nodes", nodes)
        return tuple(sorted(spec.nodes))
    pick = spec.pick or 0
    if not 1 <= pick <= nodes:
        raise FaultError(f"{place}.pick", f"{pick} of {nodes} nodes cannot be picked")
    return tuple(sorted(random.sample(range(nodes), pick)))


def _links(
    spec: CutSpec | LinkSpec, place: str, nodes: int, regions: Sequence[str], random: Random
) -> tuple[Links, str]:
    ways: dict[str, Any] = {"shape": spec.shape, "groups": spec.groups, "links": spec.links}
    if isinstance(spec, LinkSpec):
        ways["between"] = spec.between
    named = [way for way, value in ways.items() if value is not None]
    if len(named) > 1 or (not named and isinstance(spec, CutSpec)):
        raise FaultError(f"{place}.{named[-1] if named else 'shape'}", f"exactly one of {', '.join(ways)}")
    everyone = range(nodes)
    if not named:
        links, where = tuple((a, b) for a in everyone for b in everyone if a != b), "every link"
    elif spec.shape is not None:
        if spec.shape not in GRUDGES:
            raise FaultError(f"{place}.shape", f'unknown shape "{spec.shape}"; one of {", ".join(GRUDGES)}')
        links, where = GRUDGES[spec.shape](everyone, random), spec.shape
    elif spec.groups is not None:
        members = [node for group in spec.groups for node in group]
        _check_known(members, f"{place}.groups", nodes)
        if len(set(members)) != len(members):
            raise FaultError(f"{place}.groups", "a node is in two groups")
        links, where = groups(spec.groups), "groups " + " | ".join(str(list(group)) for group in spec.groups)
    elif spec.links is not None:
        _check_known([node for link in spec.links for node in link], f"{place}.links", nodes)
        links, where = tuple(sorted(spec.links)), f"{len(spec.links)} links"
    else:
        assert isinstance(spec, LinkSpec) and spec.between is not None
        links, where = _between(spec.between, place, regions), " and ".join(spec.between)
    if not links:
        raise FaultError(place, f"{where} of {nodes} nodes leaves nothing to cut")
    return links, where


def _between(pair: tuple[str, str], place: str, regions: Sequence[str]) -> Links:
    for region in pair:
        if region not in regions:
            raise FaultError(f"{place}.between", f'no node is in region "{region}"')
    one, other = pair
    wanted = {(one, other), (other, one)}
    count = len(regions)
    return tuple((a, b) for a in range(count) for b in range(count) if a != b and (regions[a], regions[b]) in wanted)


def _check_known(named: Iterable[int], place: str, nodes: int) -> None:
    for node in named:
        if not 0 <= node < nodes:
            raise FaultError(place, f"no node {node}; nodes are 0 to {nodes - 1}")


def _check_one_death_at_a_time(planned: list[PlannedFault]) -> None:
    """Two kills that overlap on a node would make the first one's restart undo the second."""
    spans: dict[int, list[tuple[int, float, str]]] = {}
    for one in planned:
        if isinstance(one.fault, Kill) and isinstance(one.start, At):
            begin = one.start.at_ns
            end = float("inf") if one.duration_ns is None else begin + one.duration_ns
            for node in one.fault.nodes:
                spans.setdefault(node, []).append((begin, end, one.id))
    for node, deaths in spans.items():
        deaths.sort()
        for (_, end, first), (begin, _, second) in pairwise(deaths):
            if begin < end:
                index = second.partition("-")[2].partition(".")[0]
                raise FaultError(f"faults[{index}]", f"kills node {node} while {first} has it dead")
