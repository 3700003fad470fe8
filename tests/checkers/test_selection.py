"""selection: planted rounds that must be found, and the nearest rounds that are right."""

from random import Random

import msgspec
import pytest

from checkers.compose import check
from checkers.history import (
    CheckEntry,
    FaultEntry,
    FaultEvent,
    Header,
    History,
    NetworkEntry,
    NodeEntry,
    NodeEvent,
    Phase,
)
from checkers.selection import chi_square_tail
from tests.checkers.histories import header as plain_header

NODES = 7
SECOND = 1_000_000_000
K = 3


def agent(number: int) -> str:
    return f"{number:02x}" * 32


def header(strategy: str = "random", liars=(), faults=(), near=(), **options) -> Header:
    """Nodes of `near` are in a region of their own."""
    made = plain_header(nodes=NODES, s="gset")
    nodes = [
        NodeEntry(index=number, agent=agent(number), region="ap" if number in near else "eu", byzantine=number in liars)
        for number in range(NODES)
    ]
    return Header(
        campaign="by hand",
        seed=0,
        backend="none",
        nodes=nodes,
        faulty=2,
        objects=made.objects,
        core=[number for number in range(NODES) if number not in liars],
        deadline=made.deadline,
        checks=[CheckEntry("selection", options)],
        faults=[FaultEntry(fault, "cut", True) for fault in faults],
        plan={"cluster": {"strategy": strategy}},
    )


def told(node: int, rounds, t: int = 0, available: int = NODES - 1, k: int = K) -> NodeEvent:
    names = [[agent(peer)[:16] for peer in picked] for picked in rounds]
    data = {"rounds": names, "available": available, "k": k}
    return NodeEvent(node=node, name="selected", monotonic=t, wall=t, t=t, data=data)


def tellings(node: int, rounds, **changed):
    """As the mesh does it, every ten rounds."""
    return [told(node, rounds[start : start + 10], **changed) for start in range(0, len(rounds), 10)]


def uniform(node: int, count: int = 400, seed: int = 1, among=range(NODES)):
    random = Random(f"{seed}/{node}")
    others = [peer for peer in among if peer != node]
    return [random.sample(others, min(K, len(others))) for _ in range(count)]


def judge(made: Header, events):
    done = Phase(phase="done", t=max((event.t for event in events), default=0))
    found = check(History(header=made, events=[*events, done])).results[0]
    return found.validity, {anomaly.name for anomaly in found.anomalies}, found


def everybody(**changed):
    return [event for node in range(NODES) for event in tellings(node, changed.get(f"n{node}", uniform(node)))]


@pytest.mark.parametrize(
    ("place", "faults", "anomalies"), [(15, (), {"too-few"}), (15, ("cut",), set()), (5, (), set())]
)
def test_a_round_in_the_midst_of_a_telling_has_to_pick_enough_where_nothing_keeps_any_from_it(place, faults, anomalies):
    """The first telling is of the start, in which peers may be missing; under a cut they may be, too."""
    thin = uniform(0)
    thin[place] = thin[place][:1]
    cut = [FaultEvent(fault=one, stage="injected", t=0) for one in faults]
    _, names, _ = judge(header(faults=faults), [*cut, *everybody(n0=thin)])
    assert names == anomalies


def test_uniform_rounds_are_valid():
    validity, names, found = judge(header(), everybody())
    assert (validity, names) == ("valid", set()) and found.figures["least_chance"] > 1e-6
    assert found.figures["selections"] == NODES * 400 * K


def test_the_chance_of_uniform_rounds_is_what_it_says():
    """Of the least of seven chances, the median is 1 - 0.5 ** (1 / 7), about 0.094: neither too strict nor too lax."""
    rounds = [{f"n{node}": uniform(node, seed=seed) for node in range(NODES)} for seed in range(40)]
    least = sorted(judge(header(), everybody(**one))[2].figures["least_chance"] for one in rounds)
    assert 0.04 < least[20] < 0.2


