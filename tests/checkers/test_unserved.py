"""availability: a node that serves nobody, and what excuses it."""

import msgspec
import pytest

from checkers.history import FaultEntry, NetworkEntry, NodeEvent, QuorumEntry
from tests.checkers.histories import Book, header, the_anomaly

SECOND = 1_000_000_000
PLAN = {"load_ns": 10 * SECOND, "operation_timeout_ns": SECOND, "operations": []}
AROUND_1 = tuple((a, b) for a in range(4) for b in range(4) if a != b and 1 in (a, b))


def members(
    *,
    recovery_ms=0,
    gated=False,
    liars=(),
    faults=(),
    core=(0, 1, 2, 3),
    plan=PLAN,
    latency_ms=0.0,
    loss=0.0,
    exchange_ms=0,
    detection_ms=1000,
):
    """A header with a roster of four, of whom three are a quorum."""
    quorum = QuorumEntry(
        epoch=1,
        network="n",
        size=3,
        detection_ns=detection_ms * 1_000_000,
        recovery_ns=recovery_ms * 1_000_000,
        gated=gated,
    )
    made = header(nodes=4, s="gset", core=core, faults=faults)
    nodes = [msgspec.structs.replace(entry, byzantine=entry.index in liars) for entry in made.nodes]
    network = NetworkEntry(latency_ms=latency_ms, loss=loss)
    deadline = msgspec.structs.replace(made.deadline, exchange_ns=exchange_ms * 1_000_000)
    return msgspec.structs.replace(made, quorum=quorum, nodes=nodes, plan=plan, network=network, deadline=deadline)


def asks(book, level, outcomes, *, node=1):
    """The others serve forty at that level, then `node` ends these, and serves or refuses."""
    for each in range(40):
        book.end(book.begin("add", 0, "s", each, level=level))
    for each, outcome in enumerate(outcomes):
        book.end(book.begin("add", node, "s", 100 + each, level=level), outcome)
    return book


def served(level, outcomes, *, fault="", hurts=(1,), links=AROUND_1, **changed):
    """As `asks`, perhaps under a fault of that kind."""
    faults = [FaultEntry("f0", fault, True, nodes=hurts, links=links)] if fault else []
    book = Book(members(faults=faults, **changed))
    if fault:
        book.fault("f0", "injected")
    return asks(book, level, outcomes)


def judge(book, level="stable", share=0.5):
    return book.judge("availability", **{"ok_min" if level == "local" else f"{level}_ok_min": share})


@pytest.mark.parametrize("level", ["local", "stable", "quorum"])
@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_a_node_that_serves_nobody_does_not_hide_among_others(level, outcome):
    found = the_anomaly(judge(served(level, [outcome] * 20), level), "unserved-node")
    assert found.data == {"node": 1, "level": level, "asked": 20}


@pytest.mark.parametrize(
    ("level", "fault", "more"),
    [
        ("stable", "byzantine", {"hurts": (2,), "liars": (2,), "core": (0, 1, 3)}),
        ("stable", "skew", {}),
        ("stable", "pause", {"hurts": (3,)}),
        ("stable", "link", {"links": ((1, 3), (3, 1))}),
        ("local", "cut", {}),
        ("local", "disconnect", {}),
    ],
)
def test_what_leaves_it_a_quorum_or_does_not_concern_it_is_no_excuse(level, fault, more):
    the_anomaly(judge(served(level, ["fail"] * 20, fault=fault, **more), level), "unserved-node")


@pytest.mark.parametrize(
    ("level", "outcomes", "more"),
    [
        ("stable", ["fail"] * 19, {}),
        ("stable", ["fail"] * 19 + ["ok"], {}),
        ("stable", ["fail"] * 20, {"core": (0, 2, 3)}),
        ("stable", ["fail"] * 20, {"fault": "cut"}),
        ("stable", ["fail"] * 20, {"fault": "disconnect"}),
        ("stable", ["fail"] * 20, {"fault": "link"}),
        ("stable", ["fail"] * 20, {"fault": "pause"}),
        ("stable", ["fail"] * 20, {"fault": "kill", "hurts": (2, 3)}),
        ("local", ["fail"] * 20, {"fault": "kill"}),
        ("local", ["fail"] * 20, {"fault": "cut", "gated": True}),
    ],
)
def test_who_served_somebody_or_need_not_is_not_named(level, outcomes, more):
    assert judge(served(level, outcomes, **more), level).validity == "valid"


