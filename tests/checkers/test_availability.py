"""Availability: shares and latencies, from the intended start."""

import msgspec
import pytest

from checkers.availability import percentiles_ms
from checkers.history import FaultEntry, NetworkEntry, NodeEvent, QuorumEntry
from tests.checkers.histories import Book, header, the_anomaly


def run(calm="", faulted=""):
    """One add for each letter: o (ok), f (fail), i (info), in calm and then under a fault."""
    book = Book(header(s="gset", faults=["f0"]))
    outcomes = {"o": "ok", "f": "fail", "i": "info"}
    for letter in calm:
        book.add(0, book.at, outcomes[letter])
    book.fault("f0", "injected")
    for letter in faulted:
        book.add(0, book.at, outcomes[letter])
    book.fault("f0", "lifted")
    return book


def at_levels(**outcomes):
    """One operation for each letter, by level; a quorum read for "quorum"."""
    book = Book(header(s="gset"))
    for level, letters in outcomes.items():
        for letter in letters:
            action = "read" if level == "quorum" else "add"
            op = book.begin(action, 0, "s", None if action == "read" else book.at, level=level)
            book.end(op, {"o": "ok", "f": "fail", "i": "info"}[letter], value=[] if action == "read" else None)
    return book


@pytest.mark.parametrize(
    ("book", "options", "share"),
    [
        (run("ooof"), {"ok_min": 0.8}, 0.75),
        (run("ooi", "oi"), {"info_max": 0.3}, 0.4),
        (run("of", "oooooooo"), {"ok_min": 0.9, "calm_ok_min": 0.9}, 0.5),
        (at_levels(local="oooooo", stable="offi", quorum="oo"), {"stable_ok_min": 0.5, "quorum_ok_min": 1.0}, 0.25),
        (at_levels(local="oooooo", stable="oo", quorum="offi"), {"stable_ok_min": 1.0, "quorum_ok_min": 0.5}, 0.25),
    ],
    ids=["ok_min", "info_max", "calm_ok_min", "stable_ok_min", "quorum_ok_min"],
)
def test_over_budget_is_found(book, options, share):
    found = the_anomaly(book.judge("availability", **options), "over-budget")
    key = found.data["budget"]
    assert key in options and found.data["share"] == share
    assert found.message == f"{key}: {share:.4f}, the budget is {options[key]}"
    assert found.events


@pytest.mark.parametrize(
    ("book", "options"),
    [
        (run("f", "i"), {}),
        (run("oooof"), {"ok_min": 0.8}),
        (run("oo", "ffi"), {"calm_ok_min": 1.0, "ok_min": 0.4}),
        (run("oi"), {"info_max": 0.5}),
        (at_levels(local="ffff", stable="of", quorum="ooof"), {"stable_ok_min": 0.5, "quorum_ok_min": 0.75}),
    ],
    ids=["no budget", "just enough", "bad only under faults", "at the limit", "by level"],
)
def test_within_budget_is_valid(book, options):
    assert book.judge("availability", **options).validity == "valid"


@pytest.mark.parametrize(
    ("book", "options", "said"),
    [
        (run(), {}, "0 operations"),
        (run("oo"), {"operations_min": 3, "ok_min": 1.0}, "2 operations, at least 3 are needed"),
        (run("", "oo"), {"calm_ok_min": 0.9}, "no operation began in calm"),
        (at_levels(local="oo"), {"stable_ok_min": 0.1}, "no stable write was asked for"),
        (at_levels(local="oo", stable="o"), {"quorum_ok_min": 0.1}, "no quorum read was asked for"),
    ],
)
def test_too_little_evidence_is_unknown(book, options, said):
    found = book.judge("availability", **options)
    assert found.validity == "unknown" and said in found.notes[0]


def test_digests_and_final_reads_are_not_clients_operations():
    book = run("oo")
    book.digest(0, "r")
    book.finals([1])
    figures = book.judge("availability").figures
    assert figures["operations"] == 2 and figures["by_action"] == {"add": {"ok": 2}}


def test_outcomes_are_told_apart_by_window_and_an_operation_belongs_where_it_began():
    book = Book(header(s="gset", faults=["f0"]))
    calm = book.begin("add", 0, "s", 1)
    book.fault("f0", "injected")
    faulted = book.begin("add", 0, "s", 2)
    book.end(calm)
    book.fault("f0", "lifted")
    book.end(faulted, "info")
    assert book.judge("availability").figures["by_window"] == {"calm": {"ok": 1}, "faulted": {"info": 1}}


