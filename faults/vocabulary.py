"""The fault vocabulary: a closed union of frozen structs, which is all that a backend is ever told to do.

    Cut         directed links carry nothing; one-way and overlapping partitions are ordinary
    Link        links are slow, lossy, duplicating, reordering, corrupting or narrow
    Pause       nodes stand still and then go on (SIGSTOP, SIGCONT)
    Kill        nodes die, and come back with what the fate of their disk has left
    Disconnect  nodes lose their network, and get it back
    Skew        wall clocks are wrong; monotonic clocks never are
    Byzantine   nodes lie by a strategy

A node is its number; a directed link is (source, target).  Every value is checked when the struct is made, also
when it is read from a plan: ValueError, one line.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

DiskFate = Literal["keep", "lose-unsynced", "torn", "wipe"]
SkewMode = Literal["offset", "step", "strobe"]
CutWay = Literal["relay", "filter"]
Links = tuple[tuple[int, int], ...]

DELAY_MS_MAX = 600_000.0
RATE_KB_S_MIN, RATE_KB_S_MAX = 1e-6, 1e9
SKEW_MS_MAX = 1e12
PERIOD_MS_MIN = 1.0
PERIOD_MS_MAX = 600_000.0


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(rule)


def _check_links(links: Links) -> None:
    _require(bool(links), "links: at least one")
    _require(all(a >= 0 and b >= 0 for a, b in links), "links: nodes are numbered from 0")
    _require(all(a != b for a, b in links), "links: a node has no link to itself")
    _require(len(set(links)) == len(links), "links: each at most once")


def _check_nodes(nodes: tuple[int, ...]) -> None:
    _require(bool(nodes), "nodes: at least one")
    _require(all(node >= 0 for node in nodes), "nodes: are numbered from 0")
    _require(len(set(nodes)) == len(nodes), "nodes: each at most once")


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """Base of the union: tagged by `fault` in TOML and JSON."""


class Cut(_Fault, frozen=True, tag="cut"):
    """Nothing passes from source to target on these links.

    `by` says what holds it up: the relay on the link, or the packet filters of the nodes themselves, which know
    no directions: of each link the other way is cut, too.
    """

    links: Links
    by: CutWay = "relay"

    def __post_init__(self) -> None:
        _check_links(self.links)
        both = {(b, a) for a, b in self.links} <= set(self.links)
        _require(self.by == "relay" or both, "by: a packet filter cuts both ways, and a link has no counterpart")


class Link(_Fault, frozen=True, tag="link"):
    """How links behave on top of what they ordinarily do.

    Latency is one way; jitter is uniform in [-jitter_ms, jitter_ms), never below no delay at all.  `loss`,
    `duplicate`, `reorder` and `corrupt` are probabilities a frame; a reordered frame may overtake and be
    overtaken, and at least `reorder_gap` frames lie between two that are moved.  On an `unordered` link frames arrive
    as their own delays have it.  `rate_kb_s` is 1000 bytes a second, 0 for unlimited.  `limit_bytes` pass and
    everything after them is lost; None for no limit.
    """

    links: Links
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_kb_s: float = 0.0
    reorder_gap: int = 0
    unordered: bool = False
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_links(self.links)
        for name in ("latency_ms", "jitter_ms"):
            _require(0 <= getattr(self, name) <= DELAY_MS_MAX, f"{name}: not in 0 .. {DELAY_MS_MAX:g}")
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            _require(0 <= getattr(self, name) <= 1, f"{name}: a probability, 0 to 1")
        fits = self.rate_kb_s == 0 or RATE_KB_S_MIN <= self.rate_kb_s < RATE_KB_S_MAX
        _require(fits, f"rate_kb_s: neither 0 nor in {RATE_KB_S_MIN:g} .. {RATE_KB_S_MAX:g}")
        _require(self.reorder_gap >= 0, "reorder_gap: not negative")
        _require(self.limit_bytes is None or self.limit_bytes >= 0, "limit_bytes: not negative")


class Pause(_Fault, frozen=True, tag="pause"):
    """These nodes do nothing until the fault is lifted."""

    nodes: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)


class Kill(_Fault, frozen=True, tag="kill"):
    """These nodes die, and start again when the fault is lifted, from a disk of this fate."""

    nodes: tuple[int, ...]
    disk: DiskFate = "keep"

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)


class Disconnect(_Fault, frozen=True, tag="disconnect"):
    """These nodes have no network until the fault is lifted; their clients still reach them."""

    nodes: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)


class Skew(_Fault, frozen=True, tag="skew"):
    """Wall clocks are off: by an `offset` until lifted, by a `step` for good, or flipping each period (`strobe`)."""

    nodes: tuple[int, ...]
    mode: SkewMode = "offset"
    offset_ms: float = 0.0
    period_ms: float = 0.0

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)
        _require(0 < abs(self.offset_ms) <= SKEW_MS_MAX, f"offset_ms: not 0, and within {SKEW_MS_MAX:g}")
        if self.mode == "strobe":
            bounds = f"{PERIOD_MS_MIN:g} .. {PERIOD_MS_MAX:g}"
            _require(PERIOD_MS_MIN <= self.period_ms <= PERIOD_MS_MAX, f"period_ms: of a strobe, not in {bounds}")
        else:
            _require(self.period_ms == 0, "period_ms: only a strobe has one")


class Byzantine(_Fault, frozen=True, tag="byzantine"):
    """These nodes follow a strategy of lying while the fault lasts, and count as faulty for the whole run."""

    nodes: tuple[int, ...]
    strategy: str

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)
        _require(bool(self.strategy), "strategy: has a name")


Fault = Cut | Link | Pause | Kill | Disconnect | Skew | Byzantine


class At(msgspec.Struct, frozen=True, tag="at", tag_field="start", forbid_unknown_fields=True):
    """At a time: nanoseconds from the start of the load."""

    at_ns: int

    def __post_init__(self) -> None:
        _require(self.at_ns >= 0, "at_ns: not negative")


class Trigger(msgspec.Struct, frozen=True, tag="trigger", tag_field="start", forbid_unknown_fields=True):
    """Right after `node` has done for the `count`-th time what `after` names: a journal write, a frame sent, or
    the acceptance of what a frame brought."""

    after: Literal["persist", "send", "accept"]
    node: int
    count: int

    def __post_init__(self) -> None:
        _require(self.node >= 0, "node: nodes are numbered from 0")
        _require(self.count >= 1, "count: at least 1")


class PlannedFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a plan.  `duration_ns` is None for one that lasts until the heal; `what` is a line for people."""

    id: str
    fault: Fault
    start: At | Trigger
    duration_ns: int | None = None
    required: bool = True
    what: str = ""

    def __post_init__(self) -> None:
        _require(bool(self.id), "id: has a name")
        _require(self.duration_ns is None or self.duration_ns > 0, "duration_ns: above 0")