def test_without_a_budget_nobody_is_held_to_it():
    result = served("stable", ["fail"] * 20).judge("availability", ok_min=0.2)
    assert (result.validity, result.notes) == ("valid", [])


def test_who_could_not_be_judged_is_told():
    result = judge(served("stable", ["fail"] * 20, fault="cut"))
    assert result.notes == [
        "node 1 answered none of 20 operations (stable) with ok: in quiet 0 of them ended, "
        "and 0 were due and never begun, too few to judge it by"
    ]
    assert not judge(served("stable", ["ok"] + ["fail"] * 19, fault="cut")).notes


@pytest.mark.parametrize(("share", "least"), [(1.0, 10), (0.75, 10), (0.5, 20), (0.25, 49), (0.1, 132)])
def test_whoever_keeps_to_the_budget_hardly_ever_answers_none_of_so_many(share, least):
    for asked, found in ((least - 1, False), (least, True)):
        book = asks(Book(members()), "stable", ["fail"] * asked)
        names = {one.name for one in judge(book, share=share).anomalies}
        assert ("unserved-node" in names) == found


def test_one_that_was_refused_is_noted_where_it_was_all():
    assert judge(served("stable", ["fail"])).notes[0].startswith("node 1 answered none of 1 operations (stable)")
    assert not judge(served("stable", ["fail", "ok"])).notes


@pytest.mark.parametrize(
    ("level", "network", "found"),
    [
        ("stable", {"latency_ms": 249.0}, True),
        ("stable", {"latency_ms": 250.0}, False),
        ("stable", {"exchange_ms": 999}, True),
        ("stable", {"exchange_ms": 1000}, False),
        (
            "stable",
            {"latency_ms": 187.0, "plan": PLAN | {"operation_timeout_ns": 5 * SECOND}, "detection_ms": 500},
            True,
        ),
        (
            "stable",
            {"latency_ms": 187.5, "plan": PLAN | {"operation_timeout_ns": 5 * SECOND}, "detection_ms": 500},
            False,
        ),
        ("local", {"latency_ms": 187.5, "detection_ms": 500}, True),
        ("stable", {"loss": 0.01}, False),
        ("stable", {"plan": {}}, False),
        ("local", {"plan": {}}, True),
        ("quorum", {"latency_ms": 250.0}, False),
        ("local", {"latency_ms": 250.0}, True),
        ("local", {"loss": 0.01}, True),
    ],
)
def test_a_network_that_is_slow_or_lossy_by_itself_leaves_no_quorum_for_sure(level, network, found):
    result = judge(served(level, ["fail"] * 20, **network), level)
    assert (result.validity == "invalid", bool(result.notes)) == (found, not found)


@pytest.mark.parametrize(
    ("end_ms", "for_ms", "found"), [(181, 40, True), (182, 40, False), (250, 40, False), (1000, 900, False)]
)
def test_a_machine_that_starved_is_an_excuse_and_for_as_long_as_recovering_takes(end_ms, for_ms, found):
    """Node 1 is asked from 381 ms on; that the machine of another starved is heard of in the end."""
    book = Book(members(recovery_ms=200))
    book.pass_ms(300)
    asks(book, "stable", ["fail"] * 20)
    data = {"for_ns": for_ms * 1_000_000}
    book.events.append(NodeEvent(node=3, name="starved", monotonic=0, wall=0, t=end_ms * 1_000_000, data=data))
    assert (judge(book).validity == "invalid") == found


