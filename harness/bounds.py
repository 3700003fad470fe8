"""How long a node may take to see that it is cut off, and to be healthy again: from a plan, for the history's header.

    detection = probe_interval x (probe_misses + 1) + timer
    recovery  = reconnect + probe_interval x (RETURNS + 1) + convergence + timer

Detection is the mesh's own formula (`knhk_mesh.partition`), written down once more, since whoever judges must not ask
who is judged.  To recover, a node needs its peers back, RETURNS checks that find a quorum, and the past of a quorum,
which is what the deadline for convergence bounds.  `timer` is how late real timers are.
"""

from __future__ import annotations

from checkers.history import QuorumEntry
from harness.backend import Allowance
from harness.plan import Plan

EPOCH = 1
RETURNS = 2


def quorum_entry(plan: Plan, *, network: str, allowance: Allowance = Allowance()) -> QuorumEntry | None:  # noqa: B008
    """The roster's part of the header; None where there is no roster."""
    cluster = plan.cluster
    if not cluster.roster:
        return None
    interval = cluster.probe_interval_ns
    deadline = plan.deadline
    convergence = deadline.total_ns + (deadline.rounds + 1) * allowance.exchange_ns + allowance.reconnect_ns
    return QuorumEntry(
        epoch=EPOCH,
        network=network,
        size=cluster.nodes - cluster.faulty,
        detection_ns=interval * (cluster.probe_misses + 1) + allowance.timer_ns,
        recovery_ns=interval * (RETURNS + 1) + convergence + allowance.timer_ns,
        gated=cluster.gate_local_writes,
    )
