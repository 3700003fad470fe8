"""From a campaign and a seed to a plan: everything drawn, every number resolved, impossible claims refused.

What is refused here never costs a run: fields that contradict each other, nodes that do not exist, checks that
nobody knows, and claims whose assumptions the campaign itself breaks.
"""

from __future__ import annotations

from checkers.history import CheckEntry, ObjectEntry
from faults.byzantine import STRATEGIES
from faults.schedule import ByzantineSpec, FaultError, compile_faults
from faults.vocabulary import PlannedFault
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
    Campaign,
    CheckSpec,
    Network,
    Transport,
    WorkloadSpec,
)
from harness.claim import check_claim, check_required, wiped_by
from harness.deadline import deadline_for, writes_in
from harness.errors import BadInput
from harness.plan import Plan, PlannedCluster, PlannedOperation, seats_of
from harness.workloads import plan_digests, plan_workload

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def compile_campaign(campaign: Campaign, seed: int, *, source: str, transport: Transport | None = None) -> Plan:
    """The plan of `campaign` under `seed` (0 to 2^63 - 1).  Raises BadInput naming `source` and the place.

    `transport` is one that the campaign names; by default its first.
    """
    if not 0 <= seed < 1 << 63:
        raise BadInput(source, "seed", f"{seed} is not in 0 .. 2^63 - 1")
    _require(bool(campaign.name.strip()), source, "name", "is empty")
    fits = len(campaign.name.encode()) <= CAMPAIGN_NAME_BYTES_MAX
    _require(fits, source, "name", f"has more than {CAMPAIGN_NAME_BYTES_MAX} bytes")
    _require(bool(campaign.shows.strip()), source, "shows", "is empty: say in one sentence what the campaign shows")
    cluster = _cluster(campaign, source, transport)
    load_ns = _load(campaign, source)
    workloads = _workloads(campaign, cluster.nodes, source)
    faults = _faults(campaign, cluster, seed, load_ns, source)
    check_required(campaign.requires.capabilities, source, "requires.capabilities")
    liars = seats_of(faults)
    correct = tuple(node for node in range(cluster.nodes) if node not in liars)
    core = _core(campaign, correct, cluster.nodes, source)
    _clients(campaign, correct, source)
    operations = _operations(campaign, workloads, correct, seed, load_ns)
    plan = Plan(
        campaign=campaign.name,
        shows=campaign.shows,
        seed=seed,
        cluster=cluster,
        load_ns=load_ns,
        operation_timeout_ns=int(campaign.load.operation_timeout_ms * MILLISECOND),
        core=core,
        objects=tuple(ObjectEntry(name=name, type=spec.type) for spec, name in workloads),
        operations=operations,
        faults=faults,
        deadline=deadline_for(cluster, core=core, writes=writes_in(operations)),
        checks=_checks(campaign, liars),
        expect=campaign.expect,
        requires=campaign.requires.capabilities,
    )
    check_claim(plan, source)
    return plan


def _cluster(campaign: Campaign, source: str, transport: Transport | None) -> PlannedCluster:
    asked = campaign.cluster
    transports = asked.transports
    _require(0 < len(transports) == len(set(transports)), source, "cluster.transports", "names quic, tcp or both, once")
    _require(
        transport is None or transport in transports,
        source,
        "cluster.transports",
        f"the campaign does not run over {transport}",
    )
    nodes = asked.nodes
    _require(1 <= nodes <= NODES_MAX, source, "cluster.nodes", f"{nodes} is not in 1 .. {NODES_MAX}")
    faulty = (nodes - 1) // 3 if asked.faulty is None else asked.faulty
    _require(
        0 <= faulty <= (nodes - 1) // 3,
        source,
        "cluster.faulty",
        f"{faulty} of {nodes} nodes: two quorums of n - f share a correct node only if f <= {(nodes - 1) // 3}",
    )
    _require(len(set(asked.observe)) == len(asked.observe), source, "cluster.observe", "names each at most once")
    fanout = min(5, max(1, nodes - 1)) if asked.fanout is None else asked.fanout
    _require(1 <= fanout <= max(1, nodes - 1), source, "cluster.fanout", f"{fanout} is not in 1 .. {nodes - 1}")
    _within(asked.gossip_interval_ms, GOSSIP_INTERVAL_MS, source, "cluster.gossip_interval_ms")
    _within(asked.frame_bytes_max, (FRAME_BYTES_MIN, FRAME_BYTES_MAX), source, "cluster.frame_bytes_max")
    _within(asked.probe_interval_ms, PROBE_INTERVAL_MS, source, "cluster.probe_interval_ms")
    _within(asked.probe_misses, PROBE_MISSES, source, "cluster.probe_misses")
    _within(asked.disk_sync_ms_max, DISK_SYNC_MS, source, "cluster.disk_sync_ms_max")
    _require(
        len(asked.regions) in (0, nodes),
        source,
        "cluster.regions",
        f"names {len(asked.regions)} of {nodes} nodes",
    )
    for index, region in enumerate(asked.regions):
        _require(bool(region.strip()), source, f"cluster.regions[{index}]", "is empty")
    _network(campaign, source)
    return PlannedCluster(
        nodes=nodes,
        faulty=faulty,
        fanout=fanout,
        strategy=asked.strategy,
        gossip_interval_ns=int(asked.gossip_interval_ms * MILLISECOND),
        frame_bytes_max=asked.frame_bytes_max,
        disk_sync_ns_max=int(asked.disk_sync_ms_max * MILLISECOND),
        regions=asked.regions or ("",) * nodes,
        network=campaign.network,
        transport=transport or transports[0],
        wiring=asked.wiring,
        roster=asked.roster,
        gate_local_writes=asked.gate_local_writes,
        probe_interval_ns=int(asked.probe_interval_ms * MILLISECOND),
        probe_misses=asked.probe_misses,
        observe=asked.observe,
    )


