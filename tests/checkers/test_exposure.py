"""Exposure: a run that put nothing to the test is unknown, and never invalid."""

import msgspec
import pytest

from checkers.history import FaultEntry
from tests.checkers.histories import Book, header


def run(*stages, required=True, writes=1, reads=1, bites=1):
    """A run in which the fault f0 went through `stages`."""
    book = Book(header(s="gset", faults=[FaultEntry("f0", "cut", required, "cut 0 from 1")]))
    book.phase("load")
    for stage in stages:
        evidence = {"bites": bites} if stage in ("observed", "lifted") else {}
        book.fault("f0", stage, "the backend cannot" if stage == "skipped" else "", **evidence)
    for number in range(writes):
        book.add(0, number)
    for _ in range(reads):
        book.read(0, range(writes))
    book.phase("heal")
    book.add(0, "after the load")
    book.finals([*range(writes), "after the load"])
    return book


BLIND = {
    "never put in force": (run(), "never put in force"),
    "never lifted": (run("injected", "observed"), "never confirmed lifted"),
    "did not bite": (run("injected", "lifted", bites=0), "not seen to bite"),
    "skipped": (run("skipped"), "skipped: the backend cannot"),
}


@pytest.mark.parametrize(("book", "said"), BLIND.values(), ids=BLIND)
def test_a_required_fault_that_was_not_felt_makes_the_run_unknown(book, said):
    found = book.judge("exposure")
    assert found.validity == "unknown"
    assert found.notes == [f"required fault f0 (cut 0 from 1): {said}"]


@pytest.mark.parametrize(("bit", "meant", "validity"), [(1, 2, "unknown"), (2, 2, "valid")])
def test_a_fault_on_several_nodes_must_be_seen_on_each(bit, meant, validity):
    book = run("injected", "lifted")
    book.fault("f0", "observed", bites=5, bit=bit, of=meant)
    found = book.judge("exposure")
    assert found.validity == validity
    assert (f"seen to bite on {bit} of {meant} nodes" in "".join(found.notes)) == (validity == "unknown")


def lying(cut_first, *, liar=2, apart=(2,)):
    """A liar that counts twenty lies, and a cut around it that is put in force before it lies, or afterwards."""
    links = tuple((a, b) for a in range(3) for b in range(3) if a != b and (a in apart or b in apart))
    faults = [
        FaultEntry("lies", "byzantine", True, "node lies", nodes=(liar,)),
        FaultEntry("cut", "cut", True, "cut", links=links),
    ]
    book = Book(header(s="gset", core=[0, 1], faults=faults))
    book.phase("load")
    if cut_first:
        book.fault("cut", "injected")
    book.fault("lies", "injected")
    if not cut_first:
        book.fault("cut", "injected")
    book.fault("lies", "lifted", bites=20)
    book.fault("cut", "lifted", bites=5)
    book.add(0, 1)
    book.read(0, [1])
    return book.judge("exposure")


def test_who_lies_where_nobody_hears_it_has_not_bitten():
    found = lying(True)
    assert found.validity == "unknown"
    assert found.notes == ["required fault lies (node lies): node 2 reached no correct node for as long as it lied"]


@pytest.mark.parametrize(("cut_first", "apart"), [(False, (2,)), (True, (0,))], ids=["heard at first", "another's cut"])
def test_who_was_heard_for_a_while_has_bitten(cut_first, apart):
    assert lying(cut_first, apart=apart).validity == "valid"


def lying_behind(links, *, liars=(2,), nodes=3, still=()):
    """These lie while `links` carry nothing, or while some are paused."""
    kind = "pause" if still else "cut"
    faults = [
        FaultEntry("lies", "byzantine", True, "node lies", nodes=liars),
        FaultEntry("cut", kind, True, kind, links=tuple(links), nodes=still),
    ]
    made = header(nodes=nodes, s="gset", core=[node for node in range(nodes) if node not in liars], faults=faults)
    seats = [msgspec.structs.replace(entry, byzantine=entry.index in liars) for entry in made.nodes]
    book = Book(msgspec.structs.replace(made, nodes=seats))
    book.phase("load")
    book.fault("cut", "injected")
    book.fault("lies", "injected")
    book.fault("lies", "lifted", bites=20)
    book.fault("cut", "lifted", bites=5)
    book.add(0, 1)
    book.read(0, [1])
    return book.judge("exposure").validity


def test_a_lie_needs_one_way_alone():
    assert lying_behind([(0, 2), (1, 2)]) == "valid", "nothing comes to it, and all that it says goes out"
    assert lying_behind([(2, 0), (2, 1)]) == "unknown"
    assert lying_behind([(2, 0)]) == "valid"


@pytest.mark.parametrize(
    ("still", "validity"), [((2,), "unknown"), ((0, 1), "unknown"), ((0,), "valid")], ids=["it", "all others", "one"]
)
def test_nobody_hears_who_stands_still_and_who_stands_still_hears_nobody(still, validity):
    assert lying_behind([], still=still) == validity


def test_liars_that_hear_each_other_alone_hurt_nobody():
    correct, liars = range(5), (5, 6)
    around = [(liar, other) for liar in liars for other in correct]
    assert lying_behind(around, liars=liars, nodes=7) == "unknown"
    assert lying_behind(around[1:], liars=liars, nodes=7) == "unknown", "of two liars, each is to be heard"
    assert lying_behind(around[2:6], liars=liars, nodes=7) == "valid"


@pytest.mark.parametrize("stages", [(), ("skipped",), ("injected",)])
def test_an_opportunistic_fault_is_only_noted(stages):
    found = run(*stages, required=False).judge("exposure")
    assert found.validity == "valid" and found.notes[0].startswith("opportunistic fault f0")


@pytest.mark.parametrize("stages", [("injected", "lifted"), ("injected", "observed", "lifted")])
def test_a_fault_that_bit_and_was_lifted_is_evidence(stages):
    found = run(*stages, bites=2).judge("exposure")
    assert found.validity == "valid" and found.notes == []
    assert found.figures["bites"]["f0"] >= 2 and (found.figures["writes"], found.figures["reads"]) == (1, 1)


@pytest.mark.parametrize(
    ("load", "options", "said"),
    [
        ({"writes": 0}, {}, "0 writes were answered under load, at least 1 are needed"),
        ({"reads": 0}, {}, "0 reads were answered under load, at least 1 are needed"),
        ({"writes": 4}, {"writes_min": 5}, "4 writes were answered under load, at least 5 are needed"),
    ],
)
def test_too_little_load_is_unknown_and_what_comes_after_the_load_does_not_count(load, options, said):
    found = run("injected", "lifted", **load).judge("exposure", **options)
    assert found.validity == "unknown" and found.notes == [said]


def test_a_run_without_load_can_be_asked_for():
    assert run("injected", "lifted", reads=0).judge("exposure", reads_min=0).validity == "valid"
