"""The schedule compiler: from TOML to planned faults, by the seed alone, with errors that name the place."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.schedule import SECOND, CutSpec, FaultError, FaultSpec, KillSpec, LinkSpec, PauseSpec, compile_faults
from faults.streams import LightStream, light_stream, stream
from faults.vocabulary import At, Byzantine, Cut, Kill, Link, Pause, PlannedFault, Skew, Trigger

REGIONS = ("eu", "eu", "us", "us", "ap")


class Faults(msgspec.Struct):
    faults: tuple[FaultSpec, ...]


def read(*entries: str) -> tuple[FaultSpec, ...]:
    """The entries as they stand in a campaign's TOML."""
    text = "\n".join(f"[[faults]]\n{entry}" for entry in entries)
    return msgspec.toml.decode(text, type=Faults).faults


def compiled(*specs: FaultSpec, seed: int = 7, nodes: int = 5) -> list[PlannedFault]:
    regions = REGIONS if nodes == len(REGIONS) else ("",) * nodes
    return compile_faults(specs, nodes=nodes, regions=regions, seed=seed, load_ns=12 * SECOND)


@pytest.mark.parametrize(
    ("entry", "fault", "what"),
    [
        ('fault="cut"\nlinks=[[1,0],[0,1]]', Cut(links=((0, 1), (1, 0))), "cut 2 links"),
        ('fault="cut"\ngroups=[[0],[2]]', Cut(links=((0, 2), (2, 0))), "cut groups [0] | [2]"),
        (
            'fault="link"\nbetween=["us","ap"]\nloss=0.5',
            Link(links=((2, 4), (3, 4), (4, 2), (4, 3)), loss=0.5),
            "loss 0.5 on us and ap",
        ),
        ('fault="pause"\nnodes=[3,1]', Pause(nodes=(1, 3)), "pause node 1, 3"),
        ('fault="kill"\nnodes=[0]\ndisk="torn"', Kill(nodes=(0,), disk="torn"), "kill node 0, disk torn"),
        (
            'fault="skew"\nnodes=[0]\nmode="strobe"\noffset_ms=200\nperiod_ms=50',
            Skew(nodes=(0,), mode="strobe", offset_ms=200, period_ms=50),
            "skew node 0 by strobe of 200 ms",
        ),
        ('fault="byzantine"\nnodes=[2]\nstrategy="fork"', Byzantine(nodes=(2,), strategy="fork"), "node 2 lies: fork"),
    ],
)
def test_what_is_written_becomes_what_a_backend_gets(entry: str, fault: object, what: str) -> None:
    (planned,) = compiled(*read(entry))
    assert (planned.fault, planned.what) == (fault, what)
    assert (planned.start, planned.duration_ns, planned.required) == (At(0), None, True)


def test_a_link_fault_without_a_place_is_on_every_link() -> None:
    (planned,) = compiled(*read('fault="link"\nlatency_ms=5'))
    assert isinstance(planned.fault, Link)
    assert planned.fault.links == tuple((a, b) for a in range(5) for b in range(5) if a != b)


def test_within_one_region_a_link_fault_has_no_link_from_a_node_to_itself() -> None:
    (planned,) = compiled(*read('fault="link"\nbetween=["eu","eu"]\nloss=0.5'))
    assert isinstance(planned.fault, Link)
    assert planned.fault.links == ((0, 1), (1, 0))


def test_entries_that_are_alike_choose_for_themselves() -> None:
    pairs = [compiled(CutSpec(shape="random"), CutSpec(shape="random"), seed=seed) for seed in range(20)]
    assert all(first.fault != second.fault for first, second in pairs)


def test_a_trigger_stands_for_the_time_and_sorts_first() -> None:
    entry = 'fault="kill"\nnodes=[2]\nafter={after="persist", node=2, count=17}\nduration_s=1.5\nrequired=false'
    cut, kill = read('fault="cut"\nshape="halves"', entry)
    planned = compiled(cut, kill)
    assert [one.id for one in planned] == ["kill-1", "cut-0"]
    assert planned[0].start == Trigger("persist", 2, 17)
    assert (planned[0].duration_ns, planned[0].required) == (1_500_000_000, False)


def test_flapping_repeats_at_its_period_with_new_draws_and_new_ids() -> None:
    flapping = CutSpec(shape="random", start_s=1.0, duration_s=0.5, every_s=2.0, times=4)
    planned = compiled(flapping)
    assert [one.id for one in planned] == ["cut-0", "cut-0.1", "cut-0.2", "cut-0.3"]
    assert [one.start for one in planned] == [At(second * SECOND) for second in (1, 3, 5, 7)]
    assert len({one.fault for one in planned}) > 1


def test_jitter_shifts_each_start_by_the_seed_within_its_bound() -> None:
    jittery = CutSpec(shape="halves", start_s=1.0, duration_s=0.5, every_s=1.0, times=8, jitter_s=0.4)
    shifts = [
        one.start.at_ns - (1 + repeat) * SECOND
        for seed in range(25)
        for repeat, one in enumerate(compiled(jittery, seed=seed))
        if isinstance(one.start, At)
    ]
    assert all(0 <= shift < 0.4 * SECOND for shift in shifts)
    assert max(shifts) > 0.35 * SECOND
    assert len(set(shifts)) == len(shifts) == 200


