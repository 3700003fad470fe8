"""How a fault on links is seen to bite, before it is lifted.

`CountedProof` reads the relay's own counters of each toxic.  `ObservedProof` asks the nodes that dial the links: an
echo that has not come for a while, a round trip that has grown by the latency that was put on.  What cannot be asked,
or does not show, is not counted.
"""

from __future__ import annotations

import asyncio
import time
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
SETTLE_SECONDS = 1.0
SHARE_SEEN = 0.5
"""A round trip must have grown by at least this share of the latency that was put on it."""


class LinkProof(Protocol):
    """One fault on links, from before it is put in force until before it is lifted."""

    async def begin(self) -> None:
        """Look at how things are without it."""

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

    async def begin(self) -> None:
        """Nothing to look at: the counters of toxics that are not there yet are nothing."""

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
        self._before: dict[tuple[int, int], dict[str, Any]] = {}

    async def begin(self) -> None:
        """How every link stands without the fault; those that are just being dialled are waited for a little."""
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            self._before = await self._links()
            if all(link.get("connected") for link in self._before.values()) or time.monotonic() > until:
                return
            await asyncio.sleep(0.05)

    async def evidence(self) -> Evidence:
        """`bites`: the number of links on which it shows."""
        now = await self._links()
        # A peer that does not answer its own clients is silent for a reason of its own, and proves nothing.
        targets = sorted({target for _, target in self._fault.links})
        told = dict(zip(targets, await asyncio.gather(*map(self._peers, targets)), strict=True))
        shown = sum(bool(told[link[1]]) and self._shows(self._before[link], now[link]) for link in self._fault.links)
        return {"bites": shown, "links": len(self._fault.links)}

    async def _links(self) -> dict[tuple[int, int], dict[str, Any]]:
        """What each link's dialling node says of it."""
        sources = sorted({source for source, _ in self._fault.links})
        told = dict(zip(sources, await asyncio.gather(*map(self._peers, sources)), strict=True))
        return {(source, target): told[source].get(self._agents[target], {}) for source, target in self._fault.links}

    async def _peers(self, node: int) -> dict[str, Any]:
        try:
            return {peer["agent"]: peer for peer in (await self._status(node))["peers"]}
        except (NoAnswer, KeyError, TypeError):
            return {}

    def _shows(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        """A link that was down before shows nothing."""
        if before.get("connected") is not True:
            return False
        if isinstance(self._fault, Cut):
            echo = now.get("last_echo_ns")
            return now.get("connected") is False or (isinstance(echo, int) and echo >= SILENT_NS_MIN)
        slowed_ns = (self._fault.latency_ms + self._fault.jitter_ms / 2) * 1e6
        trip_before, trip_now = before.get("round_trip_ns"), now.get("round_trip_ns")
        if not slowed_ns or not isinstance(trip_before, int) or not isinstance(trip_now, int):
            return False
        return trip_now - trip_before >= SHARE_SEEN * slowed_ns
