"""visibility: reads against the table of commits, by an oracle of its own."""

import pytest

from checkers.history import Complete, FaultEvent, Invoke, NodeEvent
from checkers.visibility import Visibility
from tests.checkers.histories import header

OBJECTS = {"s": "orset", "g": "gset", "n": "pncounter"}


class Log:
    """Events by hand: commits are named by single letters; every operation takes one tick."""

    def __init__(self):
        self.events, self.t, self.ops, self.last = [], 0, 0, {}

    def commit(self, name, *operations, prev=None, deps=()):
        plain = [{"object": o, "type": OBJECTS[o], "action": a, "value": v} for o, a, v in operations]
        data = {"id": name, "prev": prev, "deps": list(deps), "operations": plain}
        self.events.append(NodeEvent(node=0, name="committed", monotonic=0, wall=0, t=self.t, data=data))
        return self

    def done(self, node, object, action, value=None, *, begun=None, **complete):
        self.t += 2
        begun = self.t - 1 if begun is None else begun
        self.events.append(
            Invoke(op=self.ops, process=f"p{node}", node=node, t=begun, intended=begun, object=object, action=action)
        )
        self.events.append(Complete(op=self.ops, t=self.t, outcome="ok", value=value, **complete))
        self.ops += 1
        return self

    def read(self, node, object, value, *heads, **more):
        if isinstance(value, list):
            value = {"base": None, "add": value}
        return self.done(node, object, "read", value, visible=list(heads) if heads != (None,) else None, **more)

    def wrote(self, node, commit):
        return self.done(node, "g", "add", commit=commit)

    def wiped(self, node):
        self.events.append(FaultEvent(fault="k", stage="injected", t=self.t))
        self.t += 1
        evidence = {"disk": "wipe", "nodes": str(node), "bites": 1}
        self.events.append(FaultEvent(fault="k", stage="lifted", t=self.t, evidence=evidence))
        return self

    def judge(self):
        checker = Visibility(header(faults=["k"], **OBJECTS))
        for index, event in enumerate(self.events):
            checker.on_event(index, event)
        return checker.final()


def log():
    return (
        Log()
        .commit("a", ("g", "add", 1), ("s", "add", "x"), ("n", "increment", 5))
        .commit("b", ("s", "add", "x"), ("n", "decrement", 2), prev="a")
        .commit("c", ("s", "remove", ["x", [["a", 1]]]), ("g", "add", 2), deps=["a"])
        .commit("d", ("s", "remove", ["x", [["a", 1], ["b", 0]]]), prev="c", deps=["b"])
    )


F = ("f", ("g", "add", 1))

CORRECT = {
    "a gset": log().read(0, "g", [1], "a").read(0, "g", [1, 2], "b", "c"),
    "an orset in which an add wins": log().read(0, "s", ["x"], "b", "c").read(0, "s", [], "b", "d"),
    "a counter": log().read(0, "n", 5, "a").read(0, "n", 3, "b"),
    "an object that nobody wrote": Log().commit("e", ("g", "add", 1)).read(0, "n", 0, "e").read(0, "s", [], "e"),
    "nothing seen yet": Log().commit("e", ("g", "add", 1)).read(1, "g", []),
    "nodes that have seen different things": log()
    .read(0, "g", [1], "a")
    .read(
        1,
        "g",
        [],
    )
    .read(2, "g", [1, 2], "b", "c"),
    "its own write is seen": log().wrote(0, "a").read(0, "g", [1], "a"),
    "a write that was acknowledged after the read began": log().wrote(0, "a").read(0, "g", [], begun=0),
    "a read that overlaps a later one": log().read(0, "g", [1, 2], "b", "c").read(0, "g", [1], "a", begun=1),
    "a node that lost its disk": log().wrote(0, "b").read(0, "g", [1], "b").wiped(0).read(0, "g", []),
    "a commit that took effect though nobody read it before": log().read(0, "n", 3, "d", "b"),
    "a commit that is told of after it was read": Log().read(0, "g", [1], "f").read(1, "g", []).commit(*F),
    "a commit that is told of twice": Log().commit(*F).read(0, "g", [1], "f").commit(*F).read(0, "g", [1], "f"),
    "reads that waited when the disk was lost": Log()
    .read(0, "g", [1], "f")
    .wiped(0)
    .read(0, "g", [])
    .commit(*F)
    .read(0, "g", [1], "f"),
}


@pytest.mark.parametrize("name", CORRECT)
def test_what_is_correct_passes(name):
    found = CORRECT[name].judge()
    assert found.validity == "valid", found
    assert found.figures["reads_checked"] > 0


WRONG = {
    "an element that was not seen": (log().read(0, "g", [1, 2], "a"), "wrong-value"),
    "an element that is lost": (log().read(0, "g", [], "a"), "wrong-value"),
    "a removed element that comes back": (log().read(0, "s", ["x"], "b", "d"), "wrong-value"),
    "a remove that takes an add it had not seen": (log().read(0, "s", [], "b", "c"), "wrong-value"),
    "a counter that is off by one": (log().read(0, "n", 4, "b"), "wrong-value"),
    "a counter that counts a commit twice": (log().read(0, "n", 10, "a"), "wrong-value"),
    "1 is not '1'": (log().read(0, "g", ["1"], "a"), "wrong-value"),
    "a node that goes backwards": (log().read(0, "g", [1, 2], "b", "c").read(0, "g", [1], "a"), "went-backwards"),
    "a branch that is forgotten": (log().read(0, "g", [1, 2], "b", "c").read(0, "g", [1], "b"), "went-backwards"),
    "a write that its own node does not see": (log().wrote(0, "a").read(0, "g", []), "own-write-unseen"),
    "an element lost in a read that was told before its commit": (
        Log().read(0, "g", [], "f").commit(*F),
        "wrong-value",
    ),
    "a node that goes backwards in reads that had to wait": (
        Log().read(0, "g", [1], "f").read(0, "g", []).commit(*F),
        "went-backwards",
    ),
    "a wrong read after one of which nobody ever told": (
        log().read(0, "g", [1], "stranger").read(0, "g", [2], "a"),
        "wrong-value",
    ),
    "a wipe that was another node's": (log().read(0, "g", [1], "b").wiped(1).read(0, "g", []), "went-backwards"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bug_is_found_by_its_name_and_names_the_node(name):
    events, anomaly = WRONG[name]
    found = events.judge()
    assert found.validity == "invalid"
    assert anomaly in {one.name for one in found.anomalies}
    assert all(one.data["nodes"] == [0] and one.events for one in found.anomalies)


@pytest.mark.parametrize(
    "events",
    [Log(), log(), log().read(0, "g", [1], None), log().read(0, "g", [1], "stranger")],
    ids=["empty", "no read", "no heads named", "a commit that nobody told of"],
)
def test_without_evidence_it_is_unknown(events):
    assert events.judge().validity == "unknown"


def test_what_was_passed_over_is_said():
    found = log().read(0, "g", [1], "a").read(0, "g", [1], "stranger").judge()
    assert found.validity == "valid" and found.notes == ["1 reads of unknown commits were passed over"]


def test_a_sliver_of_evidence_is_unknown():
    few = log().read(0, "g", [1], "a")
    for _ in range(2):
        few.read(0, "g", [1], "stranger")
    found = few.judge()
    assert found.validity == "unknown" and found.figures["reads_checked"] == 1
