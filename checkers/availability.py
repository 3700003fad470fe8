"""Availability: how many operations were answered, and after how long.

`over-budget`    a share of ok or info outcomes does not keep to its budget; without a budget it is only reported
`unserved-node`  see `unserved`

Whoever waits is counted (no coordinated omission; Tene, "How not to measure latency"): a latency is measured from the
*intended* start, and an operation that the plan holds and that was never begun, because its client's turn never came,
was not answered.  It counts from one time-out before the load's end on backwards: what was due later may be in the
queue of the quickest mesh.  Outcomes are told apart by whether a fault was in force when the operation was invoked.

Complexity: O(1) an event, O(n log n) in the end.  Cannot see: operations that were never begun, where the header has
no plan or they depend on what was read (there may have been nothing to name); what was still in flight when the history
ends.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from checkers.history import Event, FaultEvent, Header, Invoke, Level, Phase
from checkers.pairing import Pairing
from checkers.unserved import Unserved
from checkers.verdict import Anomaly, CheckResult, result

NAME = "availability"
_UNITS = ("calm", "faulted")
_LEVELS = {"local": "ok_min", "stable": "stable_ok_min", "quorum": "quorum_ok_min"}
_NEVER = "never_begun"


class _PlannedOperation(msgspec.Struct, frozen=True):
    id: int
    at_ns: int
    node: int
    action: str
    seen: float | None = None
    level: Level = "local"


class _Plan(msgspec.Struct, frozen=True):
    load_ns: int
    operation_timeout_ns: int
    operations: list[_PlannedOperation]


class Availability:
    """Options, shares of the operations of clients (digests excepted): `ok_min` 0, `info_max` 1, `calm_ok_min` 0 (the
    same for operations that began while no fault was in force), `stable_ok_min` and `quorum_ok_min` 0 (of stable writes
    and of quorum reads), `operations_min` 1 (fewer: unknown).  What was never begun counts in `ok_min`,
    `stable_ok_min` and `quorum_ok_min`."""

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
        self._due, patience_ns = _due_early(header)
        budgets = {level: self._budget[option] for level, option in _LEVELS.items()}
        self._unserved = Unserved(header, budgets, patience_ns=patience_ns)
        self._begun: set[int] = set()
        self._load_over = False
        self._pairing = Pairing()
        self._in_force: set[str] = set()
        self._faulted_ops: set[int] = set()
        self._outcomes: dict[str, Counter[str]] = {}
        self._windows: dict[str, Counter[str]] = {unit: Counter() for unit in _UNITS}
        self._levels: dict[str, Counter[str]] = {level: Counter() for level in _LEVELS}
        self._latencies: list[int] = []
        self._bad: dict[str, list[int]] = {"fail": [], "info": []}

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Count; budgets are for the whole run."""
        self._unserved.on_event(event)
        if type(event) is FaultEvent:
            if event.stage == "injected":
                self._in_force.add(event.fault)
            elif event.stage in ("lifted", "skipped"):
                self._in_force.discard(event.fault)
            return None
        if type(event) is Phase:
            self._load_over |= event.phase == "heal"
        elif type(event) is Invoke:
            self._begun.add(event.op)
            if _asked_by_client(event):
                self._unserved.on_begun(event)
        operation = self._pairing.on_event(index, event)
        if operation is None:
            if self._in_force and getattr(event, "action", "digest") != "digest":
                self._faulted_ops.add(event.op)  # type: ignore[union-attr]
            return None
        invoke, complete = operation.invoke, operation.complete
        if not _asked_by_client(invoke):
            return None
        self._unserved.on_operation(operation)
        self._outcomes.setdefault(invoke.action, Counter())[complete.outcome] += 1
        self._windows["faulted" if invoke.op in self._faulted_ops else "calm"][complete.outcome] += 1
        self._levels[invoke.level][complete.outcome] += 1
        if complete.outcome == "ok":
            self._latencies.append(complete.t - invoke.intended)
        else:
            self._bad[complete.outcome].append(index)
        return None

    def final(self) -> CheckResult:
        """Invalid over budget or where a node served nobody, unknown with too few operations."""
        self._count_never_begun()
        levels = self._levels
        begun: Counter[str] = sum(self._windows.values(), Counter())
        total: Counter[str] = sum(levels.values(), Counter())
        count = begun.total()
        figures: dict[str, Any] = {
            "operations": count,
            **{outcome: begun[outcome] for outcome in ("ok", "fail", "info")},
            "never_begun": total[_NEVER],
        }
        figures["by_action"] = {action: dict(outcomes) for action, outcomes in sorted(self._outcomes.items())}
        figures["by_level"] = {level: dict(outcomes) for level, outcomes in levels.items() if outcomes}
        figures["by_window"] = {unit: dict(self._windows[unit]) for unit in _UNITS}
        figures.update(percentiles_ms("latency", self._latencies))
        if count < max(1, self._operations_min):
            return result(
                NAME, [], unknown=[f"{count} operations, at least {self._operations_min} are needed"], figures=figures
            )
        shares = {
            "ok_min": _ok(total),
            "info_max": begun["info"] / count,
            "calm_ok_min": _ok(self._windows["calm"]),
            "stable_ok_min": _ok(levels["stable"]),
            "quorum_ok_min": _ok(levels["quorum"]),
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
            "stable_ok_min": (levels["stable"], "no stable write was asked for"),
            "quorum_ok_min": (levels["quorum"], "no quorum read was asked for"),
        }
        unknown = [
            f"{said}, {key} cannot be judged"
            for key, (seen, said) in none.items()
            if not seen and self._budget[key] > 0
        ]
        unserved, notes = self._unserved.judge()
        return result(NAME, anomalies + unserved, unknown=unknown, notes=notes, figures=figures)

    def _count_never_begun(self) -> None:
        """Where the load came to its end; a run that was broken off began little, and that says nothing."""
        for planned in self._due if self._load_over else ():
            if planned.id not in self._begun:
                self._levels[planned.level][_NEVER] += 1
                self._unserved.on_never_begun(planned.level, planned.node, planned.at_ns)


def _asked_by_client(invoke: Invoke) -> bool:
    """The harness's own questions show nothing of what clients get."""
    return invoke.action != "digest" and not invoke.final


def _due_early(header: Header) -> tuple[list[_PlannedOperation], int]:
    """(what clients must have begun by the end of the load, their time-out); of a plan that is not there or not ours,
    nothing."""
    try:
        plan = msgspec.convert(header.plan, _Plan)
    except msgspec.ValidationError:
        return [], 0
    patience = plan.operation_timeout_ns
    clients = [one for one in plan.operations if one.seen is None and one.action != "digest"]
    return [one for one in clients if one.at_ns <= plan.load_ns - patience], patience


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
