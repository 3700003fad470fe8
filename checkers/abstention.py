"""Abstention: who has lost its disk, and with it what it has voted for, votes no more under that roster.

A member that has voted before its disk was wiped, and signs for a commit that was made after the wipe was over, does
not abstain (spec/byzantine.md: "A member that lost its disk counts as faulty for its epoch and abstains").  One that
had never voted before may: nobody can tell its loss from a first start.

Complexity: O(1) a commit, O(certificates) a wiped node.  Cannot see: a vote that no certificate shows, and one for a
commit from before the wipe.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.pairing import Wipes
from checkers.timeline import Timeline
from checkers.verdict import Anomaly

Signed = tuple[str, frozenset[int], int]
"""(commit id, nodes that signed for it, event that first told of that)."""


class Abstention:
    """Feed it every event, then ask it about who has signed what."""

    def __init__(self, header: Header) -> None:
        self._wipes = Wipes(header)
        self._timeline = Timeline()
        self._injected: dict[str, int] = {}
        self._lost: dict[int, tuple[int, int]] = {}  # node -> (its first wipe began, and was over)
        self._made: dict[str, int] = {}  # commit -> when its author first told of it

    def on_event(self, event: Event) -> None:
        """Learn when commits were made, and disks were lost."""
        self._timeline.on_event(event)
        if type(event) is NodeEvent and event.name == "committed":
            self._made.setdefault(event.data["id"], self._timeline.place(event))
        elif type(event) is FaultEvent:
            if event.stage == "injected":
                self._injected[event.fault] = event.t
            for node in self._wipes.on_event(event):
                self._lost.setdefault(node, (self._injected.get(event.fault, event.t), event.t))

    def judge(self, signed: Iterable[Signed]) -> list[Anomaly]:
        """`wiped-member-voted`, once a node."""
        votes = list(signed)
        found = []
        for node, (began, over) in sorted(self._lost.items()):
            own = [
                (self._made[commit], commit, event)
                for commit, by, event in votes
                if node in by and commit in self._made
            ]
            before = any(made < began for made, _, _ in own)
            after = [(commit, event) for made, commit, event in own if made > over]
            if before and after:
                said = f"node {node} lost its disk, and voted for {len(after)} commits that were made afterwards"
                data = {"node": node, "ids": [commit for commit, _ in after[:5]]}
                found.append(Anomaly("wiped-member-voted", said, [event for _, event in after[:5]], data))
        return found
