"""How long convergence may take after the heal: computed from the campaign, written into the history's header.

    total = reconnect + transfer + (rounds + 1) x (interval + exchange)

`rounds` is the QUANTILE of the model (`rounds`) for the same nodes, fanout, loss and silent share; one more, because
nodes do not begin their rounds together.  `exchange` is the frames of one exchange, one after the other on the slowest
link, and its disk writes.  `transfer` is what has been written, in exchanges of as many frames as a node sends in one.

A verdict "late" must be the mesh's fault and not the sample's: where the model cannot be sampled often enough to know
its QUANTILE, TAIL_ROUNDS are added to the most that was ever needed.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.history import Deadline
from harness.campaign import Between, Network
from harness.plan import PlannedCluster, PlannedOperation
from harness.rounds import default_trials, rounds_quantile, specification_rounds

MILLISECOND = 1_000_000

QUANTILE = 0.9999
TAIL_ROUNDS = 2
MESSAGES_TO_PEER = 3
MESSAGES_FROM_PEER = 4
"""Frames of one exchange that must all arrive for the push direction and for the pull direction (see the mesh's
`gossip`): push, pull, delta; push, pull, pull, delta."""
RECONNECT_NS = 700 * MILLISECOND
"""A dead peer is dialled again after at most 500 ms of backoff, found in the round after, and answers in its own."""
SYNCS = 5
"""Disk writes that the frames of one exchange may have to wait for, one after the other."""
COMMIT_BYTES = 600
FRAMES_AN_EXCHANGE = 8


def deadline_for(cluster: PlannedCluster, *, core: tuple[int, ...], writes: int) -> Deadline:
    """The deadline of a cluster in which `core` must converge after `writes` commits."""
    links: list[Network | Between] = [cluster.network, *cluster.network.between]
    one_way_ms = max(link.latency_ms + link.jitter_ms for link in links)
    loss = max(link.loss for link in links)
    silent = 1 - len(core) / cluster.nodes
    rounds = _rounds(cluster, loss=loss, silent=silent)
    exchange_ns = int((MESSAGES_FROM_PEER + 1) * one_way_ms * MILLISECOND) + SYNCS * cluster.disk_sync_ns_max
    interval_ns = cluster.gossip_interval_ns
    transfers = -(-writes * COMMIT_BYTES // (FRAMES_AN_EXCHANGE * cluster.frame_bytes_max))
    transfer_ns = transfers * (interval_ns + exchange_ns)
    return Deadline(
        total_ns=RECONNECT_NS + transfer_ns + (rounds + 1) * (interval_ns + exchange_ns),
        rounds=rounds,
        interval_ns=interval_ns,
        reconnect_ns=RECONNECT_NS,
        transfer_ns=transfer_ns,
        exchange_ns=exchange_ns,
        specification_rounds=specification_rounds(cluster.nodes),
        inputs={
            "nodes": cluster.nodes,
            "fanout": cluster.fanout,
            "loss": loss,
            "silent": silent,
            "quantile": QUANTILE,
            "one_way_ms": one_way_ms,
            "writes": writes,
        },
    )


def writes_in(operations: Iterable[PlannedOperation]) -> int:
    """How many of these make a commit."""
    return sum(one.action not in ("read", "digest") for one in operations)


def _rounds(cluster: PlannedCluster, *, loss: float, silent: float) -> int:
    if cluster.nodes == 1:
        return 0
    rounds = rounds_quantile(
        nodes=cluster.nodes,
        fanout=cluster.fanout,
        loss=loss,
        silent=silent,
        quantile=QUANTILE,
        messages_push=MESSAGES_TO_PEER,
        messages_pull=MESSAGES_FROM_PEER,
    )
    undersampled = default_trials(cluster.nodes) * (1 - QUANTILE) < 1
    return rounds + TAIL_ROUNDS if undersampled else rounds
