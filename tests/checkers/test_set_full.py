"""set_full: what became of every element, on every node."""

import pytest

from checkers.compose import Judge
from tests.checkers.histories import Book, header, the_anomaly


def run(script, ends=None, *, kind="gset", **more):
    """`script`, then final reads that all show `ends` (or, as a tuple, one for each core node; None: no read)."""
    book = Book(header(s=kind, faults=["f0"], **more))
    book.phase("load")
    script(book)
    if ends is not None:
        for node, value in zip(book.header.core, ends if isinstance(ends, tuple) else [ends] * 9, strict=False):
            if value is not None:
                book.read(node, value, final=True)
    return book


def adds(*elements, node=0):
    def script(book):
        for element in elements:
            book.add(node, element)

    return script


def then(*steps):
    return lambda book: [step(book) for step in steps]


def read(node, *shown):
    return lambda book: book.read(node, shown)


def remove(node, element, outcome="ok"):
    return lambda book: book.remove(node, element, outcome)


def add(node, element, outcome="ok"):
    return lambda book: book.add(node, element, outcome)


def wipe(*nodes):
    return lambda book: book.wipe(*nodes)


def killed_with_disk(book):
    book.fault("f0", "injected")
    book.fault("f0", "lifted", bites=1, disk="keep", nodes="0")


def remove_after_read(book):
    book.read(1, [1])
    book.read(1, [])
    book.remove(0, 1)


def gone_behind_an_overlap(book):
    """The first read without the element might have come before the one with it; the second cannot have."""
    older = book.begin("read", 1, "s")
    book.read(1, [1, 2])
    book.end(older, value=[2])
    book.read(1, [2])


BUGS = {
    "nobody has an acknowledged element": ("gset", adds(1, 2), [1], "lost", 2, [0, 1, 2]),
    "one node lacks an element": ("gset", adds(1, 2), ([1, 2], [1, 2], [1]), "lost", 2, [2]),
    "an acknowledged element was never shown": ("orset", adds(1, "2"), [1], "lost", "2", [0, 1, 2]),
    "a flicker": ("gset", then(adds(1), read(1, 1), read(1), read(1, 1)), [1], "lost", 1, [1]),
    "an indefinite element was shown and is gone": (
        "gset",
        then(adds(9), add(0, 1, "info"), read(2, 1, 9), read(1)),
        ([9], [9], [1, 9]),
        "lost",
        1,
        [0, 1],
    ),
    "gone before anybody asked to remove it": ("orset", then(adds(1), remove_after_read), [], "lost", 1, [1]),
    "a removal that failed": (
        "orset",
        then(adds(1), read(1, 1), remove(0, 1, "fail"), read(1)),
        ([1], [1], [1]),
        "lost",
        1,
        [1],
    ),
    "added again after its removal, and gone": (
        "orset",
        then(adds(1), remove(1, 1), add(0, 1)),
        [],
        "lost",
        1,
        [0, 1, 2],
    ),
    "absent everywhere but the wiped node never held it": (
        "gset",
        then(add(1, 1), wipe(0)),
        [],
        "lost",
        1,
        [0, 1, 2],
    ),
    "added after the wipe": ("gset", then(wipe(0), adds(1)), [], "lost", 1, [0, 1, 2]),
    "lost by a crash that kept the disk": ("gset", then(adds(1), killed_with_disk), [], "lost", 1, [0, 1, 2]),
    "lost on one node only, after the wipe of another": (
        "gset",
        then(adds(1), wipe(0)),
        ([1], [1], []),
        "lost",
        1,
        [2],
    ),
    "vanishes from a node that was not wiped": (
        "gset",
        then(adds(1), read(1, 1), wipe(0), read(1)),
        [1],
        "lost",
        1,
        [1],
    ),
    "out of thin air": ("gset", then(adds(1), read(1, 1, 7)), [1, 7], "phantom", 7, [1]),
    "a phantom in a final read only": ("gset", adds(1), ([1], [1], [1, "7"]), "phantom", "7", [2]),
    "the string for the number": ("gset", adds(1), ([1], [1], [1, "1"]), "phantom", "1", [2]),
    "shown before it was begun": ("gset", then(read(1, 1), adds(1)), [1], "phantom", 1, [1]),
    "twice in one read": ("gset", then(adds(1), read(2, 1, 1)), [1], "duplicate", 1, [2]),
    "three times in a final read": ("gset", adds(1), ([1, 1, 1], [1], [1]), "duplicate", 1, [0]),
    "gone once, hidden by a read that overlapped": (
        "gset",
        lambda b: (adds(1, 2)(b), gone_behind_an_overlap(b)),
        [1, 2],
        "lost",
        1,
        [1],
    ),
    "an indefinite element of an orset, shown and gone without any removal": (
        "orset",
        then(adds(9), add(0, 1, "info"), read(2, 1, 9), read(1)),
        ([9], [9], [1, 9]),
        "lost",
        1,
        [0, 1],
    ),
    "gone with a wiped disk, though another core node held it": (
        "gset",
        then(add(1, 0), adds(1), read(1, 0, 1), wipe(0)),
        [0],
        "lost",
        1,
        [0, 1, 2],
    ),
    "a failed add is shown": (
        "gset",
        then(adds(1), add(0, 2, "fail"), read(1, 2)),
        [1, 2],
        "failed-but-visible",
        2,
        None,
    ),
    "a failed add is shown before another add of it": (
        "orset",
        then(adds(1), add(0, 2, "fail"), read(1, 2), add(0, 2)),
        [1, 2],
        "failed-but-visible",
        2,
        None,
    ),
}


