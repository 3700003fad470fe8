"""Reads a plan that was stored.

It may have been edited by hand or by a shrinker.  What it points at must be there, its names and numbers lie within
what a campaign may say, its deadline is the sum of its parts, each of which follows from them or from what has been
shrunk away, and what it claims can be judged.
"""

from __future__ import annotations

from math import isclose
from pathlib import Path

import msgspec

from faults.byzantine import STRATEGIES
from faults.vocabulary import At, Byzantine, Trigger
from harness.campaign import (
    CAMPAIGN_NAME_BYTES_MAX,
    DELAY_MS,
    DISK_SYNC_MS,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    GOSSIP_INTERVAL_MS,
    LOAD_S,
    NAME_BYTES_MAX,
    NODES_MAX,
    OPERATION_TIMEOUT_MS,
    OPERATIONS_MAX,
    PROBE_INTERVAL_MS,
    PROBE_MISSES,
    Between,
    Network,
    split_place,
)
from harness.claim import check_claim, check_required
from harness.deadline import deadline_for, writes_in
from harness.errors import BadInput
from harness.plan import PLAN_FORMAT, Plan, PlannedOperation, byzantine_seats, fault_nodes
from harness.workloads import ACTIONS

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
ELEMENT_BYTES_MAX = 1024
AMOUNT_MAX = 1 << 53
"""What a client may ask for, by the node contract."""
SAMPLED = 2
"""Rounds by which two samples of one model may differ, made by different versions of a library."""
_LEVELS = {"read": ("local", "quorum"), "digest": ("local",)}
_LEVELS_OF_WRITES = ("local", "stable")


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
    _check_names(plan, path.name)
    _check_numbers(plan, path.name)
    _check_network(plan, path.name)
    _check_core(plan, path.name)
    _check_operations(plan, path.name)
    _check_faults(plan, path.name)
    check_required(plan.requires, path.name, "requires")
    check_claim(plan, path.name)
    _check_deadline(plan, path.name)
    return plan


def _check_names(plan: Plan, source: str) -> None:
    """The campaign's is that of a directory; an object's is known to every node."""
    if not (plan.campaign.strip() and len(plan.campaign.encode()) <= CAMPAIGN_NAME_BYTES_MAX):
        raise BadInput(source, "campaign", f"a name has 1 to {CAMPAIGN_NAME_BYTES_MAX} bytes")
    if not plan.shows.strip():
        raise BadInput(source, "shows", "is empty: say in one sentence what the campaign shows")
    names: set[str] = set()
    for index, entry in enumerate(plan.objects):
        if not 1 <= len(entry.name.encode()) <= NAME_BYTES_MAX or entry.name in names:
            said = f"a name has 1 to {NAME_BYTES_MAX} bytes, and is no other object's"
            raise BadInput(source, f"objects[{index}].name", said)
        names.add(entry.name)
    if len(set(plan.cluster.observe)) < len(plan.cluster.observe):
        raise BadInput(source, "cluster.observe", "names each at most once")


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
        "load_ns": (plan.load_ns, int(LOAD_S[0] * SECOND), int(LOAD_S[1] * SECOND)),
        "operation_timeout_ns": (plan.operation_timeout_ns, *_ns(OPERATION_TIMEOUT_MS)),
    }
    for place, (number, low, high) in ranges.items():
        if not low <= number <= high:
            raise BadInput(source, place, f"{number} is not in {low} .. {high}")
    named = sum(bool(region.strip()) for region in cluster.regions)
    if len(cluster.regions) != cluster.nodes or named not in (0, cluster.nodes):
        raise BadInput(source, "cluster.regions", f"names {named} of {cluster.nodes} nodes")


def _check_network(plan: Plan, source: str) -> None:
    network = plan.cluster.network
    links: list[tuple[str, Network | Between]] = [("cluster.network", network)]
    links += [(f"cluster.network.between[{index}]", one) for index, one in enumerate(network.between)]
    for place, link in links:
        low, high = DELAY_MS
        if not (low <= link.latency_ms <= high and low <= link.jitter_ms <= high and 0 <= link.loss < 1):
            said = f"latency_ms and jitter_ms are in {low} .. {high}, loss in 0 .. 1 (1 excluded)"
            raise BadInput(source, place, said)
        if isinstance(link, Between) and not {link.source, link.target} <= set(plan.cluster.regions):
            raise BadInput(source, place, f'no node is in region "{link.source}", or none in "{link.target}"')


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
        _check_argument(operation, place, source)
        levels = _LEVELS.get(operation.action, _LEVELS_OF_WRITES)
        if operation.level not in levels:
            raise BadInput(source, f"{place}.level", f'of "{operation.action}" is one of {", ".join(levels)}')
        if operation.level != "local" and not plan.cluster.roster:
            raise BadInput(source, f"{place}.level", "needs cluster.roster = true")
        if operation.id in ids or operation.id < 0 or not 0 <= operation.at_ns < plan.load_ns:
            raise BadInput(source, place, "an id that is taken or negative, or a time outside the load")
        ids.add(operation.id)