def test_of_two_machines_that_starved_the_later_may_be_heard_of_first():
    book = asks(Book(members()), "stable", ["fail"] * 20)
    for end_ms, for_ms in ((2000, 10), (1000, 1000)):
        data = {"for_ns": for_ms * 1_000_000}
        book.events.append(NodeEvent(node=3, name="starved", monotonic=0, wall=0, t=end_ms * 1_000_000, data=data))
    assert judge(book).validity == "valid"


@pytest.mark.parametrize("starved", [False, True])
def test_that_a_machine_starved_in_the_last_second_convicts_nobody_of_what_was_before(starved):
    """Real nodes, and all of it lies within the last second, of which not all may have been heard."""
    book = Book(members())
    book.events.append(NodeEvent(node=1, name="clock", monotonic=0, wall=0, t=0))
    asks(book, "stable", ["fail"] * 20)
    if starved:
        at = book.at + 50_000_000
        data = {"for_ns": 10_000_000}
        book.events.append(NodeEvent(node=1, name="starved", monotonic=at, wall=0, t=at, data=data))
    book.pass_ms(500)
    book.phase("done")
    assert judge(book).validity == "valid"


def test_who_may_have_lost_its_disk_in_a_kill_that_went_wrong_is_no_voter_for_sure():
    faults = [FaultEntry("f0", "kill", False, nodes=(2,)), FaultEntry("f1", "pause", True, nodes=(3,))]
    book = Book(members(faults=faults))
    book.fault("f0", "injected")
    book.fault("f0", "skipped")
    book.fault("f1", "injected")
    assert judge(asks(book, "stable", ["fail"] * 20)).validity == "valid"


def test_and_the_others_are_voters_all_the_same():
    book = Book(members(faults=[FaultEntry("f0", "kill", False, nodes=(2,))]))
    book.fault("f0", "injected")
    book.fault("f0", "skipped")
    the_anomaly(judge(asks(book, "stable", ["fail"] * 20)), "unserved-node")


def test_each_level_has_a_quiet_of_its_own():
    """Cut off from the others, node 1 has no quorum, and needs none for what is local."""
    book = Book(members(faults=[FaultEntry("f0", "cut", True, links=AROUND_1)]))
    book.fault("f0", "injected")
    for level in ("stable", "local", "quorum"):
        asks(book, level, ["fail"] * 20)
    result = book.judge("availability", ok_min=0.5, stable_ok_min=0.5, quorum_ok_min=0.5)
    assert [one.data["level"] for one in result.anomalies] == ["local"]
    assert [one.split("(")[1].split(")")[0] for one in result.notes] == ["quorum", "stable"]


def test_to_have_served_before_is_no_excuse_for_serving_nobody_in_quiet():
    """Node 1 answers while it is cut off, from what it has, and nobody once it is connected again."""
    book = Book(members(faults=[FaultEntry("f0", "cut", True, links=AROUND_1)]))
    book.fault("f0", "injected")
    asks(book, "stable", ["ok"] * 10)
    book.fault("f0", "lifted")
    asks(book, "stable", ["fail"] * 20)
    the_anomaly(judge(book), "unserved-node")


@pytest.mark.parametrize(("recovery_ms", "found"), [(250, True), (400, False)])
def test_who_may_still_recover_need_not_serve(recovery_ms, found):
    """300 ms after the start, and after a cut was lifted: each in a history of its own."""
    early = Book(members(recovery_ms=recovery_ms))
    early.pass_ms(300 - 80)
    late = Book(members(recovery_ms=recovery_ms, faults=[FaultEntry("f0", "cut", True, links=AROUND_1)]))
    late.pass_ms(1000)
    late.fault("f0", "injected")
    late.fault("f0", "lifted")
    late.pass_ms(300 - 80)
    for book in (early, late):
        result = judge(asks(book, "stable", ["fail"] * 20))
        assert (result.validity == "invalid") == found


