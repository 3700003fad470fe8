"""The topology manager: how far away each peer is, which of them are near, and whom a gossip round picks.

Round trips are measured by probes to all peers at once (`partition`): a nonce that came back, timed by this node.
What a peer claims about its distance is never asked (spec-defects 23).  Every rebalance interval the logarithms of
the mean round trips are clustered in one dimension (`kmeans1d`, which is exact: Grønlund et al., arXiv 1701.07204),
and registry and selection use the clusters (26): within one, peers are equally near.

    strategy    near places                                  the rest
    random      none                                         all k uniform over all
    nearest     k - 1, and all of one                        uniform over those not picked yet
    hybrid      four fifths of k, as in the registry         uniform over those not picked yet
    region      k - 1 of this node's region, and all of one  uniform over those not picked yet

**Against eclipse** (Basalt, arXiv 2102.04063, for the aim).  The *near set* is the nearest clusters, joined until
they have at least 2f + 1 selectable peers, or all; its places are filled uniformly.  f liars can be the nearest of
all, answer first and flood: they are still at most f of at least 2f + 1.  How much a peer sends moves nothing here.

**The bound** on the liars' expected share of the picks, in a mesh of n nodes whose peers can all be selected.  Let N =
n - 1, m of the k places be near, s the size of the near set and g the liars in it; m is at most s.  The near places
are m draws of s without replacement: hypergeometric, m g / s liars on average.  The others are k - m such draws from
the N - m peers that are left, among whom are f - m g / s liars on average.  Together

    m g / s  +  (k - m) (f - m g / s) / (N - m)

which grows with g and falls with s, since k - m is at most N - m.  So it is greatest for g = f and s = 2f + 1 (N, if
that is less), and that, over k, is `share_bound`: f / N without near places, and never above f / (2f + 1), below a
half.  For "region", s is the number of peers in the region, which the configuration decides and no liar, and g the
lesser of f and s: a region may hold liars alone, and then all but the last place is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import kmeans1d

from knhk_mesh.config import STRATEGIES
from knhk_mesh.effects import Event, RandomSource
from knhk_mesh.identity import AgentId
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.round_trips import RoundTripReport, RoundTrips
from knhk_mesh.selection import PeerInfo, ShuffledPeers

SPREAD_MAX = 0.02
"""What may remain of the variance inside the clusters.  A tenth would still join peers 40 and 150 ms away."""

LIKENESS = 0.1
"""Round trips that deviate by a tenth are equally long: without this, mere jitter would make up clusters."""

NANOSECONDS_A_MS = 1e6


class TopologyManager:
    """Measures, clusters and picks the peers of `registry`.  Times are monotonic ns; `faulty` is f.

    Raises ValueError, naming the argument, for a strategy that is none of STRATEGIES and numbers out of range.
    """

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
        _require(faulty >= 0, "faulty: not negative")
        _require(strategy in STRATEGIES, f"strategy: one of {', '.join(STRATEGIES)}")
        _require(rebalance_interval_ns >= 1, "rebalance_interval_ns: at least 1")
        _require(clusters_max >= 1, "clusters_max: at least 1")
        self._registry = registry
        self._faulty = faulty
        self._strategy = strategy
        self._region = region
        self._interval_ns = rebalance_interval_ns
        self._clusters_max = clusters_max
        self._round_trips: dict[AgentId, RoundTrips] = {}
        self._near = ShuffledPeers(random)
        self._clusters: list[frozenset[AgentId]] = []
        self._next_rebalance = 0

    def measured(self, peer: AgentId, round_trip_ns: int, now: int) -> None:
        """A probe of this node's has come back from `peer`."""
        found = self._round_trips.get(peer)
        if found is None:
            found = self._round_trips[peer] = RoundTrips()
        found.add(round_trip_ns)

    def round_trip(self, peer: AgentId) -> int:
        """The mean round trip to `peer` in ns; 0 if none was measured."""
        found = self._round_trips.get(peer)
        return found.mean_ns if found is not None else 0

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
        """Cluster anew once the interval has passed; an event when the clusters are not what they were."""
        if now < self._next_rebalance or not self._round_trips:
            return []
        self._next_rebalance = now + self._interval_ns
        clusters = self.cluster_by_latency()
        for peer, found in self._round_trips.items():
            if self._registry.get_peer(peer) is not None:
                self._registry.update_latency(peer, found.mean_ns / NANOSECONDS_A_MS)
        self._choose_near(clusters)
        # As sets: within a cluster peers are equally near, and their order there changes with every measurement.
        unordered = [frozenset(cluster) for cluster in clusters]
        if unordered == self._clusters:
            return []
        self._clusters = unordered
        return [Event("rebalanced", {"clusters": [len(one) for one in clusters], "near": len(self._near)})]

    def _choose_near(self, clusters: Sequence[Sequence[AgentId]]) -> None:
        """The nearest clusters, joined until no f of them can be half of those that can be picked.

        Who cannot be picked now stays where it belongs, but does not count: it would leave its place to the liars.
        """
        chosen: list[AgentId] = []
        selectable = 0
        for cluster in clusters:
            if selectable >= 2 * self._faulty + 1:
                break
            chosen += cluster
            selectable += sum(self._registry.is_selectable(one) for one in cluster)
        wanted = frozenset(chosen)
        for peer in self._registry.get_all_peers():
            if (peer.agent_id in wanted) != (peer.agent_id in self._near):
                if peer.agent_id in wanted:
                    self._near.add(peer)
                else:
                    self._near.remove(peer.agent_id)

    def select_peers(self, k: int) -> list[PeerInfo]:
        """min(k, selectable) distinct peers: near ones first, then uniform ones of the rest.  Time O(k)."""
        registry = self._registry
        near_places = _near_places(self._strategy, k)
        if self._strategy == "region":
            near = registry.get_peers_by_region(self._region, near_places)
        else:
            near = self._sample_near(near_places)
        taken = {peer.agent_id for peer in near}
        # k uniform draws hold at least k - len(near) that are not near, and those are uniform in the rest.
        rest = [peer for peer in registry.get_random_peers(k) if peer.agent_id not in taken]
        return near + rest[: k - len(near)]

    def _sample_near(self, count: int) -> list[PeerInfo]:
        """Up to `count` selectable peers of the near set, uniformly; of none before anything was measured.

        Those that cannot be picked are passed over.  Drawing more, rather than walking the set, keeps this at O(count)
        while a fixed part of the set can be picked; any such sequence of draws is as likely as any other.
        """
        drawn = count
        while True:
            found = [peer for peer in self._near.sample(drawn) if self._registry.is_selectable(peer.agent_id)]
            if len(found) >= count or drawn >= len(self._near):
                return found[:count]
            drawn *= 2

    def share_bound(self, k: int) -> float:
        """The greatest expected share of f liars in the selections of k; the module's docstring has the argument."""
        peers = self._registry.get_all_peers()
        k = min(k, len(peers))
        if k < 1:
            return 0.0
        liars = min(self._faulty, len(peers))
        if self._strategy == "region":
            size = sum(peer.region == self._region for peer in peers)
        else:
            size = min(2 * self._faulty + 1, len(peers))
        near = min(_near_places(self._strategy, k), size)
        in_near = near * min(liars, size) / size if near else 0.0
        others = (k - near) * (liars - in_near) / (len(peers) - near) if k > near else 0.0
        return (in_near + others) / k


def _near_places(strategy: str, k: int) -> int:
    """How many of k places are for near peers.  Raises ValueError for a negative k."""
    _require(k >= 0, f"k: not negative, got {k}")
    if strategy == "random":
        return 0
    if k <= 1:
        return k
    return min(max(1, (4 * k + 2) // 5), k - 1) if strategy == "hybrid" else k - 1


def _clusters(values: Sequence[float], clusters_max: int) -> list[int]:
    """The number of each value's cluster, ascending with the values.

    In as few clusters as leave SPREAD_MAX of the variance inside them, or no more of it than peers that are alike have.
    """
    if not values:
        return []
    allowed = max(SPREAD_MAX * _spread(values), len(values) * LIKENESS**2)
    for count in range(1, min(clusters_max, len(values)) + 1):
        found = kmeans1d.cluster(values, count)
        inside = sum(
            _spread([v for v, one in zip(values, found.clusters, strict=True) if one == c]) for c in range(count)
        )
        if inside <= allowed:
            break
    return list(found.clusters)


def _spread(values: Sequence[float]) -> float:
    """The sum of squares about the mean."""
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(rule)