@pytest.mark.parametrize(
    ("rounds", "anomaly"),
    [
        ([[1, 2, 2]], "selected-twice"),
        ([[1, 2]], "too-few"),
        ([[0, 1, 2]], "selected-itself"),
        ([[1, 2, 99]], "selected-stranger"),
    ],
)
def test_a_round_that_is_wrong_is_found(rounds, anomaly):
    validity, names, _ = judge(header(), everybody(n0=[*uniform(0), *rounds]))
    assert validity == "invalid" and names == {anomaly}


@pytest.mark.parametrize("rounds", [[[1, 2, 3]], [[6, 5, 4]]])
def test_and_one_that_is_right_is_not(rounds):
    assert judge(header(), everybody(n0=[*uniform(0), *rounds]))[0] == "valid"


def test_fewer_are_enough_where_fewer_are_there():
    assert judge(header(), [*everybody(), told(0, [[1, 2]], available=2)])[0] == "valid"
    assert judge(header(), [*everybody(), told(0, [[1, 2]], available=3)])[1] == {"too-few"}


def skewed(node: int):
    """Peer 1 is picked in nine rounds of ten."""
    random = Random(node)
    others = [peer for peer in range(NODES) if peer not in (node, 1)]
    return [
        [1, *random.sample(others, K - 1)] if random.random() < 0.9 else random.sample(others, K) for _ in range(400)
    ]


def test_uneven_picks_are_found_under_the_strategy_random_alone():
    assert judge(header(), everybody(n0=skewed(0)))[1] == {"not-uniform"}
    assert judge(header(strategy="nearest"), everybody(n0=skewed(0)))[0] == "valid"


def test_what_was_picked_under_a_fault_says_nothing_of_evenness():
    fault = [FaultEvent(fault="cut-0", stage="injected", t=0)]
    events = [*fault, *everybody(n0=skewed(0)), FaultEvent(fault="cut-0", stage="lifted", t=1)]
    assert judge(header(faults=["cut-0"]), events)[0] == "valid"


def test_nor_does_what_was_picked_while_a_peer_could_not_be():
    """A peer that is proven faulty is never picked again, long after the faults were lifted."""
    without = uniform(0, among=range(NODES - 1))
    shunned = [event for event in everybody() if event.node] + tellings(0, without, available=NODES - 2)
    proven = NodeEvent(node=0, name="proven", monotonic=0, wall=0, t=0, data={"agent": agent(NODES - 1)})
    assert judge(header(), [proven, *shunned])[0] == "valid"
    assert judge(header(), shunned)[0] == "unknown", "nothing in the history keeps it from that peer"
    assert judge(header(), everybody(n0=without))[1] == {"not-uniform"}


@pytest.mark.parametrize(("available", "expected"), [(NODES - 2, set()), (NODES - 1, {"not-uniform"})])
def test_the_lesser_of_two_tellings_counts(available, expected):
    """Ten rounds that began without a peer say nothing of evenness, though it was there at their end."""
    without = uniform(0, among=range(NODES - 1))
    events = [event for event in everybody() if event.node]
    for ten in tellings(0, without):
        events += [told(0, [[1, 2, 3]], available=available), ten]
    assert judge(header(), events)[1] == expected


def towards(liars, share: float, node: int, seed: int = 3):
    """Rounds in which so many of the picks are liars."""
    random = Random(f"{seed}/{node}")
    honest = [peer for peer in range(NODES) if peer != node and peer not in liars]
    found = []
    for _ in range(400):
        count = sum(random.random() < share for _ in range(K))
        count = min(count, len(liars))
        found.append([*random.sample(list(liars), count), *random.sample(honest, K - count)])
    return found


@pytest.mark.parametrize(
    ("strategy", "share", "expected"),
    [
        ("random", 0.3, "valid"),
        ("random", 0.5, "invalid"),
        ("nearest", 0.35, "valid"),
        ("nearest", 0.55, "invalid"),
        ("hybrid", 0.35, "valid"),
        ("hybrid", 0.55, "invalid"),
    ],
)
def test_liars_have_no_more_than_their_bound(strategy, share, expected):
    liars = (5, 6)
    events = [event for node in range(5) for event in tellings(node, towards(liars, share, node))]
    fault = FaultEvent(fault="seat-0", stage="injected", t=0)
    validity, names, found = judge(header(strategy=strategy, liars=liars, faults=["seat-0"]), [fault, *events])
    assert validity == expected and names == ({"byzantine-share"} if expected == "invalid" else set())
    # Of six peers two lie.  Two of three places are near, of five at least: 4/5 of a liar; the third is one of four.
    bound = 2 / 6 if strategy == "random" else (2 * 2 / 5 + 1 * (2 - 4 / 5) / 4) / 3
    assert found.figures["bound"] == pytest.approx(bound, abs=1e-4)
    assert found.figures["worst_share"] == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize(("near", "expected"), [((0, 5, 6), "valid"), ((0, 1, 2, 3, 5, 6), "invalid")])
