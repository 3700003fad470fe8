"""Forks: which authors signed two commits for one slot, who has seen it, and who has it proven since when.

A fork is two ids for one slot among the `committed` events, where a Byzantine seat tells of every commit it signs.  It
is *seen* when core nodes, two or the same, have accepted two of its branches, or when one of them has a proof against
its author; since core nodes are connected as soon as no fault lies on them, it must then become known to all.

A proof lasts as long as the disk it is on: it counts unless the node was wiped since.  Complexity: O(1) an event.
Cannot see: forks of which nobody tells, and branches that no core node accepts: those have hurt nobody yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from checkers.signed import Slot


class Forks:
    """Feed it what the nodes tell, with its times on the harness's clock (ns); ask when the history is over."""

    def __init__(self, core: Collection[int]) -> None:
        self._core = core
        self._slots: dict[Slot, str] = {}
        self._accepted: dict[str, int] = {}  # id -> when a core node first had it
        self._proven: dict[str, dict[int, list[tuple[int, int]]]] = {}  # agent -> node -> (when, event)
        self._wiped: dict[int, list[int]] = {}
        self._events: dict[str, int] = {}  # id -> where its author told of it
        self.forks: dict[Slot, list[str]] = {}

    def on_committed(self, data: dict[str, Any], event: int) -> None:
        """An author has signed a commit, and tells so."""
        self._events.setdefault(data["id"], event)
        slot = (data["author"], data["incarnation"], data["seq"])
        other = self._slots.setdefault(slot, data["id"])
        if other != data["id"] and data["id"] not in self.forks.setdefault(slot, [other]):
            self.forks[slot].append(data["id"])

    def told(self, ids: Iterable[str]) -> list[int]:
        """The events in which these were told of."""
        return [self._events[one] for one in ids]

    def on_accepted(self, t: int, node: int, ids: Iterable[str]) -> None:
        """A node has accepted these."""
        if node in self._core:
            for one in ids:
                self._accepted[one] = min(t, self._accepted.get(one, t))

    def on_proven(self, t: int, node: int, agent: str, event: int) -> None:
        """A correct node has a proof against `agent` that verifies."""
        self._proven.setdefault(agent, {}).setdefault(node, []).append((t, event))

    def on_wiped(self, node: int, since: int) -> None:
        """A node lost its disk, `since` then at the earliest."""
        self._wiped.setdefault(node, []).append(since)

    @property
    def pairs(self) -> int:
        """How many (node, agent) there are of which that node has a proof against that agent."""
        return sum(map(len, self._proven.values()))

    def seen(self) -> dict[str, int]:
        """Of each author whose fork was seen, when that was first so."""
        found: dict[str, int] = {}
        for (author, _, _), ids in self.forks.items():
            times = sorted(self._accepted[one] for one in ids if one in self._accepted)
            if len(times) > 1:
                found[author] = min(times[1], found.get(author, times[1]))
        for agent, nodes in self._proven.items():
            times = [told[0][0] for node, told in nodes.items() if node in self._core]
            if times:
                found[agent] = min(*times, found.get(agent, times[0]))
        return found

    def lacking(self, agent: str, due: int, nodes: Iterable[int]) -> list[int]:
        """Those of `nodes` that have no proof against `agent` at `due`."""
        told = self._proven.get(agent, {})
        return [node for node in nodes if not self._knows(node, due, told.get(node, []))]

    def _knows(self, node: int, due: int, told: list[tuple[int, int]]) -> bool:
        wipes = [since for since in self._wiped.get(node, ()) if since <= due]
        return any(t <= due and all(since <= t for since in wipes) for t, _ in told)

    def evidence(self, agent: str) -> list[int]:
        """The events in which proofs against `agent` were told."""
        return sorted(event for told in self._proven.get(agent, {}).values() for _, event in told)[:20]

    def delays(self, seen: dict[str, int]) -> list[int]:
        """How long after a fork was seen each core node first had a proof (ns)."""
        return [
            max(0, told[0][0] - seen[agent])
            for agent, nodes in self._proven.items()
            for node, told in nodes.items()
            if node in self._core and agent in seen
        ]