def test_equal_starts_are_ordered_by_id() -> None:
    specs = [PauseSpec(nodes=(0,), start_s=2.0), CutSpec(shape="halves", start_s=2.0), CutSpec(shape="ring")]
    assert [one.id for one in compiled(*specs)] == ["cut-2", "cut-1", "pause-0"]


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_random_cuts_compile_under_every_seed(nodes: int) -> None:
    for seed in range(300):
        compiled(CutSpec(shape="random", duration_s=0.5, every_s=1.0, times=5), seed=seed, nodes=nodes)


def test_pick_draws_that_many_and_the_seed_says_which() -> None:
    chosen = set()
    for seed in range(30):
        (planned,) = compiled(PauseSpec(pick=2), seed=seed)
        assert isinstance(planned.fault, Pause)
        chosen.add(planned.fault.nodes)
    assert all(len(set(nodes)) == 2 for nodes in chosen)
    assert {node for nodes in chosen for node in nodes} == set(range(5))


SPECS = st.sampled_from(
    [
        CutSpec(shape="halves"),
        CutSpec(shape="random", duration_s=0.3, every_s=1.0, times=3, jitter_s=0.2),
        LinkSpec(shape="bridge", loss=0.3),
        LinkSpec(loss=0.1, jitter_s=1.0),
        PauseSpec(pick=2, jitter_s=2.0),
    ]
)


def by_entry(planned: list[PlannedFault], index: int) -> list[PlannedFault]:
    return [one for one in planned if one.id.split("-")[1].split(".")[0] == str(index)]


@given(specs=st.lists(SPECS, min_size=1, max_size=5), other=SPECS, seed=st.integers(0, 2**63 - 1), data=st.data())
def test_an_entry_leaves_the_choices_of_all_others_alone(
    specs: list[FaultSpec], other: FaultSpec, seed: int, data: Any
) -> None:
    whole = compiled(*specs, seed=seed)
    assert whole == compiled(*specs, seed=seed), "the same seed plans the same"
    gone = data.draw(st.integers(0, len(specs) - 1))
    replaced = compiled(*specs[:gone], other, *specs[gone + 1 :], seed=seed)
    shortened = compiled(*specs[:gone], seed=seed)
    for index in range(len(specs)):
        if index != gone:
            assert by_entry(replaced, index) == by_entry(whole, index)
        if index < gone:
            assert by_entry(shortened, index) == by_entry(whole, index)


CUT = 'fault="cut"\nshape="halves"\n'
KILL = 'fault="kill"\nnodes=[1]\n'