def test_in_a_region_the_bound_is_by_the_number_of_its_peers(near, expected):
    """A node that shares its region with two liars alone may pick both each time; with three more it may not."""
    liars = (5, 6)
    events = [*tellings(0, [[5, 6, 1 + number % 4] for number in range(400)])]
    events += [event for node in range(1, 5) for event in tellings(node, uniform(node))]
    assert judge(header(strategy="region", liars=liars, near=near), events)[0] == expected


@pytest.mark.parametrize(
    ("strategy", "available", "expected"),
    [
        ("random", 2, set()),
        ("hybrid", 2, set()),
        ("random", 6, {"too-few", "byzantine-share", "not-uniform"}),
        ("hybrid", 6, {"too-few", "byzantine-share"}),
    ],
)
def test_a_node_that_is_cut_off_with_liars_has_nobody_else_to_pick(strategy, available, expected):
    liars = (5, 6)
    events = [event for node in range(1, 5) for event in tellings(node, uniform(node))]
    events += tellings(0, [[5, 6]] * 400, available=available)
    assert judge(header(strategy=strategy, liars=liars), events)[1] == expected


def test_a_stated_share_takes_the_place_of_the_bound():
    liars = (5, 6)
    events = [event for node in range(5) for event in tellings(node, towards(liars, 0.35, node))]
    assert judge(header(strategy="hybrid", liars=liars, share_max=0.1), events)[1] == {"byzantine-share"}
    assert judge(header(strategy="hybrid", liars=liars, share_max=0.5), events)[0] == "valid"


def test_what_liars_tell_of_their_own_picks_is_nobodys_business():
    liars = (6,)
    events = [*(event for event in everybody() if event.node not in liars), told(6, [[0, 0, 6]])]
    assert judge(header(liars=liars), events)[0] == "valid"


def test_too_little_is_unknown():
    assert judge(header(), [])[0] == "unknown"
    assert judge(header(), everybody(n0=uniform(0, 19)))[0] == "unknown"
    assert judge(header(rounds_min=19), everybody(n0=uniform(0, 19)))[0] == "valid"


@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.841459, 1, 0.05), (18.30704, 10, 0.05), (2.705543, 1, 0.1), (9.34182, 10, 0.5), (29.5883, 10, 0.001)],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic, degrees, tail):
    assert chi_square_tail(statistic, degrees) == pytest.approx(tail, rel=1e-4)


# What a node says of itself is no evidence for it.


def test_an_eclipse_is_not_excused_by_the_victim_s_own_word():
    """Node 0 says that only the liars are there, and picks nobody else."""
    liars = (5, 6)
    seat = [FaultEvent(fault="seat", stage="injected", t=0)]
    events = [event for node in range(1, 5) for event in tellings(node, uniform(node))]
    eclipsed = tellings(0, [list(liars)] * 400, available=2)
    made = header(liars=liars)
    made = msgspec.structs.replace(made, faults=[FaultEntry("seat", "byzantine", True, nodes=liars)])
    assert judge(made, [*seat, *events, *eclipsed])[0] == "unknown"
    assert judge(made, [*seat, *events, *tellings(0, uniform(0))])[0] == "valid"
    gone = [
        NodeEvent(node=0, name="suspected", monotonic=0, wall=0, t=0, data={"agent": agent(n)}) for n in (1, 2, 3, 4)
    ]
    assert judge(made, [*seat, *gone, *events, *eclipsed])[0] == "valid", "it shuns them, and says so"


def test_rounds_that_pick_nobody_are_found_in_the_midst_of_a_telling():
    hollow = [picked if number % 10 == 9 else [] for number, picked in enumerate(uniform(0))]
    assert "too-few" in judge(header(), everybody(n0=hollow))[1]


