"""Crashes: no node ended by itself, and all ended well when they were asked to.

Decides whether a node died other than by a fault of the harness: the backend says so by a node's event "crashed", with
what the process left behind; and whether, asked to end after the run, it did so with success and in time ("bad-exit").
A kill that the plan asked for is no crash.  Complexity: O(1) an event.  Cannot see: a node that hangs (see
`availability`), or one that is restarted by a supervisor before the backend looks.
"""

from __future__ import annotations

from checkers.history import Event, Header, NodeEvent
from checkers.verdict import Anomaly, CheckResult, result

NAME = "crashes"
ENDS = {"crashed": ("node-crashed", "crashed"), "bad-exit": ("bad-exit", "did not end well when it was asked to")}


class Crashes:
    """No options."""

    def __init__(self, header: Header) -> None:
        self._byzantine = {entry.index for entry in header.nodes if entry.byzantine}
        self._starts = 0
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """A crash is certain at once."""
        if type(event) is not NodeEvent:
            return None
        self._starts += event.name == "started"
        if event.name not in ENDS or event.node in self._byzantine:
            return None
        name, how = ENDS[event.name]
        said = f"node {event.node} {how}: {event.data.get('error', 'no reason was left')}"
        anomaly = Anomaly(name, said, [index], {"node": event.node})
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Invalid with any crash; unknown where no node was ever seen to start."""
        unknown = [] if self._starts else ["no node was seen to start"]
        return result(NAME, self._anomalies, unknown=unknown, figures={"starts": self._starts})
