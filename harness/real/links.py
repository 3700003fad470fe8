"""Link faults as toxics on the relay: Toxiproxy's for TCP, ours for UDP, through one adapter.

A frame from a to b travels upstream on the connection that a dials, through the proxy "a-b".  A cut blackholes that
connection in both directions of its packets, so what b sends to a, on a connection of its own, still passes; every
other fault acts on what goes upstream.  Each toxic is named after its fault, so that overlapping faults are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from faults.toxiproxy import ToxiproxyServer
from faults.vocabulary import Cut, Link, PlannedFault
from harness.network import ordinary_link
from harness.plan import PlannedCluster
from harness.real.hosts import proxy_name

NETWORK = "network"
ORDINARY_MS = 2.0
"""An ordinary network no slower than this, and without loss, is left to the machine's own."""

CAPABILITIES = {
    "quic": ("cut", "latency", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate"),
    # A rate could be set, but nothing that peers observe would prove it.
    "tcp": ("cut", "latency", "jitter"),
}


class Toxic(NamedTuple):
    """One toxic of one proxy, before it has a name."""

    stream: str
    type: str
    attributes: dict[str, Any]


def toxics_of(fault: Cut | Link) -> Iterator[Toxic]:
    """What a fault is on each of its links."""
    if isinstance(fault, Cut):
        yield Toxic("upstream", "timeout", {"timeout": 0})
        yield Toxic("downstream", "timeout", {"timeout": 0})
        return
    if fault.latency_ms or fault.jitter_ms:
        # Toxiproxy knows whole milliseconds alone.
        attributes = {"latency": round(fault.latency_ms), "jitter": round(fault.jitter_ms)}
        yield Toxic("upstream", "latency", attributes)
    for name in ("loss", "duplicate", "reorder", "corrupt"):
        probability = getattr(fault, name)
        if probability:
            yield Toxic("upstream", name, {"probability": probability})
    if fault.rate_kb_s:
        yield Toxic("upstream", "bandwidth", {"rate": max(1, round(fault.rate_kb_s))})


class LinkFaults:
    """The toxics of one run.  Every method blocks: call it from a thread.  Raises ToxiproxyError."""

    def __init__(self, relay: ToxiproxyServer) -> None:
        self._relay = relay

    def make_ordinary(self, cluster: PlannedCluster) -> None:
        """Give every link what it is like while no fault is in force."""
        for source in range(cluster.nodes):
            for target in range(cluster.nodes):
                if source != target and is_shaped(cluster, source, target):
                    self._add(NETWORK, source, target, ordinary_link(cluster, source, target))

    def apply(self, planned: PlannedFault) -> int:
        """Put a fault on its links; returns the number of toxics, each of which the relay has confirmed."""
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        return sum(self._add(planned.id, source, target, fault) for source, target in fault.links)

    def _add(self, name: str, source: int, target: int, fault: Cut | Link) -> int:
        count = 0
        for toxic in toxics_of(fault):
            self._relay.add_toxic(
                proxy_name(source, target),
                name=toxic_name(name, toxic),
                type=toxic.type,
                stream=toxic.stream,
                attributes=toxic.attributes,
            )
            count += 1
        return count

    def lift(self, planned: PlannedFault) -> None:
        """Take a fault off its links again; the relay has confirmed it when this returns."""
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        for source, target in fault.links:
            for toxic in toxics_of(fault):
                self._relay.remove_toxic(proxy_name(source, target), toxic_name(planned.id, toxic))


def toxic_name(fault: str, toxic: Toxic) -> str:
    """Unique on a proxy, whatever else is in force there."""
    return f"{fault}.{toxic.type}.{toxic.stream}"


def is_shaped(cluster: PlannedCluster, source: int, target: int) -> bool:
    """Whether the ordinary link has to be made, since this machine's own is not like it."""
    link = ordinary_link(cluster, source, target)
    return bool(link.loss) or link.latency_ms + link.jitter_ms > ORDINARY_MS