def test_a_member_that_lost_its_disk_votes_for_nobody():
    """With one more member paused there is no quorum of voters, though three can be reached."""
    faults = [FaultEntry("f0", "kill", True, nodes=(2,)), FaultEntry("f1", "pause", True, nodes=(3,))]
    for fate, found in (("wipe", False), ("keep", True)):
        book = Book(members(faults=faults))
        book.fault("f0", "injected")
        book.fault("f0", "lifted", disk=fate, nodes="2")
        book.fault("f1", "injected")
        result = judge(asks(book, "stable", ["fail"] * 20))
        assert (result.validity == "invalid") == found


def test_nor_for_itself():
    """Node 1 has lost its own: with one more paused, two are left who may vote."""
    faults = [FaultEntry("f0", "kill", True, nodes=(1,)), FaultEntry("f1", "pause", True, nodes=(3,))]
    for paused in (False, True):
        book = Book(members(faults=faults))
        book.wipe(1)
        if paused:
            book.fault("f1", "injected")
        assert (judge(asks(book, "stable", ["fail"] * 20)).validity == "valid") == paused


def test_who_ends_nothing_of_what_was_begun_is_told():
    """Nothing else was due; who has only just been asked is told as well, and who ended one is not."""
    for begun, ended in ((30, 0), (1, 0), (30, 1)):
        book = asks(Book(members()), "stable", ["ok"] * ended)
        for each in range(begun):
            book.begin("add", 1, "s", 200 + each, level="stable")
        book.phase("heal")
        assert [one.split(":")[0] for one in judge(book).notes] == [
            f"node 1 answered none of {begun} operations (stable) with ok"
        ][ended:]


@pytest.mark.parametrize("begun", [0, 1, 30])
def test_who_never_ended_anything_is_told(begun):
    """Fifty were due and never began; of those that did none ended, not even by a time-out."""
    never = [{"id": 1000 + each, "at_ns": SECOND, "node": 1, "action": "add", "level": "stable"} for each in range(50)]
    book = asks(Book(members(plan=PLAN | {"operations": never})), "stable", [])
    for each in range(60):
        book.end(book.begin("add", 2, "s", 300 + each, level="stable"))
    for each in range(begun):
        book.begin("add", 1, "s", 200 + each, level="stable")
    book.pass_ms(3000)
    book.phase("heal")
    said = (
        f"node 1 answered none of {50 + begun} operations (stable) with ok: in quiet 0 of them ended, and 50 were due"
    )
    assert judge(book).notes[0].startswith(said)


def test_what_ends_after_the_quiet_is_not_judged():
    """Twenty are under way when the cut begins, and fail by it; or they had failed before."""
    for before in (False, True):
        book = Book(members(faults=[FaultEntry("f0", "cut", True, links=AROUND_1)]))
        asks(book, "stable", [])
        begun = [book.begin("add", 1, "s", 100 + each, level="stable") for each in range(20)]
        for op in begun if before else ():
            book.end(op, "info")
        book.fault("f0", "injected")
        for op in begun if not before else ():
            book.end(op, "info")
        assert (judge(book).validity == "invalid") == before


def test_without_a_roster_a_node_that_is_back_has_an_exchange_to_come_to_itself():
    for exchange_ms, found in ((50, True), (200, False)):
        made = header(s="gset", faults=[FaultEntry("f0", "kill", True, nodes=(1,))])
        deadline = msgspec.structs.replace(made.deadline, exchange_ns=exchange_ms * 1_000_000)
        book = Book(msgspec.structs.replace(made, deadline=deadline))
        for each in range(40):
            book.add(0, each)
        book.fault("f0", "injected")
        book.fault("f0", "lifted")
        book.pass_ms(100)
        for each in range(20):
            book.add(1, 100 + each, "fail")
        assert (judge(book, "local").validity == "invalid") == found


def test_what_real_nodes_did_in_the_last_second_is_not_held_against_them():
    """That a machine starved then may not have been heard."""
    for after_s, found in ((0.5, False), (2, True)):
        book = Book(members())
        book.events.append(NodeEvent(node=1, name="clock", monotonic=0, wall=0, t=0))
        asks(book, "stable", ["fail"] * 20)
        book.pass_ms(after_s * 1000)
        book.phase("done")
        assert (judge(book).validity == "invalid") == found


