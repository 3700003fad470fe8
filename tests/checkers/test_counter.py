"""Counter: bounds for every read, one right value in the end."""

import pytest

from tests.checkers.histories import Book, header, the_anomaly


def book(**more):
    made = Book(header(c="pncounter", faults=["f0"], **more))
    made.phase("load")
    return made


def run(script, ends=None, **more):
    made = book(**more)
    script(made)
    if ends is not None:
        for node, value in zip(made.header.core, ends, strict=True):
            made.read(node, value, object="c", final=True)
    return made


def counted(b):
    b.count(0, 5)
    b.count(1, 3)
    b.count(2, -2)


def read(node, value):
    return lambda b: (counted(b), b.read(node, value, object="c"))


BUGS = {
    "counts twice": (read(1, 9), (6, 6, 6), "out-of-bounds", [1], 9),
    "forgets what it acknowledged": (read(0, 2), (6, 6, 6), "out-of-bounds", [0], 2),
    "decrements more than anybody asked": (read(1, -3), (6, 6, 6), "out-of-bounds", [1], -3),
    "forgets its own decrement": (read(2, 7), (6, 6, 6), "out-of-bounds", [2], 7),
    "all end too low": (counted, (1, 1, 1), "out-of-bounds", [0], 1),
    "all end off by one": (counted, (7, 7, 7), "out-of-bounds", [0], 7),
    "a failed increment counts": (
        lambda b: (counted(b), b.count(0, 4, "fail")),
        (10, 10, 10),
        "out-of-bounds",
        [0],
        10,
    ),
    "a failed decrement counts": (lambda b: (counted(b), b.count(0, -1, "fail")), (5, 5, 5), "out-of-bounds", [0], 5),
    "counted before it was begun": (
        lambda b: (b.count(0, 1), b.read(1, 2, object="c"), b.count(0, 1)),
        (2, 2, 2),
        "out-of-bounds",
        [1],
        2,
    ),
    "goes on without what it counted before the wipe of another": (
        lambda b: (b.count(0, 5), b.wipe(1), b.read(0, 0, object="c")),
        (5, 5, 5),
        "out-of-bounds",
        [0],
        0,
    ),
    "forgets what it counted after its wipe": (
        lambda b: (b.wipe(0), b.count(0, 5), b.read(0, 0, object="c")),
        (5, 5, 5),
        "out-of-bounds",
        [0],
        0,
    ),
}


@pytest.mark.parametrize(("script", "ends", "name", "nodes", "value"), BUGS.values(), ids=BUGS)
def test_planted_bugs_are_found(script, ends, name, nodes, value):
    found = the_anomaly(run(script, ends).judge("counter"), name)
    assert found.data["nodes"] == nodes and found.data["value"] == value and found.data["object"] == "c"
    assert f"node {nodes[0]}" in found.message and str(value) in found.message and found.events


def test_ends_that_differ_are_found_though_each_is_possible():
    made = run(lambda b: (counted(b), b.count(1, 2, "info")), (6, 8, 6))
    found = the_anomaly(made.judge("counter"), "unequal-final")
    assert found.data["nodes"] == [0, 1, 2] and found.data["values"] == [6, 8, 6]


def overlap(b):
    op = b.begin("increment", 0, "c", 4)
    b.read(1, 4, object="c")
    b.read(0, 0, object="c")
    b.end(op)


def read_through_wipe(b):
    """Asked before the node died, answered after it came back."""
    b.count(0, 5)
    op = b.begin("read", 0, "c")
    b.wipe(0)
    b.end(op, value=0)


def read_before_lifted(b):
    b.count(0, 5)
    b.fault("f0", "injected")
    b.read(0, 0, object="c")
    b.wiped(0)


def acknowledged_after_lifted(b):
    op = b.begin("increment", 0, "c", 5)
    b.wipe(0)
    b.end(op)
    b.read(0, 0, object="c")


GOOD = {
    "plain": (counted, (6, 6, 6)),
    "reads that lag": (lambda b: (read(1, 3)(b), b.read(2, -2, object="c")), (6, 6, 6)),
    "a read that saw the decrement only": (read(1, 1), (6, 6, 6)),
    "an indefinite increment that happened": (lambda b: (counted(b), b.count(1, 4, "info")), (10, 10, 10)),
    "an indefinite increment that did not": (lambda b: (counted(b), b.count(1, 4, "info")), (6, 6, 6)),
    "an indefinite decrement that happened": (lambda b: (counted(b), b.count(1, -4, "info")), (2, 2, 2)),
    "an increment that nobody completed": (lambda b: (counted(b), b.begin("increment", 0, "c", 4)), (10, 10, 10)),
    "a failed increment did not": (lambda b: (counted(b), b.count(1, 4, "fail")), (6, 6, 6)),
    "seen while still in flight": (overlap, (4, 4, 4)),
    "below zero": (lambda b: b.count(0, -4), (-4, -4, -4)),
    "the lone count went with the disk": (lambda b: (counted(b), b.wipe(0), b.read(0, 0, object="c")), (1, 1, 1)),
    "the count outlived the disk": (lambda b: (counted(b), b.wipe(0)), (6, 6, 6)),
    "a read through a wipe": (read_through_wipe, (0, 0, 0)),
    "a read before the wipe is told of": (read_before_lifted, (0, 0, 0)),
    "an acknowledgement that comes after the wipe": (acknowledged_after_lifted, (0, 0, 0)),
}


@pytest.mark.parametrize(("script", "ends"), GOOD.values(), ids=GOOD)
def test_correct_runs_pass(script, ends):
    assert run(script, ends).judge("counter").validity == "valid"


def test_what_a_cut_off_node_counted_need_not_arrive():
    assert run(counted, (8, 8), core=[0, 1]).judge("counter").validity == "valid"
    assert run(counted, (6, 6), core=[0, 1]).judge("counter").validity == "valid"
    assert run(counted, (5, 5), core=[0, 1]).judge("counter").validity == "invalid"


def test_a_kill_of_whose_disks_nothing_is_told_may_explain_a_forgotten_count():
    made = book()
    made.count(0, 5)
    made.fault("f0", "injected")
    made.read(0, 0, object="c")
    found = made.judge("counter")
    assert found.validity == "unknown" and "node 0 reads 0" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (run(counted), "c: no final read of core nodes [0, 1, 2]"),
        (run(lambda b: None, (0, 0, 0)), "c: nothing was ever counted"),
        (Book(header(s="gset")), "there is no counter to judge"),
    ],
)
def test_without_evidence_nobody_knows(made, said):
    found = made.judge("counter")
    assert found.validity == "unknown" and said in found.notes


def test_only_the_counters_in_objects_are_judged():
    made = Book(header(nodes=1, c="pncounter", d="pncounter"))
    made.count(0, 1, object="c")
    made.read(0, 1, object="c", final=True)
    made.count(0, 1, object="d")
    made.read(0, 9, object="d", final=True)
    assert made.judge("counter", objects=["c"]).validity == "valid"
    assert made.judge("counter", objects=["d"]).validity == "invalid"
    assert made.judge("counter").validity == "invalid"
