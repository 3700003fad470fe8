"""Grudges: each shape keeps the promise of its name, for every number of nodes and every seed."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.grudges import GRUDGES, Links, groups

SEEDS = st.integers(0, 2**32)
COUNTS = st.integers(3, 30)


def cut_by(shape: str, count: int, seed: int) -> Links:
    return GRUDGES[shape](range(count), Random(seed))


def heard_by(node: int, count: int, links: Links) -> frozenset[int]:
    """Whom `node` still hears, itself included."""
    deaf = {source for source, target in links if target == node}
    return frozenset(other for other in range(count) if other not in deaf)


def sides(count: int, links: Links) -> list[frozenset[int]]:
    """The different views, smallest first: for a partition into sides, these are the sides."""
    return sorted({heard_by(node, count, links) for node in range(count)}, key=lambda side: (len(side), sorted(side)))


def both_ways(links: Links) -> bool:
    return set(links) == {(b, a) for a, b in links}


@pytest.mark.parametrize("shape", sorted(GRUDGES))
@given(count=st.integers(1, 12), seed=SEEDS)
def test_links_are_sorted_distinct_and_between_two_nodes(shape: str, count: int, seed: int) -> None:
    links = cut_by(shape, count, seed)
    assert list(links) == sorted(set(links))
    assert all(a != b and 0 <= a < count and 0 <= b < count for a, b in links)
    assert links == GRUDGES[shape](list(range(count))[::-1], Random(seed)), "the order of the node list decides nothing"


@pytest.mark.parametrize("shape", sorted(GRUDGES))
def test_another_seed_cuts_others(shape: str) -> None:
    assert len({cut_by(shape, 7, seed) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("shape", "smaller"),
    [("halves", lambda n: n // 2), ("isolate-one", lambda n: 1), ("majority-minority", lambda n: (n - 1) // 2)],
)
@given(count=COUNTS, seed=SEEDS)
def test_two_sides_are_disjoint_and_leave_nobody_out(shape: str, smaller, count: int, seed: int) -> None:
    links = cut_by(shape, count, seed)
    few, many = sides(count, links)
    assert both_ways(links)
    assert few.isdisjoint(many)
    assert few | many == set(range(count))
    assert len(few) == smaller(count)


@given(count=COUNTS, seed=SEEDS)
def test_of_a_bridge_one_node_sees_all_and_the_sides_see_only_it(count: int, seed: int) -> None:
    links = cut_by("bridge", count, seed)
    views = {node: heard_by(node, count, links) for node in range(count)}
    bridges = [node for node, view in views.items() if len(view) == count]
    assert both_ways(links)
    assert len(bridges) == 1
    left, right = sorted({view for node, view in views.items() if node not in bridges}, key=len)
    assert left & right == set(bridges)
    assert len(right) - len(left) <= 1


@given(count=st.integers(4, 30), seed=SEEDS)
def test_in_a_ring_each_sees_two_neighbours_and_news_still_goes_round(count: int, seed: int) -> None:
    links = cut_by("ring", count, seed)
    assert both_ways(links)
    assert all(len(heard_by(node, count, links)) == 3 for node in range(count))
    reached, edge = {0}, {0}
    while edge:
        edge = {other for node in edge for other in heard_by(node, count, links)} - reached
        reached |= edge
    assert reached == set(range(count))


@given(count=COUNTS, seed=SEEDS)
def test_in_a_majorities_ring_all_see_a_majority_and_no_two_the_same(count: int, seed: int) -> None:
    links = cut_by("majorities-ring", count, seed)
    views = [heard_by(node, count, links) for node in range(count)]
    assert both_ways(links)
    assert all(2 * len(view) > count for view in views)
    assert len(set(views)) == count


@given(count=COUNTS, seed=SEEDS)
def test_one_way_is_never_both_ways_and_halves_the_nodes(count: int, seed: int) -> None:
    links = cut_by("one-way", count, seed)
    heard = {source for source, _ in links}
    hearing = {target for _, target in links}
    assert not set(links) & {(b, a) for a, b in links}
    assert heard.isdisjoint(hearing)
    assert (len(heard), len(heard | hearing)) == (count // 2, count)
    assert len(links) == len(heard) * len(hearing)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_random_always_cuts_something_and_each_link_about_half_the_time(count: int) -> None:
    drawn = [cut_by("random", count, seed) for seed in range(2000)]
    assert all(drawn)
    # If the coins spare all links, one is drawn after all: that adds 1 / links of that chance to each.
    pairs = count * (count - 1)
    expected = 2000 * (0.5 + 0.5**pairs / pairs)
    for link in [(a, b) for a in range(count) for b in range(count) if a != b]:
        assert abs(sum(link in links for links in drawn) - expected) < 3.9 * (2000 * 0.25) ** 0.5


def test_groups_cut_every_link_between_two_of_them_and_no_other() -> None:
    assert groups([[0], [1, 2]]) == ((0, 1), (0, 2), (1, 0), (2, 0))
    assert groups([[0], [1], [2]]) == ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
    assert groups([[0, 1, 2]]) == ()
