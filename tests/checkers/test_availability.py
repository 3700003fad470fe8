"""Availability: shares and latencies, from the intended start."""

import msgspec
import pytest

from checkers.availability import percentiles_ms
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
