"""A plan: one campaign under one seed, as plain data.

Every operation and every fault stands in it with its time or trigger, so that running it again is replaying,
and deleting from it is shrinking: each entry is drawn from a random stream of its own, and none refers to
another by its place.  Stored as JSON.

Times are integer nanoseconds from the start of the load.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from checkers.history import CheckEntry, Deadline, Level, ObjectEntry
from faults.vocabulary import Byzantine, PlannedFault
from harness.campaign import Expect, Network, Transport, Wiring, split_place
from harness.errors import BadInput

PLAN_FORMAT = 1


class PlannedOperation(msgspec.Struct, frozen=True):
    """One operation of one client.

    `value` is the argument.  `seen` stands in its place where the operation depends on what was read: a number in
    [0, 1) that picks among the elements which this client has read, in order.
    """

    id: int
    at_ns: int
    client: str
    node: int
    object: str
    type: str
    action: str
    value: int | str | None = None
    seen: float | None = None
    level: Level = "local"


class PlannedCluster(msgspec.Struct, frozen=True):
    """The nodes, numbers resolved.  `regions` has one entry a node."""

    nodes: int
    faulty: int
    fanout: int
    strategy: str
    gossip_interval_ns: int
    frame_bytes_max: int
    disk_sync_ns_max: int
    regions: tuple[str, ...]
    network: Network
    transport: Transport = "quic"
    wiring: Wiring = "relayed"
    roster: bool = False
    gate_local_writes: bool = False
    probe_interval_ns: int = 100_000_000
    probe_misses: int = 7
    observe: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a backend and the runner need."""

    format: int = PLAN_FORMAT
    campaign: str
    shows: str
    seed: int
    cluster: PlannedCluster
    load_ns: int
    operation_timeout_ns: int
    core: tuple[int, ...]
    objects: tuple[ObjectEntry, ...]
    operations: tuple[PlannedOperation, ...]
    faults: tuple[PlannedFault, ...]
    deadline: Deadline
    checks: tuple[CheckEntry, ...]
    expect: Expect
    requires: tuple[str, ...] = ()


def byzantine_seats(plan: Plan) -> tuple[int, ...]:
    """The nodes that lie at some time, ascending: faulty for the whole run."""
    return seats_of(plan.faults)


def seats_of(faults: Iterable[PlannedFault]) -> tuple[int, ...]:
    """The nodes that these faults give to liars, ascending."""
    return tuple(sorted({node for one in faults if isinstance(one.fault, Byzantine) for node in one.fault.nodes}))


def encode_plan(plan: Plan) -> bytes:
    """The plan as indented JSON; equal plans, equal bytes."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"


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
    _check_references(plan, path.name)
    return plan


def _check_references(plan: Plan, source: str) -> None:
    """A plan may have been edited by hand or by a shrinker: whatever it points at must be there."""
    nodes = plan.cluster.nodes
    if nodes < 1 or len(plan.cluster.regions) != nodes:
        raise BadInput(source, "cluster", "needs at least one node, and a region for each")
    _check_core(plan, source)
    names = {entry.name for entry in plan.objects}
    ids: set[int] = set()
    for index, operation in enumerate(plan.operations):
        place = f"operations[{index}]"
        if not 0 <= operation.node < nodes:
            raise BadInput(source, f"{place}.node", f"no node {operation.node}; nodes are 0 to {nodes - 1}")
        if operation.object and operation.object not in names:
            raise BadInput(source, f"{place}.object", f'no object "{operation.object}"')
        if operation.id in ids or operation.at_ns < 0:
            raise BadInput(source, place, "an id that is taken, or a negative time")
        ids.add(operation.id)
    for index, planned in enumerate(plan.faults):
        for node in fault_nodes(planned):
            if not 0 <= node < nodes:
                raise BadInput(source, f"faults[{index}]", f"no node {node}; nodes are 0 to {nodes - 1}")


def _check_core(plan: Plan, source: str) -> None:
    """Without a core that can converge, a run has no end; beyond these numbers nothing was ever computed."""
    cluster, core = plan.cluster, plan.core
    correct = set(range(cluster.nodes)) - set(byzantine_seats(plan))
    if not core or len(set(core)) != len(core) or not correct.issuperset(core):
        raise BadInput(source, "core", f"is to name some of the nodes {sorted(correct)}, each once")
    if not 0 <= cluster.faulty <= (cluster.nodes - 1) // 3:
        raise BadInput(source, "cluster.faulty", f"{cluster.faulty} of {cluster.nodes} nodes")
    numbers = {
        "cluster.fanout": cluster.fanout,
        "cluster.gossip_interval_ns": cluster.gossip_interval_ns,
        "cluster.probe_interval_ns": cluster.probe_interval_ns,
        "cluster.probe_misses": cluster.probe_misses,
        "load_ns": plan.load_ns,
        "operation_timeout_ns": plan.operation_timeout_ns,
    }
    for place, number in numbers.items():
        if number < 1:
            raise BadInput(source, place, f"{number} is less than 1")


def fault_nodes(planned: PlannedFault) -> list[int]:
    """Every node that a fault names, ascending."""
    fault: Any = planned.fault
    if hasattr(fault, "links"):
        return sorted({node for link in fault.links for node in link})
    return sorted(fault.nodes)
