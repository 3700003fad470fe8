"""Who lost its disk votes no more; who was cut off is healthy only when it knows what was certified."""

import pytest

from checkers.abstention import Abstention
from checkers.history import Complete, FaultEntry, FaultEvent, Invoke, NodeEvent, Phase
from checkers.rejoining import Rejoining
from tests.checkers.histories import MS, header

WIPED = FaultEntry("kill-0", "kill", True, nodes=(2,))


def made(commit: str, t: int) -> NodeEvent:
    data = {"id": commit, "author": "00", "incarnation": "00", "seq": 0, "prev": None, "deps": [], "operations": []}
    return NodeEvent(node=0, name="committed", monotonic=t * MS, wall=0, t=t * MS, data=data)


def wipe(begin: int, end: int, disk: str = "wipe"):
    evidence = {"bites": 1, "disk": disk, "nodes": "2"}
    return [
        FaultEvent(fault="kill-0", stage="injected", t=begin * MS),
        FaultEvent(fault="kill-0", stage="lifted", t=end * MS, evidence=evidence),
    ]


@pytest.mark.parametrize(
    ("signed", "disk", "found"),
    [
        ([("before", {0, 1, 2}), ("after", {0, 1, 2})], "wipe", True),
        ([("before", {0, 1, 2}), ("after", {0, 1, 3})], "wipe", False),  # it abstains
        ([("before", {0, 1, 2}), ("after", {0, 1, 2})], "keep", False),  # it lost nothing
        (
            [("before", {0, 1, 3}), ("after", {0, 1, 2})],
            "wipe",
            False,
        ),  # it had never voted: a first start, for all we know
        ([("before", {0, 1, 2}), ("meanwhile", {0, 1, 2})], "wipe", False),  # the vote may be from before
        ([("before", {0, 1, 2}), ("untold", {0, 1, 2})], "wipe", False),
    ],
)
def test_a_member_that_lost_its_disk_votes_for_nothing_that_came_after(signed, disk, found):
    checker = Abstention(header(nodes=4, faults=[WIPED], s="gset"))
    for event in [made("before", 10), *wipe(20, 40, disk), made("meanwhile", 30), made("after", 50)]:
        checker.on_event(event)
    anomalies = checker.judge((commit, frozenset(by), 7) for commit, by in signed)
    assert [one.name for one in anomalies] == (["wiped-member-voted"] if found else [])
    assert not found or anomalies[0].data == {"node": 2, "ids": ["after"]}


def test_a_second_wipe_excuses_no_vote_after_the_first():
    checker = Abstention(header(nodes=4, faults=[WIPED], s="gset"))
    for event in [made("before", 10), *wipe(20, 40), made("between", 50), *wipe(60, 80)]:
        checker.on_event(event)
    signed = [(commit, frozenset({0, 1, 2}), 7) for commit in ("before", "between")]
    assert [one.name for one in checker.judge(signed)] == ["wiped-member-voted"]


def state(t: int, before: str, after: str) -> NodeEvent:
    data = {"from": before, "to": after, "reachable": 3, "quorum": 3}
    return NodeEvent(node=2, name="state", monotonic=t * MS, wall=0, t=t * MS, data=data)


def accepted(t: int, *ids: str) -> NodeEvent:
    return NodeEvent(node=2, name="accepted", monotonic=t * MS, wall=0, t=t * MS, data={"ids": list(ids)})


def stable(op: int, t: int, commit: str, node: int = 0, outcome: str = "ok", level: str = "stable"):
    return [
        Invoke(op=op, process=f"p{op}", node=node, t=(t - 1) * MS, intended=(t - 1) * MS, object="s", action="add",
               value=op, level=level),
        Complete(op=op, t=t * MS, outcome=outcome, commit=commit),
    ]  # fmt: skip


RECOVERY = [state(10, "healthy", "partitioned"), state(50, "partitioned", "recovering")]
HEALTHY = state(60, "recovering", "healthy")
KILLED = FaultEvent(fault="kill-0", stage="injected", t=50 * MS)
DONE = Phase(phase="done", t=1000 * MS)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([*stable(0, 20, "a"), *RECOVERY, HEALTHY, accepted(70, "a")], True),
        ([*stable(0, 20, "a"), *RECOVERY, HEALTHY], True),
        ([*stable(0, 20, "a"), *RECOVERY, accepted(55, "a"), HEALTHY], False),
        ([accepted(5, "a"), *stable(0, 20, "a"), *RECOVERY, HEALTHY], False),
        ([*RECOVERY, *stable(0, 55, "a"), HEALTHY, accepted(90, "a")], False),  # acknowledged after it began to recover
        ([*stable(0, 20, "a", outcome="info"), *RECOVERY, HEALTHY], False),
        ([*stable(0, 20, "a", level="local"), *RECOVERY, HEALTHY], False),
        ([*stable(0, 20, "a"), KILLED, HEALTHY], True),
        ([*stable(0, 20, "a"), KILLED, accepted(55, "a"), HEALTHY], False),
        ([accepted(5, "a"), *stable(0, 20, "a"), KILLED, HEALTHY], False),
        ([KILLED, *stable(0, 55, "a"), HEALTHY], False),
        ([*stable(0, 20, "a"), *RECOVERY], False),  # it never said that it was healthy
    ],
)
def test_a_node_is_healthy_again_only_with_what_was_certified_before(events, found):
    checker = Rejoining(header(nodes=4, s="gset", faults=[WIPED]))
    for index, event in enumerate([accepted(1, "before"), *events, DONE]):
        checker.on_event(index, event)
    anomalies, unknown = checker.judge()
    assert [one.name for one in anomalies] == (["healthy-before-reconciled"] if found else []) and not unknown


def test_who_alone_writes_has_nothing_of_others_to_accept():
    own = [NodeEvent(node=2, name="committed", monotonic=0, wall=0, t=19, data={"id": "a"})]
    checker = Rejoining(header(nodes=4, s="gset", faults=[WIPED]))
    for index, event in enumerate([*own, *stable(0, 20, "a"), *RECOVERY, HEALTHY, DONE]):
        checker.on_event(index, event)
    assert checker.judge() == ([], [])


def test_who_never_tells_what_it_accepts_is_unknown_and_not_convicted():
    checker = Rejoining(header(nodes=4, s="gset", faults=[WIPED]))
    for index, event in enumerate([*stable(0, 20, "a"), *RECOVERY, HEALTHY, DONE]):
        checker.on_event(index, event)
    anomalies, unknown = checker.judge()
    assert not anomalies and "nodes [2] never told what they accept" in unknown[0]


def test_what_nobody_could_hear_is_held_against_nobody():
    checker = Rejoining(header(nodes=4, s="gset"))
    lost = NodeEvent(node=2, name="events-lost", monotonic=0, wall=0, t=0, data={"count": 3})
    for index, event in enumerate([lost, *stable(0, 20, "a"), *RECOVERY, HEALTHY, DONE]):
        checker.on_event(index, event)
    assert checker.judge()[0] == []
