"""The header of a run's history: what a checker must know, drawn from the plan; and whether a header still says that.

The header holds the whole plan, so where the two say different things one of them was altered.  That is no seal: who
alters both, or calls a simulation a run on real machines, whose bounds of time are longer, is not found out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from checkers.history import Deadline, FaultEntry, Header, NetworkEntry, NodeEntry
from faults.vocabulary import PlannedFault
from harness.backend import Allowance, Backend
from harness.bounds import quorum_entry
from harness.plan import Plan, byzantine_seats
from harness.subject import REFERENCE, Subject
from harness.versions import versions

CHECKS_REST_ON = {"visibility": "visibility"}
"""Checker to what a subject must offer for it."""


def header_for(
    plan: Plan, backend: Backend, capabilities: tuple[str, ...], raw: dict[str, Any], subject: Subject = REFERENCE
) -> Header:
    """The history's header: all that a checker needs, and the whole plan (`raw`).

    A check that rests on what the subject does not offer is left out, and said.
    """
    left_out = {
        check.name: f"{subject.name} does not offer {CHECKS_REST_ON[check.name]}"
        for check in plan.checks
        if CHECKS_REST_ON.get(check.name, "") not in ("", *subject.offers)
    }
    liars = byzantine_seats(plan)
    return Header(
        campaign=plan.campaign,
        seed=plan.seed,
        backend=backend.name,
        nodes=[
            NodeEntry(index=number, agent=agent, region=plan.cluster.regions[number], byzantine=number in liars)
            for number, agent in enumerate(backend.agents())
        ],
        faulty=plan.cluster.faulty,
        objects=list(plan.objects),
        core=list(plan.core),
        deadline=deadline_on(plan, backend.allowance),
        quorum=quorum_entry(plan, network=backend.network_name, allowance=backend.allowance),
        checks=[check for check in plan.checks if check.name not in left_out],
        left_out=left_out,
        network=network_entry(plan),
        faults=[fault_entry(one) for one in plan.faults],
        capabilities=list(capabilities),
        versions=versions(),
        plan=raw,
    )


def network_entry(plan: Plan) -> NetworkEntry:
    """What checkers are told of the network without faults: the worst of its links."""
    network = plan.cluster.network
    slowest = max(
        network.latency_ms + network.jitter_ms, *(one.latency_ms + one.jitter_ms for one in network.between), 0
    )
    return NetworkEntry(latency_ms=slowest, loss=max(network.loss, *(one.loss for one in network.between), 0))


def fault_entry(planned: PlannedFault) -> FaultEntry:
    """What checkers are told of a planned fault."""
    fault: Any = planned.fault
    return FaultEntry(
        id=planned.id,
        fault=type(fault).__name__.lower(),
        required=planned.required,
        what=planned.what,
        links=getattr(fault, "links", ()),
        nodes=getattr(fault, "nodes", ()),
        strategy=getattr(fault, "strategy", ""),
        latency_ms=getattr(fault, "latency_ms", 0.0) + getattr(fault, "jitter_ms", 0.0),
        loss=getattr(fault, "loss", 0.0),
        rate_kb_s=getattr(fault, "rate_kb_s", 0.0),
    )


def deadline_on(plan: Plan, allowance: Allowance) -> Deadline:
    """The plan's deadline with what a backend's machines need beyond the model."""
    planned = plan.deadline
    return msgspec.structs.replace(
        planned,
        total_ns=planned.total_ns + allowance.reconnect_ns + (planned.rounds + 1) * allowance.exchange_ns,
        reconnect_ns=planned.reconnect_ns + allowance.reconnect_ns,
        exchange_ns=planned.exchange_ns + allowance.exchange_ns,
    )


def contradiction(header: Header) -> str | None:
    """The first field in which `header` is not what the plan in it says, or why that is no plan; None if it agrees.

    A header without a plan has nothing to contradict.  Real machines are allowed more time than the model, of which
    only their backend knows, so bounds of time are held against the plan for the simulator alone.
    """
    if not header.plan:
        return None
    try:
        plan = msgspec.convert(header.plan, Plan)
    except msgspec.ValidationError as error:
        return f"plan: {error}"
    for field, said, meant in _claims(header, plan):
        if said != meant:
            return f"{field}: is not what the plan in this header says"
    return None


def _claims(header: Header, plan: Plan) -> list[tuple[str, Any, Any]]:
    """(field, as the header has it, as the plan has it)."""
    liars = byzantine_seats(plan)
    left_out = set() if header.backend == "sim" else CHECKS_REST_ON.keys() & header.left_out.keys()
    checks = [check for check in plan.checks if check.name not in left_out]
    claims: list[tuple[str, Any, Any]] = [
        ("campaign", header.campaign, plan.campaign),
        ("seed", header.seed, plan.seed),
        ("nodes", [(one.index, one.region) for one in header.nodes], list(enumerate(plan.cluster.regions))),
        ("nodes", [one.index for one in header.nodes if one.byzantine], list(liars)),
        ("faulty", header.faulty, plan.cluster.faulty),
        ("objects", header.objects, list(plan.objects)),
        ("core", header.core, list(plan.core)),
        ("checks", header.checks, checks),
        ("network", header.network, network_entry(plan)),
        ("faults", header.faults, [fault_entry(one) for one in plan.faults]),
    ]
    meant = quorum_entry(plan, network=header.quorum.network if header.quorum else "")
    if meant is not None and header.quorum is not None and header.backend != "sim":
        times = {"detection_ns": header.quorum.detection_ns, "recovery_ns": header.quorum.recovery_ns}
        meant = msgspec.structs.replace(meant, **times)
    claims.append(("quorum", header.quorum, meant))
    if header.backend == "sim":
        claims.append(("deadline", header.deadline, deadline_on(plan, Allowance())))
    return claims
