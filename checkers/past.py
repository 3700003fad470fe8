"""The pasts of commits, from the table that their authors told: what a read must have seen that names some heads.

Two answers.  `past`: every commit that some heads reach; O(size), remembered for the last heads that were asked for,
since at the end all nodes name the same.  `reach`: of each correct author's chain how far they reach, a vector clock
(Mattern 1989; Fidge 1988), O(chains) a commit once and a head afterwards, so that a hundred thousand reads can be held
against a hundred thousand writes.  A chain, (author, incarnation), is linear as long as its author does not fork, so
how far is enough; an author that is correct and forks is for `accountability`.

Both are None where the table lacks a commit of that past.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

Chain = tuple[str, str]
"""(author, incarnation), both in hex."""


class _Commit(NamedTuple):
    chain: Chain
    seq: int
    parents: tuple[str, ...]


class Commits:
    """The table; `authors` are the agents (hex) whose chains `reach` follows."""

    def __init__(self, authors: Collection[str]) -> None:
        self._authors = authors
        self._table: dict[str, _Commit] = {}
        self._chains: dict[Chain, int] = {}
        self._clocks: dict[str, tuple[int, ...] | None] = {}
        self._asked: tuple[frozenset[str], set[str] | None] | None = None

    def __contains__(self, commit: str) -> bool:
        return commit in self._table

    def tell(self, data: dict[str, Any]) -> None:
        """Take in a `committed` event's data; what is told twice is one commit."""
        if data["id"] in self._table:
            return
        chain = (data["author"], data["incarnation"])
        parents = (*data["deps"], *([data["prev"]] if data["prev"] else []))
        self._table[data["id"]] = _Commit(chain, data["seq"], parents)
        if data["author"] in self._authors:
            self._chains.setdefault(chain, len(self._chains))

    def author(self, commit: str) -> str | None:
        """Who has written it (hex), if the table has it."""
        found = self._table.get(commit)
        return None if found is None else found.chain[0]

    def slot(self, commit: str) -> tuple[str, str, int] | None:
        """(author, incarnation, seq), the first two in hex, of a commit that the table has."""
        found = self._table.get(commit)
        return None if found is None else (*found.chain, found.seq)

    def position(self, commit: str) -> tuple[int, int] | None:
        """(which chain, how far along, from 1) of a correct author's commit that the table has."""
        found = self._table.get(commit)
        place = self._chains.get(found.chain) if found is not None else None
        return None if found is None or place is None else (place, found.seq + 1)

    def past(self, heads: Iterable[str]) -> set[str] | None:
        """Every commit that `heads` reach, they among them."""
        asked = frozenset(heads)
        if self._asked is None or self._asked[0] != asked:
            self._asked = (asked, self._walk(asked))
        return self._asked[1]

    def _walk(self, heads: frozenset[str]) -> set[str] | None:
        seen = set(heads)
        stack = list(heads)
        while stack:
            commit = self._table.get(stack.pop())
            if commit is None:
                return None
            fresh = [one for one in commit.parents if one not in seen]
            seen.update(fresh)
            stack += fresh
        return seen

    def reach(self, heads: Iterable[str]) -> tuple[int, ...] | None:
        """Of each chain, how many of its commits the heads have in their past.  Once all commits were told."""
        merged = (0,) * len(self._chains)
        for head in heads:
            clock = self._clock(head)
            if clock is None:
                return None
            merged = tuple(map(max, merged, clock))
        return merged

    def _clock(self, commit: str) -> tuple[int, ...] | None:
        clocks, entered, stack = self._clocks, set[str](), [commit]
        while stack:
            one = stack[-1]
            found = self._table.get(one)
            if one in clocks:
                stack.pop()
            elif found is None:
                clocks[one] = None
            else:
                waiting = [parent for parent in found.parents if parent not in clocks]
                if not waiting:
                    clocks[one] = self._joined(found)
                elif one in entered:
                    clocks[one] = None  # a circle: no hash has one, a history that somebody made up may
                entered.add(one)
                stack += waiting
        return clocks[commit]

    def _joined(self, commit: _Commit) -> tuple[int, ...] | None:
        joined = (0,) * len(self._chains)
        for parent in commit.parents:
            clock = self._clocks[parent]
            if clock is None:
                return None
            joined = tuple(map(max, joined, clock))
        place = self._chains.get(commit.chain)
        if place is None:
            return joined
        return (*joined[:place], max(joined[place], commit.seq + 1), *joined[place + 1 :])
