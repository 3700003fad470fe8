"""Convergence: what is one set has one value, and all get there in time."""

import pytest

from tests.checkers.histories import Book, header, the_anomaly


def run(during=None, after=None, finals=("r2", "r2", "r2"), **kinds):
    """Load, `during`, heal, `after`, then final digests of the roots `finals` (None: no answer)."""
    book = Book(header(**kinds))
    book.phase("load")
    book.digest(0, "r1")
    if during:
        during(book)
    book.phase("heal")
    if after:
        after(book)
    for node, root in enumerate(finals):
        if root is not None:
            values = root if isinstance(root, tuple) else (root,)
            book.digest(node, *values, final=True)
    return book


BUGS = {
    "a fold that differs by node": (lambda b: b.digest(1, "r1", "other"), None, "same-root-different-values", [0, 1]),
    "a fold that changes its mind": (lambda b: b.digest(0, "r1", "other"), None, "same-root-different-values", [0, 0]),
    "a stale root": (
        lambda b: (b.digest(2, "r1", "other"), b.digest(2, "r0")),
        None,
        "same-root-different-values",
        [0, 2],
    ),
}


@pytest.mark.parametrize(("during", "after", "name", "nodes"), BUGS.values(), ids=BUGS)
def test_one_root_has_one_value(during, after, name, nodes):
    found = the_anomaly(run(during, after).judge("convergence"), name)
    assert found.data["nodes"] == nodes and found.data["root"] == "r1"
    assert f"nodes {nodes[0]} and {nodes[1]}" in found.message


@pytest.mark.parametrize("ends", [("r2", "r2", "r1"), ("r2", "r2", None)], ids=["all there", "one silent"])
def test_core_nodes_that_end_apart_have_diverged(ends):
    if ends[2] is None:
        ends = ("r2", "r1", None)
    found = the_anomaly(run(finals=ends).judge("convergence"), "diverged")
    apart = [node for group in found.data["groups"] for node in group]
    assert sorted(apart) == [node for node, root in enumerate(ends) if root]
    assert len(found.data["groups"]) == 2 and str(found.data["groups"][0]) in found.message


def test_values_that_end_apart_have_diverged_though_the_roots_are_one():
    names = {one.name for one in run(finals=("r2", ("r2", "x"), "r2")).judge("convergence").anomalies}
    assert names == {"diverged", "same-root-different-values"}


def lag(ms):
    """Node 2 shows the common root only after `ms`."""

    def after(book):
        book.digest(0, "r2")
        book.digest(1, "r2")
        book.digest(2, "r1")
        book.pass_ms(ms)
        book.digest(2, "r2")

    return after


def test_later_than_the_deadline_is_late():
    found = the_anomaly(run(after=lag(1100)).judge("convergence"), "late")
    assert found.data["took_ns"] > 1_100_000_000 and "allowed were 1000.0 ms" in found.message


def test_a_root_that_all_had_and_one_lost_again_counts_from_the_last_time():
    def after(book):
        lag(0)(book)
        book.digest(1, "r3")
        book.pass_ms(1200)
        book.digest(1, "r2")

    the_anomaly(run(after=after).judge("convergence"), "late")


GOOD = {
    "all at once": run(),
    "digests that answer late but in time": run(after=lag(900)),
    "a lagging node under load": run(lambda b: (b.digest(1, "r0"), b.digest(2, "r1"), b.digest(1, "r1"))),
    "different roots may have one value": run(lambda b: b.digest(1, "r9", "values of r1")),
    "a node outside the core stays apart": run(lambda b: b.digest(2, "r0"), finals=("r2", "r2", "r0"), core=[0, 1]),
    "a node outside the core is silent": run(finals=("r2", "r2", None), core=[0, 1]),
    "a digest that failed": run(lambda b: b.end(b.begin("digest", 1, ""), "fail")),
    "long disagreement before the heal": run(lambda b: (b.digest(1, "r0"), b.pass_ms(9000))),
}


@pytest.mark.parametrize("book", GOOD.values(), ids=GOOD)
def test_correct_runs_pass(book):
    assert book.judge("convergence").validity == "valid"


@pytest.mark.parametrize(
    ("book", "said"),
    [
        (run(finals=("r2", "r2", None)), "no final digest of core nodes [2]"),
        (run(finals=(None, None, None)), "no final digest of core nodes [0, 1, 2]"),
    ],
)
def test_without_a_final_digest_nobody_knows(book, said):
    found = book.judge("convergence")
    assert found.validity == "unknown" and said in found.notes


def test_without_a_heal_nobody_knows():
    book = run()
    book.events = [event for event in book.events if getattr(event, "phase", "") != "heal"]
    assert book.judge("convergence").validity == "unknown"


def test_the_time_is_that_of_the_answer_by_which_all_were_one():
    book = Book(header())
    book.phase("heal")
    healed = book.at
    for node in (0, 1):
        book.digest(node, "r2")
    book.pass_ms(249.75)
    book.digest(2, "r2")
    converged = book.at
    for node in range(3):
        book.digest(node, "r2", final=True)
    figures = book.judge("convergence").figures
    assert figures["converged_after_ms"] == (converged - healed) / 1e6
    assert figures["intervals"] == 3 and figures["specification_rounds"] == 4.58


def test_the_runs_own_explanation_is_passed_on():
    book = run(finals=("r1", "r2", "r2"))
    book.phase("final", "not converged; node 0: cut off")
    assert "not converged; node 0: cut off" in book.judge("convergence").notes
