"""Topology: distances are measured, clustered and used; liars cannot corner the places near or far."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knhk_mesh.config import STRATEGIES
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.round_trips import WINDOW, RoundTrips
from knhk_mesh.selection import PeerInfo
from knhk_mesh.topology import TopologyManager

MS = 1_000_000


def agent(number: int) -> bytes:
    return bytes([number]) * 32


def manager(peers: int, *, strategy: str = "hybrid", faulty: int = 0, seed: int = 0, regions=(), clusters_max: int = 8):
    random = Random(seed)
    registry = PeerRegistry(agent(255), quorum_size=1, peer_sample_size=3, random=random)
    for number in range(peers):
        region = regions[number] if regions else ""
        registry.register_peer(
            PeerInfo(agent_id=agent(number), addr=f"p{number}", public_key=agent(number), last_seen=0, region=region)
        )
    made = TopologyManager(
        registry,
        random=random,
        faulty=faulty,
        strategy=strategy,
        region="here",
        rebalance_interval_ns=5_000 * MS,
        clusters_max=clusters_max,
    )
    return registry, made


def measure(made: TopologyManager, round_trips_ms, now: int = 0):
    for number, milliseconds in enumerate(round_trips_ms):
        if milliseconds is not None:
            made.measured(agent(number), int(milliseconds * MS), now)
    return made.rebalance_topology(now)


def test_statistics_of_a_peer():
    made = RoundTrips()
    for value in range(1, 201):
        made.add(value)
    report = made.report()
    kept = list(range(201 - WINDOW, 201))
    assert report.current_ns == 200 and report.min_ns == kept[0] and report.max_ns == 200 and report.count == 200
    assert report.mean_ns == sum(kept) // WINDOW
    assert report.p99_ns == kept[-(-99 * WINDOW // 100) - 1]


def test_distances_of_all_peers_are_told():
    _, made = manager(3)
    measure(made, [1.0, 2.0, None])
    assert {one: report.current_ns for one, report in made.measure_latency().items()} == {
        agent(0): MS,
        agent(1): 2 * MS,
    }


@pytest.mark.parametrize(
    ("round_trips", "expected"),
    [
        ([1, 1.1, 0.9, 40, 42, 150], [[2, 0, 1], [3, 4], [5]]),
        ([5, 5, 5], [[0, 1, 2]]),
        ([5.3, 5.1, 5.2, 5, 5.4], [[3, 1, 2, 0, 4]]),  # mere jitter
        ([1, 1.2, None, 80], [[0, 1], [3], [2]]),
        ([7], [[0]]),
    ],
)
def test_clusters_are_those_that_a_person_would_see(round_trips, expected):
    _, made = manager(len(round_trips))
    measure(made, round_trips)
    assert made.cluster_by_latency() == [[agent(one) for one in cluster] for cluster in expected]


@pytest.mark.parametrize("milliseconds", [0.05, 0.7, 3.1, 5.1, 77.7])
@pytest.mark.parametrize("peers", [3, 7, 11])
def test_peers_equally_far_away_are_one_cluster_whatever_floats_make_of_their_mean(peers, milliseconds):
    _, made = manager(peers)
    assert measure(made, [milliseconds] * peers)[0].data["clusters"] == [peers]


def test_there_are_no_more_clusters_than_are_wanted():
    _, made = manager(12, clusters_max=3)
    assert len(measure(made, [2**number for number in range(12)])[0].data["clusters"]) == 3


def test_rebalancing_waits_for_its_interval():
    registry, made = manager(4)
    assert made.rebalance_topology(0) == [], "nothing was measured"
    measure(made, [1, 1, 50, 50])
    assert registry.get_peer(agent(2)).latency_ms == 50.0
    assert measure(made, [50, 50, 50, 50], now=4_999 * MS) == []
    assert registry.get_peer(agent(0)).latency_ms == 1.0, "not before the interval has passed"
    measure(made, [None] * 4, now=5_000 * MS)
    assert registry.get_peer(agent(0)).latency_ms == 25.5


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ([1.01, 0.99, 52, 50], []),
        ([1, 1, 50, 900], [[2, 1, 1]]),
        ([50, 1, 1, 50], [[2, 2]]),  # as many in each, but others
    ],
)
def test_rebalancing_tells_of_changes_alone(second, told):
    _, made = manager(4)
    assert [event.data["clusters"] for event in measure(made, [1, 1, 50, 50])] == [[2, 2]]
    for _ in range(WINDOW):
        measure(made, second, now=1)
    assert [event.data["clusters"] for event in made.rebalance_topology(5_000 * MS)] == told


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(peers=st.integers(1, 12), k=st.integers(0, 14), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_choice_is_distinct_complete_and_of_selectable_peers(strategy, peers, k, seed, data):
    regions = [data.draw(st.sampled_from(["here", "there"])) for _ in range(peers)]
    registry, made = manager(peers, strategy=strategy, faulty=(peers - 1) // 3, seed=seed, regions=regions)
    measure(made, [data.draw(st.sampled_from([None, 1, 2, 50, 300])) for _ in range(peers)])
    numbers = st.sets(st.integers(0, peers - 1))
    silent, shunned = data.draw(numbers), data.draw(numbers)
    for number in shunned:
        registry.update_reputation(agent(number), -900, now=0)
    for number in set(range(peers)) - silent:
        registry.touch_peer(agent(number), 1)
    registry.prune_stale_peers(60_000 * MS, 60_000 * MS)
    allowed = {agent(number) for number in set(range(peers)) - silent - shunned}
    picked = [one.agent_id for one in made.select_peers(k)]
    assert len(picked) == len(set(picked)) == min(k, len(allowed)) and set(picked) <= allowed


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_negative_count_is_refused(strategy):
    _, made = manager(4, strategy=strategy)
    measure(made, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="k: "):
        made.select_peers(-1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("faulty", -1), ("strategy", "closest"), ("rebalance_interval_ns", 0), ("clusters_max", 0)],
)
def test_arguments_out_of_range_are_refused_by_name(argument, value):
    registry, _ = manager(4)
    right = {"faulty": 1, "strategy": "random", "rebalance_interval_ns": 1, "clusters_max": 8}
    with pytest.raises(ValueError, match=argument):
        TopologyManager(registry, random=Random(0), region="", **{**right, argument: value})


@given(faulty=st.integers(0, 4), spare=st.integers(0, 4), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_near_set_is_too_large_for_f_liars_to_be_half_of_those_that_can_be_picked(faulty, spare, data):
    peers = 3 * faulty + spare + 1
    registry, made = manager(peers, strategy="nearest", faulty=faulty)
    shunned = data.draw(st.sets(st.integers(0, peers - 1), max_size=peers - 1))
    for number in shunned:
        registry.update_reputation(agent(number), -900, now=0)
    measure(made, [data.draw(st.floats(0.0, 1000)) for _ in range(peers)])
    allowed = peers - len(shunned)
    near = {one.agent_id for one in made._sample_near(peers)}
    assert len(near) >= min(2 * faulty + 1, allowed)
    assert near.isdisjoint(agent(number) for number in shunned)


def test_before_anything_was_measured_all_are_equally_near():
    _, made = manager(6, strategy="nearest", faulty=1)
    picks = Counter(one.agent_id for _ in range(20_000) for one in made.select_peers(3))
    assert max(picks.values()) < 1.1 * min(picks.values())


def share_of(liars, made: TopologyManager, k: int, count: int) -> float:
    picks = Counter(one.agent_id for _ in range(count) for one in made.select_peers(k))
    return sum(picks[agent(number)] for number in liars) / picks.total()


HUGE = 3_600_000.0


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("lies", [(0.0,), (HUGE,), (0.0, HUGE), (0.0, 1.0, 40.0, HUGE)])
@pytest.mark.parametrize(("nodes", "faulty", "k"), [(10, 3, 5), (10, 3, 1), (7, 2, 3), (4, 1, 2)])
def test_liars_who_choose_their_distance_stay_below_the_bound(strategy, lies, nodes, faulty, k):
    """20,000 selections between rebalances, at each of which the liars have made up their round trips anew."""
    peers = nodes - 1
    liars = range(peers - faulty, peers)
    regions = ["here" if number % 2 else "there" for number in range(peers)]
    _, made = manager(peers, strategy=strategy, faulty=faulty, seed=3, regions=regions)
    distances = Random(f"{nodes}/{lies}")
    honest = [distances.choice([1, 1.1, 40, 41, 120]) for _ in range(peers - faulty)]
    shares = []
    for rebalance in range(20):
        for _ in range(4):
            measure(made, [*honest, *(distances.choice(lies) for _ in liars)], now=rebalance * 5_000 * MS)
        shares.append(share_of(liars, made, k, 1000))
    assert sum(shares) / len(shares) <= made.share_bound(k) + 0.01


@pytest.mark.parametrize(
    ("strategy", "k", "bound"),
    [
        ("random", 5, 3 / 9),
        ("nearest", 1, 3 / 7),
        ("nearest", 5, (4 * 3 / 7 + 1 * (3 - 4 * 3 / 7) / 5) / 5),
        ("hybrid", 5, (4 * 3 / 7 + 1 * (3 - 4 * 3 / 7) / 5) / 5),
        ("hybrid", 8, (6 * 3 / 7 + 2 * (3 - 6 * 3 / 7) / 3) / 8),
        ("region", 5, (3 * 3 / 3 + 0) / 5),  # the three of the region are the liars
        ("nearest", 0, 0.0),
        ("hybrid", 9, 3 / 9),
        ("hybrid", 20, 3 / 9),
    ],
)
def test_the_bound_is_what_liars_reach_who_are_nearest_of_all(strategy, k, bound):
    """Ten nodes, three liars: with four correct ones they are the nearest seven, the least near set there can be."""
    liars = (6, 7, 8)
    regions = ["here" if number in liars else "there" for number in range(9)]
    _, made = manager(9, strategy=strategy, faulty=3, seed=1, regions=regions)
    measure(made, [1, 1.01, 1.02, 1.03, 400, 400, 1, 1, 1])
    assert made.share_bound(k) == pytest.approx(bound)
    if k:
        assert share_of(liars, made, k, 20_000) == pytest.approx(bound, abs=0.01)


@given(nodes=st.integers(4, 40), k=st.integers(1, 45), strategy=st.sampled_from(["random", "nearest", "hybrid"]))
@settings(max_examples=100, deadline=None)
def test_the_bound_is_never_a_half(nodes, k, strategy):
    faulty = (nodes - 1) // 3
    _, made = manager(nodes - 1, strategy=strategy, faulty=faulty)
    assert faulty / (nodes - 1) - 1e-9 <= made.share_bound(k) <= faulty / (2 * faulty + 1) + 1e-9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_how_much_a_peer_sends_moves_nothing(strategy):
    picked = []
    for frames in (1, 500):
        registry, made = manager(9, strategy=strategy, faulty=3)
        measure(made, [1, 1, 1, 1, 40, 40, 40, 40, 40])
        for _ in range(frames):
            registry.touch_peer(agent(8), 1)
        picked.append([[one.agent_id for one in made.select_peers(4)] for _ in range(200)])
    assert picked[0] == picked[1]


def test_near_places_stay_uniform_where_some_of_the_near_cannot_be_picked():
    registry, made = manager(12, strategy="nearest", faulty=2)
    measure(made, [1] * 9 + [300] * 3)
    for number in (0, 1, 2):
        registry.update_reputation(agent(number), -900, now=0)
    picks = Counter(one.agent_id for _ in range(30_000) for one in made.select_peers(3))
    near = [picks[agent(number)] for number in range(3, 9)]
    assert max(near) < 1.1 * min(near) and min(near) > 2 * max(picks[agent(number)] for number in range(9, 12))


def test_places_in_the_near_set_are_uniform():
    _, made = manager(12, strategy="nearest", faulty=2)
    measure(made, [1] * 6 + [300] * 6)
    picks = Counter(one.agent_id for _ in range(30_000) for one in made.select_peers(3))
    near = [picks[agent(number)] for number in range(6)]
    assert max(near) < 1.1 * min(near) and min(near) > max(picks[agent(number)] for number in range(6, 12))