def _network(campaign: Campaign, source: str) -> None:
    network = campaign.network
    links: list[tuple[str, Network | Between]] = [
        ("network", network),
        *((f"network.between[{i}]", one) for i, one in enumerate(network.between)),
    ]
    for place, link in links:
        _within(link.latency_ms, DELAY_MS, source, f"{place}.latency_ms")
        _within(link.jitter_ms, DELAY_MS, source, f"{place}.jitter_ms")
        _require(0 <= link.loss < 1, source, f"{place}.loss", "is not in 0 .. 1 (1 excluded)")
    known = set(campaign.cluster.regions)
    for index, one in enumerate(network.between):
        for field in ("source", "target"):
            region = getattr(one, field)
            _require(
                region in known,
                source,
                f"network.between[{index}].{field}",
                f'no node is in region "{region}"',
            )


def _load(campaign: Campaign, source: str) -> int:
    load = campaign.load
    _within(load.duration_s, LOAD_S, source, "load.duration_s")
    _within(load.operation_timeout_ms, OPERATION_TIMEOUT_MS, source, "load.operation_timeout_ms")
    _require(10 <= load.digest_interval_ms <= 60_000, source, "load.digest_interval_ms", "is not in 10 .. 60000")
    return int(load.duration_s * SECOND)


def _workloads(campaign: Campaign, nodes: int, source: str) -> list[tuple[WorkloadSpec, str]]:
    named: dict[str, WorkloadSpec] = {}
    _require(
        bool(campaign.workloads),
        source,
        "workloads",
        "at least one: a run in which nothing happens shows nothing",
    )
    for index, spec in enumerate(campaign.workloads):
        place = f"workloads[{index}]"
        _require(0 < spec.rate <= 100_000, source, f"{place}.rate", "is not in 0 .. 100000")
        expected = spec.rate * campaign.load.duration_s
        _require(
            expected <= OPERATIONS_MAX,
            source,
            f"{place}.rate",
            f"plans more than {OPERATIONS_MAX} operations",
        )
        shares = spec.reads >= 0 and spec.removes >= 0 and spec.reads + spec.removes <= 1
        _require(shares, source, f"{place}.reads", "reads and removes are shares that add up to at most 1")
        for share in ("stable", "quorum"):
            _require(0 <= getattr(spec, share) <= 1, source, f"{place}.{share}", "is a share, 0 to 1")
            certified = campaign.cluster.roster or not getattr(spec, share)
            _require(certified, source, f"{place}.{share}", "needs cluster.roster = true")
        _require(spec.type != "gset" or spec.removes == 0, source, f"{place}.removes", "a gset only grows")
        _require(
            spec.clients is None or 1 <= spec.clients <= 1000,
            source,
            f"{place}.clients",
            "is not in 1 .. 1000",
        )
        _require(spec.nodes is None or bool(spec.nodes), source, f"{place}.nodes", "names no node")
        once = len(set(spec.nodes or ())) == len(spec.nodes or ())
        _require(once, source, f"{place}.nodes", "names each node at most once")
        for node in spec.nodes or ():
            _require(0 <= node < nodes, source, f"{place}.nodes", f"no node {node}; nodes are 0 to {nodes - 1}")
        name = spec.object or f"{spec.type}{index}"
        fits = 1 <= len(name.encode()) <= NAME_BYTES_MAX
        _require(fits, source, f"{place}.object", f"a name has 1 to {NAME_BYTES_MAX} bytes")
        _require(name not in named, source, f"{place}.object", f'"{name}" is another workload\'s')
        named[name] = spec
    return [(spec, name) for name, spec in named.items()]


