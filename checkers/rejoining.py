"""Rejoining: a node that was cut off calls itself healthy only once it knows what a quorum had accepted.

A node begins to recover when it says so, and by itself when it starts again, which is not before it was killed.  Every
stable write that was acknowledged before that is on a quorum by then.  Recovery is reconciling with a quorum, so the
node must have accepted it when it says that it is healthy (spec-defects 1).  What it accepts, it tells once it is on
its disk: that may come an exchange later, by the header's deadline.

Complexity: O(1) an acknowledgement and acceptance, O(acknowledgements) a recovery.  Cannot see: what a node knew by
itself and nobody had certified; the recovery of a node that lost its disk, where it tells again what it had told
before.
"""

from __future__ import annotations

from bisect import bisect_left

from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.pairing import Pairing
from checkers.timeline import Timeline
from checkers.verdict import Anomaly

NAMED_MAX = 5


class Rejoining:
    """Feed it every event; `judge` in the end."""

    def __init__(self, header: Header) -> None:
        self._correct = {entry.index for entry in header.nodes if not entry.byzantine}
        self._kills = {entry.id: entry.nodes for entry in header.faults if entry.fault == "kill"}
        self._grace_ns = header.deadline.exchange_ns
        self._pairing = Pairing()
        self._timeline = Timeline()
        self._acknowledged: list[tuple[int, str]] = []  # stable writes, in the order of their answers
        self._known: dict[int, dict[str, int]] = {node: {} for node in self._correct}
        self._since: dict[int, int] = {}  # when the node's present recovery began
        self._healthy: list[tuple[int, int, int, int]] = []  # (node, recovery began, healthy, event)
        self._lossy: set[int] = set()
        self._telling: set[int] = set()  # nodes that tell what they accept

    def on_event(self, index: int, event: Event) -> None:
        """Follow what is acknowledged, accepted and said."""
        self._timeline.on_event(event)
        operation = self._pairing.on_event(index, event)
        if operation is not None:
            invoke, complete = operation.invoke, operation.complete
            stable = invoke.level == "stable" and complete.outcome == "ok" and invoke.node in self._correct
            if stable and complete.commit is not None:
                self._acknowledged.append((complete.t, complete.commit))
        elif type(event) is FaultEvent and event.stage == "injected":
            self._since.update(dict.fromkeys(self._kills.get(event.fault, ()), event.t))
        elif type(event) is NodeEvent and event.node in self._correct:
            self._on_node(index, event)

    def _on_node(self, index: int, event: NodeEvent) -> None:
        known = self._known[event.node]
        if event.name == "committed":
            known.setdefault(event.data["id"], self._timeline.place(event))
        elif event.name == "accepted":
            t = self._timeline.place(event)
            self._telling.add(event.node)
            for commit in event.data["ids"]:
                known.setdefault(commit, t)
        elif event.name == "events-lost":
            self._lossy.add(event.node)
        elif event.name == "state" and event.data.get("to") == "recovering":
            self._since[event.node] = self._timeline.place(event)
        elif event.name == "state" and event.data.get("to") == "healthy" and event.node in self._since:
            began = self._since.pop(event.node)
            self._healthy.append((event.node, began, self._timeline.place(event), index))

    def judge(self) -> tuple[list[Anomaly], list[str]]:
        """(`healthy-before-reconciled`, once a recovery; what cannot be judged)."""
        found = []
        mute: set[int] = set()
        for node, began, healthy, event in self._healthy:
            due = healthy + self._grace_ns
            if node in self._lossy or due > self._timeline.heard_until(node):
                continue
            known = self._known[node]
            certified = self._acknowledged[: bisect_left(self._acknowledged, (began, ""))]
            missing = [commit for _, commit in certified if known.get(commit, due + 1) > due]
            if missing and node not in self._telling:
                mute.add(node)
            elif missing:
                said = (
                    f"node {node} called itself healthy {(healthy - began) / 1e6:.0f} ms after it began to recover and "
                    f"lacked {len(missing)} stable writes that had been acknowledged before"
                )
                data = {"node": node, "ids": missing[:NAMED_MAX]}
                found.append(Anomaly("healthy-before-reconciled", said, [event], data))
        said = f"nodes {sorted(mute)} never told what they accept: whether they had reconciled before they were healthy"
        return found, [f"{said} was not judged"] if mute else []