def _check_argument(operation: PlannedOperation, place: str, source: str) -> None:
    """Reads have none, counters an amount, and what is removed is named by what was seen."""
    value, seen, action = operation.value, operation.seen, operation.action
    if seen is not None and not (action == "remove" and value is None and 0 <= seen < 1):
        raise BadInput(source, f"{place}.seen", 'is for "remove" without a value, in 0 .. 1 (1 excluded)')
    if action in ("increment", "decrement") and not (type(value) is int and 0 < value <= AMOUNT_MAX):
        raise BadInput(source, f"{place}.value", f"is no amount of 1 to {AMOUNT_MAX}")
    if action in ("add", "remove") and seen is None and not _is_element(value):
        raise BadInput(source, f"{place}.value", f"is no element: an integer of 64 bits, or {ELEMENT_BYTES_MAX} bytes")
    if action in ("read", "digest") and value is not None:
        raise BadInput(source, f"{place}.value", f'"{action}" has none')


def _is_element(value: int | str | None) -> bool:
    if isinstance(value, str):
        return len(value.encode()) <= ELEMENT_BYTES_MAX
    return value is not None and -(1 << 63) <= value < 1 << 63


def _check_faults(plan: Plan, source: str) -> None:
    nodes = plan.cluster.nodes
    ids: set[str] = set()
    for index, planned in enumerate(plan.faults):
        place, fault = f"faults[{index}]", planned.fault
        if planned.id in ids:
            raise BadInput(source, f"{place}.id", f'"{planned.id}" is another fault\'s')
        ids.add(planned.id)
        if isinstance(planned.start, At) and planned.start.at_ns >= plan.load_ns:
            raise BadInput(source, f"{place}.start", "is after the load")
        for node in [*fault_nodes(planned), *([planned.start.node] if isinstance(planned.start, Trigger) else [])]:
            if not 0 <= node < nodes:
                raise BadInput(source, place, f"no node {node}; nodes are 0 to {nodes - 1}")
        if isinstance(fault, Byzantine) and fault.strategy not in STRATEGIES:
            said = f'unknown strategy "{fault.strategy}"; one of {", ".join(STRATEGIES)}'
            raise BadInput(source, f"{place}.fault.strategy", said)


def _check_deadline(plan: Plan, source: str) -> None:
    """Fewer writes than were planned at first need no more time.  How long an exchange may take, verdicts rest on."""
    told = plan.deadline
    needed = deadline_for(plan.cluster, core=plan.core, writes=writes_in(plan.operations))
    for field in ("interval_ns", "exchange_ns", "reconnect_ns"):
        if getattr(told, field) != getattr(needed, field):
            raise BadInput(source, f"deadline.{field}", f"is {getattr(needed, field)} for this cluster")
    if not isclose(told.specification_rounds, needed.specification_rounds):  # a logarithm, of some library
        raise BadInput(source, "deadline.specification_rounds", f"is {needed.specification_rounds} for this cluster")
    if abs(told.rounds - needed.rounds) > SAMPLED:
        raise BadInput(source, "deadline.rounds", f"is {needed.rounds} for this cluster")
    # Each workload plans so many on average at most; whose objects were shrunk away is not known any more.
    drawn = 2 * OPERATIONS_MAX * max(1, len(plan.objects))
    most = deadline_for(plan.cluster, core=plan.core, writes=drawn).transfer_ns
    if not needed.transfer_ns <= told.transfer_ns <= most:
        raise BadInput(source, "deadline.transfer_ns", f"is {needed.transfer_ns} for this plan, {most} at most")
    total_ns = told.reconnect_ns + told.transfer_ns + (told.rounds + 1) * (told.interval_ns + told.exchange_ns)
    if told.total_ns != total_ns:
        raise BadInput(source, "deadline.total_ns", f"is {total_ns} by its parts")


def _ns(bounds_ms: tuple[float, float]) -> tuple[int, int]:
    return int(bounds_ms[0] * MILLISECOND), int(bounds_ms[1] * MILLISECOND)