def _faults(
    campaign: Campaign, cluster: PlannedCluster, seed: int, load_ns: int, source: str
) -> tuple[PlannedFault, ...]:
    try:
        planned = compile_faults(
            campaign.faults, nodes=cluster.nodes, regions=cluster.regions, seed=seed, load_ns=load_ns
        )
    except FaultError as error:
        raise BadInput(source, error.place, error.message) from None
    for index, one in enumerate(campaign.faults):
        if isinstance(one, ByzantineSpec):
            for strategy in (one.strategy,) if isinstance(one.strategy, str) else one.strategy:
                said = f'unknown strategy "{strategy}"; one of {", ".join(STRATEGIES)}'
                _require(strategy in STRATEGIES, source, f"faults[{index}].strategy", said)
    _check_assumption(campaign, cluster, planned, source)
    return tuple(planned)


def _check_assumption(campaign: Campaign, cluster: PlannedCluster, planned: list[PlannedFault], source: str) -> None:
    """A claim rests on at most so many liars and lost disks; a node that is both counts once."""
    liars, wiped = set(seats_of(planned)), wiped_by(planned)
    allowed = campaign.assumes.byzantine_and_wiped_max
    allowed = cluster.faulty if allowed is None else allowed
    place = "assumes.byzantine_and_wiped_max"
    _require(0 <= allowed <= cluster.nodes, source, place, f"is not in 0 .. {cluster.nodes}")
    count = len(liars | wiped)
    said = f"the faults wipe {len(wiped)} nodes and make {len(liars)} lie, the claim rests on at most {allowed}"
    _require(count <= allowed, source, place, said)
    _require(len(liars) < cluster.nodes, source, "faults", "every node lies: there is nobody to be hurt")


def _core(campaign: Campaign, correct: tuple[int, ...], nodes: int, source: str) -> tuple[int, ...]:
    drawn = any(isinstance(one, ByzantineSpec) and one.pick is not None for one in campaign.faults)
    said = "cannot be named where the seed draws who lies: under some seed one of these would"
    _require(campaign.core is None or not drawn, source, "core", said)
    core = correct if campaign.core is None else tuple(sorted(campaign.core))
    _require(bool(core), source, "core", "names no node: nothing would have to converge")
    _require(len(set(core)) == len(core), source, "core", "names each node at most once")
    for node in core:
        _require(0 <= node < nodes, source, "core", f"no node {node}; nodes are 0 to {nodes - 1}")
        _require(node in correct, source, "core", f"node {node} lies: it cannot be held to anything")
    return core


def _clients(campaign: Campaign, correct: tuple[int, ...], source: str) -> None:
    """What a liar answers shows nothing."""
    for index, spec in enumerate(campaign.workloads):
        for node in spec.nodes or ():
            _require(node in correct, source, f"workloads[{index}].nodes", f"node {node} lies: it takes no clients")


def _operations(
    campaign: Campaign, workloads: list[tuple[WorkloadSpec, str]], nodes: tuple[int, ...], seed: int, load_ns: int
) -> tuple[PlannedOperation, ...]:
    operations: list[PlannedOperation] = []
    for index, (spec, name) in enumerate(workloads):
        operations += plan_workload(
            spec,
            index=index,
            name=name,
            nodes=spec.nodes or nodes,
            seed=seed,
            load_ns=load_ns,
            first_id=len(operations),
        )
    operations += plan_digests(
        nodes=nodes,
        interval_ns=int(campaign.load.digest_interval_ms * MILLISECOND),
        load_ns=load_ns,
        first_id=len(operations),
    )
    return tuple(sorted(operations, key=lambda operation: (operation.at_ns, operation.id)))


def _checks(campaign: Campaign, liars: tuple[int, ...]) -> tuple[CheckEntry, ...]:
    types = {spec.type for spec in campaign.workloads}
    usual = ["crashes", "convergence", "visibility", "availability", "exposure"]
    usual += ["durability", "set_full"] if types & {"gset", "orset"} else []
    usual += ["counter"] if "pncounter" in types else []
    usual += ["quorum", "partition"] if campaign.cluster.roster else []
    usual += ["accountability"] if liars else []
    usual += ["selection"] if "selections" in campaign.cluster.observe else []
    usual += ["resources"] if "resources" in campaign.cluster.observe else []
    # What a campaign does not ask for is not held against it: where nothing is to be certified, nothing is.
    lenient = {} if any(spec.stable for spec in campaign.workloads) else {"quorum": {"stable_min": 0}}
    asked = campaign.checks
    named = {check.name for check in asked}
    complete = [*asked, *(CheckSpec(name=name, options=lenient.get(name, {})) for name in usual if name not in named)]
    return tuple(CheckEntry(name=check.name, options=check.options) for check in complete)


def _within(number: float, bounds: tuple[float, float], source: str, place: str) -> None:
    low, high = bounds
    _require(low <= number <= high, source, place, f"is not in {low} .. {high}")


def _require(holds: bool, source: str, place: str, problem: str) -> None:
    if not holds:
        raise BadInput(source, place, problem)