CAPABILITIES = (
    "cut", "filter", "disconnect", "latency", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate", "pause",
    *(f"kill-{disk}" for disk in get_args(DiskFate)), *(f"skew-{mode}" for mode in get_args(SkewMode)), "trigger",
)  # fmt: skip
"""Every name that `capabilities_needed` can give, but for "byzantine-" and a strategy's."""


def capabilities_needed(planned: PlannedFault) -> tuple[str, ...]:
    """What a backend must be able to do for this fault, sorted: "cut", "loss", "kill-torn", "trigger", ..."""
    needed = _of_fault(planned.fault)
    if isinstance(planned.start, Trigger):
        needed.append("trigger")
    return tuple(sorted(needed))


def _of_fault(fault: Fault) -> list[str]:
    match fault:
        case Cut(by=by):
            return ["cut"] if by == "relay" else ["filter"]
        case Disconnect():
            return ["disconnect"]
        case Link():
            numbers = {"latency_ms": "latency", "jitter_ms": "jitter", "rate_kb_s": "rate"}
            names = ("latency_ms", "jitter_ms", "loss", "duplicate", "reorder", "corrupt", "rate_kb_s")
            return [numbers.get(name, name) for name in names if getattr(fault, name)]
        case Pause():
            return ["pause"]
        case Kill(disk=disk):
            return [f"kill-{disk}"]
        case Skew(mode=mode):
            return [f"skew-{mode}"]
        case Byzantine(strategy=strategy):
            return [f"byzantine-{strategy}"]
