"""One verdict of many results: the worst, and never better than the evidence."""

import pytest

from checkers import compose
from checkers.anomalies import ANOMALIES
from checkers.compose import CHECKERS, Judge, check
from checkers.history import CheckEntry
from checkers.verdict import ANOMALIES_A_NAME_MAX, Anomaly, CheckResult, result, worst
from tests.checkers.histories import Book, header


def run(*checks, finals=([1], [1])):
    """Two nodes, one element, both phases; `finals` are what they end with."""
    book = Book(header(nodes=2, s="gset", checks=checks))
    book.phase("load")
    book.add(0, 1)
    book.read(0, [1])
    for node, value in enumerate(finals):
        if value is not None:
            book.read(node, value, final=True)
    book.phase("done")
    return book


class Crashing:
    def __init__(self, header, *, when="event"):
        self._when = when

    def on_event(self, index, event):
        if self._when == "event" and index == 2:
            raise KeyError("gone")

    def final(self):
        if self._when == "final":
            raise ZeroDivisionError("nought")
        return result("crashing", [])


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("event", "crashed at event 2: KeyError: 'gone'"),
        ("final", "crashed in its conclusion: ZeroDivisionError: nought"),
    ],
)
@pytest.mark.crashes
def test_a_checker_that_crashes_knows_nothing_and_the_others_go_on(monkeypatch, when, said):
    monkeypatch.setitem(compose.CHECKERS, "crashing", Crashing)
    verdict = check(run(CheckEntry("crashing", {"when": when}), "set_full").history)
    crashed, other = verdict.results
    assert (crashed.checker, crashed.validity, crashed.notes) == ("crashing", "unknown", [said])
    assert (other.checker, other.validity) == ("set_full", "valid")
    assert verdict.validity == "unknown"


@pytest.mark.crashes
def test_a_checker_crashes_on_values_of_the_wrong_type_and_is_unknown():
    book = run("convergence")
    op = book.begin("digest", 0, "")
    book.end(op, value="neither root nor digest")
    assert check(book.history).results[0].validity == "unknown"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (CheckEntry("astrology"), 'unknown checker "astrology"; one of accountability, '),
        (CheckEntry("counter", {"depth": 3}), "checker counter: .*'depth'"),
        (CheckEntry("availability", {"ok_min": "high"}), "checker availability: "),
        (CheckEntry("availability", {"operations_min": "5"}), "checker availability: operations_min: "),
        (CheckEntry("exposure", {"writes_min": "x"}), "checker exposure: writes_min: "),
        (CheckEntry("durability", {"wipe_excuses": "no"}), "checker durability: wipe_excuses: "),
        (CheckEntry("set_full", {"objects": "s"}), "checker set_full: objects: "),
        (CheckEntry("availability", {"info_max": 1.5}), "checker availability: info_max: 1.5 is no share"),
        (CheckEntry("selection", {"share_max": 1.5}), "checker selection: share_max: 1.5 is no share"),
        (CheckEntry("selection", {"share_max": float("nan")}), "checker selection: share_max: nan is no number from"),
        (CheckEntry("quorum", {"stable_min": -1}), "checker quorum: stable_min: -1 is no number from 0 on"),
        (CheckEntry("accountability", {"forks_min": -1}), "checker accountability: forks_min: -1 is no number from"),
        (CheckEntry("set_full", {"objects": ["x"]}), 'checker set_full: objects: no set called "x"'),
        (CheckEntry("counter", {"objects": ["s"]}), 'checker counter: objects: no counter called "s"'),
    ],
    ids=lambda value: value.name if isinstance(value, CheckEntry) else "",
)
def test_what_nobody_knows_is_refused_in_one_line(entry, said):
    with pytest.raises(ValueError, match=said) as caught:
        Judge(header(s="gset", checks=[entry]))
    assert "\n" not in str(caught.value)


def test_a_checker_listed_twice_would_lose_an_entry_and_is_refused():
    with pytest.raises(ValueError, match="twice"):
        Judge(header(s="gset", checks=["set_full", CheckEntry("set_full", {"objects": ["s"]})]))


