"""Correct runs by chance are never called invalid; one lie in such a run is found, and by its name.

Each lie changes a single answer of a correct run.  Where the run offers no place for it (nobody ever failed to add
anything, say) the example is thrown away.
"""

from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from checkers.compose import Judge, check
from checkers.history import Complete, Invoke, SetRead
from tests.checkers.histories import ALL_CHECKS, correct_run

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
seeds = st.integers(0, 2**32)


@settings(max_examples=300, deadline=None)
@given(seed=seeds, steps=st.integers(0, 120), wipes=st.booleans())
def test_a_correct_run_is_never_invalid(seed, steps, wipes):
    book = correct_run(Random(seed), steps=steps, wipes=wipes)
    judge = Judge(book.header)
    assert not any(judge.on_event(index, event) for index, event in enumerate(book.events)), "an early false alarm"
    verdict = judge.final()
    assert verdict.validity != "invalid", [one for one in verdict.results if one.validity == "invalid"]
    assert not any("crashed" in note for one in verdict.results for note in one.notes)


@settings(max_examples=400, deadline=None)
@given(seed=seeds, steps=st.integers(0, 120))
def test_a_correct_run_that_is_cut_short_or_lacks_final_answers_is_never_invalid(seed, steps):
    """Evidence that is missing makes a verdict unknown; it accuses nobody."""
    random = Random(seed)
    book = correct_run(random, steps=steps)
    if random.random() < 0.5:
        del book.events[random.randint(0, len(book.events)) :]
    final = {one.op for one in book.events if isinstance(one, Invoke) and one.final}
    for index, one in enumerate(book.events):
        if isinstance(one, Complete) and one.op in final and random.random() < 0.3:
            book.events[index] = msgspec.structs.replace(one, outcome="fail", value=None)
    verdict = check(book.history)
    assert verdict.validity != "invalid", [one for one in verdict.results if one.validity == "invalid"]


@EXAMPLES
@given(seed=seeds)
def test_a_run_without_wipes_in_which_enough_happened_is_valid(seed):
    book = correct_run(Random(seed), steps=150, wipes=False)
    done = {one.op for one in book.events if isinstance(one, Complete) and one.outcome == "ok"}
    writes = [one for one in book.events if isinstance(one, Invoke) and one.value is not None and one.op in done]
    assume({one.object for one in writes} == {"s", "o", "c"})
    assert check(book.history, names=["set_full", "durability", "counter", "convergence"]).validity == "valid"


class Run:
    """A correct run without wipes, whose answers can be changed."""

    def __init__(self, seed):
        self.random = Random(seed)
        book = correct_run(self.random, wipes=False)
        self.header, self.events = book.header, book.events
        self.history = book.history
        self.invokes = {one.op: one for one in self.events if isinstance(one, Invoke)}
        self.outcomes = {one.op: one.outcome for one in self.events if isinstance(one, Complete)}

    def answers(self, action, object, *, final, outcome="ok"):
        """Places of the completions of such operations."""
        return [
            index
            for index, one in enumerate(self.events)
            if isinstance(one, Complete)
            and one.outcome == outcome
            and (self.invokes[one.op].action, self.invokes[one.op].object) == (action, object)
            and self.invokes[one.op].final == final
        ]

    def pick(self, places):
        assume(places)
        return self.random.choice(list(places))

    def node(self, index):
        return self.invokes[self.events[index].op].node

    def answer(self, index, value):
        self.events[index] = msgspec.structs.replace(self.events[index], value=value)

    def show(self, index, element):
        """This final read shows one element more."""
        shown = self.events[index].value
        self.answer(index, msgspec.structs.replace(shown, add=[*shown.add, element]))

    def added(self, outcome):
        """Elements of which every add came out so."""
        asked = [one for one in self.invokes.values() if (one.object, one.action) == ("s", "add")]
        return [one.value for one in asked if self.outcomes.get(one.op) == outcome]


def drop_acknowledged(run):
    element = run.pick(run.added("ok"))
    index = run.pick(run.answers("read", "s", final=True))
    run.answer(index, SetRead(base=None, add=[one for one in run.events[index].value.add if one != element]))
    return [("set_full", "lost"), ("durability", "lost-write")], {"element": element, "nodes": [run.node(index)]}


def phantom(run):
    index = run.pick(run.answers("read", "s", final=True))
    run.show(index, "thin air")
    return [("set_full", "phantom")], {"element": "thin air", "nodes": [run.node(index)]}


