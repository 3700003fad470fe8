"""Which commits does a peer lack, given the branch heads that it claims?

Both sides describe their accepted set by one 48-byte entry a branch head.  Entries that both have end the matter
for their chain.  For each chain that differs, what follows the greatest commit that both know is what the peer
lacks.  A head of the peer's that we do not know, at or beyond the end of our chain, means that it is ahead; on
our chain's length it means a fork.  Either way the peer will not know our head and will ask for it by name.

A claim that is false harms only its maker: it is sent less than it lacks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice

from knhk_mesh.commits import Commit, WireCommit
from knhk_mesh.log import Chain, CommitLog
from knhk_mesh.messages import HEAD_BYTES, TAG_BYTES, chain_tag, pack_head, split_heads, unpack_head

WANT_ANCESTORS_MAX = 256
"""How far back along its chain a commit that is asked for by name brings its past."""


class HeadTable:
    """The entries of a log's branch heads, kept as commits are accepted: O(1) a commit, O(heads) a question."""

    __slots__ = ("_chains", "_entries", "_entry_of", "_log", "_tags")

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self._entries: dict[bytes, Chain] = {}
        self._entry_of: dict[bytes, bytes] = {}  # a branch head's id -> its entry
        self._tags: dict[tuple[bytes, bytes], bytes] = {}
        self._chains: dict[bytes, Chain] = {}

    def accepted(self, commit: Commit) -> None:
        """Follow the log, which has just accepted `commit`."""
        key = (commit.author, commit.incarnation)
        tag = self._tags.get(key)
        if tag is None:
            tag = self._tags[key] = chain_tag(*key)
            self._chains[tag] = self._log.chains[key]
        entry = pack_head(tag, commit)
        old = self._entry_of.pop(commit.prev, None)
        if old is not None:
            del self._entries[old]
        self._entry_of[commit.id] = entry
        self._entries[entry] = self._log.chains[key]

    def row(self, *, entries_max: int, start: bytes) -> tuple[bytes, bytes, bytes]:
        """(entries, low, high): all of them with no bounds, or, if there are more than `entries_max`, those of the
        chains from tag `start` on, around the end if need be, with the bounds that they cover."""
        if len(self._entries) <= entries_max:
            return b"".join(self._entries), b"", b""
        ordered = sorted(self._entries)
        first = next((at for at, entry in enumerate(ordered) if entry[:TAG_BYTES] >= start), 0)
        end = first + entries_max
        part = ordered[first:end]
        low = part[0][:TAG_BYTES] if first else bytes(TAG_BYTES)
        if end >= len(ordered):
            return b"".join(part), low, b""
        high = ordered[end][:TAG_BYTES]
        return b"".join(entry for entry in part if entry[:TAG_BYTES] < high), low, high

    def lacks_any(self, heads: bytes) -> bool:
        """Whether `heads` names a commit that this log does not hold."""
        held = self._log.held
        return any(entry not in self._entries and entry[TAG_BYTES + 8 :] not in held for entry in split_heads(heads))

    def forked_from(self, heads: bytes, limit: int) -> list[bytes]:
        """Up to `limit` ids in `heads` that are not held though our chain is longer: other branches, to be asked
        for by name."""
        held = self._log.held
        found = []
        for entry in split_heads(heads):
            if entry in self._entries:
                continue
            tag, seq, commit = unpack_head(entry)
            chain = self._chains.get(tag)
            if commit not in held and chain is not None and seq < len(chain.commits):
                found.append(commit)
        return found[:limit]

    def lacked_by_peer(self, heads: bytes, low: bytes, high: bytes, wants: Iterable[bytes]) -> Iterator[Commit]:
        """Accepted commits that a peer with these heads lacks, in the order of acceptance, each once."""
        theirs = dict.fromkeys(split_heads(heads))
        differing: dict[int, tuple[bytes, Chain]] = {}
        for entry, chain in self._entries.items():
            if entry not in theirs and low <= entry[:TAG_BYTES] and (not high or entry[:TAG_BYTES] < high):
                differing[id(chain)] = (entry[:TAG_BYTES], chain)
        if not differing and not wants:
            return iter(())
        claims: dict[bytes, list[tuple[int, bytes]]] = {}
        for entry in theirs:
            tag, seq, commit = unpack_head(entry)
            claims.setdefault(tag, []).append((seq, commit))
        sources: list[Iterable[Commit]] = [self._after(chain, claims.get(tag, ())) for tag, chain in differing.values()]
        sources.extend(self._back_from(want) for want in wants if want in self._log.accepted)
        return _each_once(heapq.merge(*sources, key=self._place))

    def _place(self, commit: Commit) -> int:
        return self._log.accepted[commit.id]

    def _after(self, chain: Chain, claims: Iterable[tuple[int, bytes]]) -> Iterator[Commit]:
        """The commits of `chain` after what the claimed heads (seq, id) cover, by place."""
        start = 0
        for seq, commit in claims:
            on_branch = seq < len(chain.commits) and chain.commits[seq].id == commit
            if on_branch or seq >= len(chain.commits):
                start = max(start, seq + 1)
            elif not chain.forked:
                start = len(chain.commits)
        branch = islice(iter(chain.commits), start, None) if start < len(chain.commits) else iter(())
        if not chain.forked:
            return branch
        known = {commit for _, commit in claims}
        others = [self._side_branch(chain, head, known) for head in self._heads_of(chain)]
        return heapq.merge(branch, *others, key=self._place)

    def _heads_of(self, chain: Chain) -> list[Commit]:
        return [self._log.heads[entry[TAG_BYTES + 8 :]] for entry, owner in self._entries.items() if owner is chain]

    def _side_branch(self, chain: Chain, head: Commit, known: set[bytes]) -> list[Commit]:
        """From `head` back to the main branch or to a commit the peer has, past first."""
        path: list[Commit] = []
        commit = head
        while commit.id not in known:
            if commit.seq < len(chain.commits) and chain.commits[commit.seq].id == commit.id:
                break
            path.append(commit)
            if not commit.seq:
                break
            commit = self._log.held[commit.prev]
        return path[::-1]

    def _back_from(self, want: bytes) -> list[Commit]:
        path = [self._log.held[want]]
        while path[-1].seq and len(path) < WANT_ANCESTORS_MAX:
            path.append(self._log.held[path[-1].prev])
        return path[::-1]


def _each_once(commits: Iterable[Commit]) -> Iterator[Commit]:
    last = b""
    for commit in commits:
        if commit.id != last:
            last = commit.id
            yield commit


def entries_that_fit(frame_bytes_max: int) -> int:
    """How many head entries a pull may carry beside its other fields."""
    return max(1, (frame_bytes_max - 4096) // HEAD_BYTES)


def pack_deltas(commits: Iterator[Commit], *, frame_bytes_max: int, frames_max: int) -> Iterator[list[WireCommit]]:
    """Cut a stream of commits into at most `frames_max` batches, each of which fits a frame whole.

    What does not fit any more is not lost: the peer's next pull still lacks it.
    """
    room = frame_bytes_max - 64
    batch: list[WireCommit] = []
    used = 0
    frames = 0
    for commit in commits:
        size = commit.wire.size
        if batch and used + size > room:
            yield batch
            frames += 1
            if frames == frames_max:
                return
            batch, used = [], 0
        batch.append(commit.wire)
        used += size
    if batch:
        yield batch
