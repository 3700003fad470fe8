"""Which node has acknowledged which stable writes, and of which of them it is asked for the certificate in the end."""

from __future__ import annotations

from collections.abc import Iterable

from checkers.history import Complete, Invoke

ASKED_A_NODE_MAX = 4
BEFORE_KILLS_MAX = 4


class Acknowledged:
    """Follows what clients record, and which nodes are killed when."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}  # op of a stable write -> whom it asked
        self._commits: dict[int, list[str]] = {}
        self._before_kills: dict[int, list[int]] = {}  # node -> the places of those given last before it was killed

    def take(self, event: Invoke | Complete) -> None:
        """One more event of a client."""
        if isinstance(event, Invoke):
            if event.level == "stable":
                self._asked[event.op] = event.node
            return
        node = self._asked.pop(event.op, None)
        if node is not None and event.outcome == "ok" and event.certificate is not None and event.commit is not None:
            self._commits.setdefault(node, []).append(event.commit)

    def killed(self, nodes: Iterable[int]) -> None:
        """These nodes are about to be killed: what they gave last is what a disk would lack first."""
        for node in nodes:
            if given := self._commits.get(node):
                self._before_kills.setdefault(node, []).append(len(given) - 1)

    def some_of(self, node: int) -> list[str]:
        """Commits in the order in which they were given, each once.

        At most ASKED_A_NODE_MAX spread over the run (the first, the last, and from between), and the one given last
        before each of the last BEFORE_KILLS_MAX kills.
        """
        commits = self._commits.get(node, [])
        places = min(ASKED_A_NODE_MAX, len(commits))
        spread = {number * (len(commits) - 1) // max(places - 1, 1) for number in range(places)}
        return [commits[place] for place in sorted(spread.union(self._before_kills.get(node, [])[-BEFORE_KILLS_MAX:]))]
