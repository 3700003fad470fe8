"""A verdict as text: the first line is the answer, what follows is the evidence for it."""

from __future__ import annotations

from checkers.verdict import CheckResult, Verdict
from harness.execution import Outcome

ANOMALIES_SHOWN = 5


def verdict_lines(verdict: Verdict, *, all_figures: bool = False) -> list[str]:
    """One line a checker, with its notes and its first anomalies below it."""
    lines = [f"verdict: {verdict.validity}", *(f"  note: {note}" for note in verdict.notes)]
    for result in verdict.results:
        lines.append(f"  {result.validity:8} {result.checker}{_figures(result, all_figures)}")
        lines += [f"           note: {note}" for note in result.notes]
        shown = result.anomalies[:ANOMALIES_SHOWN]
        lines += [f"           {one.name}: {one.message} (events {_list(one.events)})" for one in shown]
        more = len(result.anomalies) - len(shown)
        if more:
            lines.append(f"           and {more} more")
    return lines


def outcome_line(outcome: Outcome) -> str:
    """One line for one run."""
    plan, verdict = outcome.plan, outcome.verdict
    expected = "as expected" if outcome.as_expected else f"expected {plan.expect.validity}"
    return f"{plan.campaign} seed {plan.seed}: {verdict.validity} ({expected})"


def failing_anomalies(verdict: Verdict) -> list[str]:
    """The names of all anomalies, each with its checker, without repetition."""
    names = {f"{result.checker}/{one.name}": None for result in verdict.results for one in result.anomalies}
    return list(names)


def _figures(result: CheckResult, everything: bool) -> str:
    plain = {key: value for key, value in result.figures.items() if everything or isinstance(value, int | float | str)}
    if not plain:
        return ""
    return "  " + ", ".join(f"{key} {_short(value)}" for key, value in plain.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _list(events: list[int]) -> str:
    head = ", ".join(str(event) for event in events[:6])
    return head + (", ..." if len(events) > 6 else "")
