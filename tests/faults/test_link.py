"""The link policy: rates as asked, order as promised, each decision independent of every other, bites as counted."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faults.link
from faults.link import QUEUE_NS_MAX, REORDER_NS_MIN, Delivery, LinkPolicy
from faults.vocabulary import Cut, Link

HERE = ((0, 1),)
MS = 1_000_000
SIZE = 100
QUANTILE_999 = 3.2905
"""Of the standard normal, two-sided: with this many frames the binomial is as good as normal."""


def link(**numbers: float) -> Link:
    return Link(links=HERE, **numbers)


def policy(base: Link | None = None, *, seed: int = 7, source: int = 0, **faults: Link | Cut) -> LinkPolicy:
    made = LinkPolicy(source, 1, seed=seed, base=base or link(latency_ms=1.0))
    for fault, what in faults.items():
        made.apply(fault, what)
    return made


def drive(
    made: LinkPolicy, frames: int = 400, *, gap: int = 50 * MS, start: int = 0, size: int = SIZE
) -> list[tuple[Delivery, ...]]:
    """What becomes of each frame, sent `gap` apart: far enough, by default, for none to meet another."""
    return [made.decide(start + number * gap, size) for number in range(frames)]


def dropped(fates: list[tuple[Delivery, ...]]) -> set[int]:
    return {number for number, fate in enumerate(fates) if not fate}


def overtakings(fates: list[tuple[Delivery, ...]]) -> int:
    """Pairs of originals that arrive in the other order."""
    arrivals = [fate[0].at for fate in fates if fate]
    return sum(early > late for i, early in enumerate(arrivals) for late in arrivals[i + 1 :])


def test_without_faults_every_frame_arrives_once_after_the_ordinary_latency() -> None:
    assert drive(policy(), 3) == [(Delivery(number * 50 * MS + MS, -1),) for number in range(3)]


def test_jitter_is_uniform_around_the_latency() -> None:
    for made in (policy(link(latency_ms=10, jitter_ms=4)), policy(x=link(latency_ms=9, jitter_ms=4))):
        delays = [fate[0].at - number * 50 * MS for number, fate in enumerate(drive(made, 8000))]
        assert 6 * MS <= min(delays) < 6.01 * MS
        assert 13.99 * MS < max(delays) < 14 * MS
        assert abs(sum(delays) / 8000 - 10 * MS) < QUANTILE_999 * (8 * MS / 12**0.5) / 8000**0.5


FRAMES = 20_000


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("purpose", ["loss", "duplicate", "reorder", "corrupt"])
@pytest.mark.parametrize("ordinary", [False, True], ids=["as a fault", "as the ordinary link"])
def test_a_probability_is_kept(purpose: str, probability: float, ordinary: bool) -> None:
    numbers = {"latency_ms": 1.0, purpose: probability}
    made = policy(link(**numbers)) if ordinary else policy(x=link(**{purpose: probability}))
    fates = drive(made, FRAMES)
    bitten = {
        "loss": len(dropped(fates)),
        "duplicate": sum(len(fate) == 2 for fate in fates),
        "reorder": sum(fate[0].at > number * 50 * MS + MS for number, fate in enumerate(fates) if fate),
        "corrupt": sum(fate[0].flip >= 0 for fate in fates if fate),
    }
    tolerance = QUANTILE_999 * (FRAMES * probability * (1 - probability)) ** 0.5
    assert abs(bitten.pop(purpose) - FRAMES * probability) <= tolerance
    assert not any(bitten.values()), "and nothing else happened"


def test_certainty_and_impossibility_are_exact() -> None:
    assert len(dropped(drive(policy(x=link(loss=1.0))))) == 400
    assert all(len(fate) == 2 for fate in drive(policy(x=link(duplicate=1.0))))
    assert all(fate[0].flip >= 0 for fate in drive(policy(x=link(corrupt=1.0))))


def test_faults_stack_latencies_add_and_losses_are_drawn_independently() -> None:
    fates = drive(policy(x=link(latency_ms=2, loss=0.3), y=link(latency_ms=4, loss=0.5)), FRAMES)
    assert {fate[0].at - number * 50 * MS for number, fate in enumerate(fates) if fate} == {7 * MS}
    expected = 1 - 0.7 * 0.5
    assert abs(len(dropped(fates)) / FRAMES - expected) <= QUANTILE_999 * (expected * (1 - expected) / FRAMES) ** 0.5


NUMBERS = st.fixed_dictionaries(
    {
        "latency_ms": st.sampled_from([0.0, 0.5, 5.0]),
        "jitter_ms": st.sampled_from([0.0, 0.4, 8.0]),
        "loss": st.sampled_from([0.0, 0.2]),
        "duplicate": st.sampled_from([0.0, 0.3]),
        "corrupt": st.sampled_from([0.0, 0.3]),
    }
)
REORDER = st.sampled_from([0.0, 0.3, 1.0])
RATE = st.sampled_from([0.0, 20.0])
GAPS = st.sampled_from([0, 100_000, 3 * MS, 50 * MS])
SEEDS = st.integers(0, 2**63 - 1)


@given(base=NUMBERS, numbers=NUMBERS, reorder=REORDER, rate=RATE, gap=GAPS, seed=SEEDS)
def test_nothing_arrives_before_it_is_sent_and_one_seed_decides_alike(
    base: Any, numbers: Any, reorder: float, rate: float, gap: int, seed: int
) -> None:
    def once() -> list[tuple[Delivery, ...]]:
        made = policy(link(**base), seed=seed)
        before = drive(made, 20, gap=gap)
        made.apply("x", link(**numbers, reorder=reorder, rate_kb_s=rate))
        during = drive(made, 40, gap=gap, start=20 * gap)
        made.lift("x")
        return before + during + drive(made, 20, gap=gap, start=60 * gap)

    fates = once()
    assert all(delivery.at >= number * gap for number, fate in enumerate(fates) for delivery in fate)
    assert fates == once()


@given(base=NUMBERS, numbers=NUMBERS, rate=RATE, gap=GAPS, seed=SEEDS)
def test_without_reorder_all_deliveries_keep_their_order(base: Any, numbers: Any, rate: float, gap: int, seed: int):
    made = policy(link(**base), seed=seed, x=link(**numbers, rate_kb_s=rate))
    arrivals = [delivery.at for fate in drive(made, 60, gap=gap) for delivery in fate]
    assert arrivals == sorted(arrivals)


@given(base=NUMBERS, numbers=NUMBERS, gap=GAPS, seed=SEEDS)
def test_reordered_is_counted_exactly_when_frames_overtook_one_another(
    base: Any, numbers: Any, gap: int, seed: int
) -> None:
    base["duplicate"] = numbers["duplicate"] = 0.0
    made = policy(link(**base), seed=seed, x=link(**numbers, reorder=0.3))
    fates = drive(made, 60, gap=gap)
    assert ("reordered" in made.counts("x")) == (overtakings(fates) > 0)


def test_reordering_overtakes_within_its_bounds_and_never_where_traffic_is_sparse() -> None:
    busy = policy(x=link(latency_ms=5, reorder=0.2))
    fates = drive(busy, 1000, gap=200_000)
    assert overtakings(fates) > 100
    delays = [fate[0].at - number * 200_000 for number, fate in enumerate(fates)]
    assert max(delays) <= 6 * MS + REORDER_NS_MIN + 2 * 6 * MS
    assert 150 < busy.counts("x")["reordered"] < 250
    sparse = policy(x=link(reorder=0.5))
    drive(sparse, gap=50 * MS)
    assert sparse.counts("x") == {}


def test_a_copy_keeps_its_place_when_its_original_is_moved_back() -> None:
    fates = drive(policy(x=link(duplicate=1.0, reorder=0.5)), 200)
    late = [(number, fate) for number, fate in enumerate(fates) if fate[0].at > fate[1].at]
    assert 60 < len(late) < 140
    assert all(fate[1].at == number * 50 * MS + MS for number, fate in late)
    assert all(fate[0].at == fate[1].at for number, fate in enumerate(fates) if (number, fate) not in late)


@given(size=st.integers(0, 2000), seed=SEEDS)
def test_a_turned_bit_is_one_of_the_payload(size: int, seed: int) -> None:
    made = policy(seed=seed, x=link(corrupt=1.0), y=link(corrupt=1.0, duplicate=1.0))
    fates = drive(made, 5, size=size)
    assert all((0 <= fate[0].flip < 8 * size) if size else fate[0].flip == -1 for fate in fates)
    assert all(fate[1].flip == -1 for fate in fates), "a copy is not corrupted with its original"
    assert made.counts("x") == ({"corrupted": 5} if size else {})
    assert "corrupted" not in made.counts("y"), "a frame has one turned bit to report, the first fault's"


@given(numbers=NUMBERS, others=NUMBERS, reorder=REORDER, seed=SEEDS)
def test_taking_one_fault_away_leaves_the_decisions_of_the_other(
    numbers: Any, others: Any, reorder: float, seed: int
) -> None:
    one, other = link(**numbers), link(**others, reorder=reorder)
    both = dropped(drive(policy(seed=seed, x=one, y=other), 80))
    assert both == dropped(drive(policy(seed=seed, x=one), 80)) | dropped(drive(policy(seed=seed, y=other), 80))


@given(numbers=NUMBERS, reorder=REORDER, seed=SEEDS)
def test_each_purpose_of_a_fault_decides_for_itself(numbers: Any, reorder: float, seed: int) -> None:
    alone = {
        purpose: drive(policy(seed=seed, x=link(**{purpose: numbers[purpose]})), 80)
        for purpose in ("loss", "duplicate", "corrupt")
    }
    together = drive(policy(seed=seed, x=link(**numbers, reorder=reorder)), 80)
    assert dropped(together) == dropped(alone["loss"])
    for number, fate in enumerate(together):
        if fate:
            assert len(fate) == len(alone["duplicate"][number])
            assert fate[0].flip == alone["corrupt"][number][0].flip


@pytest.mark.parametrize("what", [Cut(links=HERE), link(loss=1.0), link(latency_ms=3, loss=0.3, reorder=0.3)])
def test_a_fault_that_has_gone_leaves_no_trace_in_later_decisions(what: Cut | Link) -> None:
    base = link(latency_ms=2, jitter_ms=1)
    whole, touched = policy(base), policy(base)
    undisturbed = drive(whole, 300)
    touched.apply("x", what)
    drive(touched, 100)
    touched.lift("x")
    assert drive(touched, 200, start=100 * 50 * MS) == undisturbed[100:]


def test_seed_link_and_direction_each_have_their_own_decisions() -> None:
    lossy = {"x": link(loss=0.5)}
    there = dropped(drive(policy(**lossy)))
    back = LinkPolicy(1, 0, seed=7, base=link())
    back.apply("x", lossy["x"])
    others = [policy(seed=8, **lossy), policy(source=2, **lossy), policy(y=lossy["x"]), back]
    for other in others:
        # Two fair and independent sets of 400 share 200 more or less; the same set twice shares all.
        assert 140 < len(there ^ dropped(drive(other))) < 260


def test_a_cut_beats_everything_and_alone_counts() -> None:
    made = policy(x=link(duplicate=1.0, latency_ms=5, loss=0.2), a=Cut(links=HERE), b=Cut(links=HERE))
    assert len(dropped(drive(made, 50))) == 50
    assert (made.counts("a"), made.counts("b"), made.counts("x")) == ({"dropped": 50}, {"dropped": 50}, {})
    made.lift("a")
    assert len(dropped(drive(made, 50))) == 50, "the other cut is still there"
    made.lift("b")
    assert len(dropped(drive(made, 50))) < 50
    assert (made.counts("a"), made.counts("b")) == ({"dropped": 50}, {"dropped": 100}), "counts outlive the fault"


@pytest.mark.parametrize("order", ["ax", "xa"])
def test_a_cut_that_is_lifted_leaves_the_other_faults_in_force(order: str) -> None:
    made = policy(x=link(loss=1.0), a=Cut(links=HERE))
    for fault in order:
        assert len(dropped(drive(made, 20))) == 20
        made.lift(fault)
    assert not dropped(drive(made, 20))


def test_a_narrow_link_sends_one_frame_after_another_and_drops_what_waits_too_long() -> None:
    made = policy(x=link(rate_kb_s=100))
    ten_ms = 10 * MS  # 1000 bytes at 100 kB/s
    burst = drive(made, 300, gap=0, size=1000)
    arrivals = [fate[0].at for fate in burst if fate]
    assert arrivals[0] == MS + ten_ms
    assert all(after - before == ten_ms for before, after in pairwise(arrivals))
    held = QUEUE_NS_MAX // ten_ms + 1
    assert (len(arrivals), made.counts("x")) == (held, {"throttled": held, "dropped": 300 - held})
    later = 10_000 * MS
    assert made.decide(later, 1000) == (Delivery(later + MS + ten_ms),), "what was not used is not saved up"


def test_the_counts_are_what_was_seen() -> None:
    made = policy(x=link(latency_ms=2, loss=0.2, duplicate=0.2, corrupt=0.2))
    fates = drive(made, 500)
    delivered = [fate for fate in fates if fate]
    assert made.counts("x") == {
        "dropped": 500 - len(delivered),
        "delayed": len(delivered),
        "duplicated": sum(len(fate) - 1 for fate in delivered),
        "corrupted": sum(fate[0].flip >= 0 for fate in delivered),
    }
    before = made.counts("x")
    made.lift("x")
    assert made.counts("x") == before, "counts outlive the fault"


def test_a_loss_is_counted_by_the_fault_that_caused_it_and_the_ordinary_link_s_by_none() -> None:
    made = policy(link(loss=0.3), x=link(loss=0.3), y=link(loss=0.3))
    fates = drive(made, 1000)
    by_base = len(dropped(drive(policy(link(loss=0.3)), 1000)))
    by_faults = made.counts("x")["dropped"] + made.counts("y")["dropped"]
    assert min(made.counts("x")["dropped"], made.counts("y")["dropped"], by_base) > 0
    assert by_base + by_faults == len(dropped(fates))


@pytest.mark.parametrize("what", [link(), link(loss=1e-12, duplicate=1e-12, reorder=1e-12, corrupt=1e-12)])
def test_a_fault_that_did_not_bite_counts_nothing(what: Link) -> None:
    made = policy(x=what)
    drive(made, 200)
    assert made.counts("x") == made.counts("never applied") == {}
    made.lift("x")
    assert made.counts("x") == {}


def test_jitter_that_cannot_make_a_frame_earlier_is_not_counted_when_it_tries() -> None:
    made = policy(link(), x=link(jitter_ms=1))
    fates = drive(made, 400)
    assert made.counts("x") == {"delayed": sum(fate[0].at > number * 50 * MS for number, fate in enumerate(fates))}
    assert 100 < made.counts("x")["delayed"] < 300


def test_a_link_that_carries_nothing_opens_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred nodes have a quarter of a million links."""
    opened: list[tuple[object, ...]] = []
    stream = faults.link.light_stream
    monkeypatch.setattr(faults.link, "light_stream", lambda seed, *names: opened.append(names) or stream(seed, *names))
    made = policy(link(jitter_ms=1), x=link(loss=0.5, reorder=0.5))
    made.lift("x")
    assert not opened
    made.apply("y", link(loss=0.5))
    drive(made, 10)
    assert [names[-1] for names in opened] == ["jitter", "loss"], "one for each purpose in use, once"


def test_a_policy_has_no_dictionary_of_attributes() -> None:
    with pytest.raises(AttributeError):
        policy().colour = "red"  # type: ignore[attr-defined]


def test_an_unordered_link_delivers_as_each_frame_s_own_delay_has_it_and_counts_what_was_overtaken() -> None:
    made = policy(x=link(latency_ms=20.0, jitter_ms=10.0, unordered=True))
    fates = drive(made, 400, gap=MS)
    delays = [fate[0].at - number * MS for number, fate in enumerate(fates)]
    assert min(delays) >= 11 * MS and max(delays) < 31 * MS  # 1 ms of the link itself
    assert overtakings(fates) > 100 and made.counts("x")["reordered"] > 100
    in_order = drive(policy(x=link(latency_ms=20.0, jitter_ms=10.0)), 400, gap=MS)
    assert overtakings(in_order) == 0


def test_an_unordered_link_with_sparse_traffic_reorders_nothing() -> None:
    made = policy(x=link(latency_ms=20.0, jitter_ms=10.0, unordered=True))
    assert overtakings(drive(made)) == 0 and "reordered" not in made.counts("x")
