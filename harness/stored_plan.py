"""Reads a plan that was stored, and refuses what no campaign could have become.

It may have been edited by hand or by a shrinker: what it points at must be there, its numbers lie within what the
compiler allows, and what it claims can be judged.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from faults.byzantine import STRATEGIES
from faults.vocabulary import Byzantine
from harness.campaign import (
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    LOAD_S_MAX,
    NODES_MAX,
    Between,
    Network,
    split_place,
)
from harness.claim import check_claim
from harness.errors import BadInput
from harness.plan import PLAN_FORMAT, Plan, byzantine_seats, fault_nodes
from harness.workloads import ACTIONS

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file.  Raises BadInput."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(str(path), "", f"cannot be read: {error.strerror}") from None
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except msgspec.ValidationError as error:
        place, problem = split_place(str(error))
        raise BadInput(path.name, place, problem) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(path.name, "", f"is not a plan: {error}") from None
    if plan.format != PLAN_FORMAT:
        raise BadInput(path.name, "format", f"is {plan.format}, this harness reads {PLAN_FORMAT}")
    _check_numbers(plan, path.name)
    _check_network(plan, path.name)
    _check_core(plan, path.name)
    _check_operations(plan, path.name)
    _check_faults(plan, path.name)
    check_claim(plan, path.name)
    return plan


def _check_numbers(plan: Plan, source: str) -> None:
    """Beyond these nothing was ever computed."""
    cluster = plan.cluster
    ranges = {
        "cluster.nodes": (cluster.nodes, 1, NODES_MAX),
        "cluster.faulty": (cluster.faulty, 0, (cluster.nodes - 1) // 3),
        "cluster.fanout": (cluster.fanout, 1, max(1, cluster.nodes - 1)),
        "cluster.frame_bytes_max": (cluster.frame_bytes_max, FRAME_BYTES_MIN, FRAME_BYTES_MAX),
        "cluster.gossip_interval_ns": (cluster.gossip_interval_ns, MILLISECOND, 60 * SECOND),
        "cluster.disk_sync_ns_max": (cluster.disk_sync_ns_max, 300_000, SECOND),
        "cluster.probe_interval_ns": (cluster.probe_interval_ns, 10 * MILLISECOND, 60 * SECOND),
        "cluster.probe_misses": (cluster.probe_misses, 2, 1000),
        "seed": (plan.seed, 0, (1 << 63) - 1),
        "load_ns": (plan.load_ns, 1, int(LOAD_S_MAX * SECOND)),
        "operation_timeout_ns": (plan.operation_timeout_ns, 1, 60 * SECOND),
        "deadline.total_ns": (plan.deadline.total_ns, 1, 1 << 62),
        "deadline.rounds": (plan.deadline.rounds, 1, 1 << 31),
        "deadline.interval_ns": (plan.deadline.interval_ns, 1, 60 * SECOND),
        "deadline.exchange_ns": (plan.deadline.exchange_ns, 0, 1 << 62),
    }
    for place, (number, low, high) in ranges.items():
        if not low <= number <= high:
            raise BadInput(source, place, f"{number} is not in {low} .. {high}")
    if len(cluster.regions) != cluster.nodes:
        raise BadInput(source, "cluster.regions", f"names {len(cluster.regions)} of {cluster.nodes} nodes")


def _check_network(plan: Plan, source: str) -> None:
    network = plan.cluster.network
    links: list[tuple[str, Network | Between]] = [("cluster.network", network)]
    links += [(f"cluster.network.between[{index}]", one) for index, one in enumerate(network.between)]
    for place, link in links:
        within = 0 <= link.latency_ms <= 60_000 and 0 <= link.jitter_ms <= 60_000 and 0 <= link.loss < 1
        if not within:
            raise BadInput(source, place, "latency_ms and jitter_ms are in 0 .. 60000, loss in 0 .. 1 (1 excluded)")


def _check_core(plan: Plan, source: str) -> None:
    """Without a core that can converge, a run has no end."""
    core, correct = plan.core, set(range(plan.cluster.nodes)) - set(byzantine_seats(plan))
    if not core or len(set(core)) != len(core) or not correct.issuperset(core):
        raise BadInput(source, "core", f"is to name some of the nodes {sorted(correct)}, each once")


def _check_operations(plan: Plan, source: str) -> None:
    nodes, liars = plan.cluster.nodes, set(byzantine_seats(plan))
    types = {entry.name: entry.type for entry in plan.objects}
    ids: set[int] = set()
    for index, operation in enumerate(plan.operations):
        place = f"operations[{index}]"
        if not 0 <= operation.node < nodes or operation.node in liars:
            said = f"no node {operation.node} that is correct; nodes are 0 to {nodes - 1}"
            raise BadInput(source, f"{place}.node", said)
        if operation.object and operation.object not in types:
            raise BadInput(source, f"{place}.object", f'no object "{operation.object}"')
        if operation.type != types.get(operation.object, ""):
            raise BadInput(source, f"{place}.type", f'the object "{operation.object}" is none of "{operation.type}"')
        known = ACTIONS[operation.type] if operation.object else ("digest",)
        if operation.action not in known:
            raise BadInput(source, f"{place}.action", f'no action "{operation.action}"; one of {", ".join(known)}')
        if operation.seen is not None and not 0 <= operation.seen < 1:
            raise BadInput(source, f"{place}.seen", "is not in 0 .. 1 (1 excluded)")
        if operation.level != "local" and not plan.cluster.roster:
            raise BadInput(source, f"{place}.level", "needs cluster.roster = true")
        if operation.id in ids or operation.at_ns < 0:
            raise BadInput(source, place, "an id that is taken, or a negative time")
        ids.add(operation.id)


def _check_faults(plan: Plan, source: str) -> None:
    nodes = plan.cluster.nodes
    for index, planned in enumerate(plan.faults):
        for node in fault_nodes(planned):
            if not 0 <= node < nodes:
                raise BadInput(source, f"faults[{index}]", f"no node {node}; nodes are 0 to {nodes - 1}")
        fault = planned.fault
        if isinstance(fault, Byzantine) and fault.strategy not in STRATEGIES:
            said = f'unknown strategy "{fault.strategy}"; one of {", ".join(STRATEGIES)}'
            raise BadInput(source, f"faults[{index}].fault.strategy", said)
