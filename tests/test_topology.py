"""Topology: distances are measured, clustered and used; liars cannot corner the places near or far."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.round_trips import WINDOW, RoundTrips
from knhk_mesh.selection import PeerInfo
from knhk_mesh.topology import TopologyManager

MS = 1_000_000
STRATEGIES = ("random", "nearest", "hybrid", "region")


def agent(number: int) -> bytes:
    return bytes([number]) * 32


def manager(peers: int, *, strategy: str = "hybrid", faulty: int = 0, seed: int = 0, regions=()):
    random = Random(seed)
    registry = PeerRegistry(agent(255), quorum_size=1, peer_sample_size=3, random=random)
    for number in range(peers):
        region = regions[number] if regions else ""
        registry.register_peer(
            PeerInfo(agent_id=agent(number), addr=f"p{number}", public_key=agent(number), last_seen=0, region=region)
        )
    made = TopologyManager(
        registry, random=random, faulty=faulty, strategy=strategy, region="here", rebalance_interval_ns=5_000 * MS
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
        ([1, 1.2, None, 80], [[0, 1], [3], [2]]),
        ([7], [[0]]),
    ],
)
def test_clusters_are_those_that_a_person_would_see(round_trips, expected):
    _, made = manager(len(round_trips))
    measure(made, round_trips)
    assert made.cluster_by_latency() == [[agent(one) for one in cluster] for cluster in expected]


def test_rebalancing_waits_for_its_interval_and_tells_of_changes_alone():
    registry, made = manager(4)
    assert [event.data["clusters"] for event in measure(made, [1, 1, 50, 50])] == [[2, 2]]
    assert registry.get_peer(agent(2)).latency_ms == 50.0
    measure(made, [50, 50, 50, 50], now=4_999 * MS)
    assert registry.get_peer(agent(0)).latency_ms == 1.0, "not before the interval has passed"
    assert measure(made, [1, 1, 50, 50], now=5_000 * MS) == [] or registry.get_peer(agent(0)).latency_ms > 1.0


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(peers=st.integers(1, 12), k=st.integers(0, 14), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_choice_is_distinct_complete_and_of_selectable_peers(strategy, peers, k, seed, data):
    regions = [data.draw(st.sampled_from(["here", "there"])) for _ in range(peers)]
    registry, made = manager(peers, strategy=strategy, faulty=(peers - 1) // 3, seed=seed, regions=regions)
    measure(made, [data.draw(st.sampled_from([None, 1, 2, 50, 300])) for _ in range(peers)])
    for number in data.draw(st.sets(st.integers(0, peers - 1))):
        registry.update_reputation(agent(number), -900, now=0)
    allowed = {one.agent_id for one in registry.get_all_peers() if registry.is_selectable(one.agent_id)}
    picked = [one.agent_id for one in made.select_peers(k)]
    assert len(picked) == len(set(picked)) == min(k, len(allowed)) and set(picked) <= allowed


@given(peers=st.integers(1, 12), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_near_set_is_too_large_for_f_liars_to_be_half_of_it(peers, data):
    faulty = (peers) // 3
    _, made = manager(peers, faulty=faulty)
    measure(made, [data.draw(st.floats(0.01, 1000)) for _ in range(peers)])
    assert len(made._near) >= min(2 * faulty + 1, peers)


@pytest.mark.parametrize("strategy", ["random", "nearest", "hybrid"])
@pytest.mark.parametrize("claimed", [0.0001, 10_000.0, None])
@pytest.mark.parametrize(("nodes", "faulty"), [(10, 3), (7, 2), (4, 1)])
def test_liars_who_choose_their_distance_stay_below_the_bound(strategy, claimed, nodes, faulty):
    peers, k = nodes - 1, min(5, nodes - 2)
    _, made = manager(peers, strategy=strategy, faulty=faulty, seed=3)
    distances = Random(5)
    honest = [distances.choice([1, 1.1, 40, 41, 120]) for _ in range(peers - faulty)]
    lies = [distances.choice([0.0001, 9000.0]) if claimed is None else claimed for _ in range(faulty)]
    measure(made, [*honest, *lies])
    picks = Counter(one.agent_id for _ in range(20_000) for one in made.select_peers(k))
    share = sum(picks[agent(number)] for number in range(peers - faulty, peers)) / picks.total()
    assert share <= made.share_bound(k) + 0.01
    assert made.share_bound(k) < 0.75


def test_the_bound_is_reached_by_liars_that_are_nearest_of_all():
    """It is a bound that says something: the worst that liars can do comes close to it."""
    _, made = manager(9, strategy="hybrid", faulty=3, seed=1)
    measure(made, [1, 1.01, 1.02, 1.03, 400, 400, 1, 1, 1])
    picks = Counter(one.agent_id for _ in range(20_000) for one in made.select_peers(5))
    share = sum(picks[agent(number)] for number in (6, 7, 8)) / picks.total()
    assert made.share_bound(5) * 0.8 < share <= made.share_bound(5) + 0.01


def test_places_in_the_near_set_are_uniform():
    _, made = manager(12, strategy="nearest", faulty=2)
    measure(made, [1] * 6 + [300] * 6)
    picks = Counter(one.agent_id for _ in range(30_000) for one in made.select_peers(3))
    near = [picks[agent(number)] for number in range(6)]
    assert max(near) < 1.1 * min(near) and min(near) > max(picks[agent(number)] for number in range(6, 12))
