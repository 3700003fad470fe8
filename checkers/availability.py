"""Availability: how many operations were answered, and after how long.

Decides whether the shares of ok and info outcomes keep to a budget; without a budget it only reports.  A latency is
measured from the *intended* start, so that a client which had to wait for its turn counts its wait (no coordinated
omission; Tene, "How not to measure latency").  Outcomes are told apart by whether a fault was in force when the
operation was invoked.

Complexity: O(1) an event, O(n log n) in the end.  Cannot see: operations that were queued and never
begun, or were still in flight when the history ends.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from checkers.history import Event, FaultEvent, Header
from checkers.pairing import Pairing
from checkers.verdict import Anomaly, CheckResult, result

NAME = "availability"
_UNITS = ("calm", "faulted")


class Availability:
    """Options, shares of the operations of clients (digests excepted): `ok_min` 0, `info_max` 1, `calm_ok_min` 0 (the
    same for operations that began while no fault was in force), `stable_ok_min` and `quorum_ok_min` 0 (of stable writes
    and of quorum reads), `operations_min` 1 (fewer: unknown)."""

    def __init__(
        self,
        header: Header,
        *,
        ok_min: float = 0.0,
        info_max: float = 1.0,
        calm_ok_min: float = 0.0,
        stable_ok_min: float = 0.0,
        quorum_ok_min: float = 0.0,
        operations_min: int = 1,
    ) -> None:
        self._budget = {
            "ok_min": ok_min,
            "info_max": info_max,
            "calm_ok_min": calm_ok_min,
            "stable_ok_min": stable_ok_min,
            "quorum_ok_min": quorum_ok_min,
        }
        for option, share in self._budget.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"checker {NAME}: {option}: {share} is no share, 0 to 1")
        self._operations_min = operations_min
        self._pairing = Pairing()
        self._in_force: set[str] = set()
        self._faulted_ops: set[int] = set()
        self._outcomes: dict[str, Counter[str]] = {}
        self._windows: dict[str, Counter[str]] = {unit: Counter() for unit in _UNITS}
        self._levels: dict[str, Counter[str]] = {level: Counter() for level in ("local", "stable", "quorum")}
        self._latencies: list[int] = []
        self._bad: dict[str, list[int]] = {"fail": [], "info": []}

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Count; budgets are for the whole run."""
        if type(event) is FaultEvent:
            if event.stage == "injected":
                self._in_force.add(event.fault)
            elif event.stage == "lifted":
                self._in_force.discard(event.fault)
            return None
        operation = self._pairing.on_event(index, event)
        if operation is None:
            if self._in_force and getattr(event, "action", "digest") != "digest":
                self._faulted_ops.add(event.op)  # type: ignore[union-attr]
            return None
        invoke, complete = operation.invoke, operation.complete
        if invoke.action == "digest" or invoke.final:
            return None
        self._outcomes.setdefault(invoke.action, Counter())[complete.outcome] += 1
        self._windows["faulted" if invoke.op in self._faulted_ops else "calm"][complete.outcome] += 1
        self._levels[invoke.level][complete.outcome] += 1
        if complete.outcome == "ok":
            self._latencies.append(complete.t - invoke.intended)
        else:
            self._bad[complete.outcome].append(index)
        return None

    def final(self) -> CheckResult:
        """Invalid over budget, unknown with too few operations."""
        total: Counter[str] = sum(self._windows.values(), Counter())
        count = sum(total.values())
        figures: dict[str, Any] = {
            "operations": count,
            **{outcome: total[outcome] for outcome in ("ok", "fail", "info")},
        }
        figures["by_action"] = {action: dict(outcomes) for action, outcomes in sorted(self._outcomes.items())}
        figures["by_level"] = {level: dict(outcomes) for level, outcomes in self._levels.items() if outcomes}
        figures["by_window"] = {unit: dict(self._windows[unit]) for unit in _UNITS}
        figures.update(percentiles_ms("latency", self._latencies))
        if count < max(1, self._operations_min):
            return result(
                NAME, [], unknown=[f"{count} operations, at least {self._operations_min} are needed"], figures=figures
            )
        shares = {
            "ok_min": total["ok"] / count,
            "info_max": total["info"] / count,
            "calm_ok_min": _ok(self._windows["calm"]),
            "stable_ok_min": _ok(self._levels["stable"]),
            "quorum_ok_min": _ok(self._levels["quorum"]),
        }
        anomalies = [
            Anomaly(
                "over-budget",
                f"{key}: {shares[key]:.4f}, the budget is {limit}",
                self._bad["info" if key == "info_max" else "fail"][:20],
                {"budget": key, "share": shares[key]},
            )
            for key, limit in self._budget.items()
            if (shares[key] > limit if key.endswith("max") else shares[key] < limit)
        ]
        none = {
            "calm_ok_min": (self._windows["calm"], "no operation began in calm"),
            "stable_ok_min": (self._levels["stable"], "no stable write was asked for"),
            "quorum_ok_min": (self._levels["quorum"], "no quorum read was asked for"),
        }
        unknown = [
            f"{said}, {key} cannot be judged"
            for key, (seen, said) in none.items()
            if not seen and self._budget[key] > 0
        ]
        return result(NAME, anomalies, unknown=unknown, figures=figures)


def _ok(outcomes: Counter[str]) -> float:
    """The share that was answered ok; all of nothing."""
    return outcomes["ok"] / outcomes.total() if outcomes else 1.0


def percentiles_ms(name: str, values_ns: list[int]) -> dict[str, float]:
    """`<name>_p50_ms`, `_p99_ms` and `_max_ms` (nearest rank), or nothing for no values."""
    if not values_ns:
        return {}
    ordered = sorted(values_ns)
    last = len(ordered) - 1
    return {
        f"{name}_p50_ms": ordered[last // 2] / 1e6,
        f"{name}_p99_ms": ordered[min(last, -(-99 * len(ordered) // 100) - 1)] / 1e6,
        f"{name}_max_ms": ordered[last] / 1e6,
    }
