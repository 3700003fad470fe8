"""Vouching: nobody correct accepts a commit that lends a name to an author whom the commit's own past proves faulty.

Of a commit by Y that depends directly on one by X, no commit in its past may accuse X; the fence itself, which carries
the proof, may (spec/byzantine.md, "Liars are never retracted, only stopped").  Whoever accepts another one gives a
proven liar back what the fence had taken from it, as often as a colluder likes.

Complexity: O(parents) a commit, once there is an accusation; nothing before.  Cannot see: commits of which their author
does not tell, and whether an accusation carries a sound proof: one that does not is accepted by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from checkers.verdict import Anomaly

_NOBODY: frozenset[str] = frozenset()


class _Told(NamedTuple):
    """What an author has told of a commit, as far as it matters here; agents and ids in hex."""

    author: str
    deps: tuple[str, ...]
    parents: tuple[str, ...]
    accuses: str | None


class Vouching:
    """Feed it the `committed` events of authors; `judge` in the end."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._accused: dict[str, frozenset[str]] = {}  # by the past of a commit, itself excepted

    def on_committed(self, data: dict[str, Any]) -> None:
        """An author tells of a commit of its own."""
        deps = tuple(data["deps"])
        parents = (*deps, data["prev"]) if data["prev"] else deps
        self._told.setdefault(data["id"], _Told(data["author"], deps, parents, data.get("accuses")))

    def judge(self, accepted: Mapping[str, tuple[int, int]]) -> list[Anomaly]:
        """`vouched-for-proven`, once a commit; `accepted` has of each commit a correct node that did, and its event."""
        if not any(one.accuses for one in self._told.values()):
            return []
        found = []
        for commit, (node, event) in accepted.items():
            told = self._told.get(commit)
            lent = self._lent(commit, told) if told is not None else []
            if told is not None and lent:
                said = f"node {node} has accepted commit {commit[:12]}, which lends its name to {lent[0][:8]}"
                data = {"node": node, "commit": commit, "author": told.author, "proven": lent}
                found.append(Anomaly("vouched-for-proven", f"{said}, whom its own past proves faulty", [event], data))
        return found

    def _lent(self, commit: str, told: _Told) -> list[str]:
        """The other authors on whom it depends directly, and whom its past accuses."""
        authors = {self._told[dep].author for dep in told.deps if dep in self._told} - {told.author}
        return sorted(authors & self._accused_before(commit)) if authors else []

    def _accused_before(self, commit: str) -> frozenset[str]:
        accused, stack, entered = self._accused, [commit], set[str]()
        while stack:
            one = stack[-1]
            told = self._told.get(one)
            waiting = [parent for parent in told.parents if parent not in accused] if told is not None else []
            if waiting and one not in entered:
                entered.add(one)
                stack += waiting
                continue
            stack.pop()
            accused[one] = self._joined(told) if told is not None else _NOBODY
        return accused[commit]

    def _joined(self, told: _Told) -> frozenset[str]:
        joined = _NOBODY
        for parent in told.parents:
            inherited = self._accused.get(parent, _NOBODY)
            joined = joined | inherited if joined else inherited
            by_parent = self._told[parent].accuses if parent in self._told else None
            if by_parent is not None and by_parent not in joined:
                joined = joined | {by_parent}
        return joined
