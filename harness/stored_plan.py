"""Reads a plan that was stored.

It may have been edited by hand or by a shrinker.  What it points at must be there, its numbers lie within what a
campaign may say, its deadline is no shorter than what follows from them, and what it claims can be judged.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from faults.byzantine import STRATEGIES
from faults.vocabulary import Byzantine, Trigger
from harness.campaign import (
    DELAY_MS,
    DISK_SYNC_MS,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    GOSSIP_INTERVAL_MS,
    LOAD_S_MAX,
    NODES_MAX,
    OPERATION_TIMEOUT_MS_MAX,
    PROBE_INTERVAL_MS,
    PROBE_MISSES,
    Between,
    Network,
    split_place,
)
from harness.claim import check_claim
from harness.deadline import deadline_for, writes_in
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
    _check_deadline(plan, path.name)
    return plan


def _check_numbers(plan: Plan, source: str) -> None:
    """Beyond these nothing was ever computed."""
    cluster = plan.cluster
    ranges = {
        "cluster.nodes": (cluster.nodes, 1, NODES_MAX),
        "cluster.faulty": (cluster.faulty, 0, (cluster.nodes - 1) // 3),
        "cluster.fanout": (cluster.fanout, 1, max(1, cluster.nodes - 1)),
        "cluster.frame_bytes_max": (cluster.frame_bytes_max, FRAME_BYTES_MIN, FRAME_BYTES_MAX),
        "cluster.gossip_interval_ns": (cluster.gossip_interval_ns, *_ns(GOSSIP_INTERVAL_MS)),
        "cluster.disk_sync_ns_max": (cluster.disk_sync_ns_max, *_ns(DISK_SYNC_MS)),
        "cluster.probe_interval_ns": (cluster.probe_interval_ns, *_ns(PROBE_INTERVAL_MS)),
        "cluster.probe_misses": (cluster.probe_misses, *PROBE_MISSES),
        "seed": (plan.seed, 0, (1 << 63) - 1),
        "load_ns": (plan.load_ns, 1, int(LOAD_S_MAX * SECOND)),
        "operation_timeout_ns": (plan.operation_timeout_ns, 1, OPERATION_TIMEOUT_MS_MAX * MILLISECOND),
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
        low, high = DELAY_MS
        if not (low <= link.latency_ms <= high and low <= link.jitter_ms <= high and 0 <= link.loss < 1):
            said = f"latency_ms and jitter_ms are in {low} .. {high}, loss in 0 .. 1 (1 excluded)"
            raise BadInput(source, place, said)


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
        counts = operation.type == "pncounter" and operation.action != "read"
        if counts and not (type(operation.value) is int and operation.value > 0):
            raise BadInput(source, f"{place}.value", "is no amount above 0")
        if operation.seen is not None and not 0 <= operation.seen < 1:
            raise BadInput(source, f"{place}.seen", "is not in 0 .. 1 (1 excluded)")
        if operation.level != "local" and not plan.cluster.roster:
            raise BadInput(source, f"{place}.level", "needs cluster.roster = true")
        if operation.id in ids or operation.id < 0 or operation.at_ns < 0:
            raise BadInput(source, place, "an id that is taken or negative, or a negative time")
        ids.add(operation.id)


def _check_faults(plan: Plan, source: str) -> None:
    nodes = plan.cluster.nodes
    ids: set[str] = set()
    for index, planned in enumerate(plan.faults):
        place, fault = f"faults[{index}]", planned.fault
        if planned.id in ids:
            raise BadInput(source, f"{place}.id", f'"{planned.id}" is another fault\'s')
        ids.add(planned.id)
        for node in [*fault_nodes(planned), *([planned.start.node] if isinstance(planned.start, Trigger) else [])]:
            if not 0 <= node < nodes:
                raise BadInput(source, place, f"no node {node}; nodes are 0 to {nodes - 1}")
        if isinstance(fault, Byzantine) and fault.strategy not in STRATEGIES:
            said = f'unknown strategy "{fault.strategy}"; one of {", ".join(STRATEGIES)}'
            raise BadInput(source, f"{place}.fault.strategy", said)


def _check_deadline(plan: Plan, source: str) -> None:
    """Fewer writes than were planned at first need no more time.  How long an exchange may take, verdicts rest on."""
    needed = deadline_for(plan.cluster, core=plan.core, writes=writes_in(plan.operations))
    for field in ("interval_ns", "exchange_ns"):
        if getattr(plan.deadline, field) != getattr(needed, field):
            raise BadInput(source, f"deadline.{field}", f"is {getattr(needed, field)} for this cluster")
    for field in ("total_ns", "transfer_ns", "reconnect_ns", "rounds"):
        if getattr(plan.deadline, field) < getattr(needed, field):
            raise BadInput(source, f"deadline.{field}", f"is at least {getattr(needed, field)} for this plan")


def _ns(bounds_ms: tuple[float, float]) -> tuple[int, int]:
    return int(bounds_ms[0] * MILLISECOND), int(bounds_ms[1] * MILLISECOND)
