"""Availability: how many operations were answered, and after how long.

`over-budget`    a share of ok or info outcomes does not keep to its budget; without a budget it is only reported
`unserved-node`  a core node answered not one of a level's operations with ok, of those that were asked of it and ended
                 in its quiet: so many that whoever keeps to the level's budget does so less often than CHANCE_MAX, and
                 ASKED_MIN at least.  Shares are of all nodes together; a few that answer nobody would hide among others

**Quiet** is, for a node, while it surely runs and, for what needs a quorum, could reach n - f correct nodes that kept
their disks, over links that no fault touches (`reach`), and has for as long as it may take to recover: the header's
`quorum.recovery_ns`, without a roster `deadline.exchange_ns`; not while a machine starved, nor for as long after that.
For what needs a quorum there is none where the network by itself loses frames, or takes half of a client's time-out for
a round trip.  Who hangs is asked less often than it was meant to be, since each of its clients waits for it alone: from
BEGUN_MIN that began in quiet on, those that were due in quiet and never began count with them.  Who answered nobody,
and cannot be judged so, is noted.

Whoever waits is counted (no coordinated omission; Tene, "How not to measure latency"): a latency is measured from the
*intended* start, and an operation that the plan holds and that was never begun, because its client's turn never came,
was not answered.  It counts from one time-out before the load's end on backwards: what was due later may be in the
queue of the quickest mesh.  Outcomes are told apart by whether a fault was in force when the operation was invoked.

Complexity: O(1) an event; in the end O(n log n), and O(n^2) a fault where a node refused many.  Cannot see: operations
that were never begun, where the header has no plan or they depend on what was read (there may have been nothing to
name); what was still in flight when the history ends.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import msgspec

from checkers.history import Event, FaultEvent, Header, Invoke, Level, NodeEvent, Phase
from checkers.pairing import Pairing, Wipes
from checkers.reach import FOREVER, Reach, Span, without
from checkers.timeline import Timeline
from checkers.verdict import Anomaly, CheckResult, result

NAME = "availability"
_UNITS = ("calm", "faulted")
_LEVELS = {"local": "ok_min", "stable": "stable_ok_min", "quorum": "quorum_ok_min"}
ASKED_MIN = 10
CHANCE_MAX = 1e-6
BEGUN_MIN = 2
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


class _Asked(NamedTuple):
    """One operation of a client: its span, and whether it was answered ok."""

    span: Span
    ok: bool


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
        self._core = header.core
        self._due, self._patience_ns = _due_early(header)
        self._begun: set[int] = set()
        self._load_over = False
        self._pairing = Pairing()
        self._in_force: set[str] = set()
        self._faulted_ops: set[int] = set()
        self._header = header
        self._reach = Reach(header)
        self._wipes = Wipes(header)
        self._timeline = Timeline()
        self._starved: list[Span] = []
        self._quiet_at: dict[str, dict[int, list[Span]]] = {}
        self._asked: dict[tuple[str, int], list[_Asked]] = {}  # (level, node) -> what it was asked for
        self._waiting: dict[tuple[str, int], list[Span]] = {}  # and what never began, as it was meant to be
        self._outcomes: dict[str, Counter[str]] = {}
        self._windows: dict[str, Counter[str]] = {unit: Counter() for unit in _UNITS}
        self._by_node: dict[tuple[str, int], Counter[str]] = {}
        self._latencies: list[int] = []
        self._bad: dict[str, list[int]] = {"fail": [], "info": []}

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Count; budgets are for the whole run."""
        self._reach.on_event(event)
        self._wipes.on_event(event)
        self._timeline.on_event(event)
        if type(event) is FaultEvent:
            if event.stage == "injected":
                self._in_force.add(event.fault)
            elif event.stage in ("lifted", "skipped"):
                self._in_force.discard(event.fault)
            return None
        if type(event) is NodeEvent:
            if event.name == "starved":
                end = self._timeline.place(event)
                self._starved.append(Span(end - int(event.data.get("for_ns", 0)), end))
            return None
        if type(event) is Phase:
            self._load_over |= event.phase == "heal"
        elif type(event) is Invoke:
            self._begun.add(event.op)
        operation = self._pairing.on_event(index, event)
        if operation is None:
            if self._in_force and getattr(event, "action", "digest") != "digest":
                self._faulted_ops.add(event.op)  # type: ignore[union-attr]
            return None
        invoke, complete = operation.invoke, operation.complete
        if invoke.action == "digest" or invoke.final:  # the harness's own questions show nothing of what clients get
            return None
        asked = _Asked(Span(invoke.t, complete.t), complete.outcome == "ok")
        self._asked.setdefault((invoke.level, invoke.node), []).append(asked)
        self._outcomes.setdefault(invoke.action, Counter())[complete.outcome] += 1
        self._windows["faulted" if invoke.op in self._faulted_ops else "calm"][complete.outcome] += 1
        self._by_node.setdefault((invoke.level, invoke.node), Counter())[complete.outcome] += 1
        if complete.outcome == "ok":
            self._latencies.append(complete.t - invoke.intended)
        else:
            self._bad[complete.outcome].append(index)
        return None

    def final(self) -> CheckResult:
        """Invalid over budget or where a node served nobody, unknown with too few operations."""
        self._count_never_begun()
        levels = {level: self._at_level(level) for level in _LEVELS}
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
        unserved, notes = self._unserved()
        return result(NAME, anomalies + unserved, unknown=unknown, notes=notes, figures=figures)

    def _count_never_begun(self) -> None:
        """Where the load came to its end; a run that was broken off began little, and that says nothing."""
        for planned in self._due if self._load_over else ():
            if planned.id not in self._begun:
                self._by_node.setdefault((planned.level, planned.node), Counter())[_NEVER] += 1
                meant = Span(planned.at_ns, planned.at_ns + self._patience_ns)
                self._waiting.setdefault((planned.level, planned.node), []).append(meant)

    def _at_level(self, level: str) -> Counter[str]:
        return sum((seen for (one, _), seen in self._by_node.items() if one == level), Counter())

    def _unserved(self) -> tuple[list[Anomaly], list[str]]:
        """(core nodes that served nobody in quiet at a level which has a budget, those that were not judged)."""
        anomalies, notes = [], []
        for level, node in self._suspects():
            asked, waiting = self._asked[level, node], self._waiting.get((level, node), [])
            quiet = self._quiet(level)[node]
            judged = [one for one in asked if _within(quiet, one.span)]
            count = len(judged) + sum(_within(quiet, one) for one in waiting)
            chance = (1 - self._budget[_LEVELS[level]]) ** count
            if len(judged) >= BEGUN_MIN and count >= ASKED_MIN and chance <= CHANCE_MAX:
                if not any(one.ok for one in judged):
                    said = f"node {node} was asked for {count} operations ({level}) in quiet, and answered none with ok"
                    data = {"node": node, "level": level, "asked": count}
                    anomalies.append(Anomaly("unserved-node", said, [], data))
            elif not any(one.ok for one in asked):
                total = len(asked) + len(waiting)
                said = f"node {node} answered none of {total} operations ({level}) with ok, {count} of them in quiet"
                notes.append(f"{said}: too few to judge it by")
        return anomalies, notes

    def _suspects(self) -> list[tuple[str, int]]:
        """(level, core node) where there is a budget, and the node refused many or all."""
        found = []
        for (level, node), asked in sorted(self._asked.items()):
            refused = sum(not one.ok for one in asked)
            many = refused + len(self._waiting.get((level, node), [])) >= ASKED_MIN or refused == len(asked)
            if many and node in self._core and self._budget[_LEVELS[level]] > 0:
                found.append((level, node))
        return found

    def _quiet(self, level: str) -> dict[int, list[Span]]:
        """Of each node, when it has to serve; in order."""
        if level not in self._quiet_at:
            quorum, network = self._header.quorum, self._header.network
            settle_ns = self._header.deadline.exchange_ns if quorum is None else quorum.recovery_ns
            size, but = 1, []
            if quorum is not None and (level != "local" or quorum.gated):
                far = self._patience_ns > 0 and network.latency_ms * 4e6 >= self._patience_ns
                size = FOREVER if far or network.loss else quorum.size
                but = [one.index for one in self._header.nodes if self._wiped(one.index)]
            connected = self._reach.connected(size, settle_ns=settle_ns, but=but)
            starved = sorted(Span(one.begin, one.end + settle_ns) for one in self._starved)
            self._quiet_at[level] = {
                node: [part for span in spans for part in without(span, [*starved, self._unheard(node)])]
                for node, spans in connected.items()
            }
        return self._quiet_at[level]

    def _wiped(self, node: int) -> bool:
        """Whether it lost its disk, or may have."""
        return self._wipes.ever(node) or self._wipes.untold(FOREVER, node)

    def _unheard(self, node: int) -> Span:
        """The end of the run, of which it may not have been heard that a machine starved."""
        return Span(self._timeline.heard_until(node) + 1, FOREVER)


def _within(spans: list[Span], one: Span) -> bool:
    return any(span.begin <= one.begin and one.end <= span.end for span in spans)


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
