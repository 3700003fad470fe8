"""A verdict: valid, invalid or unknown, each with the events that show it.

Severity: invalid over unknown over valid.  A verdict is never better than its evidence: what was not seen to happen
is unknown, and a checker that crashes knows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Validity = Literal["valid", "invalid", "unknown"]
_SEVERITY: dict[Validity, int] = {"valid": 0, "unknown": 1, "invalid": 2}

ANOMALIES_A_NAME_MAX = 20


class Anomaly(msgspec.Struct, frozen=True):
    """Something that must not be.  `events` are indexes into the history's events; `data` is for programs."""

    name: str
    message: str
    events: list[int]
    data: dict[str, Any] = {}


class CheckResult(msgspec.Struct, frozen=True):
    """What one checker found.  `figures` are measurements; `notes` say what limits the evidence."""

    checker: str
    validity: Validity
    anomalies: list[Anomaly] = []
    notes: list[str] = []
    figures: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True):
    """The worst of its results, and the results; `notes` say what was not checked at all."""

    validity: Validity
    results: list[CheckResult]
    notes: list[str] = []


def worst(validities: Iterable[Validity]) -> Validity:
    """The most severe; "unknown" for none at all, since nothing was checked."""
    return max(validities, key=_SEVERITY.__getitem__, default="unknown")


def result(
    checker: str,
    anomalies: Iterable[Anomaly],
    *,
    unknown: Iterable[str] = (),
    notes: Iterable[str] = (),
    figures: dict[str, Any] | None = None,
) -> CheckResult:
    """Put a result together: invalid with any anomaly, else unknown with any reason, else valid.

    At most ANOMALIES_A_NAME_MAX anomalies of a name are kept; figures["anomalies"] counts them all.
    """
    counted: Counter[str] = Counter()
    kept: list[Anomaly] = []
    for one in anomalies:
        counted[one.name] += 1
        if counted[one.name] <= ANOMALIES_A_NAME_MAX:
            kept.append(one)
    reasons = list(unknown)
    validity: Validity = "invalid" if kept else "unknown" if reasons else "valid"
    complete = dict(figures or {})
    if counted:
        complete["anomalies"] = dict(counted)
    return CheckResult(checker, validity, kept, [*reasons, *notes], complete)
