"""The topology manager: how far away each peer is, which of them are near, and whom a gossip round picks.

Round trips are measured by probes to all peers at once (`partition`): a nonce that came back, timed by this node.
What a peer claims about its distance is never asked (spec-defects 23).  Every rebalance interval the logarithms of
the mean round trips are clustered in one dimension (`kmeans1d`, which is exact: Grønlund et al., arXiv 1701.07204)
into as few clusters as leave at most SPREAD_MAX of the variance inside them (26), and registry and selection use
them: within a cluster, peers are equally near.

    strategy    near places                                  the rest
    random      none                                         all k uniform over all
    nearest     k - 1, and all of one                        uniform over those not picked yet
    hybrid      four fifths of k, as in the registry         uniform over those not picked yet
    region      k - 1 of this node's region                  uniform over those not picked yet

**Against eclipse** (Basalt, arXiv 2102.04063, for the aim).  The *near set* is the nearest clusters, joined until
they have at least 2f + 1 peers, or all; its places are filled uniformly.  f liars can be the nearest of all, answer
first and flood: they are still at most f of at least 2f + 1.  So of the near places an expected share of at most f /
(2f + 1) is theirs, below a half; of the k - near others, uniform over what is left, at most f / (n - 1 - near), which
`share_bound` joins.  How much a peer sends moves nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import kmeans1d

from knhk_mesh.effects import Event, RandomSource
from knhk_mesh.identity import AgentId
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.round_trips import RoundTripReport, RoundTrips
from knhk_mesh.selection import PeerInfo, ShuffledPeers

Strategy = Literal["random", "nearest", "hybrid", "region"]
SPREAD_MAX = 0.02
NANOSECONDS_A_MS = 1e6


class TopologyManager:
    """Measures, clusters and picks the peers of `registry`.  Times are monotonic ns; `faulty` is f."""

    def __init__(
        self,
        registry: PeerRegistry,
        *,
        random: RandomSource,
        faulty: int,
        strategy: str,
        region: str,
        rebalance_interval_ns: int,
        clusters_max: int = 8,
    ) -> None:
        self._registry = registry
        self._faulty = faulty
        self._strategy = strategy
        self._region = region
        self._interval_ns = rebalance_interval_ns
        self._clusters_max = clusters_max
        self._round_trips: dict[AgentId, RoundTrips] = {}
        self._near = ShuffledPeers(random)
        self._sizes: list[int] = []
        self._next_rebalance = 0

    def measured(self, peer: AgentId, round_trip_ns: int, now: int) -> None:
        """A probe of this node's has come back from `peer`."""
        found = self._round_trips.get(peer)
        if found is None:
            found = self._round_trips[peer] = RoundTrips()
        found.add(round_trip_ns)

    def measure_latency(self) -> dict[AgentId, RoundTripReport]:
        """The statistics of every peer that was measured."""
        return {peer: found.report() for peer, found in self._round_trips.items()}

    def cluster_by_latency(self) -> list[list[AgentId]]:
        """The peers in clusters of like round trips, nearest first; those never measured come last, together."""
        peers = [peer.agent_id for peer in self._registry.get_all_peers()]
        measured = sorted((self._round_trips[one].mean_ns, one) for one in peers if one in self._round_trips)
        clusters = _clusters([math.log(max(1, mean)) for mean, _ in measured], self._clusters_max)
        numbered = zip(clusters, (peer for _, peer in measured), strict=True)
        found = [[peer for _, peer in group] for _, group in groupby(numbered, key=lambda one: one[0])]
        unmeasured = [one for one in peers if one not in self._round_trips]
        return [*found, unmeasured] if unmeasured else found

    def rebalance_topology(self, now: int) -> list[Event]:
        """Cluster anew once the interval has passed; an event when the clusters' sizes are not what they were."""
        if now < self._next_rebalance or not self._round_trips:
            return []
        self._next_rebalance = now + self._interval_ns
        clusters = self.cluster_by_latency()
        for peer, found in self._round_trips.items():
            if self._registry.get_peer(peer) is not None:
                self._registry.update_latency(peer, found.mean_ns / NANOSECONDS_A_MS)
        self._choose_near(clusters)
        sizes = [len(cluster) for cluster in clusters]
        if sizes == self._sizes:
            return []
        self._sizes = sizes
        return [Event("rebalanced", {"clusters": sizes, "near": len(self._near)})]

    def _choose_near(self, clusters: Sequence[Sequence[AgentId]]) -> None:
        """The nearest clusters, joined until no f of them can be half of it."""
        chosen: list[AgentId] = []
        for cluster in clusters:
            if len(chosen) >= 2 * self._faulty + 1:
                break
            chosen += cluster
        wanted = frozenset(chosen)
        for peer in self._registry.get_all_peers():
            if (peer.agent_id in wanted) != (peer.agent_id in self._near):
                if peer.agent_id in wanted:
                    self._near.add(peer)
                else:
                    self._near.remove(peer.agent_id)

    def select_peers(self, k: int) -> list[PeerInfo]:
        """min(k, selectable) distinct peers: near ones first, then uniform ones of the rest."""
        registry = self._registry
        near_places = self._near_places(k)
        if not near_places:
            return registry.get_random_peers(k)
        if self._strategy == "region":
            near = registry.get_peers_by_region(self._region, near_places)
        else:
            near = self._sample_near(near_places)
        taken = {peer.agent_id for peer in near}
        # k uniform draws hold at least k - len(near) that are not near, and those are uniform in the rest.
        rest = [peer for peer in registry.get_random_peers(k) if peer.agent_id not in taken]
        return near + rest[: k - len(near)]

    def _near_places(self, k: int) -> int:
        """How many of k places are for near peers."""
        if self._strategy == "random" or (self._strategy != "region" and not len(self._near)):
            return 0
        if k <= 1:
            return k
        return min(max(1, (4 * k + 2) // 5), k - 1) if self._strategy == "hybrid" else k - 1

    def _sample_near(self, count: int) -> list[PeerInfo]:
        """Up to `count` selectable peers of the near set, uniformly."""
        drawn = count
        while True:
            found = [peer for peer in self._near.sample(drawn) if self._registry.is_selectable(peer.agent_id)]
            if len(found) >= count or drawn >= len(self._near):
                return found[:count]
            drawn = len(self._near)

    def share_bound(self, k: int) -> float:
        """The greatest expected share of f liars in the selections of k; the module's docstring has the argument."""
        others = self._registry.peer_count()
        if not others or not k:
            return 0.0
        k = min(k, others)
        near = min(self._near_places(k), others) if self._strategy != "region" else 0
        faulty = self._faulty
        theirs = near * faulty / min(2 * faulty + 1, others) + (k - near) * min(1.0, faulty / max(1, others - near))
        return min(1.0, theirs / k)


def _clusters(values: Sequence[float], clusters_max: int) -> list[int]:
    """The number of each value's cluster, ascending with the values, in as few clusters as SPREAD_MAX allows."""
    if not values:
        return []
    total = _spread(values)
    for count in range(1, min(clusters_max, len(values)) + 1):
        found = kmeans1d.cluster(values, count)
        inside = sum(
            _spread([v for v, one in zip(values, found.clusters, strict=True) if one == c]) for c in range(count)
        )
        if inside <= SPREAD_MAX * total:
            break
    return list(found.clusters)


def _spread(values: Sequence[float]) -> float:
    """The sum of squares about the mean."""
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)
