"""Whether what a plan claims can be borne out by a run at all.

What it asks of the cluster goes together, its checks can be made, and they could find what it expects.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.anomalies import ANOMALIES
from checkers.compose import CHECKERS, make_checker
from checkers.history import Header
from faults.byzantine import STRATEGIES
from faults.vocabulary import CAPABILITIES, Cut, Disconnect, Kill, Link, PlannedFault
from harness.bounds import quorum_entry
from harness.errors import BadInput
from harness.plan import Plan, fault_nodes, seats_of


def check_claim(plan: Plan, source: str) -> None:
    """Raises BadInput, naming `source` and the place, for a claim that no run could bear out."""
    _check_cluster(plan, source)
    _check_kills(plan, source)
    _try_checks(plan, source)
    _check_expected(plan, source)
    _check_quorums(plan, source)


def wiped_by(faults: Iterable[PlannedFault]) -> set[int]:
    """The nodes that lose their disks."""
    kills = [one for one in faults if isinstance(one.fault, Kill) and one.fault.disk == "wipe"]
    return {node for one in kills for node in fault_nodes(one)}


def check_required(names: Iterable[str], source: str, place: str) -> None:
    """Capabilities that `place` requires.  One that no backend can have would be a skip for ever; raises BadInput."""
    known = (*CAPABILITIES, *(f"byzantine-{strategy}" for strategy in STRATEGIES))
    for index, name in enumerate(names):
        said = f'unknown capability "{name}"; one of {", ".join(known)}'
        _require(name in known, source, f"{place}[{index}]", said)


def _check_cluster(plan: Plan, source: str) -> None:
    """A relay can only hurt links that go through it, and a packet filter knows only who sends."""
    cluster = plan.cluster
    _require(cluster.roster or not cluster.gate_local_writes, source, "cluster.gate_local_writes", "needs a roster")
    near = cluster.strategy != "region" or any(cluster.regions)
    _require(near, source, "cluster.strategy", '"region" needs regions')
    apart = cluster.strategy != "random" and cluster.fanout < 2 < cluster.nodes
    said = (
        f'under "{cluster.strategy}" is at least 2: the one place is a near peer\'s, and who is near may never change'
    )
    _require(not apart, source, "cluster.fanout", said)
    wanted = "direct" if cluster.wiring == "relayed" else "relayed"
    for one in plan.faults:
        by_filter = isinstance(one.fault, Cut) and one.fault.by == "filter"
        by_relay = isinstance(one.fault, Cut | Link) and not by_filter
        problem = by_filter if cluster.wiring == "relayed" else by_relay
        _require(not problem, source, "cluster.wiring", f'{one.id} ({one.what}) needs wiring = "{wanted}"')
        alone = isinstance(one.fault, Disconnect) and cluster.nodes == 1
        _require(not alone, source, "faults", f"{one.id} disconnects a node alone: nothing would be shown")


def _check_kills(plan: Plan, source: str) -> None:
    """What a liar would have told of itself dies with it."""
    liars = seats_of(plan.faults)
    for one in plan.faults:
        hurt = set(fault_nodes(one)).intersection(liars) if isinstance(one.fault, Kill) else set()
        said = f"{one.id} kills a liar, node {min(hurt, default=0)}: nothing would be shown"
        _require(not hurt, source, "faults", said)


def _try_checks(plan: Plan, source: str) -> None:
    """Make every checker once, so that an option which it does not know ends here and not after the run."""
    header = Header(
        campaign=plan.campaign,
        seed=plan.seed,
        backend="",
        nodes=[],
        faulty=plan.cluster.faulty,
        objects=list(plan.objects),
        core=list(plan.core),
        deadline=plan.deadline,
        quorum=quorum_entry(plan, network=""),
        checks=list(plan.checks),
    )
    named = [check.name for check in plan.checks]
    for index, check in enumerate(plan.checks):
        said = f'unknown checker "{check.name}"; one of {", ".join(sorted(CHECKERS))}'
        _require(check.name in CHECKERS, source, f"checks[{index}].name", said)
        try:
            make_checker(header, check.name, check.options)
        except ValueError as error:
            raise BadInput(source, f"checks[{index}].options", str(error)) from None
        _require(check.name not in named[:index], source, f"checks[{index}].name", "stands twice")


def _check_expected(plan: Plan, source: str) -> None:
    """What is expected must be something that the checks of this campaign can find."""
    expect = plan.expect
    possible = [name for check in plan.checks for name in ANOMALIES[check.name]]
    for index, name in enumerate(expect.anomalies):
        said = f'no check of this campaign finds "{name}"; they find {", ".join(possible)}'
        _require(name in possible, source, f"expect.anomalies[{index}]", said)
    named = bool(expect.anomalies)
    _require(named or expect.validity == "valid", source, "expect.anomalies", "is empty: name those that must be found")
    _require(not named or expect.validity == "invalid", source, "expect.anomalies", 'needs validity = "invalid"')


def _check_quorums(plan: Plan, source: str) -> None:
    """Beyond f, what quorums promise is not judged: a claim that the run is valid would claim it all the same."""
    hurt = len(wiped_by(plan.faults).union(seats_of(plan.faults)))
    judged = any(check.name == "quorum" for check in plan.checks)
    said = f'cannot be "valid" with the checker quorum: {hurt} nodes lie or lose their disks, more than f = '
    fine = plan.expect.validity != "valid" or not judged or hurt <= plan.cluster.faulty
    _require(fine, source, "expect.validity", f"{said}{plan.cluster.faulty}, and beyond f it promises nothing")


def _require(holds: bool, source: str, place: str, problem: str) -> None:
    if not holds:
        raise BadInput(source, place, problem)
