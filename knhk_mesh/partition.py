"""The partition detector: whom this node can reach, and whether that is enough to write with.

A peer is *reachable* if what this node sent to it came back lately: each round of probes gives every peer a fresh
random nonce, and the peer sends it back.  An echo proves both directions, and proves them for the moment at which its
probe was sent, not for the moment at which it arrived (spec-defects 7).  Hearing from a peer proves nothing here.

    window      = interval x misses                  an older proof counts no more
    detection  <= window + interval + jitter         from the last moment at which a quorum could be reached

At the moment of a cut the youngest proof is of a probe sent before it; it counts for `window` more, and the check that
finds it too old comes at most one interval later, or as late as this node's timers are: that is the jitter.  With the
defaults, 100 ms and 7 misses, detection takes at most 0.8 s and jitter; a round trip below 0.6 s is never a partition.

The states, with n - f members, this node among them, making a quorum (spec-defects 1, 4 and 10):

    state         when                                                        becomes
    healthy       fewer than a quorum are reachable                           partitioned
    partitioned   a quorum is reachable at RETURNS checks in a row            recovering
    recovering    fewer than a quorum are reachable                           partitioned
    recovering    has reconciled with a quorum since it became recovering     healthy

A node starts as recovering, and its peers count as reachable for one window, so that a start is no partition.  Only a
healthy node may write, and `may_write` looks at the proofs as they are now: what a timer found a while ago is no
evidence, if it is this very node that stood still.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from knhk_mesh.effects import Event, RandomSource
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import PROBE_BYTES

PartitionState = Literal["healthy", "partitioned", "recovering"]
RETURNS = 2


def detection_bound_ns(interval_ns: int, misses: int, jitter_ns: int = 0) -> int:
    """How long a node may take to see that it cannot reach a quorum; the module's docstring has the argument."""
    return interval_ns * (misses + 1) + jitter_ns


class PartitionStatus(msgspec.Struct, frozen=True):
    """A snapshot.  `since` is monotonic ns, `transitions` counts changes of state since the start."""

    state: PartitionState
    reachable: int
    required: int
    since: int
    transitions: int


class PartitionDetector:
    """Watches `peers`; `quorum_size` members, this node among them, are enough.  Times are monotonic ns."""

    def __init__(
        self,
        peers: Iterable[AgentId],
        *,
        quorum_size: int,
        interval_ns: int,
        misses: int,
        random: RandomSource,
    ) -> None:
        self._sent: dict[AgentId, dict[bytes, int]] = {peer: {} for peer in peers}  # nonce -> when it was sent
        self._proven: dict[AgentId, int] = {}  # when the youngest probe was sent that has come back
        self._quorum_size = quorum_size
        self._window_ns = interval_ns * misses
        self._misses = misses
        self._random = random
        self._since = 0
        self._returns = 0
        self._transitions = 0
        self.state: PartitionState = "recovering"

    def start(self, now: int) -> None:
        """Peers count as reachable for one window from here."""
        self._since = now
        self._proven = dict.fromkeys(self._sent, now)

    def probe(self, now: int) -> list[tuple[AgentId, bytes]]:
        """A fresh nonce for each peer.  Those that could prove nothing any more are forgotten."""
        probes = []
        for peer, sent in self._sent.items():
            while len(sent) > self._misses:
                del sent[next(iter(sent))]
            nonce = self._random.getrandbits(8 * PROBE_BYTES).to_bytes(PROBE_BYTES, "big")
            sent[nonce] = now
            probes.append((peer, nonce))
        return probes

    def echoed(self, peer: AgentId, nonce: bytes, now: int) -> int | None:
        """`peer` sent `nonce` back: the round trip in ns, or None if it never was its, or came back before."""
        sent_at = self._sent.get(peer, {}).pop(nonce, None)
        if sent_at is None:
            return None
        self._proven[peer] = max(self._proven[peer], sent_at)
        return now - sent_at

    def reachable(self, now: int) -> int:
        """How many members can be reached, this one counted."""
        oldest = now - self._window_ns
        return 1 + sum(proven >= oldest for proven in self._proven.values())

    def may_write(self, now: int) -> bool:
        """Whether this node is healthy, and still reaches a quorum at this very moment."""
        return self.state == "healthy" and self.reachable(now) >= self._quorum_size

    def detect_partition(self, now: int) -> list[Event]:
        """Look at the proofs, and change the state if they say so; the event of a change."""
        enough = self.reachable(now) >= self._quorum_size
        self._returns = self._returns + 1 if enough else 0
        if not enough:
            return self._become("partitioned", now) if self.state != "partitioned" else []
        if self.state == "partitioned" and self._returns >= RETURNS:
            return self._become("recovering", now)
        return []

    def handle_recovery(self, now: int) -> list[Event]:
        """This node has reconciled with a quorum since it became recovering: it is healthy again."""
        if self.state != "recovering" or self.reachable(now) < self._quorum_size:
            return []
        return self._become("healthy", now)

    def status(self, now: int) -> PartitionStatus:
        """How it stands."""
        return PartitionStatus(self.state, self.reachable(now), self._quorum_size, self._since, self._transitions)

    def _become(self, state: PartitionState, now: int) -> list[Event]:
        former, self.state = self.state, state
        lasted, self._since = now - self._since, now
        self._transitions += 1
        self._returns = 0
        data = {"from": former, "to": state, "reachable": self.reachable(now), "quorum": self._quorum_size}
        return [Event("state", {**data, "after_ns": lasted}, free=True)]
