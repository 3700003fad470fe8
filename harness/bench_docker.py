"""What containers need: to come up and be writable, to be gone again, and what an idle node keeps in memory."""

from __future__ import annotations

import asyncio
import statistics
import time

from harness.backend import Ask
from harness.campaign import Campaign, Cluster, WorkloadSpec
from harness.compiler import compile_campaign
from harness.docker.hosts import DockerHosts, missing_here
from harness.plan import Plan
from harness.real.control import Control
from harness.subject import REFERENCE

SIZES = {5: 10.0, 10: 15.0}
IDLE_S = 5.0


def bench() -> list[str]:
    """A line for each size of cluster."""
    lines = []
    for nodes, aim_s in SIZES.items():
        campaign = Campaign(
            name="bench-docker",
            shows="what containers need",
            cluster=Cluster(nodes=nodes),
            workloads=(WorkloadSpec(type="gset"),),
        )
        plan = compile_campaign(campaign, 1, source="bench")
        lacks = missing_here(plan, REFERENCE)
        if lacks:
            return [f"skipped: {lacks[0]}"]
        lines += asyncio.run(_measure(plan, aim_s))
    return lines


async def _measure(plan: Plan, aim_s: float) -> list[str]:
    nodes = plan.cluster.nodes
    hosts, control = DockerHosts(plan, REFERENCE), Control()
    try:
        begun = time.perf_counter()
        await hosts.start({})
        asks = [Ask("elements", "gset", "add", node) for node in range(nodes)]
        answers = await asyncio.gather(*(control.ask(*hosts.control(node), ask) for node, ask in enumerate(asks)))
        up = time.perf_counter() - begun
        assert all(answer.outcome == "ok" for answer in answers), answers
        await asyncio.sleep(IDLE_S)
        memory = [megabytes for node in range(nodes) for megabytes in [await asyncio.to_thread(hosts.memory_mb, node)]]
    finally:
        await control.close()
        begun = time.perf_counter()
        await hosts.stop(None)
        down = time.perf_counter() - begun
    return [
        f"{nodes} containers and their relay up, a write taken by each, after {up:.1f} s (aim {aim_s:g} s); "
        f"gone after {down:.1f} s (aim 5 s); an idle node keeps {statistics.median(memory):.0f} MB "
        f"({min(memory):.0f} to {max(memory):.0f}; aim 40 MB)"
    ]
