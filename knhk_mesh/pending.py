"""Commits that wait for their past, within a quota.

A commit is delivered after its past, so what comes too early waits here, and the parents it lacks are asked for
by id.  The quota only delays: what does not fit is dropped, and gossip brings it again, because its author's head
stays unknown to us until its past has come.

Who fills the buffer makes the room: what is dropped is the oldest of what the peer brought that has the most bytes in
here.  So a liar that sends commits with made-up pasts crowds out its own, and nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict

from knhk_mesh.commits import Commit
from knhk_mesh.identity import AgentId


class PendingCommits:
    """At most `commits_max` opened commits of together at most `bytes_max` wire bytes."""

    __slots__ = (
        "_brought", "_brought_bytes", "_bytes_max", "_commits", "_commits_max", "_lacks", "_roots", "_source",
        "_waiting_on", "bytes", "dropped",
    )  # fmt: skip

    def __init__(self, *, commits_max: int, bytes_max: int) -> None:
        self._commits_max = commits_max
        self._bytes_max = bytes_max
        self.bytes = 0
        self._commits: dict[bytes, Commit] = {}
        self._lacks: dict[bytes, dict[bytes, None]] = {}
        self._source: dict[bytes, AgentId] = {}  # who brought it first
        self._brought: dict[AgentId, OrderedDict[bytes, None]] = {}  # by whom: ids, oldest first
        self._brought_bytes: dict[AgentId, int] = {}
        self._waiting_on: dict[bytes, dict[bytes, None]] = {}  # a parent's id -> the ids that wait for it
        self._roots: dict[
            AgentId, OrderedDict[bytes, None]
        ] = {}  # by whose commits wait for them; some may be none any more
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._commits)

    def __contains__(self, commit_id: bytes) -> bool:
        return commit_id in self._commits

    def add(self, commit: Commit, missing: list[bytes], source: AgentId) -> None:
        """Let `commit`, which `source` brought, wait for `missing`, its parents that are not held (at least one)."""
        assert missing
        if commit.id in self._commits:
            return
        self._commits[commit.id] = commit
        self.bytes += commit.wire.size
        self._source[commit.id] = source
        self._brought.setdefault(source, OrderedDict())[commit.id] = None
        self._brought_bytes[source] = self._brought_bytes.get(source, 0) + commit.wire.size
        self._lacks[commit.id] = dict.fromkeys(missing)
        for parent in missing:
            self._waiting_on.setdefault(parent, {})[commit.id] = None
            if parent not in self._commits:
                self._roots.setdefault(source, OrderedDict())[parent] = None
        while len(self._commits) > self._commits_max or self.bytes > self._bytes_max:
            self._remove(next(iter(self._brought[self._fullest()])))
            self.dropped += 1

    def _fullest(self) -> AgentId:
        """Who has the most of what there is too much of."""
        if len(self._commits) > self._commits_max:
            return max(self._brought, key=lambda source: len(self._brought[source]))
        return max(self._brought_bytes, key=self._brought_bytes.__getitem__)

    def arrived(self, parent: bytes) -> list[tuple[Commit, AgentId]]:
        """`parent` is held now; returns what lacks nothing any more, each with who brought it, and forgets it."""
        ready = []
        for waiter in self._waiting_on.pop(parent, ()):
            lacks = self._lacks[waiter]
            lacks.pop(parent, None)
            if not lacks:
                ready.append((self._commits[waiter], self._source[waiter]))
                self._remove(waiter)
        return ready

    def awaited_by_another(self, commit: Commit) -> bool:
        """Whether something of another author than `commit`'s waits for it: somebody has vouched for it."""
        waiters = self._waiting_on.get(commit.id, ())
        return any(self._commits[waiter].author != commit.author for waiter in waiters)

    def roots(self, limit: int) -> list[bytes]:
        """Up to `limit` ids that something waits for and that do not wait here themselves: what to ask for.

        In turns, and as many for each who brought what waits: whoever makes up parents that nobody has cannot keep the
        others' from being asked for.
        """
        asked: dict[bytes, None] = {}
        share = max(1, limit // max(1, len(self._roots)))
        for source in list(
            self._roots
        ):  # whoever is asked for moves to the end, so the next time begins with the others
            if len(asked) >= limit:
                break
            asked.update(dict.fromkeys(self._roots_of(source, share)))
        return list(asked)[:limit]

    def _roots_of(self, source: AgentId, limit: int) -> list[bytes]:
        """Up to `limit` of this source's, the longest not asked for first; what is no root any more is forgotten."""
        roots = self._roots.pop(source)
        found: list[bytes] = []
        for _ in range(len(roots)):
            if len(found) == limit:
                break
            parent, _ = roots.popitem(last=False)
            if parent in self._waiting_on and parent not in self._commits:
                found.append(parent)
        roots.update(dict.fromkeys(found))
        if roots:
            self._roots[source] = roots
        return found

    def _remove(self, commit_id: bytes) -> None:
        commit = self._commits.pop(commit_id)
        for waiter in self._waiting_on.get(commit_id, ()):
            self._roots.setdefault(self._source[waiter], OrderedDict())[commit_id] = None
        self.bytes -= commit.wire.size
        source = self._source.pop(commit_id)
        brought = self._brought[source]
        del brought[commit_id]
        self._brought_bytes[source] -= commit.wire.size
        if not brought:
            del self._brought[source], self._brought_bytes[source]
        for parent in self._lacks.pop(commit_id):
            waiters = self._waiting_on.get(parent)
            if waiters is not None:
                waiters.pop(commit_id, None)
                if not waiters:
                    del self._waiting_on[parent]
                    self._no_root(parent)

    def _no_root(self, parent: bytes) -> None:
        """Nothing waits for it any more."""
        for source in [one for one, roots in self._roots.items() if parent in roots]:
            del self._roots[source][parent]
            if not self._roots[source]:
                del self._roots[source]