@pytest.mark.parametrize(("kind", "script", "ends", "name", "element", "nodes"), BUGS.values(), ids=BUGS)
def test_planted_bugs_are_found(kind, script, ends, name, element, nodes):
    found = [
        one
        for one in run(script, ends, kind=kind).judge("set_full").anomalies
        if one.name == name and one.data["element"] == element
    ]
    assert found, "not found"
    assert found[0].data["object"] == "s" and f"s: element {element!r} " in found[0].message and found[0].events
    if nodes is not None:
        assert nodes in [one.data["nodes"] for one in found]
        assert str(nodes) in found[-1].message or f"node {nodes[0]}" in found[-1].message


@pytest.mark.parametrize("bug", [bug for bug in BUGS if BUGS[bug][3] in ("phantom", "duplicate", "failed-but-visible")])
def test_a_bug_is_called_by_its_name_and_no_other(bug):
    kind, script, ends, name, *_ = BUGS[bug]
    the_anomaly(run(script, ends, kind=kind).judge("set_full"), name)


def remove_races_add(book):
    adding = book.begin("add", 0, "s", 1)
    book.remove(1, 1)
    book.end(adding)


def seen_before_acknowledged(book):
    adding = book.begin("add", 0, "s", 1)
    book.read(1, [1])
    book.end(adding)


def overtaking_reads(book):
    """Two clients of one node: the older read is answered last."""
    book.add(0, 2)
    book.add(0, 1)
    older = book.begin("read", 1, "s")
    newer = book.begin("read", 1, "s")
    book.end(newer, value=[1, 2])
    book.end(older, value=[2])
    book.read(1, [1, 2])


def read_before_the_wipe_is_told_of(book):
    book.add(0, 1)
    book.read(0, [1])
    book.fault("f0", "injected")
    book.read(0, [])
    book.wiped(0)


def in_flight_at_the_wipe(book):
    adding = book.begin("add", 0, "s", 1)
    book.fault("f0", "injected")
    book.end(adding)
    book.wiped(0)