@pytest.mark.parametrize(
    ("entry", "place", "message"),
    [
        ('fault="cut"\nshape="halfs"', "shape", 'unknown shape "halfs"; one of bridge, halves, isolate-one, '),
        ('fault="cut"', "shape", "exactly one of shape, groups, links"),
        (CUT + "links=[[0,1]]", "links", "exactly one of shape, groups, links"),
        ('fault="cut"\nlinks=[]', "", "0 links of 5 nodes leaves nothing to cut"),
        ('fault="cut"\nlinks=[[0,5]]', "links", "no node 5; nodes are 0 to 4"),
        ('fault="cut"\nlinks=[[3,3]]', "links", "a node has no link to itself"),
        ('fault="cut"\ngroups=[[0,1],[9]]', "groups", "no node 9; nodes are 0 to 4"),
        ('fault="cut"\ngroups=[[0,1],[1]]', "groups", "a node is in two groups"),
        ('fault="cut"\ngroups=[[0,1]]', "", "leaves nothing to cut"),
        ('fault="link"', "", "changes nothing: set one of latency_ms, "),
        ('fault="link"\nloss=1.5', "loss", "a probability, 0 to 1"),
        ('fault="link"\nloss=0.5\nbetween=["eu","mars"]', "between", 'no node is in region "mars"'),
        ('fault="pause"', "nodes", "exactly one of the two"),
        ('fault="pause"\nnodes=[1]\npick=1', "nodes", "exactly one of the two"),
        ('fault="pause"\nnodes=[5]', "nodes", "no node 5; nodes are 0 to 4"),
        ('fault="pause"\nnodes=[-1]', "nodes", "no node -1"),
        ('fault="pause"\nnodes=[]', "nodes", "at least one"),
        ('fault="pause"\npick=6', "pick", "6 of 5 nodes cannot be picked"),
        ('fault="pause"\npick=0', "pick", "0 of 5 nodes cannot be picked"),
        ('fault="skew"\nnodes=[0]', "offset_ms", "not 0"),
        (CUT + "start_s=-1.0", "start_s", "is not in 0 .. "),
        (CUT + "start_s=inf", "start_s", "is not in 0 .. "),
        (CUT + "start_s=nan", "start_s", "is not in 0 .. "),
        (CUT + "start_s=12.0", "start_s", "begins after the load of 12 s has ended"),
        (CUT + "start_s=9.0\nduration_s=1.0\nevery_s=2.0\ntimes=3", "start_s", "begins after the load of 12 s"),
        (CUT + "duration_s=0.0", "duration_s", "is not above 0"),
        (CUT + "duration_s=1e-12", "duration_s", "is not above 0"),
        (CUT + "duration_s=inf", "duration_s", "is not above 0"),
        (CUT + "jitter_s=inf", "jitter_s", "is not in 0 .. "),
        (CUT + "every_s=-1.0", "every_s", "is not above 0"),
        (CUT + "every_s=inf\ntimes=2\nduration_s=1.0", "every_s", "is not above 0"),
        (CUT + "times=0", "times", "is not in 1 .. "),
        (CUT + "times=2", "every_s", "is needed when times is above 1"),
        (CUT + "times=2\nevery_s=1.0", "duration_s", "or two repeats would overlap"),
        (CUT + "times=2\nevery_s=1.0\nduration_s=0.9\njitter_s=0.2", "duration_s", "or two repeats would overlap"),
        (KILL + 'start_s=1.0\nafter={after="send", node=0, count=1}', "after", "a fault has one beginning"),
        (KILL + 'after={after="send", node=7, count=1}', "after.node", "no node 7; nodes are 0 to 4"),
        (KILL + 'after={after="send", node=0, count=0}', "after.count", "is at least 1"),
        (KILL + 'after={after="send", node=0, count=1}\njitter_s=1.0', "jitter_s", "a trigger has none"),
        (KILL + 'after={after="send", node=0, count=1}\ntimes=2\nevery_s=1.0', "times", "a trigger happens once"),
    ],
)
def test_an_error_names_the_place(entry: str, place: str, message: str) -> None:
    good = 'fault="pause"\nnodes=[0]'
    with pytest.raises(FaultError) as caught:
        compiled(*read(good, entry))
    assert caught.value.place == ("faults[1]." + place if place else "faults[1]")
    assert message in caught.value.message
    assert str(caught.value) == f"{caught.value.place}: {caught.value.message}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ['fault="explode"', CUT + "colour=1", 'fault="kill"\nnodes=[0]\ndisk="melt"'])
def test_what_is_not_in_the_vocabulary_is_not_read(entry: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(entry)


def kill(*nodes: int, start: float, lasts: float | None) -> KillSpec:
    return KillSpec(nodes=nodes, start_s=start, duration_s=lasts)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (kill(1, start=1, lasts=3), kill(1, 2, start=3, lasts=1)),
        (kill(1, start=1, lasts=None), kill(1, start=9, lasts=1)),
        (kill(1, start=1, lasts=9), kill(1, start=2, lasts=1)),
    ],
)
def test_a_dead_node_is_not_killed_again(first: KillSpec, second: KillSpec) -> None:
    with pytest.raises(FaultError) as caught:
        compiled(first, second)
    assert str(caught.value) == "faults[1]: kills node 1 while kill-0 has it dead"


def test_deaths_one_after_another_or_of_different_nodes_are_ordinary() -> None:
    assert len(compiled(kill(1, start=1, lasts=2), kill(1, start=3, lasts=1), kill(2, start=1, lasts=None))) == 3


@pytest.mark.parametrize("make", [stream, light_stream])
def test_streams_differ_by_seed_and_by_every_name(make: Callable[..., Any]) -> None:
    names = [(7, "fault", 0), (7, "fault", 1), (8, "fault", 0), (7, "link", 0), (7, "fault", 0, 0), (7,)]
    assert len({make(seed, *rest).random() for seed, *rest in names}) == len(names)
    assert make(7, "fault", 0).random() == make(7, "fault", 0).random()


@pytest.mark.parametrize("make", [stream, light_stream])
def test_streams_are_uniform_and_neighbours_are_not_alike(make: Callable[..., Any]) -> None:
    streams = [make(7, "link", number) for number in range(2)]
    drawn = [[one.random() for _ in range(10_000)] for one in streams]
    for numbers in drawn:
        assert all(0 <= number < 1 for number in numbers)
        assert abs(sum(numbers) / 10_000 - 0.5) < 3.3 * (1 / 12 / 10_000) ** 0.5
    product = sum((a - 0.5) * (b - 0.5) for a, b in zip(*drawn, strict=True)) / 10_000
    assert abs(product) < 3.3 * (1 / 12) / 10_000**0.5


def test_a_light_stream_is_splitmix64() -> None:
    """The first outputs of the published generator from state 0, as floats of their upper 53 bits."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    zero = LightStream(0)
    assert [zero.random() for _ in published] == [(number >> 11) * 2.0**-53 for number in published]


def test_a_stream_is_the_same_in_every_version() -> None:
    """Seeds stand in reports and are run again years later; a change of this number changes what each of them does."""
    assert stream(7, "fault", 0).getrandbits(64) == 1745644061795779771