def phantom_under_load(run):
    index = run.pick(run.answers("read", "s", final=False))
    run.show(index, "thin air")
    return [("set_full", "phantom")], {"element": "thin air", "nodes": [run.node(index)]}


def duplicate(run):
    index = run.pick(run.answers("read", "o", final=True))
    element = run.pick(run.events[index].value.add)
    run.answer(index, msgspec.structs.replace(run.events[index].value, twice=[element]))
    return [("set_full", "duplicate")], {"object": "o", "element": element, "nodes": [run.node(index)]}


def failed_add_visible(run):
    element = run.pick(run.added("fail"))
    run.show(run.pick(run.answers("read", "s", final=True)), element)
    return [("set_full", "failed-but-visible")], {"element": element}


def other_values(run):
    index = run.pick(run.answers("digest", "", final=True))
    run.answer(index, {**run.events[index].value, "digest": "other"})
    return [("convergence", "diverged"), ("convergence", "same-root-different-values")], {}


def other_root(run):
    index = run.pick(run.answers("digest", "", final=True))
    run.answer(index, {**run.events[index].value, "root": "other"})
    return [("convergence", "diverged")], {}


def slack(run):
    """What the indefinite increments and decrements allow for: (up, down)."""
    unsure = [one for one in run.invokes.values() if one.object == "c" and run.outcomes.get(one.op, "info") == "info"]
    up = sum(one.value for one in unsure if one.action == "increment")
    return up, sum(one.value for one in unsure if one.action == "decrement")


def all_counters_off(run):
    up, down = slack(run)
    assume(run.answers("increment", "c", final=False))
    by = run.random.choice([up + down + 1, -(up + down + 1)])
    for index in run.answers("read", "c", final=True):
        run.answer(index, run.events[index].value + by)
    return [("counter", "out-of-bounds")], {"object": "c"}


def one_counter_off(run):
    index = run.pick(run.answers("read", "c", final=True))
    run.answer(index, run.events[index].value + 1)
    return [("counter", "unequal-final")], {"object": "c"}


LIES = [
    drop_acknowledged,
    phantom,
    phantom_under_load,
    duplicate,
    failed_add_visible,
    other_values,
    other_root,
    all_counters_off,
    one_counter_off,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@EXAMPLES
@given(seed=seeds)
def test_one_lie_is_found_and_named(lie, seed):
    run = Run(seed)
    expected, data = lie(run)
    verdict = check(run.history)
    assert verdict.validity == "invalid"
    for checker, name in expected:
        result = next(one for one in verdict.results if one.checker == checker)
        found = [one for one in result.anomalies if one.name == name]
        assert any(data.items() <= one.data.items() for one in found), (name, data, result)


@pytest.mark.parametrize("object", ["s", "o", "c", ""])
@EXAMPLES
@given(seed=seeds)
def test_a_missing_final_answer_of_a_core_node_is_unknown_and_not_invalid(object, seed):
    run = Run(seed)
    index = run.pick(run.answers("digest" if object == "" else "read", object, final=True))
    run.events[index] = msgspec.structs.replace(run.events[index], outcome="fail", value=None)
    verdict = check(run.history)
    assert verdict.validity == "unknown"
    concerned = {"s": "set_full", "o": "durability", "c": "counter", "": "convergence"}[object]
    result = next(one for one in verdict.results if one.checker == concerned)
    assert result.validity == "unknown" and f"core nodes [{run.node(index)}]" in " ".join(result.notes)


def test_the_toy_does_everything_that_it_should():
    """Otherwise the properties above would hold of nothing."""
    seen, excused = set(), 0
    for seed in range(40):
        book = correct_run(Random(seed))
        invokes = {one.op: one for one in book.events if isinstance(one, Invoke)}
        seen |= {(invokes[one.op].action, one.outcome) for one in book.events if isinstance(one, Complete)}
        results = {one.checker: one for one in check(book.history).results}
        excused += results["set_full"].figures["s"]["excused_by_wipe"]
        assert set(ALL_CHECKS) <= set(results)
    writes = ("add", "remove", "increment", "decrement")
    assert seen >= {(action, outcome) for action in writes for outcome in ("ok", "fail", "info")}
    assert seen >= {(action, outcome) for action in ("read", "digest") for outcome in ("ok", "fail")}
    assert excused > 0
