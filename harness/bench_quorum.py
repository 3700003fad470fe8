"""What certificates and the partition detector cost: in virtual time against the formulas, and on real nodes.

detection, recovery   the specification's scenario, n = 10 cut 3 | 7, and 4 cut 1 | 3: against their bounds
a stable write        in round trips, on a healthy simulated mesh of slow links and fast disks
stable writes/s       on local meshes of four and of seven, clients that each wait for their answer
a flood               a correct client's p99 beside a liar that floods, and without one
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from checkers.history import Complete, Invoke, NodeEvent
from faults.schedule import ByzantineSpec, CutSpec
from harness.backend import Ask
from harness.campaign import Campaign, Cluster, Load, Network, Transport, WorkloadSpec
from harness.compiler import compile_campaign
from harness.execution import Outcome, execute, lacking
from harness.local.hosts import LocalHosts, missing_here
from harness.plan import Plan
from harness.real.control import Control
from harness.subject import REFERENCE

MILLISECOND = 1_000_000
LATENCY_MS = 20.0
CLIENTS_A_NODE = 4
WRITES_S = 8.0
BACKOFF_S = 0.1
FLOOD_S = 8.0
FLOOD_RATE = 40.0
READY_S = 20.0


def bench() -> list[str]:
    """A few lines for each of the four."""
    return [*_partitions(), *_round_trips(), *_writes(), *_flood()]


def _cut(nodes: int, group: tuple[int, ...]) -> Campaign:
    rest = tuple(node for node in range(nodes) if node not in group)
    return Campaign(
        name="bench-cut",
        shows="how long detection and recovery take",
        cluster=Cluster(nodes=nodes, roster=True, transports=("quic", "tcp")),
        load=Load(duration_s=10.0),
        workloads=(WorkloadSpec(type="gset", rate=20.0, stable=0.5),),
        faults=(CutSpec(groups=(group, rest), start_s=2.0, duration_s=4.0),),
    )


def _partitions() -> list[str]:
    lines = []
    for nodes, group in ((10, (0, 1, 2)), (4, (0,))):
        campaign = _cut(nodes, group)
        what = f"{nodes} nodes cut {len(group)} | {nodes - len(group)}"
        lines.append(f"{what}, virtual: {_partition_line(execute(compile_campaign(campaign, 1, source='bench')))}")
        if nodes > 4:
            continue
        for transport in campaign.cluster.transports:
            plan = compile_campaign(campaign, 1, source="bench", transport=transport)
            needed, _ = lacking(plan, "local")
            said = f"skipped, {needed[0]}" if needed else _partition_line(execute(plan, backend="local"))
            lines.append(f"{what}, local processes, {transport}: {said}")
    return lines


def _partition_line(outcome: Outcome) -> str:
    figures = next(one.figures for one in outcome.verdict.results if one.checker == "partition")
    wanted = [one for one in sorted(figures) if one.startswith(("detection", "recover")) or one.endswith("bound_ms")]
    told = ", ".join(f"{name} {_number(figures[name])}" for name in wanted)
    return f"{outcome.verdict.validity}; {told}"


def _number(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _round_trips() -> list[str]:
    """The latency of local and stable writes where the links take nearly all of it."""
    campaign = Campaign(
        name="bench-stable",
        shows="what a certificate costs in round trips",
        cluster=Cluster(nodes=4, roster=True, disk_sync_ms_max=0.3),
        network=Network(latency_ms=LATENCY_MS, jitter_ms=0.0),
        load=Load(duration_s=60.0),
        workloads=(WorkloadSpec(type="gset", rate=40.0, stable=0.5, reads=0.4, quorum=0.5, clients=16),),
    )
    found = _latencies_ms(execute(compile_campaign(campaign, 1, source="bench")))
    round_trip = 2 * LATENCY_MS
    return [
        f"links of {LATENCY_MS:g} ms one way: {action} ({level}) p50 {_p(values, 50) / round_trip:.2f}, "
        f"p99 {_p(values, 99) / round_trip:.2f} round trips ({len(values)} of them)"
        for (action, level), values in sorted(found.items())
    ]


def _latencies_ms(outcome: Outcome) -> dict[tuple[str, str], list[float]]:
    """By (read or write, level), of what began on a healthy mesh: before that, votes wait for the enrolment."""
    ready = _ready_at(outcome)
    begun: dict[int, Invoke] = {}
    found: dict[tuple[str, str], list[float]] = {}
    for event in outcome.history.events:
        if isinstance(event, Invoke) and event.action != "digest" and not event.final and event.t >= ready:
            begun[event.op] = event
        elif isinstance(event, Complete) and event.op in begun and event.outcome == "ok":
            invoke = begun[event.op]
            kind = ("read" if invoke.action == "read" else "write", invoke.level)
            found.setdefault(kind, []).append((event.t - invoke.t) / MILLISECOND)
    return found


def _ready_at(outcome: Outcome) -> int:
    """When the last node had become healthy and might vote (ns on the harness's clock)."""
    told = [one for one in outcome.history.events if isinstance(one, NodeEvent)]
    return max(one.t for one in told if one.name == "enrolled" or one.data.get("to") == "healthy")


def _p(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _writes() -> list[str]:
    lines = []
    for nodes in (4, 7):
        for transport in ("quic", "tcp"):
            plan = _local_plan(nodes, transport)
            lacks = missing_here(plan)
            said = f"skipped, {lacks[0]}" if lacks else asyncio.run(_hammer(plan))
            lines.append(f"{nodes} local nodes, {transport}: {said}")
    return lines


def _local_plan(nodes: int, transport: Transport, *, liar: bool = False) -> Plan:
    campaign = Campaign(
        name="bench-writes",
        shows="how many stable writes a second",
        cluster=Cluster(nodes=nodes, roster=True, transports=(transport,)),
        workloads=(WorkloadSpec(type="gset"),),
        faults=(ByzantineSpec(strategy="flood", nodes=(nodes - 1,)),) if liar else (),
    )
    return compile_campaign(campaign, 1, source="bench")


async def _hammer(plan: Plan) -> str:
    """CLIENTS_A_NODE clients a node, each writing as soon as it is answered: local writes first, then stable ones."""
    hosts, control = LocalHosts(plan, REFERENCE), Control()
    try:
        await hosts.start({})
        await _healthy(hosts, control, plan.cluster.nodes)
        said = []
        for level in ("local", "stable"):
            latencies, failed = await _closed_loop(hosts, control, plan.cluster.nodes, level)
            said.append(
                f"{len(latencies) / WRITES_S:,.0f} {level} writes/s, p50 {_p(latencies, 50):.0f} ms, "
                f"p99 {_p(latencies, 99):.0f} ms" + (f", {failed} failed" if failed else "")
            )
        return f"{CLIENTS_A_NODE} clients a node: " + "; ".join(said)
    finally:
        await control.close()
        await hosts.stop(None)


async def _closed_loop(hosts: LocalHosts, control: Control, nodes: int, level: Any) -> tuple[list[float], int]:
    until = time.perf_counter() + WRITES_S
    latencies: list[float] = []
    failed = 0

    async def client(node: int, number: int) -> None:
        nonlocal failed
        address, token = hosts.control(node)
        written = 0
        while time.perf_counter() < until:
            begun = time.perf_counter()
            written += 1
            ask = Ask("bench", "gset", "add", f"{level}/{node}/{number}/{written}", level)
            answer = await control.ask(address, token, ask)
            if answer.outcome == "ok":
                latencies.append((time.perf_counter() - begun) * 1000)
            else:
                failed += 1
                await asyncio.sleep(BACKOFF_S)

    await asyncio.gather(*(client(node, number) for node in range(nodes) for number in range(CLIENTS_A_NODE)))
    return latencies or [0.0], failed


async def _healthy(hosts: LocalHosts, control: Control, nodes: int) -> None:
    """Wait until every node is healthy and votes."""
    async with asyncio.timeout(READY_S):
        for node in range(nodes):
            address, token = hosts.control(node)
            while True:
                told = await control.get(address, token, "/status", 5.0)
                if told["partition"]["state"] == "healthy" and told["voting"] == "votes":
                    break
                await asyncio.sleep(0.05)


def _flood() -> list[str]:
    """One of four local nodes floods: what a client of a correct one sees, before and meanwhile."""
    lines = []
    for transport in ("quic", "tcp"):
        plan = _local_plan(4, transport, liar=True)
        lacks = missing_here(plan)
        lines.append(f"{transport}: " + (f"skipped, {lacks[0]}" if lacks else asyncio.run(_flooded(plan))))
    return lines


async def _flooded(plan: Plan) -> str:
    hosts, control = LocalHosts(plan, REFERENCE), Control()
    liar = plan.cluster.nodes - 1
    try:
        await hosts.start({})
        await _healthy(hosts, control, liar)
        said = []
        for level in ("local", "stable"):
            calm = await _open_loop(hosts, control, level)
            address, token = hosts.control(liar)
            await control.lie(address, token, level, "flood", 5.0)
            flooded = await _open_loop(hosts, control, level)
            lies = await control.lie(address, token, level, None, 5.0)
            ratio = _p(flooded, 99) / max(_p(calm, 99), 0.001)
            said.append(
                f"{level} writes p99 {_p(calm, 99):.1f} ms, {_p(flooded, 99):.1f} ms beside {lies} frames of it: "
                f"{ratio:.2f}x (aim 2x); medians {statistics.median(calm):.1f} and {statistics.median(flooded):.1f} ms"
            )
        return "; ".join(said)
    finally:
        await control.close()
        await hosts.stop(None)


async def _open_loop(hosts: LocalHosts, control: Control, level: Any) -> list[float]:
    """FLOOD_RATE writes a second to node 0, each at its time, whatever became of the one before."""
    address, token = hosts.control(0)
    latencies: list[float] = []

    async def write(number: int, begun: float) -> None:
        ask = Ask("bench", "gset", "add", f"{level}/{begun}/{number}", level)
        if (await control.ask(address, token, ask)).outcome == "ok":
            latencies.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    tasks = []
    for number in range(int(FLOOD_RATE * FLOOD_S)):
        due = begun + number / FLOOD_RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(write(number, due)))
    await asyncio.gather(*tasks)
    return latencies or [float("inf")]