KNOWN = adds(0)
GOOD = {
    "plain": ("gset", adds(1, 2, "x"), [2, 1, "x"]),
    "1 and '1'": ("gset", adds(1, "1"), ["1", 1]),
    "reads that lag": ("gset", then(adds(1, 2), read(1), read(2, 2), read(1, 1)), [1, 2]),
    "an indefinite add that appears later": ("gset", then(KNOWN, add(0, 1, "info"), read(0, 0), read(0, 0, 1)), [0, 1]),
    "an indefinite add that never appears": ("gset", then(KNOWN, add(0, 1, "info")), [0]),
    "an add that nobody completed, and appears": ("gset", then(KNOWN, lambda b: b.begin("add", 0, "s", 1)), [0, 1]),
    "an add that nobody completed, and does not": ("gset", then(KNOWN, lambda b: b.begin("add", 0, "s", 1)), [0]),
    "a failed add, never visible": ("gset", then(KNOWN, add(0, 1, "fail")), [0]),
    "a failed add, tried again": ("gset", then(add(0, 1, "fail"), add(0, 1)), [1]),
    "a failed and an indefinite add": ("orset", then(add(0, 1, "fail"), add(1, 1, "info"), KNOWN), [0, 1]),
    "seen before it is acknowledged": ("gset", seen_before_acknowledged, [1]),
    "a remove that races an add, and takes it": ("orset", remove_races_add, []),
    "a remove that races an add, and misses it": ("orset", remove_races_add, [1]),
    "removed": ("orset", then(adds(1), read(1, 1), remove(0, 1), read(1)), []),
    "a removal that arrives late": ("orset", then(adds(1), read(1, 1), remove(0, 1), read(1, 1), read(1)), []),
    "an indefinite remove that happened": ("orset", then(adds(1), read(1, 1), remove(0, 1, "info"), read(1)), []),
    "an indefinite remove that did not": ("orset", then(adds(1), remove(0, 1, "info")), [1]),
    "a remove that nobody completed": ("orset", then(adds(1), lambda b: b.begin("remove", 1, "s", 1), read(1)), []),
    "an old indefinite remove takes a later add": ("orset", then(adds(1), remove(1, 1, "info"), adds(1)), []),
    "a remove that had not seen the add": ("orset", then(adds(1), remove(2, 1)), [1]),
    "a remove that failed": ("orset", then(adds(1), remove(1, 1, "fail")), [1]),
    "added again": ("orset", then(adds(1), read(1, 1), remove(0, 1), read(1), adds(1), read(1, 1)), [1]),
    "shown, removed and shown again by another's add": (
        "orset",
        then(adds(1), read(2, 1), remove(0, 1), add(1, 1, "info"), read(2), read(2, 1)),
        [1],
    ),
    "the lone write of a wiped node": ("gset", then(KNOWN, adds(1), read(0, 0, 1), wipe(0), read(0), read(0, 0)), [0]),
    "the lone write of a wiped node, and an indefinite one": (
        "orset",
        then(add(2, 0), adds(1), add(1, 1, "info"), wipe(0)),
        [0],
    ),
    "an indefinite write, shown by the node before its wipe": (
        "gset",
        then(add(1, 0), add(0, 1, "info"), add(1, 1, "info"), read(0, 1), wipe(0)),
        [0],
    ),
    "shown, removed, and added again through a node whose disk was wiped": (
        "orset",
        then(add(0, 0), add(0, 1), read(1, 0, 1), remove(0, 1), read(1, 0), add(2, 1), wipe(2)),
        [0],
    ),
    "a write that outlived the wipe": ("gset", then(adds(1), read(0, 1), wipe(0), read(0), read(0, 1)), [1]),
    "a read before the wipe is told of": ("gset", then(add(1, 0), read_before_the_wipe_is_told_of), [0]),
    "acknowledged while the node was dying": ("gset", then(add(1, 0), in_flight_at_the_wipe), [0]),
    "two wipes": ("gset", then(add(2, 0), adds(1), read(1, 1), wipe(0), wipe(1), read(1)), [0]),
    "reads that overtake each other": ("gset", overtaking_reads, [1, 2]),
    "a read that failed": ("gset", then(adds(1), lambda b: b.end(b.begin("read", 0, "s"), "fail")), [1]),
}


@pytest.mark.parametrize(("kind", "script", "ends"), GOOD.values(), ids=GOOD)
def test_correct_runs_pass(kind, script, ends):
    book = run(script, ends, kind=kind)
    judge = Judge(book.header, names=["set_full"])
    assert [judge.on_event(index, event) for index, event in enumerate(book.events)] == [None] * len(book.events)
    found = judge.final().results[0]
    assert found.validity == "valid", found


def test_what_a_cut_off_node_added_need_not_arrive_but_what_the_core_showed_stays():
    lone = then(KNOWN, add(2, 1), read(2, 1))
    assert run(lone, [0], core=[0, 1]).judge("set_full").validity == "valid"
    shown = run(then(lone, read(0, 0, 1)), ([0, 1], [0]), core=[0, 1])
    assert the_anomaly(shown.judge("set_full"), "lost").data["nodes"] == [1]


def test_a_missing_final_read_takes_no_excuse_away():
    """The silent node may lack the element like the others: nobody knows, so nobody is accused."""
    book = run(then(add(1, 0), adds(1), wipe(0)), ([0], [0], None))
    assert book.judge("set_full").validity == book.judge("durability").validity == "unknown"


def test_a_kill_of_whose_disks_nothing_is_told_makes_a_vanishing_unknown():
    book = Book(header(s="gset", faults=["f0"]))
    book.add(0, 1)
    book.read(0, [1])
    book.fault("f0", "injected")
    book.read(0, [])
    found = book.judge("set_full")
    assert found.validity == "unknown" and "element 1 was shown by node 0" in " ".join(found.notes)


def test_a_later_kill_explains_nothing():
    book = Book(header(s="gset", faults=["f0"]))
    book.add(0, 1)
    book.read(0, [1])
    book.read(0, [])
    book.fault("f0", "injected")
    the_anomaly(book.judge("set_full"), "lost")