def test_what_the_harness_itself_asks_shows_nothing_of_what_clients_get():
    """Node 1 is dead until the heal; then nobody asks it for anything but what the harness asks, in vain."""
    book = Book(header(s="gset", faults=[FaultEntry("f0", "kill", True, nodes=(1,))]))
    book.fault("f0", "injected")
    for each in range(20):
        book.add(0, each)
    for each in range(10):
        book.add(1, 100 + each, "fail")
    book.fault("f0", "lifted")
    for _ in range(20):
        book.end(book.begin("digest", 1, ""), "fail")
        book.end(book.begin("read", 1, "s", final=True), "fail")
    result = book.judge("availability", ok_min=0.5)
    assert (result.validity, result.figures["operations"]) == ("valid", 30)


@pytest.mark.parametrize(("stage", "found"), [("skipped", True), ("lifted", True), ("observed", False)])
def test_a_fault_that_was_skipped_after_all_is_no_excuse(stage, found):
    book = Book(header(s="gset", faults=[FaultEntry("f0", "pause", False, nodes=(1,))]))
    book.fault("f0", "injected")
    book.fault("f0", stage)
    for each in range(20):
        book.add(0, each)
        book.add(1, 100 + each, "fail")
    assert (book.judge("availability", ok_min=0.5).validity == "invalid") == found
    assert bool(book.judge("availability").figures["by_window"]["calm"]) == found


def hanging(begun, *, due_s=1.0, cut_s=(), recovery_ms=0, served_s=None):
    """Node 1 lets `begun` of twenty operations time out, and the others, due in that second, never have their turn;
    before that, it may have served one."""
    operations = [
        {
            "id": 1 + each if each < begun else 1000 + each,
            "at_ns": int(at * SECOND),
            "node": 1,
            "action": "add",
            "level": "stable",
        }
        for each, at in enumerate([4] * begun + [due_s] * (20 - begun))
    ]
    plan = {"load_ns": 10 * SECOND, "operation_timeout_ns": SECOND // 10, "operations": operations}
    faults = [FaultEntry("f0", "cut", True, links=AROUND_1)]
    book = Book(members(faults=faults, recovery_ms=recovery_ms, plan=plan))
    for stage, at in zip(("injected", "lifted"), cut_s, strict=False):
        if stage == "lifted" and served_s is not None:
            book.at = int(served_s * SECOND)
            book.end(book.begin("add", 1, "s", 500, level="stable"))
        book.at = int(at * SECOND)
        book.fault("f0", stage)
    book.at = 4 * SECOND
    for operation in operations[:begun]:
        book.end(book.begin("add", 1, "s", operation["id"], level="stable"), "info")
    for each in range(90):
        book.end(book.begin("add", 0, "s", 200 + each, level="stable"))
    book.phase("heal")
    return book.judge("availability", stable_ok_min=0.5)


def test_who_hangs_is_asked_less_often_and_does_not_hide_by_that():
    found = the_anomaly(hanging(2), "unserved-node")
    assert found.data == {"node": 1, "level": "stable", "asked": 20}


@pytest.mark.parametrize(
    ("begun", "more", "found"),
    [
        (1, {}, False),
        (2, {"cut_s": (0.5, 2)}, False),
        (2, {"cut_s": (1.05, 2)}, False),
        (2, {"cut_s": (1.2, 2)}, True),
        (2, {"cut_s": (0.1, 0.9)}, True),
        (2, {"cut_s": (0.1, 0.9), "served_s": 0.5}, True),
        (2, {"cut_s": (0.1, 0.9), "recovery_ms": 200}, False),
        (2, {"recovery_ms": 1100}, False),
    ],
    ids=[
        "hardly asked",
        "cut off",
        "cut off meanwhile",
        "afterwards",
        "before",
        "served before",
        "may recover",
        "may start",
    ],
)
def test_what_was_due_and_never_began_counts_if_it_was_due_in_quiet(begun, more, found):
    assert (hanging(begun, **more).validity == "invalid") == found
