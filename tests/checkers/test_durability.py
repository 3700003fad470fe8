"""Durability: nothing acknowledged is lost, nothing removed comes back."""

import pytest

from tests.checkers.histories import Book, header, the_anomaly
from tests.checkers.test_set_full import GOOD as GOOD_SETS
from tests.checkers.test_set_full import add, adds, killed_with_disk, read, remove, run, then, wipe

BUGS = {
    "lost everywhere": (adds(1, 2), [1], "lost-write", 2, [0, 1, 2]),
    "lost on one node": (adds(1), ([1], [], [1]), "lost-write", 1, [1]),
    "lost by a crash that kept the disk": (then(adds(1), killed_with_disk), [], "lost-write", 1, [0, 1, 2]),
    "lost though another node was wiped": (then(add(1, 1), wipe(0)), [], "lost-write", 1, [0, 1, 2]),
    "lost though written after the wipe": (then(wipe(0), adds(1)), [], "lost-write", 1, [0, 1, 2]),
    "lost though two nodes acknowledged it and one was wiped": (
        then(adds(1), add(1, 1), wipe(0)),
        [],
        "lost-write",
        1,
        [0, 1, 2],
    ),
    "lost on one node though its writer was wiped": (then(adds(1), wipe(0)), ([1], [1], []), "lost-write", 1, [2]),
    "lost with a wiped disk, though another node had shown it": (
        then(add(1, 0), adds(1), read(1, 0, 1), wipe(0)),
        [0],
        "lost-write",
        1,
        [0, 1, 2],
    ),
    "removed, added again, lost": (then(adds(1), remove(0, 1), adds(1)), [], "lost-write", 1, [0, 1, 2]),
    "removed, and back everywhere": (then(adds(1), remove(0, 1)), [1], "resurrected", 1, [0]),
    "removed, and back on one node": (then(adds(1), remove(0, 1)), ([], [1], []), "resurrected", 1, [1]),
    "removed, and back where it was removed": (
        then(adds(1), remove(0, 1), read(0, 1), read(0)),
        [],
        "resurrected",
        1,
        [0],
    ),
    "removed after many adds by one node": (then(adds(1, 1, 1), remove(0, 1)), ([], [], [1]), "resurrected", 1, [2]),
}


@pytest.mark.parametrize(("script", "ends", "name", "element", "nodes"), BUGS.values(), ids=BUGS)
def test_planted_bugs_are_found(script, ends, name, element, nodes):
    found = the_anomaly(run(script, ends, kind="orset").judge("durability"), name)
    assert (found.data["object"], found.data["element"], found.data["nodes"]) == ("s", element, nodes)
    assert f"s: element {element!r}" in found.message and f"{nodes[-1]}" in found.message and len(found.events) >= 2


def remove_in_flight(book):
    """The reads fall between the invocation and the answer of the remove."""
    book.add(0, 1)
    op = book.begin("remove", 0, "s", 1)
    book.read(0, [1])
    book.end(op)


def add_in_flight(book):
    """A second add of the node itself, which the remove may have come before."""
    book.add(0, 1)
    op = book.begin("add", 0, "s", 1)
    book.remove(0, 1)
    book.end(op)


GOOD = {
    **GOOD_SETS,
    "removed": ("orset", then(adds(1), remove(0, 1), read(0), read(1, 1)), []),
    "shown while the remove was in flight": ("orset", remove_in_flight, []),
    "another's add survives the remove": ("orset", then(adds(1), add(1, 1), remove(0, 1)), [1]),
    "another's add survives though it had been shown": (
        "orset",
        then(adds(1), read(0, 1), add(1, 1), remove(0, 1)),
        [1],
    ),
    "another's indefinite add survives": ("orset", then(adds(1), add(1, 1, "info"), remove(0, 1), read(0, 1)), [1]),
    "its own indefinite add comes later": ("orset", then(adds(1), add(0, 1, "info"), remove(0, 1)), [1]),
    "an add that overlaps the remove": ("orset", add_in_flight, [1]),
    "an add in flight at the end": ("orset", then(adds(1), remove(0, 1), lambda b: b.begin("add", 2, "s", 1)), [1]),
    "added again": ("orset", then(adds(1), remove(0, 1), adds(1), read(0, 1)), [1]),
    "the remove went with the disk": ("orset", then(adds(1), remove(0, 1), wipe(0)), [1]),
    "the remover had forgotten the add": ("orset", then(adds(1), wipe(0), remove(0, 1)), [1]),
    "a remove elsewhere had not seen the add": ("orset", then(adds(1), remove(1, 1)), [1]),
    "an indefinite remove": ("orset", then(adds(1), remove(0, 1, "info")), [1]),
}


@pytest.mark.parametrize(("kind", "script", "ends"), GOOD.values(), ids=GOOD)
def test_correct_runs_pass(kind, script, ends):
    found = run(script, ends, kind=kind).judge("durability")
    assert found.validity == "valid", found


def test_cut_off_nodes_are_not_held_to_what_they_were_told():
    assert run(then(adds(0), add(2, 1)), [0], core=[0, 1]).judge("durability").validity == "valid"
    removed = then(adds(0), add(2, 1), remove(2, 1))
    assert run(removed, [0, 1], kind="orset", core=[0, 1]).judge("durability").validity == "valid"
    back = then(removed, read(2, 1))
    assert run(back, [0], kind="orset", core=[0, 1]).judge("durability").anomalies[0].data["nodes"] == [2]


def test_a_lone_write_that_went_with_its_disk_is_counted_and_by_option_lost():
    book = run(then(add(1, 0), adds(1), wipe(0)), [0])
    excused = book.judge("durability")
    assert (excused.validity, excused.figures["excused_by_wipe"]) == ("valid", 1)
    assert the_anomaly(book.judge("durability", wipe_excuses=False), "lost-write").data["element"] == 1


def test_a_write_between_the_order_to_wipe_and_the_wipe_went_with_the_disk_too():
    """On real machines a wipe takes a while: the node may answer until it is killed."""

    def meanwhile(book):
        book.fault("f0", "injected")
        book.add(0, 1)
        book.fault("f0", "lifted", bites=1, disk="wipe", nodes="0")

    assert run(then(add(1, 0), meanwhile), [0]).judge("durability").validity == "valid"


def counters_only():
    book = Book(header(nodes=1, c="pncounter", s="gset"))
    book.count(0, 1)
    book.finals([])
    return book


@pytest.mark.parametrize(
    ("book", "said"),
    [
        (run(adds(1), ([1], None, [1])), "s: no final read of core nodes [1]"),
        (run(add(0, 1, "info"), []), "no write to a set was acknowledged"),
        (counters_only(), "no write to a set was acknowledged"),
    ],
)
def test_without_evidence_nobody_knows(book, said):
    found = book.judge("durability")
    assert found.validity == "unknown" and said in found.notes
