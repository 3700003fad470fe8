"""Which commits does a peer lack, given the branch heads that it claims?

Both sides describe their accepted set by one 48-byte entry a branch head.  Entries that both have end the matter
for their chain.  For each chain that differs, what follows the greatest commit that both know is what the peer
lacks.  A head of the peer's that we do not know, at or beyond the end of our chain, means that it is ahead; on
our chain's length it means a fork.  Either way the peer will not know our head and will ask for it by name.

A claim that is false harms only its maker: it is sent less than it lacks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from knhk_mesh.commits import Commit, WireCommit
from knhk_mesh.log import Chain, CommitLog
from knhk_mesh.messages import HEAD_BYTES, TAG_BYTES, chain_tag, pack_head, split_heads, unpack_head

_ID = TAG_BYTES + 8
"""Where the commit's id begins in an entry."""

SORTED_AT_ONCE_MAX = 512
WANT_ANCESTORS_MAX = 256
"""How far back along its chain a commit that is asked for by name brings its past."""


class Comparison(NamedTuple):
    """Entries that only we have, entries that only the peer has, and all of the peer's."""

    only_ours: list[bytes]
    only_theirs: list[bytes]
    theirs: set[bytes]


class HeadTable:
    """The entries of a log's branch heads, kept as commits are accepted: O(1) a commit, O(heads) a question."""

    __slots__ = ("_bytes", "_chains", "_entries", "_entry_of", "_log", "_tags", "_whole_row")

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self._entries: dict[bytes, Chain] = {}
        self._entry_of: dict[bytes, bytes] = {}  # a branch head's id -> its entry
        self._tags: dict[tuple[bytes, bytes], bytes] = {}
        self._chains: dict[bytes, Chain] = {}
        self._bytes: dict[bytes, list[int]] = {}  # tag -> of each commit of the chain, the bytes up to and with it
        self._whole_row: bytes | None = None  # None: something was accepted since it was made

    def accepted(self, commit: Commit) -> None:
        """Follow the log, which has just accepted `commit`."""
        key = (commit.author, commit.incarnation)
        tag = self._tags.get(key)
        if tag is None:
            tag = self._tags[key] = chain_tag(*key)
            self._chains[tag] = self._log.chains[key]
            self._bytes[tag] = []
        sizes = self._bytes[tag]
        if len(sizes) < len(self._chains[tag].commits):  # not of a side branch
            sizes.append((sizes[-1] if sizes else 0) + commit.wire.size)
        entry = pack_head(tag, commit)
        old = self._entry_of.pop(commit.prev, None)
        if old is not None:
            del self._entries[old]
        self._entry_of[commit.id] = entry
        self._entries[entry] = self._log.chains[key]
        self._whole_row = None

    def start_at(self, draw: float) -> bytes:
        """Where a row may start: the tag of one entry, each as likely as the next if `draw` is uniform in [0, 1).

        Not a uniform tag: an author picks its chains' tags, and could crowd out the chain that follows them.
        """
        entry = next(islice(self._entries, int(draw * len(self._entries)), None), bytes(TAG_BYTES))
        return entry[:TAG_BYTES]

    def row(self, *, entries_max: int, start: bytes) -> tuple[bytes, bytes, bytes]:
        """(entries, low, high): all of them with no bounds, or, if there are more than `entries_max`, those of the
        chains from tag `start` on, around the end if need be, with the bounds that they cover."""
        if len(self._entries) <= entries_max:
            if self._whole_row is None:
                self._whole_row = b"".join(self._entries)
            return self._whole_row, b"", b""
        ordered = sorted(self._entries)
        first = next((at for at, entry in enumerate(ordered) if entry[:TAG_BYTES] >= start), 0)
        end = first + entries_max
        part = ordered[first:end]
        low = part[0][:TAG_BYTES] if first else bytes(TAG_BYTES)
        if end >= len(ordered):
            return b"".join(part), low, b""
        high = ordered[end][:TAG_BYTES]
        return b"".join(entry for entry in part if entry[:TAG_BYTES] < high), low, high

    def compare(self, heads: bytes) -> Comparison:
        """What `heads`, a peer's row, and our own entries have apart; neither part is ever in the order of a set."""
        theirs = set(split_heads(heads))
        ours = self._entries
        return Comparison([entry for entry in ours if entry not in theirs], sorted(theirs.difference(ours)), theirs)

    def shown_by(self, comparison: Comparison) -> int:
        """The bytes of the accepted commits that the peer's heads have in their chains, each once; side branches do not
        count."""
        shown: dict[bytes, int] = {}
        for entry in comparison.theirs:
            tag, seq, commit = unpack_head(entry)
            chain = self._chains.get(tag)
            if chain is not None and seq < len(chain.commits) and chain.commits[seq].id == commit:
                shown[tag] = max(shown.get(tag, 0), self._bytes[tag][seq])
        return sum(shown.values())

    def lacks_any(self, comparison: Comparison) -> bool:
        """Whether the peer names a commit that this log does not hold."""
        held = self._log.held
        return any(entry[_ID:] not in held for entry in comparison.only_theirs)

    def forked_from(self, comparison: Comparison, limit: int) -> list[bytes]:
        """Up to `limit` ids that are not held though our chain is longer: other branches, to be asked for by name."""
        found = []
        for entry in comparison.only_theirs:
            tag, seq, commit = unpack_head(entry)
            chain = self._chains.get(tag)
            if chain is not None and seq < len(chain.commits) and commit not in self._log.held:
                found.append(commit)
        return found[:limit]

    def lacked_by_peer(
        self, comparison: Comparison, low: bytes, high: bytes, wants: Sequence[bytes]
    ) -> Iterator[Commit]:
        """Accepted commits that the peer lacks, in the order of acceptance, each once.

        `low` and `high` bound the chain tags that its row spoke of; `wants` are ids that it asks for by name.
        """
        differing: dict[bytes, Chain] = {}
        for entry in comparison.only_ours:
            tag = entry[:TAG_BYTES]
            if low <= tag and (not high or tag < high):
                differing[tag] = self._entries[entry]
        if not differing and not wants:
            return iter(())
        claims: dict[bytes, list[tuple[int, bytes]]] = {}
        for entry in comparison.only_theirs:
            tag, seq, commit = unpack_head(entry)
            claims.setdefault(tag, []).append((seq, commit))
        parts: list[Sequence[Commit]] = []
        starts: dict[bytes, int] = {}
        for tag, chain in differing.items():
            start, branches = self._after(chain, claims.get(tag, []), comparison.theirs)
            parts.extend(branches)
            if not chain.forked:
                starts[tag] = start
        for want in wants:
            if want not in self._log.accepted:
                continue
            wanted = self._log.held[want]
            # What comes of its chain anyway is not sent from further back: the peer has that, and it would come first.
            start = starts.get(self._tags[wanted.author, wanted.incarnation], wanted.seq + 1)
            parts.append([wanted] if start <= wanted.seq else self._back_from(wanted))
        return _each_once(self._by_place(parts))

    def _place(self, commit: Commit) -> int:
        return self._log.accepted[commit.id]

    def _by_place(self, parts: list[Sequence[Commit]]) -> Iterable[Commit]:
        """The commits of all parts, each in order, in the order of acceptance.

        Sorted at once where they are few; merged lazily where they are many, since most will not fit the frames.
        """
        if sum(map(len, parts)) <= SORTED_AT_ONCE_MAX:
            return sorted((commit for part in parts for commit in part), key=self._place)
        return heapq.merge(*parts, key=self._place)

    def _after(
        self, chain: Chain, claims: list[tuple[int, bytes]], theirs: set[bytes]
    ) -> tuple[int, list[Sequence[Commit]]]:
        """The commits of `chain` after what the peer's heads cover: its main branch from a seq on, then what has forked
        off.

        `claims` are the peer's heads of this chain, (seq, id), that are not ours.
        """
        if chain.forked:  # rare: then a head that both have is a claim too
            both = [unpack_head(entry) for entry, owner in self._entries.items() if owner is chain and entry in theirs]
            claims = [*claims, *((seq, commit) for _, seq, commit in both)]
        start = 0
        for seq, commit in claims:
            on_branch = seq < len(chain.commits) and chain.commits[seq].id == commit
            if on_branch or seq >= len(chain.commits):
                start = max(start, seq + 1)
            elif not chain.forked:
                start = len(chain.commits)
        branch = chain.commits[start:] if start else chain.commits
        if not chain.forked:
            return start, [branch]
        known = {commit for _, commit in claims}
        return start, [branch, *(self._side_branch(chain, head, known) for head in self._heads_of(chain))]

    def _heads_of(self, chain: Chain) -> list[Commit]:
        return [self._log.heads[entry[_ID:]] for entry, owner in self._entries.items() if owner is chain]

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

    def _back_from(self, commit: Commit) -> list[Commit]:
        path = [commit]
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