def hollow(picks):
    """Round 15 of node 0 picks so many, in its second telling."""
    return [picked[: picks if number == 15 else K] for number, picked in enumerate(uniform(0))]


@pytest.mark.parametrize("picks", [0, 1])
def test_on_a_lossy_network_who_fell_silent_in_between_may_have_been_passed_over(picks):
    lossy = msgspec.structs.replace(header(), network=NetworkEntry(loss=0.5))
    assert judge(lossy, everybody(n0=hollow(picks)))[0] == "valid"
    assert "too-few" in judge(header(), everybody(n0=hollow(picks)))[1]


@pytest.mark.parametrize("why", ["a lossy network", "no idle processor"])
def test_who_picks_nobody_in_most_rounds_is_not_excused_by_a_frame_now_and_then(why):
    made = header()
    hollow = [picked if number % 10 == 9 else [] for number, picked in enumerate(uniform(0))]
    if why == "a lossy network":
        made = msgspec.structs.replace(made, network=NetworkEntry(loss=0.001))
        events = everybody(n0=hollow)
    else:
        starved = [NodeEvent(node=0, name="starved", monotonic=0, wall=0, t=0, data={"for_ns": 100})]
        events = [*starved, *everybody(n0=hollow)]
    validity, names, found = judge(made, events)
    assert (validity, names) == ("unknown", set())
    assert found.notes[0].startswith("node 0 picked too few in 351 of 351 rounds")


def test_one_telling_is_too_little_to_say_that_most_rounds_were_short():
    """All the others are of the cut's time, or of the time in which it was lifted."""
    cut, lift = (FaultEvent(fault="cut", stage=stage, t=t) for stage, t in (("injected", 1), ("lifted", 90)))
    starved = NodeEvent(node=0, name="starved", monotonic=0, wall=0, t=120, data={"for_ns": 10})
    early = [event for node in range(NODES) for event in tellings(node, uniform(node), t=90)]
    lifted = told(0, uniform(0)[:10], t=100)
    late = told(0, [[], [], [], [], [], [], *uniform(0)[:4]], t=120)
    assert judge(header(faults=["cut"]), [cut, *early, lift, lifted, starved, late])[0] == "valid"