def test_a_fault_that_was_skipped_is_never_in_force():
    book = Book(header(s="gset", faults=["f0"]))
    book.fault("f0", "skipped", "cannot")
    book.add(0, 1)
    assert book.judge("availability").figures["by_window"]["calm"] == {"ok": 1}


def test_latency_counts_the_wait_for_the_clients_turn():
    book = Book(header(s="gset"))
    book.pass_ms(100)
    op = book.begin("add", 0, "s", 1, intended=1_000_000)
    book.end(op)
    figures = book.judge("availability").figures
    assert figures["latency_max_ms"] == (book.at - 1_000_000) / 1e6 == 101


def test_percentiles_are_of_the_nearest_rank():
    assert percentiles_ms("x", []) == {}
    assert percentiles_ms("x", [5_000_000]) == {"x_p50_ms": 5, "x_p99_ms": 5, "x_max_ms": 5}
    hundred = [number * 1_000_000 for number in range(100, 0, -1)]
    assert percentiles_ms("x", hundred) == {"x_p50_ms": 50, "x_p99_ms": 99, "x_max_ms": 100}


SECOND = 1_000_000_000


def planned(*operations, load_s=10, patience_s=1):
    """A book whose header plans these: (level, second in which it is due, more)."""
    plan = {
        "load_ns": load_s * SECOND,
        "operation_timeout_ns": patience_s * SECOND,
        "operations": [
            {"id": op, "at_ns": int(at * SECOND), "node": 0, "action": "add", "level": level, **more}
            for op, (level, at, more) in enumerate(operations, start=1)
        ],
    }
    return Book(msgspec.structs.replace(header(s="gset"), plan=plan))


def judged(book, begun, **options):
    """The first `begun` of the plan are answered ok, then the load ends."""
    for operation in book.header.plan["operations"][:begun]:
        book.end(book.begin("add", 0, "s", operation["id"], level=operation["level"]))
    book.phase("heal")
    return book.judge("availability", **options)


def test_what_was_never_begun_was_not_answered():
    book = planned(*(("stable", 1, {}) for _ in range(10)))
    result = judged(book, 4, stable_ok_min=0.5)
    found = the_anomaly(result, "over-budget")
    assert (found.data, result.figures["never_begun"]) == ({"budget": "stable_ok_min", "share": 0.4}, 6)
    assert result.figures["by_level"] == {"stable": {"ok": 4, "never_begun": 6}}


@pytest.mark.parametrize(("begun", "validity"), [(5, "valid"), (4, "invalid")])
def test_all_levels_count_what_was_never_begun_in_ok_min(begun, validity):
    book = planned(*(("local", 1, {}) for _ in range(10)))
    assert judged(book, begun, ok_min=0.5).validity == validity


@pytest.mark.parametrize(
    ("last", "never"),
    [(("stable", 9, {}), 1), (("stable", 9.001, {}), 0), (("stable", 1, {"seen": 0.5}), 0)],
    ids=["due in time", "due within the last time-out", "may have had nothing to name"],
)
def test_what_may_rightly_have_had_no_turn_is_not_counted(last, never):
    book = planned(("stable", 1, {}), last)
    assert judged(book, 1).figures["never_begun"] == never


def test_digests_are_no_clients_operations_even_if_never_begun():
    book = planned(("local", 1, {}), ("local", 1, {"action": "digest"}))
    assert judged(book, 1).figures["never_begun"] == 0


def test_a_run_that_was_broken_off_had_no_time_to_begin_the_rest():
    book = planned(*(("stable", 1, {}) for _ in range(10)))
    book.add(0, 1)
    assert book.judge("availability", ok_min=1.0).figures["never_begun"] == 0


@pytest.mark.parametrize("plan", [{}, {"operations": 3}, {"load_ns": 1, "operation_timeout_ns": 1, "operations": [{}]}])
def test_of_a_plan_that_is_not_ours_nothing_is_counted(plan):
    book = Book(msgspec.structs.replace(header(s="gset"), plan=plan))
    book.add(0, 1)
    book.phase("heal")
    result = book.judge("availability", ok_min=1.0)
    assert (result.validity, result.figures["never_begun"]) == ("valid", 0)


