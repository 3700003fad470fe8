"""Whether what a plan claims can be judged: its checks can be made, and could find what it expects."""

from __future__ import annotations

from collections.abc import Iterable

from checkers.anomalies import ANOMALIES
from checkers.compose import CHECKERS, make_checker
from checkers.history import Header
from faults.vocabulary import Kill, PlannedFault
from harness.bounds import quorum_entry
from harness.errors import BadInput
from harness.plan import Plan, fault_nodes, seats_of


def check_claim(plan: Plan, source: str) -> None:
    """Raises BadInput, naming `source` and the place, for a claim that no run could bear out."""
    _try_checks(plan, source)
    _check_expected(plan, source)
    _check_quorums(plan, source)


def wiped_by(faults: Iterable[PlannedFault]) -> set[int]:
    """The nodes that lose their disks."""
    kills = [one for one in faults if isinstance(one.fault, Kill) and one.fault.disk == "wipe"]
    return {node for one in kills for node in fault_nodes(one)}


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
    for index, check in enumerate(plan.checks):
        if check.name not in CHECKERS:
            said = f'unknown checker "{check.name}"; one of {", ".join(sorted(CHECKERS))}'
            raise BadInput(source, f"checks[{index}].name", said)
        try:
            make_checker(header, check.name, check.options)
        except ValueError as error:
            raise BadInput(source, f"checks[{index}].options", str(error)) from None


def _check_expected(plan: Plan, source: str) -> None:
    """What is expected must be something that the checks of this campaign can find."""
    expect = plan.expect
    possible = [name for check in plan.checks for name in ANOMALIES[check.name]]
    for index, name in enumerate(expect.anomalies):
        if name not in possible:
            said = f'no check of this campaign finds "{name}"; they find {", ".join(possible)}'
            raise BadInput(source, f"expect.anomalies[{index}]", said)
    if not expect.anomalies and expect.validity == "invalid":
        raise BadInput(source, "expect.anomalies", "is empty: name those that must be found")
    if expect.anomalies and expect.validity != "invalid":
        raise BadInput(source, "expect.anomalies", 'needs validity = "invalid"')


def _check_quorums(plan: Plan, source: str) -> None:
    """Beyond f, what quorums promise is not judged: a claim that the run is valid would claim it all the same."""
    hurt = len(wiped_by(plan.faults).union(seats_of(plan.faults)))
    judged = any(check.name == "quorum" for check in plan.checks)
    if plan.expect.validity == "valid" and judged and hurt > plan.cluster.faulty:
        said = f'cannot be "valid" with the checker quorum: {hurt} nodes lie or lose their disks, more than f = '
        said += f"{plan.cluster.faulty}, and beyond f it promises nothing"
        raise BadInput(source, "expect.validity", said)