def test_what_another_node_was_seen_to_hold_is_not_counted_as_excused():
    book = run(then(add(1, 0), adds(1), read(1, 0, 1), wipe(0)), [0])
    counts = book.judge("set_full").figures["s"]
    assert (counts["lost"], counts["excused_by_wipe"]) == (1, 0)


def test_outcomes_are_told_by_node():
    book = run(then(adds(1, 2), read(1), read(1, 2), read(1)), ([1, 2], [2], [1, 2]))
    assert book.judge("set_full").figures["by_node"]["s"] == {
        0: {"stable": 2, "stale": 0, "lost": 0, "never_read": 0},
        1: {"stable": 1, "stale": 2, "lost": 2, "never_read": 1},
        2: {"stable": 2, "stale": 0, "lost": 0, "never_read": 0},
    }


def test_what_a_wipe_explains_is_lost_on_no_node():
    book = run(then(add(1, 0), adds(1), read(0, 0, 1), wipe(0), read(0)), [0])
    assert [of_node["lost"] for of_node in book.judge("set_full").figures["by_node"]["s"].values()] == [0, 0, 0]


def test_what_is_excused_is_counted():
    counts = run(then(adds(0, node=1), adds(1, 2), wipe(0)), [0, 2]).judge("set_full").figures["s"]
    assert counts == {"elements": 3, "stable": 2, "lost": 0, "never_read": 1, "excused_by_wipe": 1}


@pytest.mark.parametrize(
    ("book", "said"),
    [
        (run(adds(1), ([1], None, [1])), "s: no final read of core nodes [1]"),
        (run(read(0), []), "s: nothing was ever added"),
        (Book(header(c="pncounter")), "there is no set to judge"),
    ],
)
def test_without_evidence_nobody_knows(book, said):
    found = book.judge("set_full")
    assert found.validity == "unknown" and said in found.notes


def test_staleness_is_measured_by_node_and_below_the_millisecond():
    book = Book(header(s="gset"))
    book.add(0, 1)
    known = book.at
    book.at = known + 250_000 - 1_000_000  # the builder's clock moves on by 1 ms before each event
    book.read(1, [])
    book.read(1, [1])
    book.finals([1])
    figures = book.judge("set_full").figures
    assert figures["stalest"] == [{"element": 1, "object": "s", "node": 1, "ms": 0.25}]
    assert figures["stale_by_node"][1]["stale_max_ms"] == 0.25
    assert figures["stale_by_node"][0]["stale_max_ms"] == figures["stale_by_node"][2]["stale_max_ms"] == 0
    assert figures["stale_max_ms"] == 0.25 and figures["stale_p50_ms"] == 0


def test_an_element_is_known_from_the_first_read_that_shows_it_though_its_add_is_indefinite():
    book = Book(header(s="gset"))
    book.add(0, 1, "info")
    book.read(1, [1])
    known = book.at
    book.read(2, [])
    book.read(2, [])
    lacked = book.at - 1_000_000  # when the last read that lacked it was invoked
    book.finals([1])
    assert book.judge("set_full").figures["stalest"][0] == {
        "element": 1,
        "object": "s",
        "node": 2,
        "ms": (lacked - known) / 1e6,
    }


def test_a_removed_element_makes_nobody_stale():
    book = run(then(adds(1), read(1, 1), remove(0, 1), read(1), adds(1)), [1], kind="orset")
    book.pass_ms(5000)
    assert book.judge("set_full").figures["stale_max_ms"] == 0


def test_what_a_wipe_may_explain_is_not_told_early_and_found_in_the_end():
    book = Book(header(s="gset", faults=["f0"]))
    book.add(0, 1)
    book.read(0, [1])
    book.fault("f0", "injected")
    book.read(0, [])
    book.fault("f0", "lifted", bites=1, disk="keep", nodes="0")
    book.finals([1])
    judge = Judge(book.header, names=["set_full"])
    assert not any(judge.on_event(index, event) for index, event in enumerate(book.events))
    the_anomaly(judge.final().results[0], "lost")


def test_only_the_sets_in_objects_are_judged():
    book = Book(header(nodes=1, s="gset", t="orset"))
    for name, shown in (("s", [1]), ("t", [])):
        book.add(0, 1, object=name)
        book.finals(shown, object=name)
    assert book.judge("set_full", objects=["s"]).validity == "valid"
    assert book.judge("set_full").anomalies[0].data["object"] == "t"
