"""A plan: one campaign under one seed, as plain data.

Every operation and every fault stands in it with its time or trigger, so that running it again is replaying,
and deleting from it is shrinking: each entry is drawn from a random stream of its own, and none refers to
another by its place.  Stored as JSON; `stored_plan` reads it.

Times are integer nanoseconds from the start of the load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from checkers.history import CheckEntry, Deadline, Level, ObjectEntry
from faults.vocabulary import Byzantine, PlannedFault
from harness.campaign import Expect, Network, Observed, Strategy, Transport, Wiring

PLAN_FORMAT = 1


class PlannedOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class PlannedCluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The nodes, numbers resolved.  `regions` has one entry a node."""

    nodes: int
    faulty: int
    fanout: int
    strategy: Strategy
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
    observe: tuple[Observed, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


def fault_nodes(planned: PlannedFault) -> list[int]:
    """Every node that a fault names, ascending."""
    fault: Any = planned.fault
    if hasattr(fault, "links"):
        return sorted({node for link in fault.links for node in link})
    return sorted(fault.nodes)
