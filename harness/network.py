"""The ordinary network of a cluster: what each directed link is like while no fault is in force."""

from __future__ import annotations

from faults.vocabulary import Link
from harness.plan import PlannedCluster


def ordinary_link(cluster: PlannedCluster, source: int, target: int) -> Link:
    """The last `between` that names both regions, else the network's own."""
    network = cluster.network
    shape: tuple[float, float, float] = (network.latency_ms, network.jitter_ms, network.loss)
    regions = (cluster.regions[source], cluster.regions[target])
    for one in network.between:
        if (one.source, one.target) == regions:
            shape = (one.latency_ms, one.jitter_ms, one.loss)
    latency_ms, jitter_ms, loss = shape
    return Link(links=((source, target),), latency_ms=latency_ms, jitter_ms=jitter_ms, loss=loss)
