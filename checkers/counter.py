"""Counter: every read lies within what can have been counted, and all nodes end with one right value.

Decides, for each pncounter.  While the run goes on, a node may lag behind the others by as much as it likes, but not
behind itself, and never ahead of what was begun.  So a read of node N, invoked at b and answered at e, lies within

    lower = own increments  - every decrement  begun before e that has not failed
    upper = every increment begun before e that has not failed  - own decrements

where *own* are those that N acknowledged before b, and counts from zero again once N's disk is wiped.  This is the
interval of `jepsen.checker/counter`, for decrements too, and for a counter that is eventually consistent.

The final reads must be there for every core node, be equal (`unequal-final`), and lie within what was acknowledged,
plus or minus what is indefinite (`out-of-bounds`); what a node acknowledged before its disk was wiped is indefinite,
and so is what a node outside the core acknowledged, since it may stay cut off.

Complexity: O(1) an event.  Cannot see: errors that cancel out within the interval; a wrong order of operations, since
counting commutes.
"""

from __future__ import annotations

from typing import NamedTuple

from checkers.history import Event, Header, Invoke
from checkers.pairing import Operation, Pairing, Wipes
from checkers.verdict import Anomaly, CheckResult, result

NAME = "counter"


class _Acknowledged(NamedTuple):
    node: int
    begun: int
    amount: int  # negative for a decrement


class _Counter:
    def __init__(self) -> None:
        self.begun_up = 0
        self.begun_down = 0
        self.own_up: dict[int, int] = {}
        self.own_down: dict[int, int] = {}
        self.acknowledged: list[_Acknowledged] = []
        self.reads = 0
        self.bounds_of_open_reads: dict[int, tuple[int, int]] = {}  # op -> own (up, down) when it was invoked
        self.final: dict[int, tuple[int, int]] = {}  # node -> (value, event)


class Counter:
    """Option: `objects`, the names of the counters to judge (default: all)."""

    def __init__(self, header: Header, *, objects: list[str] | None = None) -> None:
        counters = [entry.name for entry in header.objects if entry.type == "pncounter"]
        for name in objects or ():
            if name not in counters:
                raise ValueError(f'checker {NAME}: objects: no counter called "{name}"')
        self._counters = {name: _Counter() for name in counters if objects is None or name in objects}
        self._core = header.core
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._anomalies: list[Anomaly] = []
        self._suspected: list[tuple[int, int, int, Anomaly]] = []  # node, and between which times

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """A read outside its interval is certain at once."""
        for node in self._wipes.on_event(event):
            for counter in self._counters.values():
                counter.own_up.pop(node, None)
                counter.own_down.pop(node, None)
        if type(event) is Invoke and event.object in self._counters:
            self._begin(self._counters[event.object], event)
        operation = self._pairing.on_event(index, event)
        if operation is None or operation.invoke.object not in self._counters:
            return None
        return self._end(self._counters[operation.invoke.object], operation)

    def _begin(self, counter: _Counter, invoke: Invoke) -> None:
        if invoke.action == "increment":
            counter.begun_up += invoke.value
        elif invoke.action == "decrement":
            counter.begun_down += invoke.value
        else:
            counter.bounds_of_open_reads[invoke.op] = (
                counter.own_up.get(invoke.node, 0),
                counter.own_down.get(invoke.node, 0),
            )

    def _end(self, counter: _Counter, operation: Operation) -> Anomaly | None:
        invoke, outcome = operation.invoke, operation.complete.outcome
        if invoke.action == "read":
            own = counter.bounds_of_open_reads.pop(invoke.op)
            return self._on_read(counter, operation, own) if outcome == "ok" else None
        up = invoke.action == "increment"
        if outcome == "fail":
            counter.begun_up -= invoke.value if up else 0
            counter.begun_down -= 0 if up else invoke.value
        elif outcome == "ok":
            if not self._wipes.after(invoke.node, invoke.t):
                own_of = counter.own_up if up else counter.own_down
                own_of[invoke.node] = own_of.get(invoke.node, 0) + invoke.value
            counter.acknowledged.append(_Acknowledged(invoke.node, invoke.t, invoke.value if up else -invoke.value))
        return None

    def _on_read(self, counter: _Counter, operation: Operation, own: tuple[int, int]) -> Anomaly | None:
        invoke, value = operation.invoke, operation.complete.value
        counter.reads += 1
        if invoke.final:
            counter.final[invoke.node] = (value, operation.completed_at)
        lower, upper = own[0] - counter.begun_down, counter.begun_up - own[1]
        if lower <= value <= upper:
            return None
        said = f"{invoke.object}: node {invoke.node} reads {value}, possible is {lower} to {upper}"
        anomaly = Anomaly(
            "out-of-bounds",
            said,
            [operation.invoked_at, operation.completed_at],
            {"object": invoke.object, "nodes": [invoke.node], "value": value, "bounds": [lower, upper]},
        )
        if -counter.begun_down <= value <= counter.begun_up:
            # It is only behind itself, which a wipe in the meantime would explain; that may be told of later.
            self._suspected.append((invoke.node, invoke.t, operation.complete.t, anomaly))
            return None if self._wipes.pending() else anomaly
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Final reads of every core node, equal and in bounds; unknown where one is missing."""
        unknown = []
        figures: dict[str, object] = {}
        for name, counter in self._counters.items():
            missing = [node for node in self._core if node not in counter.final]
            if missing:
                unknown.append(f"{name}: no final read of core nodes {missing}")
            if not counter.acknowledged:
                unknown.append(f"{name}: nothing was ever counted")
            figures[name] = self._conclude(name, counter)
        for node, since, until, anomaly in self._suspected:
            if self._wipes.within(node, since, until):
                continue
            if self._wipes.untold(until):
                unknown.append(f"{anomaly.message}; a kill, of whose disks nothing is told, may explain it")
            else:
                self._anomalies.append(anomaly)
        if not self._counters:
            unknown.append("there is no counter to judge")
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)

    def _conclude(self, name: str, counter: _Counter) -> dict[str, object]:
        certain = [
            one.amount
            for one in counter.acknowledged
            if one.node in self._core and not self._wipes.after(one.node, one.begun)
        ]
        up = sum(amount for amount in certain if amount > 0)
        down = -sum(amount for amount in certain if amount < 0)
        lower, upper = up - counter.begun_down, counter.begun_up - down
        finals = {node: counter.final[node] for node in self._core if node in counter.final}
        events = [event for _, event in finals.values()]
        values = {node: value for node, (value, _) in finals.items()}
        if len(set(values.values())) > 1:
            said = f"{name}: core nodes end with different values {values}"
            ends: dict[str, object] = {"object": name, "nodes": list(values), "values": list(values.values())}
            self._anomalies.append(Anomaly("unequal-final", said, events, ends))
        for node, (value, event) in finals.items():
            if not lower <= value <= upper:
                said = f"{name}: node {node} ends with {value}, possible is {lower} to {upper}"
                data = {"object": name, "nodes": [node], "value": value, "bounds": [lower, upper]}
                self._anomalies.append(Anomaly("out-of-bounds", said, [event], data))
        return {"reads": counter.reads, "bounds": [lower, upper], "final": sorted(set(values.values()))}
