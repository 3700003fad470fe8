"""resources: what is in use against its limit."""

import pytest

from tests.checkers.histories import the_anomaly
from tests.checkers.signed_histories import Mesh, fault

LIMITS = {"pending": 100, "bytes": 1 << 20, "none": 0}


def run(*told, byzantine=(), silent=()):
    """`told` are (node, used) or (node, used, limits); who is in none of them, nor `silent`, uses nothing."""
    mesh = Mesh(byzantine=byzantine)
    names = {"pending": 0}.keys() | {name for _, used, *_ in told for name in used or ()}
    for node in set(range(4)) - {node for node, *_ in told} - set(silent):
        mesh.tell(node, "resources", used=dict.fromkeys(names, 0), limits=LIMITS)
    for node, used, *limits in told:
        mesh.tell(node, "resources", used=used, limits=limits[0] if limits else LIMITS)
    mesh.phase("done")
    return mesh.judge("resources")


CORRECT = {
    "nothing in use": run((0, {"pending": 0, "bytes": 0, "none": 0})),
    "as much as is allowed": run((0, {"pending": 100, "bytes": 1 << 20})),
    "less again": run((0, {"pending": 100}), (0, {"pending": 3}), (1, {"pending": 99})),
    "each its own limit": run((0, {"pending": 100}), (1, {"pending": 150}, {"pending": 150})),
    "a liar uses what it likes": run((0, {"pending": 1}), (3, {"pending": 101}), byzantine=[3]),
}


@pytest.mark.parametrize("name", CORRECT)
def test_what_is_within_its_quota_passes(name):
    assert CORRECT[name].validity == "valid", CORRECT[name]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ([(0, {"pending": 101})], "pending"),
        ([(0, {"pending": 1}), (0, {"bytes": (1 << 20) + 1}), (0, {"bytes": 0})], "bytes"),
        ([(0, {"none": 1})], "none"),
        ([(1, {"pending": 5}, {"pending": 4})], "pending"),
    ],
)
def test_what_is_beyond_is_named(told, name):
    found = the_anomaly(run(*told), "over-quota")
    assert found.data["name"] == name and found.data["used"] > found.data["limit"]
    assert found.data["node"] == told[0][0]


@pytest.mark.parametrize(
    "found",
    [run(silent=range(4)), run((3, {"pending": 1}), byzantine=[3], silent=range(3))],
    ids=["nobody told", "only a liar"],
)
def test_where_no_correct_node_told_it_is_unknown(found):
    assert found.validity == "unknown" and found.notes == ["no correct node told of its resources"]


NOT_JUDGED = {
    "nothing in use is told": run((0, None), (0, {"pending": 1})),
    "no name is told": run((0, {}), (0, {"pending": 1})),
    "no limits are told": run((0, {"pending": 1}), (0, {"pending": 1}, None)),
    "an empty table of limits": run((0, {"pending": 10**12}, {})),
    "what has no limit": run((0, {"pending": 1, "other": 1e9})),
    "a truth for a limit": run((0, {"pending": 0}, {"pending": True})),
    "no number": run((0, {"pending": "1"})),
    "a truth": run((0, {"pending": True})),
    "less than nothing": run((0, {"pending": -5})),
    "not a number": run((0, {"pending": float("nan")})),
    "less than the others tell": run((0, {"pending": 1, "bytes": 1}), (1, {"pending": 1})),
    "one that is silent": run((0, {"pending": 1}), silent=[2]),
}


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_what_was_not_told_in_numbers_and_limits_is_unknown(name):
    assert NOT_JUDGED[name].validity == "unknown", NOT_JUDGED[name]


@pytest.mark.parametrize("limit", [10**13, 50])
def test_a_limit_that_moves_is_none(limit):
    moved = run((0, {"pending": 7}), (0, {"pending": 7}, {"pending": limit}))
    assert the_anomaly(moved, "limit-moved").data == {"node": 0, "name": "pending", "was": 100, "limit": limit}


def test_the_figures_are_the_most_that_was_seen():
    found = run(
        (0, {"pending": 20, "bytes": 0}), (1, {"pending": 50, "bytes": 7}), (2, {"pending": 30, "bytes": 1, "other": 9})
    )
    assert found.figures["used"] == {"bytes": 7, "other": 9, "pending": 50}
    assert (found.figures["share_max"], found.figures["shares"]["pending"]) == (0.5, 0.5)
    assert "without a limit: other" in found.notes


@pytest.mark.parametrize(("told_ms", "validity"), [((900, 4500), "valid"), ((900, 9500), "valid"), ((900,), "unknown")])
def test_who_told_only_while_the_attack_was_young_shows_nothing_of_it(told_ms, validity):
    """It lasts from 500 to 6500 ms."""
    mesh = Mesh(byzantine=[3], faults=[fault("lie", "byzantine", 3, strategy="flood")])
    moments = [(500, "injected"), *((at, "") for at in told_ms), (6500, "lifted")]
    for at, stage in sorted(moments):
        if stage:
            mesh.stage("lie", stage, at)
            continue
        for node in range(3):
            mesh.tell(node, "resources", at_ms=at, used={"pending": 1}, limits=LIMITS)
    mesh.phase("done")
    assert mesh.judge("resources").validity == validity
