"""What can be done to real nodes, by the transport of their links and by what their subject offers."""

from __future__ import annotations

from faults.byzantine import STRATEGIES
from harness.network import ordinary_link
from harness.plan import Plan
from harness.real.faults import CLOCK_CAPABILITIES, NODE_CAPABILITIES
from harness.real.links import CAPABILITIES as LINK_CAPABILITIES
from harness.real.links import is_shaped
from harness.subject import Subject

NODES_MAX = 16
"""Real nodes share the cores of one machine."""


def capabilities(plan: Plan, subject: Subject) -> tuple[str, ...]:
    """Names as `faults.vocabulary.capabilities_needed` has them."""
    # Of TCP links the relay counts nothing: only the nodes that dial them can say that a fault on one bit.
    provable = plan.cluster.transport == "quic" or "peers" in subject.offers
    found = [*(LINK_CAPABILITIES[plan.cluster.transport] if provable else ()), *NODE_CAPABILITIES]
    found += CLOCK_CAPABILITIES if "clock" in subject.offers else ()
    found += [f"byzantine-{strategy}" for strategy in STRATEGIES] if "byzantine" in subject.offers else []
    found += ["trigger"] if "failpoints" in subject.offers else []
    return tuple(found)


def subject_lacks(plan: Plan, subject: Subject) -> list[str]:
    """What keeps the plan from being run on real nodes of this subject at all."""
    cluster = plan.cluster
    lacks = [f"{one.type} ({subject.name})" for one in plan.objects if one.type not in subject.types]
    if cluster.transport not in subject.transports:
        lacks.append(f"{cluster.transport} ({subject.name})")
    if cluster.roster:  # who neither tells of votes and states nor of what was read can be held to nothing there
        wanted = {"stable": "stable writes", "events": "events", "visibility": "visibility"}
        lacks += [f"{said} ({subject.name})" for offer, said in wanted.items() if offer not in subject.offers]
    if cluster.nodes > NODES_MAX:
        lacks.append(f"more than {NODES_MAX} nodes")
    possible = LINK_CAPABILITIES[cluster.transport]
    pairs = [(a, b) for a in range(cluster.nodes) for b in range(cluster.nodes) if a != b]
    shaped = [ordinary_link(cluster, a, b) for a, b in pairs if is_shaped(cluster, a, b)]
    if any(link.loss for link in shaped) and "loss" not in possible:
        lacks.append("loss")
    return sorted(set(lacks))
