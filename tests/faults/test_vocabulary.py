"""The fault vocabulary: what cannot be is refused when it is made or read, and each fault names what it needs."""

from collections.abc import Callable

import msgspec
import pytest

from faults.vocabulary import (
    DELAY_MS_MAX,
    PERIOD_MS_MAX,
    PERIOD_MS_MIN,
    SKEW_MS_MAX,
    At,
    Byzantine,
    Cut,
    Fault,
    Kill,
    Link,
    Pause,
    PlannedFault,
    Skew,
    Trigger,
    capabilities_needed,
)

LINKS = ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cut(links=()), "links: at least one"),
        (lambda: Cut(links=((0, -1),)), "links: nodes are numbered from 0"),
        (lambda: Cut(links=((2, 2),)), "links: a node has no link to itself"),
        (lambda: Cut(links=((0, 1), (0, 1))), "links: each at most once"),
        (lambda: Link(links=LINKS, latency_ms=-1), "latency_ms: "),
        (lambda: Link(links=LINKS, latency_ms=float("inf")), "latency_ms: "),
        (lambda: Link(links=LINKS, latency_ms=DELAY_MS_MAX + 1), "latency_ms: "),
        (lambda: Link(links=LINKS, jitter_ms=float("nan")), "jitter_ms: "),
        (lambda: Link(links=LINKS, jitter_ms=DELAY_MS_MAX + 1), "jitter_ms: "),
        (lambda: Link(links=LINKS, loss=1.01), "loss: a probability"),
        (lambda: Link(links=LINKS, duplicate=-0.1), "duplicate: a probability"),
        (lambda: Link(links=LINKS, reorder=2), "reorder: a probability"),
        (lambda: Link(links=LINKS, corrupt=float("nan")), "corrupt: a probability"),
        (lambda: Link(links=LINKS, rate_kb_s=-5), "rate_kb_s: "),
        (lambda: Link(links=LINKS, rate_kb_s=1e9), "rate_kb_s: "),
        (lambda: Link(links=LINKS, rate_kb_s=1e-305), "rate_kb_s: "),
        (lambda: Pause(nodes=()), "nodes: at least one"),
        (lambda: Kill(nodes=(-1,)), "nodes: are numbered from 0"),
        (lambda: Kill(nodes=(1, 1)), "nodes: each at most once"),
        (lambda: Skew(nodes=(0,)), "offset_ms: not 0"),
        (lambda: Skew(nodes=(0,), offset_ms=float("inf")), "offset_ms: "),
        (lambda: Skew(nodes=(0,), offset_ms=-2 * SKEW_MS_MAX), "offset_ms: "),
        (lambda: Skew(nodes=(0,), offset_ms=5, period_ms=5), "period_ms: only a strobe has one"),
        (lambda: Skew(nodes=(0,), mode="strobe", offset_ms=5), "period_ms: of a strobe"),
        (lambda: Skew(nodes=(0,), mode="strobe", offset_ms=5, period_ms=1e-9), "period_ms: of a strobe"),
        (lambda: Skew(nodes=(0,), mode="strobe", offset_ms=5, period_ms=float("inf")), "period_ms: of a strobe"),
        (lambda: Byzantine(nodes=(0,), strategy=""), "strategy: has a name"),
        (lambda: At(-1), "at_ns: not negative"),
        (lambda: Trigger("send", -1, 1), "node: nodes are numbered from 0"),
        (lambda: Trigger("send", 0, 0), "count: at least 1"),
        (lambda: PlannedFault(id="", fault=Pause(nodes=(0,)), start=At(0)), "id: has a name"),
        (lambda: PlannedFault(id="a", fault=Pause(nodes=(0,)), start=At(0), duration_ns=0), "duration_ns: above 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_bounds_themselves_are_allowed() -> None:
    Link(links=LINKS, latency_ms=DELAY_MS_MAX, jitter_ms=DELAY_MS_MAX, loss=1, duplicate=1, reorder=1, corrupt=1)
    Skew(nodes=(0,), offset_ms=-SKEW_MS_MAX)
    for period_ms in (PERIOD_MS_MIN, PERIOD_MS_MAX):
        Skew(nodes=(0,), mode="strobe", offset_ms=SKEW_MS_MAX, period_ms=period_ms)


FAULTS: list[tuple[Fault, tuple[str, ...]]] = [
    (Cut(links=LINKS), ("cut",)),
    (Link(links=LINKS, latency_ms=1, rate_kb_s=2), ("latency", "rate")),
    (
        Link(links=LINKS, jitter_ms=1, loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.1),
        ("corrupt", "duplicate", "jitter", "loss", "reorder"),
    ),
    (Pause(nodes=(1,)), ("pause",)),
    (Kill(nodes=(1,)), ("kill-keep",)),
    (Kill(nodes=(1,), disk="lose-unsynced"), ("kill-lose-unsynced",)),
    (Kill(nodes=(1,), disk="torn"), ("kill-torn",)),
    (Kill(nodes=(1,), disk="wipe"), ("kill-wipe",)),
    (Skew(nodes=(1,), offset_ms=-3), ("skew-offset",)),
    (Skew(nodes=(1,), mode="step", offset_ms=3), ("skew-step",)),
    (Skew(nodes=(1,), mode="strobe", offset_ms=3, period_ms=9), ("skew-strobe",)),
    (Byzantine(nodes=(1,), strategy="equivocate"), ("byzantine-equivocate",)),
]


@pytest.mark.parametrize(("fault", "needed"), FAULTS)
def test_a_fault_names_what_a_backend_must_be_able_to_do(fault: Fault, needed: tuple[str, ...]) -> None:
    assert capabilities_needed(PlannedFault(id="f", fault=fault, start=At(0))) == needed
    triggered = PlannedFault(id="f", fault=fault, start=Trigger("persist", 2, 17))
    assert capabilities_needed(triggered) == tuple(sorted([*needed, "trigger"]))


@pytest.mark.parametrize("start", [At(5), Trigger("accept", 0, 3)])
@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS])
def test_a_planned_fault_survives_json(fault: Fault, start: At | Trigger) -> None:
    planned = PlannedFault(id="f", fault=fault, start=start, duration_ns=7, required=False, what="a line")
    assert msgspec.json.decode(msgspec.json.encode(planned), type=PlannedFault) == planned


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'{"fault":"link","links":[[0,1]],"loss":3}', "loss: a probability"),
        (b'{"fault":"link","links":[[0,1]],"delay":3}', "delay"),
        (b'{"fault":"explode","nodes":[0]}', "explode"),
        (b'{"fault":"kill","nodes":[0],"disk":"melt"}', "disk"),
    ],
)
def test_reading_a_fault_checks_it_too(text: bytes, place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place):
        msgspec.json.decode(text, type=Fault)
