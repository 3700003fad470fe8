"""Who may be talked to, and whom to pick: the specification's peer registry, its defects 22 to 27 resolved.

Three independent facts decide about a peer. *Standing*: a local score in thousandths that recovers with
time, and proofs, which are for ever; it alone decides admission, in both directions (24, 25). *Reachability*:
a peer that was silent for too long is *dormant*, never selected, but dialled again for ever with capped
backoff, and awake at its first sign of life (11). *Latency* orders, and excludes nobody. A peer is selectable
if it is admitted and awake, whatever the strategy (23). The quorum follows none of this (6).

Selecting k of n costs O(k), without a walk over n (27): `selection` has the uniform choice; the nearest are the
first k of a maintained order.  Equal latencies are ordered by lot, drawn here, since an attacker can choose its id
and its time of joining.

A measured latency below the floor counts as the floor, so that nobody buys the first place by an impossible
round trip, and hybrid selection always keeps uniform places, which no latency buys (23).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import msgspec
from sortedcontainers import SortedList

from knhk_mesh.dialling import DIAL_BACKOFF_MIN_NS, DialQueue
from knhk_mesh.effects import RandomSource
from knhk_mesh.errors import MeshError
from knhk_mesh.identity import AGENT_ID_BYTES, AgentId
from knhk_mesh.selection import NEVER, REPUTATION_MAX, PeerInfo, ShuffledPeers

REPUTATION_RECOVERY_PER_S = 10
"""Thousandths of its penalty that a peer wins back each second."""

PEERS_MAX = 100_000

_RECOVERY_NS = 1_000_000_000 // REPUTATION_RECOVERY_PER_S


class PeerRejected(MeshError):
    """A peer that cannot be registered, or a measurement that cannot be true; the message names the field."""


class UnknownPeer(MeshError):
    """An agent id that was never registered."""


class PeerRegistry:
    """The peers that node `self_id` knows. Times are monotonic nanoseconds, given by the caller.

    `quorum_size` is n - f of the roster and `peer_sample_size` the fanout: both are only kept here.
    `active_timeout_ns` is the age at which a peer no longer counts as active, `reputation_threshold` the
    least score of an admitted peer, `latency_floor_ms` the least round trip that is possible.
    """

    def __init__(
        self,
        self_id: AgentId,
        *,
        quorum_size: int,
        peer_sample_size: int,
        random: RandomSource,
        bootstrap_seeds: Sequence[str] = (),
        active_timeout_ns: int = 30_000_000_000,
        reputation_threshold: int = 500,
        dial_backoff_max_ns: int = 500_000_000,
        latency_floor_ms: float = 0.0,
        peers_max: int = PEERS_MAX,
    ) -> None:
        _require(len(self_id) == AGENT_ID_BYTES, f"self_id: {AGENT_ID_BYTES} bytes")
        _require(quorum_size >= 1, "quorum_size: at least 1")
        _require(peer_sample_size >= 1, "peer_sample_size: at least 1")
        _require(active_timeout_ns > 0, "active_timeout_ns: above 0")
        _require(0 <= reputation_threshold <= REPUTATION_MAX, "reputation_threshold: 0 to 1000")
        _require(dial_backoff_max_ns > 0, "dial_backoff_max_ns: above 0")
        _require(0 <= latency_floor_ms < math.inf, "latency_floor_ms: finite, not negative")
        self.self_id = self_id
        self.peer_sample_size = peer_sample_size
        self.bootstrap_seeds = tuple(bootstrap_seeds)
        self._quorum_size = quorum_size
        self._random = random
        self._active_timeout_ns = active_timeout_ns
        self._threshold = reputation_threshold
        self._latency_floor_ms = latency_floor_ms
        self._peers_max = peers_max
        self._peers: dict[AgentId, PeerInfo] = {}
        self._proven: set[AgentId] = set()
        self.changes: list[
            tuple[AgentId, bool, int]
        ] = []  # (who, whether it is suspected, its score): the node drains it
        self._suspected: set[AgentId] = set()
        self._penalised: dict[AgentId, int] = {}  # -> up to when its recovery has been credited
        self._selectable = ShuffledPeers(random)
        self._regions: dict[str, ShuffledPeers] = {}
        self._nearest: Any = SortedList()  # of (latency_ms, lot, agent_id)
        self._lots: dict[AgentId, float] = {}
        # A lower bound of when each awake peer was last heard, so that pruning looks at the silent alone.
        self._watched: list[tuple[int, AgentId]] = []
        self._dormant: DialQueue[bytes] = DialQueue(backoff_max_ns=dial_backoff_max_ns)
        self._seeds: DialQueue[str] = DialQueue(backoff_max_ns=dial_backoff_max_ns)
        for addr in self.bootstrap_seeds:
            self._seeds.add(addr, -DIAL_BACKOFF_MIN_NS)

    # Members

    def register_peer(self, peer: PeerInfo) -> None:
        """Take in a copy of `peer`, selectable at once; of one that is known, take over the address.

        Raises PeerRejected for self, an id that is not the public key, values out of range, a full registry.
        """
        self._check(peer)
        self._seeds.discard(peer.addr)
        known = self._peers.get(peer.agent_id)
        if known is not None:
            known.addr = peer.addr
            return
        if len(self._peers) >= self._peers_max:
            raise PeerRejected(f"registry: full, with {self._peers_max} peers")
        own = msgspec.structs.replace(peer, latency_ms=max(peer.latency_ms, self._latency_floor_ms))
        if own.agent_id in self._proven:
            own.reputation = 0
        elif own.reputation < REPUTATION_MAX:
            self._penalised[own.agent_id] = NEVER
        self._peers[own.agent_id] = own
        self._lots[own.agent_id] = self._random.random()
        heapq.heappush(self._watched, (own.last_seen, own.agent_id))
        self._settle(own)

    def get_peer(self, agent_id: AgentId) -> PeerInfo | None:
        """The record of a peer, or None for a stranger."""
        return self._peers.get(agent_id)

    def get_all_peers(self) -> list[PeerInfo]:
        """Every registered peer, dormant and shunned ones too, in the order of registration."""
        return list(self._peers.values())

    def admits(self, agent_id: AgentId) -> bool:
        """Whether the peer's standing is good enough to talk to it: the one rule, for both directions.

        Dormancy is no part of it: it says that nothing was heard, and the frame that asks disproves it.
        """
        peer = self._peers.get(agent_id)
        return peer is not None and self._in_good_standing(peer)

    # Selection

    def get_random_peers(self, k: int) -> list[PeerInfo]:
        """min(k, selectable) distinct peers, uniformly, in random order."""
        return self._selectable.sample(_count(k))

    def get_nearest_peers(self, k: int) -> list[PeerInfo]:
        """The min(k, selectable) peers of least latency, nearest first."""
        return [self._peers[agent_id] for _, _, agent_id in self._nearest[: _count(k)]]

    def get_hybrid_peers(self, k: int) -> list[PeerInfo]:
        """min(k, selectable) distinct peers: four fifths near ones first, then uniform ones of the rest.

        At least one is near from k = 1 on, and at least one uniform from k = 2 on.
        """
        near_count = min(max(1, (4 * k + 2) // 5), k - 1) if _count(k) > 1 else k
        near = self.get_nearest_peers(near_count)
        taken = {peer.agent_id for peer in near}
        # k uniform draws hold at least k - len(near) that are not near, and those are uniform in the rest.
        uniform = [peer for peer in self._selectable.sample(k) if peer.agent_id not in taken]
        return near + uniform[: k - len(near)]

    def get_peers_by_region(self, region: str, k: int | None = None) -> list[PeerInfo]:
        """The selectable peers of a region: all of them, or min(k, available) uniformly."""
        inside = self._regions.get(region)
        if inside is None:
            return []
        return inside.sample(len(inside) if k is None else _count(k))

    # Standing

    def update_reputation(self, agent_id: AgentId, delta: int, *, now: int) -> None:
        """Add `delta` thousandths to the score as it stands at `now`, within 0 to 1000."""
        peer = self._known(agent_id)
        if agent_id in self._proven:
            return
        self._recover(peer, now)
        peer.reputation = min(REPUTATION_MAX, max(0, peer.reputation + delta))
        if peer.reputation < REPUTATION_MAX:
            self._penalised.setdefault(agent_id, now)
        else:
            self._penalised.pop(agent_id, None)
        self._settle(peer)

    def recover_reputation(self, now: int) -> None:
        """Credit the penalised, and only them, with the time since: REPUTATION_RECOVERY_PER_S, up to 1000."""
        for agent_id in list(self._penalised):
            peer = self._peers[agent_id]
            self._recover(peer, now)
            self._settle(peer)

    def prove_faulty(self, agent_id: AgentId) -> None:
        """Shut out an agent for ever, known or not: somebody holds a proof against it."""
        self._proven.add(agent_id)
        self._penalised.pop(agent_id, None)
        self._dormant.discard(agent_id)
        peer = self._peers.get(agent_id)
        if peer is not None:
            peer.reputation = 0
            self._settle(peer)

    # Reachability

    def touch_peer(self, agent_id: AgentId, now: int) -> None:
        """A sign of life: note the time, and wake the peer if it is dormant. Raises UnknownPeer."""
        try:
            peer = self._peers[agent_id]
        except KeyError:
            raise UnknownPeer(_unknown(agent_id)) from None
        if now > peer.last_seen:
            peer.last_seen = now
        if self._dormant and agent_id in self._dormant:
            self._dormant.discard(agent_id)
            heapq.heappush(self._watched, (peer.last_seen, agent_id))
            self._settle(peer)

    def update_latency(self, agent_id: AgentId, latency_ms: float) -> None:
        """Take over a measured round trip. Raises PeerRejected for NaN and negative ones, UnknownPeer."""
        peer = self._known(agent_id)
        _check_latency(latency_ms)
        latency_ms = max(latency_ms, self._latency_floor_ms)
        if agent_id in self._selectable:
            self._nearest.remove(self._order(peer))
            peer.latency_ms = latency_ms
            self._nearest.add(self._order(peer))
        peer.latency_ms = latency_ms

    def prune_stale_peers(self, now: int, timeout_ns: int) -> int:
        """Make dormant the peers not heard for `timeout_ns`; returns how many. Time O(those, amortised).

        A peer that was never heard has as long, counted from the first pruning that met it.
        """
        if timeout_ns <= 0:
            raise ValueError(f"timeout_ns: above 0, got {timeout_ns}")
        pruned = 0
        watched = self._watched
        while watched and (watched[0][0] == NEVER or watched[0][0] + timeout_ns <= now):
            since, agent_id = heapq.heappop(watched)
            peer = self._peers[agent_id]
            if agent_id in self._proven:
                continue  # shut out for ever: neither selected nor dialled, so not watched either
            if peer.last_seen > since or since == NEVER:
                heapq.heappush(watched, (now if peer.last_seen == NEVER else peer.last_seen, agent_id))
                continue
            self._dormant.add(agent_id, now)
            self._settle(peer)
            pruned += 1
        return pruned

    def due_for_dialling(self, now: int, limit: int) -> list[PeerInfo]:
        """At most `limit` dormant peers whose backoff has run out, the longest due first; each waits anew.

        Peers of bad standing are passed over until they have recovered.
        """
        return [self._peers[agent_id] for agent_id in self._dormant.due(now, limit, wanted=self.admits)]

    def due_seeds(self, now: int, limit: int) -> list[str]:
        """At most `limit` addresses of seeds to dial: those behind which no peer is registered yet."""
        return self._seeds.due(now, limit)

    def is_dormant(self, agent_id: AgentId) -> bool:
        """Whether the peer is out of selection for its silence."""
        return agent_id in self._dormant

    # Counts

    def quorum_size(self) -> int:
        """n - f, as given: a matter of the roster, whoever is registered, pruned or shut out (6)."""
        return self._quorum_size

    def peer_count(self) -> int:
        """The registered peers, self not among them."""
        return len(self._peers)

    def active_peer_count(self, now: int) -> int:
        """Self, and the peers heard within `active_timeout_ns` (4). Walks all peers: not for each frame."""
        since = now - self._active_timeout_ns
        return 1 + sum(peer.last_seen > since and peer.last_seen != NEVER for peer in self._peers.values())

    def is_selectable(self, agent_id: AgentId) -> bool:
        """Whether a selection may pick this peer: it is admitted and awake."""
        return agent_id in self._selectable

    def selectable_count(self) -> int:
        """The peers that a selection may pick from."""
        return len(self._selectable)

    def suspected(self) -> list[AgentId]:
        """The peers whose score is below the threshold, proven ones not among them."""
        return sorted(self._suspected - self._proven)

    def byzantine_count(self) -> int:
        """The registered peers that are not admitted: proven faulty, or scored below the threshold."""
        below = sum(self._peers[agent_id].reputation < self._threshold for agent_id in self._penalised)
        return below + sum(agent_id in self._peers for agent_id in self._proven)

    def _known(self, agent_id: AgentId) -> PeerInfo:
        peer = self._peers.get(agent_id)
        if peer is None:
            raise UnknownPeer(_unknown(agent_id))
        return peer

    def _in_good_standing(self, peer: PeerInfo) -> bool:
        return peer.reputation >= self._threshold and peer.agent_id not in self._proven

    def _order(self, peer: PeerInfo) -> tuple[float, float, AgentId]:
        return (peer.latency_ms, self._lots[peer.agent_id], peer.agent_id)

    def _settle(self, peer: PeerInfo) -> None:
        """Put the peer into all the selections, or take it out of all: they never disagree."""
        suspected = peer.reputation < self._threshold
        if suspected != (peer.agent_id in self._suspected) and peer.agent_id not in self._proven:
            (self._suspected.add if suspected else self._suspected.discard)(peer.agent_id)
            self.changes.append((peer.agent_id, suspected, peer.reputation))
        selectable = self._in_good_standing(peer) and peer.agent_id not in self._dormant
        if selectable == (peer.agent_id in self._selectable):
            return
        region = self._regions.get(peer.region)
        if region is None:
            region = self._regions[peer.region] = ShuffledPeers(self._random)
        if selectable:
            self._selectable.add(peer)
            region.add(peer)
            self._nearest.add(self._order(peer))
        else:
            self._selectable.remove(peer.agent_id)
            region.remove(peer.agent_id)
            self._nearest.remove(self._order(peer))

    def _recover(self, peer: PeerInfo, now: int) -> None:
        since = self._penalised.get(peer.agent_id)
        if since is None:
            return
        if since == NEVER:  # registered with a penalty, by a caller that named no time
            self._penalised[peer.agent_id] = now
            return
        gained, rest = divmod(max(0, now - since), _RECOVERY_NS)
        peer.reputation = min(REPUTATION_MAX, peer.reputation + gained)
        if peer.reputation == REPUTATION_MAX:
            del self._penalised[peer.agent_id]
        elif gained:
            # The fraction is kept: asking often recovers as much as asking once.
            self._penalised[peer.agent_id] = now - rest

    def _check(self, peer: PeerInfo) -> None:
        if len(peer.agent_id) != AGENT_ID_BYTES or peer.agent_id != peer.public_key:
            raise PeerRejected(f"agent_id: must be the public key, {AGENT_ID_BYTES} bytes")
        if peer.agent_id == self.self_id:
            raise PeerRejected("agent_id: a node is no peer of its own")
        if not peer.addr:
            raise PeerRejected("addr: must not be empty")
        if not 0 <= peer.reputation <= REPUTATION_MAX:
            raise PeerRejected(f"reputation: 0 to {REPUTATION_MAX} thousandths, got {peer.reputation}")
        if peer.last_seen < NEVER:
            raise PeerRejected(f"last_seen: monotonic nanoseconds or NEVER, got {peer.last_seen}")
        _check_latency(peer.latency_ms)


def _check_latency(latency_ms: float) -> None:
    if not latency_ms >= 0:  # NaN compares false, and so is rejected too: it would break the order
        raise PeerRejected(f"latency_ms: must be a number from 0 on, got {latency_ms}")


def _count(k: int) -> int:
    if k < 0:
        raise ValueError(f"k: must not be negative, got {k}")
    return k


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(rule)


def _unknown(agent_id: AgentId) -> str:
    return f"agent {agent_id.hex()[:16]}: not registered"
