"""Commits that wait for their past, within a quota.

A commit is delivered after its past, so what comes too early waits here, and the parents it lacks are asked for
by id.  The quota only delays: what does not fit is dropped, oldest first, and gossip brings it again, because its
author's head stays unknown to us until its past has come.
"""

from __future__ import annotations

from knhk_mesh.commits import Commit


class PendingCommits:
    """At most `commits_max` opened commits of together at most `bytes_max` wire bytes."""

    __slots__ = ("_bytes", "_bytes_max", "_commits", "_commits_max", "_lacks", "_waiting_on", "dropped")

    def __init__(self, *, commits_max: int, bytes_max: int) -> None:
        self._commits_max = commits_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._commits: dict[bytes, Commit] = {}
        self._lacks: dict[bytes, dict[bytes, None]] = {}
        self._waiting_on: dict[bytes, dict[bytes, None]] = {}  # a parent's id -> the ids that wait for it
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._commits)

    def __contains__(self, commit_id: bytes) -> bool:
        return commit_id in self._commits

    def add(self, commit: Commit, missing: list[bytes]) -> None:
        """Let `commit` wait for `missing`, its parents that are not held (at least one)."""
        assert missing
        if commit.id in self._commits:
            return
        self._commits[commit.id] = commit
        self._bytes += commit.wire.size
        self._lacks[commit.id] = dict.fromkeys(missing)
        for parent in missing:
            self._waiting_on.setdefault(parent, {})[commit.id] = None
        while len(self._commits) > self._commits_max or self._bytes > self._bytes_max:
            self._remove(next(iter(self._commits)))
            self.dropped += 1

    def arrived(self, parent: bytes) -> list[Commit]:
        """`parent` is held now; returns the commits that lack nothing any more, and forgets them."""
        ready = []
        for waiter in self._waiting_on.pop(parent, ()):
            lacks = self._lacks[waiter]
            lacks.pop(parent, None)
            if not lacks:
                ready.append(self._commits[waiter])
                self._remove(waiter)
        return ready

    def roots(self, limit: int) -> list[bytes]:
        """Up to `limit` ids that something waits for and that do not wait here themselves: what to ask for.

        In turns: whoever makes up parents that nobody has cannot keep the others' from being asked for.
        """
        asked = []
        for parent in self._waiting_on:
            if parent not in self._commits:
                asked.append(parent)
                if len(asked) == limit:
                    break
        for parent in asked:
            self._waiting_on[parent] = self._waiting_on.pop(parent)
        return asked

    def _remove(self, commit_id: bytes) -> None:
        commit = self._commits.pop(commit_id)
        self._bytes -= commit.wire.size
        for parent in self._lacks.pop(commit_id):
            waiters = self._waiting_on.get(parent)
            if waiters is not None:
                waiters.pop(commit_id, None)
                if not waiters:
                    del self._waiting_on[parent]
