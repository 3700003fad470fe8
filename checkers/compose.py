"""Runs checkers over a history and puts their results into one verdict.

Each checker is made from the header and its options, is shown every event once, in order, and is then asked for its
result.  Safety can fail early: `on_event` may return an anomaly the moment it can tell, so that a long run may be
ended there.  A checker that raises is unknown, with what it raised; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from math import inf
from typing import Any, Protocol

import msgspec

from checkers.accountability import Accountability
from checkers.anomalies import ANOMALIES
from checkers.availability import Availability
from checkers.convergence import Convergence
from checkers.counter import Counter
from checkers.crashes import Crashes
from checkers.durability import Durability
from checkers.exposure import Exposure
from checkers.history import Complete, Event, Header, History, Phase
from checkers.partition import Partition
from checkers.quorum import Quorum
from checkers.resources import Resources
from checkers.selection import Selection
from checkers.set_full import SetFull
from checkers.verdict import Anomaly, CheckResult, Verdict, worst
from checkers.visibility import Visibility


class Checker(Protocol):
    """One question to a history."""

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """See event number `index`; return an anomaly if one is certain already."""
        ...

    def final(self) -> CheckResult:
        """The result, after the last event.  Asked once."""
        ...


CHECKERS: dict[str, Callable[..., Checker]] = {
    "accountability": Accountability,
    "availability": Availability,
    "convergence": Convergence,
    "counter": Counter,
    "crashes": Crashes,
    "durability": Durability,
    "exposure": Exposure,
    "partition": Partition,
    "quorum": Quorum,
    "resources": Resources,
    "selection": Selection,
    "set_full": SetFull,
    "visibility": Visibility,
}
"""The checkers by the names that campaigns use.  Each takes the header, and its options by keyword."""


class Judge:
    """The checkers of one run, event by event.

    Raises ValueError, one line, for a checker or option that nobody knows, and for a checker that is listed twice.
    """

    def __init__(self, header: Header, *, names: Sequence[str] | None = None) -> None:
        options = {entry.name: entry.options for entry in header.checks}
        if len(options) < len(header.checks):
            raise ValueError("a checker is listed twice: " + ", ".join(entry.name for entry in header.checks))
        self._checkers: dict[str, Checker] = {}
        self._crashed: dict[str, str] = {}
        self._finished = False
        self._answered = False
        self._left_out = header.left_out
        for name in names if names is not None else options:
            self._checkers[name] = make_checker(header, name, options.get(name, {}))

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Show every checker one event; returns the first anomaly that is certain already."""
        if type(event) is Complete:
            self._answered = self._answered or event.outcome == "ok"
        elif type(event) is Phase and event.phase == "done":
            self._finished = True
        found: Anomaly | None = None
        for name, checker in self._checkers.items():
            if name in self._crashed:
                continue
            try:
                anomaly = checker.on_event(index, event)
            except Exception as error:
                self._crashed[name] = f"crashed at event {index}: {type(error).__name__}: {error}"
                continue
            found = found or anomaly
        return found

    def final(self) -> Verdict:
        """The verdict over everything that was shown."""
        results = [self._final(name, checker) for name, checker in self._checkers.items()]
        problems = []
        if not self._finished:
            problems.append('the run did not reach its end: no event of phase "done"')
        if not self._answered:
            problems.append("no operation was ever answered: nothing happened that could have gone wrong")
        if not results:
            problems.append("no checker was asked")
        if problems:
            results.append(CheckResult("run", "unknown", notes=problems))
        notes = [f"{name} was not checked: {why}" for name, why in sorted(self._left_out.items())]
        return Verdict(worst(one.validity for one in results), results, notes)

    def _final(self, name: str, checker: Checker) -> CheckResult:
        if name not in self._crashed:
            try:
                found = checker.final()
                assert {one.name for one in found.anomalies} <= {*ANOMALIES[name]}, "an anomaly without a definition"
                return found
            except Exception as error:
                self._crashed[name] = f"crashed in its conclusion: {type(error).__name__}: {error}"
        return CheckResult(name, "unknown", notes=[self._crashed[name]])


def make_checker(header: Header, name: str, options: dict[str, Any]) -> Checker:
    """The checker `name` with its options.  Raises ValueError, one line, for what is unknown or of a wrong type."""
    if name not in CHECKERS:
        raise ValueError(f'unknown checker "{name}"; one of {", ".join(CHECKERS)}')
    known = signature(CHECKERS[name], eval_str=True).parameters
    for option, value in options.items():
        if option in known and known[option].annotation is not Parameter.empty:
            try:
                msgspec.convert(value, known[option].annotation)
            except msgspec.ValidationError as error:
                raise ValueError(f"checker {name}: {option}: {error}") from None
        if isinstance(value, int | float) and not 0 <= value < inf:  # NaN is neither, and would switch a bound off
            raise ValueError(f"checker {name}: {option}: {value} is no number from 0 on")
    try:
        return CHECKERS[name](header, **options)
    except TypeError as error:
        raise ValueError(f"checker {name}: {str(error).partition(') ')[2] or error}") from None


def check(history: History, *, names: Sequence[str] | None = None) -> Verdict:
    """Judge a whole history by the checkers of its header, or by those in `names`."""
    judge = Judge(history.header, names=names)
    for index, event in enumerate(history.events):
        judge.on_event(index, event)
    return judge.final()
