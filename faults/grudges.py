"""Grudges: which nodes do not hear which others, as the directed links to cut.

Pure functions of the node list and a random stream, which shuffles it: who is cut off is the seed's choice, the
shape is not.  The names are Jepsen's (`jepsen/nemesis.clj`).

    halves              a b | c d          two sides of n // 2 and the rest
    isolate-one         a | b c d          one node alone
    majority-minority   a b c | d e        the largest minority, and the rest
    bridge              a b - c - d e      two sides that only the bridge sees both of
    ring                a-b-c-d-e-a        each node sees its two neighbours
    majorities-ring     a-b-c-d-e-a        each sees a majority around it in the circle, no two the same one
    one-way             a b -> c d         one side is heard, and hears nothing
    random              a -> b, c - d      each link is cut or not, by the toss of a coin, in each direction
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

Links = tuple[tuple[int, int], ...]
Grudge = Callable[[Sequence[int], Random], Links]


def _both_ways(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    return [pair for a in one for b in other for pair in ((a, b), (b, a))]


def _shuffled(nodes: Sequence[int], random: Random) -> list[int]:
    order = sorted(nodes)
    random.shuffle(order)
    return order


def _sorted(links: Iterable[tuple[int, int]]) -> Links:
    return tuple(sorted(links))


def groups(parts: Sequence[Sequence[int]]) -> Links:
    """Cut every link between two different groups; a node in no group keeps all its links."""
    return _sorted(pair for i, one in enumerate(parts) for other in parts[i + 1 :] for pair in _both_ways(one, other))


def halves(nodes: Sequence[int], random: Random) -> Links:
    """Two sides, as equal as can be."""
    order = _shuffled(nodes, random)
    return groups([order[: len(order) // 2], order[len(order) // 2 :]])


def isolate_one(nodes: Sequence[int], random: Random) -> Links:
    """One node against all others."""
    order = _shuffled(nodes, random)
    return groups([order[:1], order[1:]])


def majority_minority(nodes: Sequence[int], random: Random) -> Links:
    """The largest minority, (n - 1) // 2, against the rest."""
    order = _shuffled(nodes, random)
    return groups([order[: (len(order) - 1) // 2], order[(len(order) - 1) // 2 :]])


def bridge(nodes: Sequence[int], random: Random) -> Links:
    """Two sides cut from each other, and one node that keeps its links to both."""
    order = _shuffled(nodes, random)[1:]
    return groups([order[: len(order) // 2], order[len(order) // 2 :]])


def ring(nodes: Sequence[int], random: Random) -> Links:
    """Each node hears only its two neighbours in a circle."""
    return _seen_in_circle(_shuffled(nodes, random), 1)


def majorities_ring(nodes: Sequence[int], random: Random) -> Links:
    """Each node sees, with itself, the smallest odd majority, centred on it in a circle: no two the same one.

    The relation is symmetric, so that whoever is heard can be answered.  A circle of three has only neighbours:
    there one link is cut, a - b - c, and the three see {a, b}, {a, b, c} and {b, c}.  Two nodes have no such grudge.
    """
    order = _shuffled(nodes, random)
    if len(order) == 3:
        return groups([order[:1], order[2:]])
    reach = (len(order) // 2 + 1) // 2
    return _seen_in_circle(order, reach)


def _seen_in_circle(order: list[int], reach: int) -> Links:
    count = len(order)
    return _sorted(
        (order[i], order[j])
        for i in range(count)
        for j in range(count)
        if i != j and min((i - j) % count, (j - i) % count) > reach
    )


def one_way(nodes: Sequence[int], random: Random) -> Links:
    """Frames from one half to the other are lost; those back arrive."""
    order = _shuffled(nodes, random)
    half = len(order) // 2
    return _sorted((a, b) for a in order[:half] for b in order[half:])


def random_grudge(nodes: Sequence[int], random: Random) -> Links:
    """Each directed link is cut with probability one half; if the coins spare all of them, one is drawn.

    Without that, one seed in 2 ** (n * (n - 1)) would have no fault: with three nodes, one in 64.
    """
    order = sorted(nodes)
    links = [(a, b) for a in order for b in order if a != b]
    cut = [link for link in links if random.random() < 0.5]
    return _sorted(cut or (random.sample(links, 1) if links else []))


GRUDGES: dict[str, Grudge] = {
    "bridge": bridge,
    "halves": halves,
    "isolate-one": isolate_one,
    "majorities-ring": majorities_ring,
    "majority-minority": majority_minority,
    "one-way": one_way,
    "random": random_grudge,
    "ring": ring,
}
"""The shapes by the names that campaigns use."""