@pytest.mark.parametrize("picks", [0, 1])
@pytest.mark.parametrize(
    ("end_ms", "excused"),
    [(900, False), (960, True), (1001, True), (1500, True), (2000, True), (2150, True), (2300, False)],
)
@pytest.mark.parametrize("heard", ["before", "in between", "afterwards"])
def test_a_machine_that_starved_is_an_excuse_for_the_rounds_of_that_time_alone(picks, end_ms, excused, heard):
    """Tellings come each second, of which the second is hollow; what starved, for 200 ms, may be heard of any time."""
    events = [
        msgspec.structs.replace(event, t=number * SECOND, monotonic=number * SECOND)
        for node in range(NODES)
        for number, event in enumerate(tellings(node, hollow(picks) if node == 0 else uniform(node)), start=1)
    ]
    events.sort(key=lambda event: event.t)
    starved = NodeEvent(node=3, name="starved", monotonic=0, wall=0, t=end_ms * 1_000_000, data={"for_ns": SECOND // 5})
    events.insert({"before": 0, "in between": NODES, "afterwards": len(events)}[heard], starved)
    made = header()
    made = msgspec.structs.replace(made, deadline=msgspec.structs.replace(made.deadline, exchange_ns=50_000_000))
    assert (judge(made, events)[1] == set()) == excused


@pytest.mark.parametrize("cut_s", [0, 5])
@pytest.mark.parametrize(("exchange_ms", "names"), [(1000, {"too-few"}), (1001, set())])
def test_peers_are_heard_of_an_exchange_after_the_start_and_after_a_cut(cut_s, exchange_ms, names):
    """The second telling after it is hollow; the first, which has to be of a calm mesh, comes a second after it."""
    cut = [FaultEvent(fault="cut", stage=stage, t=cut_s * SECOND) for stage in ("injected", "lifted")] if cut_s else []
    events = [
        msgspec.structs.replace(event, t=(cut_s + number) * SECOND, monotonic=(cut_s + number) * SECOND)
        for node in range(NODES)
        for number, event in enumerate(tellings(node, hollow(0) if node == 0 else uniform(node)), start=1)
    ]
    made = header(faults=["cut"] if cut_s else [])
    exchange_ns = exchange_ms * 1_000_000
    made = msgspec.structs.replace(made, deadline=msgspec.structs.replace(made.deadline, exchange_ns=exchange_ns))
    assert judge(made, [*cut, *sorted(events, key=lambda event: event.t)])[1] == names


@pytest.mark.parametrize(("short", "expected"), [(175, "valid"), (176, "unknown")])
def test_most_rounds_are_more_than_half_of_those_before_the_last_of_a_telling(short, expected):
    """351 of 400, since those of the first telling are of the start."""
    early = [number for number in range(10, 400) if number % 10 != 9][:short]
    rounds = [[] if number in early else picked for number, picked in enumerate(uniform(0))]
    lossy = msgspec.structs.replace(header(), network=NetworkEntry(loss=0.001))
    assert judge(lossy, everybody(n0=rounds))[0] == expected


def test_what_real_nodes_did_in_the_last_second_is_not_held_against_them():
    """That they starved then may not have been heard."""
    clock = NodeEvent(node=0, name="clock", monotonic=0, wall=0, t=0)
    for done, names in ((SECOND // 2, set()), (2 * SECOND, {"too-few"})):
        events = [clock, *everybody(n0=hollow(1)), Phase(phase="done", t=done)]
        assert {one.name for one in check(History(header=header(), events=events)).results[0].anomalies} == names


def test_rounds_from_before_the_lift_that_are_told_of_afterwards_do_not_end_the_excuse():
    """Two tellings are heard of after the lift: one of the cut's time, and one that begins in it."""
    cut, lift = (FaultEvent(fault="cut", stage=stage, t=t) for stage, t in (("injected", 1), ("lifted", 90)))
    thin = [picked[: 1 if number in (5, 15) else K] for number, picked in enumerate(uniform(0))]
    for second, names in ((100, set()), (110, {"too-few"})):
        first, *others = tellings(0, thin, t=second)
        before = msgspec.structs.replace(first, t=second - 20, monotonic=second - 20)
        events = [told(0, uniform(0)[:10], t=1), cut, lift, before, *others]
        rest = [event for node in range(1, NODES) for event in tellings(node, uniform(node), t=100)]
        assert judge(header(faults=["cut"]), [*events, *rest])[1] == names


def test_nor_do_they_make_the_rounds_of_the_cut_s_time_count_as_even():
    cut, lift = (FaultEvent(fault="cut", stage=stage, t=t) for stage, t in (("injected", 1), ("lifted", 90)))
    for before, names in ((80, set()), (90, {"not-uniform"})):
        own = [told(0, uniform(0)[:10], t=before), told(0, skewed(0), t=95), *tellings(0, uniform(0), t=100)]
        rest = [event for node in range(1, NODES) for event in tellings(node, uniform(node), t=100)]
        events = [told(0, uniform(0)[:10], t=0), cut, lift, *own, *rest]
        assert judge(header(faults=["cut"]), events)[1] == names


@pytest.mark.parametrize(("k", "expected"), [(K, "valid"), (1, "unknown"), (0, "invalid")])
def test_the_number_of_places_is_the_plan_s(k, expected):
    made = header()
    made = msgspec.structs.replace(made, plan={"cluster": {"strategy": "random", "fanout": K}})
    events = [event for event in everybody() if event.node] + tellings(0, [one[:k] for one in uniform(0)], k=k)
    assert judge(made, events)[0] == expected


@pytest.mark.parametrize("cluster", [None, [], "random"])
def test_a_plan_without_a_cluster_is_no_crash(cluster):
    made = msgspec.structs.replace(header(), plan={"cluster": cluster})
    assert judge(made, everybody())[0] == "valid"


def test_evenness_that_was_not_judged_is_said():
    few = [event for node in range(NODES) for event in tellings(node, uniform(node, 30))]
    assert "evenness" in judge(header(), few)[2].notes[0]