def test_a_good_run_is_valid():
    assert check(run("set_full", "durability").history).validity == "valid"


def notes(verdict):
    return " ".join(note for one in verdict.results if one.checker == "run" for note in one.notes)


def test_a_run_in_which_nothing_was_answered_is_unknown():
    book = Book(header(s="gset", checks=["availability"]))
    book.add(0, 1, "info")
    book.phase("done")
    verdict = check(book.history)
    assert verdict.validity == "unknown" and "ever answered" in notes(verdict)


def test_a_run_that_did_not_reach_its_end_is_unknown():
    book = run("set_full")
    book.events.pop()
    verdict = check(book.history)
    assert verdict.validity == "unknown" and '"done"' in notes(verdict)


def test_a_run_that_nobody_judged_is_unknown():
    verdict = check(run().history)
    assert verdict.validity == "unknown" and "no checker" in notes(verdict)


def test_names_choose_among_checkers_and_need_not_be_in_the_header():
    verdict = check(run("set_full").history, names=["durability"])
    assert [one.checker for one in verdict.results] == ["durability"]


def test_invalid_beats_unknown():
    book = run("set_full", "exposure", finals=([1], []))
    book.events.pop()
    verdict = check(book.history)
    assert {one.validity for one in verdict.results} >= {"invalid", "unknown"}
    assert verdict.validity == "invalid"


@pytest.mark.parametrize(
    ("validities", "most_severe"),
    [
        ([], "unknown"),
        (["valid"], "valid"),
        (["valid", "unknown"], "unknown"),
        (["unknown", "invalid", "valid"], "invalid"),
    ],
)
def test_the_worst(validities, most_severe):
    assert worst(validities) == most_severe


def test_what_is_certain_early_is_told_early():
    book = Book(header(s="gset", c="pncounter", checks=["counter", "set_full"]))
    book.add(0, 1)
    book.read(1, [1, 2])
    book.add(0, 3)
    judge = Judge(book.header)
    told = [judge.on_event(index, event) for index, event in enumerate(book.events)]
    assert [index for index, one in enumerate(told) if one] == [3]
    assert told[3].name == "phantom" and told[3].events == [3]
    assert judge.final().validity == "invalid"


def test_of_many_anomalies_of_a_name_some_are_kept_and_all_counted():
    many = [Anomaly("lost", str(number), [number]) for number in range(50)]
    found = result("any", [*many, Anomaly("phantom", "one", [])])
    assert [one.name for one in found.anomalies] == ["lost"] * ANOMALIES_A_NAME_MAX + ["phantom"]
    assert found.figures["anomalies"] == {"lost": 50, "phantom": 1}


def test_a_result_is_invalid_before_unknown_before_valid():
    one = Anomaly("lost", "one", [])
    assert result("any", [one], unknown=["why"]) == CheckResult(
        "any", "invalid", [one], ["why"], {"anomalies": {"lost": 1}}
    )
    assert result("any", [], unknown=["why"], notes=["note"]).notes == ["why", "note"]
    assert result("any", [], notes=["note"]).validity == "valid"


@pytest.mark.crashes
def test_an_anomaly_that_is_not_in_the_table_of_names_is_our_own_bug(monkeypatch):
    monkeypatch.setitem(ANOMALIES, "convergence", ())
    book = Book(header(nodes=2, s="gset", checks=["convergence"]))
    for node, root in ((0, "a"), (1, "b")):
        op = book.begin("digest", node, "", final=True)
        book.end(op, value={"root": root, "digest": root, "heads": []})
    book.phase("done")
    found = check(book.history).results[0]
    assert found.validity == "unknown" and "without a definition" in found.notes[0]


def test_every_checker_has_its_names_in_the_table():
    assert set(ANOMALIES) == set(CHECKERS)
    names = [name for found in ANOMALIES.values() for name in found]
    assert len(set(names)) == len(names), "a name says which checker it is from"
