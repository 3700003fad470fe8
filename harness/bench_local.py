"""What real nodes on this machine need: to come up, to find each other again after a partition, to be one again.

Five nodes; QUIC beside TCP.  "connected" means that every node says so of every peer, "converged" that all digests are
equal: counted from the moment when the relay has confirmed that the last toxic is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from faults.grudges import groups
from faults.vocabulary import At, Cut, PlannedFault
from harness.backend import Ask
from harness.campaign import Campaign, Cluster, Transport, WorkloadSpec
from harness.compiler import compile_campaign
from harness.local.hosts import LocalHosts, missing_here
from harness.plan import Plan
from harness.real.control import Control
from harness.real.links import LinkFaults
from harness.subject import REFERENCE

NODES = 5
PARTITIONS_S = (5.0, 30.0)
WAIT_S = 20.0
EVERY_S = 0.01


def bench() -> list[str]:
    """Both transports, a few lines each."""
    return [*_bench("quic"), *_bench("tcp")]


def _bench(transport: Transport) -> list[str]:
    campaign = Campaign(
        name="bench-local",
        shows="what real nodes need",
        cluster=Cluster(nodes=NODES, transports=(transport,)),
        workloads=(WorkloadSpec(type="gset"),),
    )
    plan = compile_campaign(campaign, 1, source="bench")
    lacks = missing_here(plan)
    if lacks:
        return [f"{transport}: skipped, {lacks[0]}"]
    return asyncio.run(_measure(plan, transport))


async def _measure(plan: Plan, transport: str) -> list[str]:
    hosts, control = LocalHosts(plan, REFERENCE), Control()
    nodes = _Nodes(hosts, control)
    try:
        begun = time.perf_counter()
        await hosts.start({})
        answering = time.perf_counter() - begun
        await nodes.until(nodes.connected)
        await nodes.write("up")
        up = time.perf_counter() - begun
        lines = [
            f"{transport}: {NODES} nodes answer after {answering:.2f} s, "
            f"are connected and have taken a write each after {up:.2f} s (aim 3 s)"
        ]
        for seconds in PARTITIONS_S:
            lines.append(f"{transport}: " + await _partition(plan, nodes, seconds))
        return lines
    finally:
        await control.close()
        await hosts.stop(None)


async def _partition(plan: Plan, nodes: _Nodes, seconds: float) -> str:
    half = NODES // 2
    links = groups([tuple(range(half)), tuple(range(half, NODES))])
    cut = PlannedFault(id=f"halves-{seconds:g}", fault=Cut(links=links), start=At(0))
    faults = LinkFaults(nodes.hosts.relay())
    await asyncio.to_thread(faults.apply, cut)
    await asyncio.sleep(seconds / 2)
    await nodes.write(f"during {seconds:g}")
    await asyncio.sleep(seconds / 2)
    await asyncio.to_thread(faults.lift, cut)
    healed = time.perf_counter()
    await nodes.until(nodes.connected)
    connected = time.perf_counter() - healed
    await nodes.until(nodes.converged)
    converged = time.perf_counter() - healed
    rounds = plan.deadline.rounds + 1
    interval_s = plan.cluster.gossip_interval_ns / 1e9
    return (
        f"after a halves partition of {seconds:g} s reconnected {connected:.2f} s after the heal (aim 1 s), "
        f"converged at {converged:.2f} s (the model: {rounds} rounds of {interval_s:g} s after that)"
    )


class _Nodes:
    """All nodes, asked at once."""

    def __init__(self, hosts: LocalHosts, control: Control) -> None:
        self.hosts = hosts
        self._control = control

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until `holds()`; a bench that waits for ever tells nothing."""
        async with asyncio.timeout(WAIT_S):
            while not await holds():
                await asyncio.sleep(EVERY_S)

    async def connected(self) -> bool:
        """Whether every node is connected to every other."""
        told = await asyncio.gather(*(self._get(node, "/status") for node in range(NODES)))
        return all(peer["connected"] for status in told for peer in status["peers"])

    async def converged(self) -> bool:
        """Whether all roots are equal."""
        return len({one["root"] for one in await asyncio.gather(*(self._get(n, "/digest") for n in range(NODES)))}) == 1

    async def _get(self, node: int, path: str) -> dict[str, Any]:
        address, token = self.hosts.control(node)
        found: dict[str, Any] = await self._control.get(address, token, path, 5.0)
        return found

    async def write(self, what: str) -> None:
        """An element of its own on each node."""
        asks = [Ask("elements", "gset", "add", f"{what} {node}") for node in range(NODES)]
        answers = await asyncio.gather(
            *(self._control.ask(*self.hosts.control(node), ask) for node, ask in enumerate(asks))
        )
        assert all(answer.outcome == "ok" for answer in answers), answers
