"""How a fault on links is seen to bite, before it is lifted.

`CountedProof` reads the relay's own counters of each toxic.  `ObservedProof` asks the nodes that dial the links: an
echo that has not come for a while, a round trip as long as the latency that was put on.  What cannot be asked, or does
not show, is not counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from faults.toxiproxy import ToxiproxyServer
from faults.vocabulary import Cut, Link, PlannedFault
from harness.backend import Evidence
from harness.real.control import NoAnswer
from harness.real.hosts import proxy_name
from harness.real.links import toxic_name, toxics_of

EFFECTS = "relay_udp_effects_total"
SILENT_NS_MIN = 500_000_000
"""An echo that has been missing for less may just be between two pings."""
SHARE_SEEN = 0.5
"""A round trip must show at least this share of the latency that was put on it."""


class LinkProof(Protocol):
    """One fault on links, from before it is put in force until before it is lifted."""

    async def evidence(self) -> Evidence:
        """How it was seen to bite."""
        ...


class CountedProof:
    """The relay's counters of the fault's own toxics: they begin at nothing when a toxic is made."""

    def __init__(self, relay: ToxiproxyServer, planned: PlannedFault) -> None:
        self._relay = relay
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        self._toxics = {
            (proxy_name(source, target), toxic_name(planned.id, toxic))
            for source, target in fault.links
            for toxic in toxics_of(fault)
        }

    async def evidence(self) -> Evidence:
        """`bites`, and each effect by its name: dropped, delayed, ..."""
        counts: Counter[str] = Counter()
        for (name, labels), times in (await asyncio.to_thread(self._relay.metrics)).items():
            label = dict(labels)
            if name == EFFECTS and (label["proxy"], label["toxic"]) in self._toxics and times:
                counts[label["effect"]] += int(times)
        return {"bites": sum(counts.values()), **{effect: counts[effect] for effect in sorted(counts)}}


class ObservedProof:
    """What the nodes that dial the links say of them.  `status` fetches a node's GET /status."""

    def __init__(self, planned: PlannedFault, agents: list[str], status: Callable[[int], Awaitable[Any]]) -> None:
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        self._fault = fault
        self._agents = agents
        self._status = status

    async def evidence(self) -> Evidence:
        """`bites`: the number of links on which it shows."""
        sources = sorted({source for source, _ in self._fault.links})
        told = dict(zip(sources, await asyncio.gather(*map(self._peers, sources)), strict=True))
        shown = sum(
            self._shows(told[source][self._agents[target]])
            for source, target in self._fault.links
            if self._agents[target] in told[source]
        )
        return {"bites": shown, "links": len(self._fault.links)}

    async def _peers(self, node: int) -> dict[str, Any]:
        try:
            return {peer["agent"]: peer for peer in (await self._status(node))["peers"]}
        except (NoAnswer, KeyError, TypeError):
            return {}

    def _shows(self, peer: dict[str, Any]) -> bool:
        connected, echo, trip = peer.get("connected"), peer.get("last_echo_ns"), peer.get("round_trip_ns")
        if isinstance(self._fault, Cut):
            return connected is False or (echo is not None and echo >= SILENT_NS_MIN)
        slowed = self._fault.latency_ms + self._fault.jitter_ms / 2
        if slowed:
            return trip is not None and trip >= SHARE_SEEN * slowed * 1e6
        return trip is not None  # a rate alone: that what passes still passes is all that can be seen
