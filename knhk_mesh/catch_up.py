"""Reconciling with a quorum: to have accepted all that n - f members had accepted when they were asked.

    this node                           each member
    ask(nonce)  ----------------------> its frontier: commits that have all that it accepted in their past
                <---------------------- frontier(nonce, ids)
    pull(wants) ----------------------> only if an id is not accepted here yet; deltas follow

A member counts once every id of its frontier is accepted here, since accepted sets are closed under past.  q members,
this node among them, make it complete.  Whatever was certified before the round began is durable on q members; two sets
of q share more than f; so at least one correct one of those has it, and after the round this node has it, too.  That
makes a quorum read see every stable write that was acknowledged before the read began, and is what a node has to do
before it calls itself healthy again.

What begins while a round is on its way has to wait for the next one, because the answers may be older than it; so at
most two rounds are ever needed, and any number of reads share them (the ReadIndex of Raft, Ongaro 2014, 6.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from knhk_mesh.effects import RandomSource
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import PROBE_BYTES

Done = Callable[[bool, int], None]
"""Called once, with the time: and True when the round is complete, False when it was given up."""


class Waiter(NamedTuple):
    """Somebody who wants a complete round that begins after `since` (monotonic ns)."""

    since: int
    done: Done


class CatchUp:
    """One node's rounds.  `accepted` says whether a commit is accepted here; times are monotonic ns."""

    def __init__(
        self,
        peers: Iterable[AgentId],
        *,
        quorum_size: int,
        timeout_ns: int,
        accepted: Callable[[bytes], bool],
        random: RandomSource,
    ) -> None:
        self._peers = tuple(peers)
        self._quorum_size = quorum_size
        self._timeout_ns = timeout_ns
        self._accepted = accepted
        self._random = random
        self._nonce: bytes | None = None  # of the round on its way
        self._lacking: dict[AgentId, list[bytes]] = {}  # who has answered, and what of it is not accepted here yet
        self._served: list[Waiter] = []
        self._next: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._served) + len(self._next)

    def begin(self, now: int, done: Done) -> bool:
        """Want a round that begins now or later; True if one begins at once, and `asks` are to be sent."""
        self._next.append(Waiter(now, done))
        return self._start()

    def _start(self) -> bool:
        if self._nonce is not None or not self._next:
            return False
        self._nonce = self._random.getrandbits(8 * PROBE_BYTES).to_bytes(PROBE_BYTES, "big")
        self._lacking.clear()
        self._served, self._next = self._next, []
        return True

    def asks(self) -> list[tuple[AgentId, bytes]]:
        """(peer, nonce) of everyone whose answer is not satisfied yet; again and again, since frames may be lost."""
        if self._nonce is None:
            return []
        return [(peer, self._nonce) for peer in self._peers if self._lacking.get(peer, True)]

    def answered(self, peer: AgentId, nonce: bytes, frontier: Sequence[bytes]) -> list[bytes]:
        """`peer` tells its frontier; returns what of it is to be asked for by name.  Other nonces say nothing."""
        if nonce != self._nonce or peer not in self._peers:
            return []
        self._lacking[peer] = [one for one in frontier if not self._accepted(one)]
        return self._lacking[peer]

    def settle(self, now: int) -> bool:
        """After something was accepted or answered: end the round if it is complete; True if another one begins."""
        if self._nonce is None:
            return False
        for lacking in self._lacking.values():
            if lacking:
                lacking[:] = [one for one in lacking if not self._accepted(one)]
        if 1 + sum(not lacking for lacking in self._lacking.values()) < self._quorum_size:
            return False
        self._nonce = None
        served, self._served = self._served, []
        for one in served:
            one.done(True, now)
        return self._start()

    def expire(self, now: int) -> bool:
        """Give up on waiters that have waited too long; True if another round begins."""
        late = [one for one in (*self._served, *self._next) if now - one.since > self._timeout_ns]
        self._next = [one for one in self._next if now - one.since <= self._timeout_ns]
        self._served = [one for one in self._served if now - one.since <= self._timeout_ns]
        for one in late:
            one.done(False, now)
        if self._nonce is not None and not self._served:
            self._nonce = None
        return self._start()