AROUND_1 = tuple((a, b) for a in range(4) for b in range(4) if a != b and 1 in (a, b))


def members(*, recovery_ms=0, gated=False, liars=(), faults=(), core=(0, 1, 2, 3), plan=None, latency_ms=0.0, loss=0.0):
    """A header with a roster of four, of whom three are a quorum."""
    quorum = QuorumEntry(
        epoch=1, network="n", size=3, detection_ns=SECOND, recovery_ns=recovery_ms * 1_000_000, gated=gated
    )
    made = header(nodes=4, s="gset", core=core, faults=faults)
    nodes = [msgspec.structs.replace(entry, byzantine=entry.index in liars) for entry in made.nodes]
    network = NetworkEntry(latency_ms=latency_ms, loss=loss)
    return msgspec.structs.replace(made, quorum=quorum, nodes=nodes, plan=plan or {}, network=network)


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
    assert served("stable", ["fail"] * 20).judge("availability", ok_min=0.2).validity == "valid"


def test_who_could_not_be_judged_is_told():
    result = judge(served("stable", ["fail"] * 20, fault="cut"))
    assert result.notes == [
        "node 1 answered none of 20 operations (stable) with ok, 0 of them in quiet: too few to judge it by"
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


PLAN = {"load_ns": 10 * SECOND, "operation_timeout_ns": SECOND, "operations": []}


@pytest.mark.parametrize(
    ("level", "network", "found"),
    [
        ("stable", {"latency_ms": 249.0}, True),
        ("stable", {"latency_ms": 250.0}, False),
        ("stable", {"loss": 0.01}, False),
        ("quorum", {"latency_ms": 250.0}, False),
        ("local", {"latency_ms": 250.0}, True),
        ("local", {"loss": 0.01}, True),
    ],
)
def test_a_network_that_is_slow_or_lossy_by_itself_leaves_no_quorum_for_sure(level, network, found):
    result = judge(served(level, ["fail"] * 20, plan=PLAN, **network), level)
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


def test_who_may_have_lost_its_disk_in_a_kill_that_went_wrong_is_no_voter_for_sure():
    faults = [FaultEntry("f0", "kill", False, nodes=(2,)), FaultEntry("f1", "pause", True, nodes=(3,))]
    book = Book(members(faults=faults))
    book.fault("f0", "injected")
    book.fault("f0", "skipped")
    book.fault("f1", "injected")
    assert judge(asks(book, "stable", ["fail"] * 20)).validity == "valid"


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


def test_what_ends_after_the_quiet_is_not_judged():
    """Ten are under way when the cut begins, and fail by it."""
    book = Book(members(faults=[FaultEntry("f0", "cut", True, links=AROUND_1)]))
    asks(book, "stable", [])
    begun = [book.begin("add", 1, "s", 100 + each, level="stable") for each in range(10)]
    book.fault("f0", "injected")
    for op in begun:
        book.end(op, "info")
    assert judge(book).validity == "valid"


def test_what_the_harness_itself_asks_shows_nothing_of_what_clients_get():
    """Node 1 is dead until the heal; then it answers every poll, and nobody asks it for anything else."""
    book = Book(header(s="gset", faults=[FaultEntry("f0", "kill", True, nodes=(1,))]))
    book.fault("f0", "injected")
    for each in range(20):
        book.add(0, each)
    for each in range(10):
        book.add(1, 100 + each, "fail")
    book.fault("f0", "lifted")
    for _ in range(20):
        book.digest(1, "r")
        book.read(1, list(range(20)), final=True)
    assert book.judge("availability", ok_min=0.5).validity == "valid"


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


def hanging(begun, *, due_s=1.0, cut_s=(), recovery_ms=0):
    """Node 1 lets `begun` of twenty operations time out, and the others, due in that second, never have their turn."""
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
        (2, {"cut_s": (0.1, 0.9), "recovery_ms": 200}, False),
        (2, {"recovery_ms": 1100}, False),
    ],
    ids=["hardly asked", "cut off", "cut off meanwhile", "afterwards", "before", "may recover", "may start"],
)
def test_what_was_due_and_never_began_counts_if_it_was_due_in_quiet(begun, more, found):
    assert (hanging(begun, **more).validity == "invalid") == found
