"""Resources: what a node keeps for others stays within its quotas, whoever attacks it.

Decides, from the `resources` events of the correct nodes, whether anything bounded was ever in use beyond its limit
(`over-quota`), and whether its limits stay what they were (`limit-moved`).  Definition: spec/byzantine.md, "Memory,
queues and disk stay inside their quotas"; what is bounded, and by how much, the node says itself.  Unknown where a core
node did not tell, or not since the middle of the time in which somebody lied; where one tells of something that another
never told of; where what was told is no use, or no number from 0 on; and where something in use has no limit.

Complexity: O(1) a name told.  Cannot see: what is in use between two events, what a node does not count, and a limit
that is too generous; the shares among the figures tell whether an attack came anywhere near.
"""

from __future__ import annotations

from typing import Any

from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.verdict import Anomaly, CheckResult, result

NAME = "resources"


class Resources:
    """No options."""

    def __init__(self, header: Header) -> None:
        self._correct = {entry.index for entry in header.nodes if not entry.byzantine}
        self._core = set(header.core)
        self._told: dict[int, int] = {}  # node -> when it told last
        self._names: dict[int, set[str]] = {}  # node -> of what
        self._lies = {entry.id for entry in header.faults if entry.fault == "byzantine"}
        self._lied: list[int] = []  # when somebody began to lie, or stopped
        self._unreadable: set[int] = set()
        self._limits: dict[tuple[int, str], float] = {}
        self._most: dict[str, int | float] = {}
        self._share: dict[str, float] = {}
        self._unlimited: set[str] = set()
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Beyond a limit is certain at once."""
        if type(event) is FaultEvent and event.fault in self._lies and event.stage in ("injected", "lifted"):
            self._lied.append(event.t)
        if type(event) is not NodeEvent or event.name != "resources" or event.node not in self._correct:
            return None
        used, limits = event.data.get("used"), event.data.get("limits")
        if not isinstance(used, dict) or not isinstance(limits, dict) or not used:
            self._unreadable.add(event.node)
            return None
        self._told[event.node] = event.t
        self._names.setdefault(event.node, set()).update(used)
        found = [self._judge(index, event.node, name, use, limits.get(name)) for name, use in used.items()]
        return next((anomaly for anomaly in found if anomaly is not None), None)

    def _judge(self, index: int, node: int, name: str, use: object, limit: object) -> Anomaly | None:
        if isinstance(use, bool) or not isinstance(use, int | float) or not use >= 0:
            self._unreadable.add(node)
            return None
        self._most[name] = max(self._most.get(name, 0), use)
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            self._unlimited.add(name)
            return None
        former = self._limits.setdefault((node, name), limit)
        if former != limit:
            said = f"node {node} says that its limit of {name} is {limit}, and it was {former}"
            return self._found("limit-moved", said, index, {"node": node, "name": name, "was": former, "limit": limit})
        share = use / limit if limit > 0 else float(use > 0)
        self._share[name] = max(self._share.get(name, 0.0), share)
        if use <= limit:
            return None
        said = f"node {node} uses {use} of {name}, its limit is {limit}"
        return self._found("over-quota", said, index, {"node": node, "name": name, "used": use, "limit": limit})

    def _found(self, name: str, said: str, index: int, data: dict[str, Any]) -> Anomaly:
        anomaly = Anomaly(name, said, [index], data)
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Invalid beyond a limit, unknown where not all was told."""
        unknown = [] if self._told else ["no correct node told of its resources"]
        silent = sorted(self._core.difference(self._told))
        if silent and self._told:
            unknown.append(f"nodes {silent} did not tell")
        if self._lied:
            middle = (min(self._lied) + max(self._lied)) // 2
            early = sorted(node for node in self._core & self._told.keys() if self._told[node] < middle)
            if early:
                unknown.append(f"nodes {early} did not tell since the middle of the time in which somebody lied")
        names = set[str]().union(*self._names.values())
        partial = sorted(node for node in self._core & self._names.keys() if self._names[node] != names)
        if partial:
            unknown.append(f"nodes {partial} did not tell of all that others told of")
        if self._unreadable:
            unknown.append(f"what nodes {sorted(self._unreadable)} told of their resources is not in numbers")
        if self._unlimited:
            unknown.append(f"without a limit: {', '.join(sorted(self._unlimited))}")
        figures = {
            "share_max": round(max(self._share.values(), default=0.0), 4),
            "shares": {name: round(share, 4) for name, share in sorted(self._share.items())},
            "used": dict(sorted(self._most.items())),
        }
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)
