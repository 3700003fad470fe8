"""Which node has acknowledged which stable writes, and of which of them it is asked for the certificate in the end."""

from __future__ import annotations

from checkers.history import Complete, Invoke

ASKED_A_NODE_MAX = 4


class Acknowledged:
    """Follows what clients record."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}  # op of a stable write -> whom it asked
        self._commits: dict[int, list[str]] = {}

    def take(self, event: Invoke | Complete) -> None:
        """One more event of a client."""
        if isinstance(event, Invoke):
            if event.level == "stable":
                self._asked[event.op] = event.node
            return
        node = self._asked.pop(event.op, None)
        if node is not None and event.outcome == "ok" and event.certificate is not None and event.commit is not None:
            self._commits.setdefault(node, []).append(event.commit)

    def some_of(self, node: int) -> list[str]:
        """At most ASKED_A_NODE_MAX commits, spread over the run: the first, the last, and from between."""
        commits = self._commits.get(node, [])
        places = min(ASKED_A_NODE_MAX, len(commits))
        return [commits[number * (len(commits) - 1) // max(places - 1, 1)] for number in range(places)]
