"""The gossip coordinator: epidemic anti-entropy by push, pull and delta.

    A                                   B
    push(root)  ----------------------> equal roots: the end
                <---------------------- pull(B's heads)
    delta(what B lacks) -------------->
    pull(A's heads, answer) ----------> only if A lacks something too
                <---------------------- delta(what A lacks)

A round pushes to `fanout` peers that the registry selects, and dials a few that have fallen silent, for ever, so
that a healed partition closes by itself (spec-defects 11).  Peers are served one by one: what goes wrong with one
is counted against it and never ends a round (32).  A lost frame costs a round, nothing else: no frame is ever
waited for.

A node can say that it is quiescent with the peers of its last round; that the mesh has converged is for an
observer to say (33).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from knhk_mesh.commits import WireCommit, commit_id
from knhk_mesh.config import NodeConfig
from knhk_mesh.effects import Event, Instant, RandomSource, Send
from knhk_mesh.identity import AgentId
from knhk_mesh.in_flight import InFlight
from knhk_mesh.messages import WANTS_MAX, Delta, Pull, Push
from knhk_mesh.outbox import Outbox
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.reconcile import entries_that_fit, pack_deltas
from knhk_mesh.replica import Replica
from knhk_mesh.security import ByzantineValidator
from knhk_mesh.selection import PeerInfo
from knhk_mesh.telemetry import PhaseTimes

FRAME_BYTES_LEAST = 4096
"""Of a delta, where little may be sent: a few commits at a time are progress, too."""

Select = Callable[[int], list[PeerInfo]]
"""min(k, available) distinct peers."""


class GossipCoordinator:
    """One node's side of the exchange.  Every method returns the frames to send, in order.

    `round_trip` is the usual one to a peer in ns, 0 where nothing is known.
    """

    def __init__(
        self,
        config: NodeConfig,
        registry: PeerRegistry,
        replica: Replica,
        validator: ByzantineValidator,
        outbox: Outbox,
        *,
        select: Select,
        round_trip: Callable[[AgentId], int],
        random: RandomSource,
        phases: PhaseTimes,
    ) -> None:
        self._config = config
        self._registry = registry
        self._replica = replica
        self._validator = validator
        self._random = random
        self._phases = phases
        self._select = select
        self._outbox = outbox
        self._peer_roots: dict[AgentId, bytes] = {}
        self.last_round: list[AgentId] = []
        self._quiescent = False
        self._round_trip = round_trip
        self._in_flight = InFlight(patience_ns=config.gossip_interval_ns // 2)
        self._entries_max = entries_that_fit(config.frame_bytes_max)
        self.rounds = 0

    def gossip_round(self, now: Instant) -> list[Send]:
        """Push to the selected peers and to dormant ones whose backoff has run out."""
        phases = self._phases
        self.rounds += 1
        start = phases.now()
        self._registry.recover_reputation(now.monotonic)
        self._registry.prune_stale_peers(now.monotonic, self._config.peer_timeout_ns)
        peers = self._select(self._config.fanout)
        dialled = self._registry.due_for_dialling(now.monotonic, self._config.dials_per_round_max)
        phases.since("select", start)
        start = phases.now()
        frames = self._push([*peers, *dialled])
        phases.since("push", start)
        self.last_round = [peer.agent_id for peer in peers]
        return frames

    def _push(self, peers: Sequence[PeerInfo]) -> list[Send]:
        root = self._replica.log.root()
        outbox = self._outbox
        return [outbox.send(peer.agent_id, Push(outbox.session, outbox.next(peer.agent_id), root)) for peer in peers]

    def on_push(self, now: Instant, peer: AgentId, frame: Push) -> list[Send]:
        """Answer a push: silence if the roots agree, a pull if they do not."""
        self._peer_roots[peer] = frame.root
        if frame.root == self._replica.log.root() or not self._validator.may_push(now.monotonic, peer):
            return []
        return [self._pull(peer, forks=[], answer=False)]

    def on_pull(self, now: Instant, peer: AgentId, frame: Pull) -> list[Send]:
        """Send what the peer lacks, in bounded frames; pull in turn if it has what we lack."""
        if not self._validator.may_pull(now.monotonic, peer):
            return []
        start = self._phases.now()
        self._peer_roots[peer] = frame.root
        table = self._replica.heads
        comparison = table.compare(frame.heads)
        self._validator.shows(now.monotonic, peer, frame.session, table.shown_by(comparison))
        lacked = self._in_flight.not_under_way(
            now.monotonic,
            peer,
            self._round_trip(peer),
            table.lacked_by_peer(comparison, frame.low, frame.high, frame.wants),
            frame.wants,
        )
        frames: list[Send] = []
        room = self._validator.room_to_answer(now.monotonic, peer)
        for batch in pack_deltas(
            lacked,
            frame_bytes_max=min(self._config.frame_bytes_max, max(room, FRAME_BYTES_LEAST)),
            frames_max=self._config.delta_frames_max,
        ):
            if sum(wire.size for wire in batch) > room:
                break
            delta = self._outbox.send(peer, Delta(self._outbox.session, self._outbox.next(peer), batch))
            self._validator.answered(now.monotonic, peer, len(delta.frame))
            self._in_flight.was_sent(now.monotonic, peer, [commit_id(wire.header) for wire in batch])
            room -= len(delta.frame)
            frames.append(delta)
        if not frame.answer and table.lacks_any(comparison):
            forks = table.forked_from(comparison, WANTS_MAX // 2)
            frames.append(self._pull(peer, forks=forks, answer=True))
        self._phases.since("pull", start)
        return frames

    def on_delta(self, now: Instant, peer: AgentId, frame: Delta) -> list[Send]:
        """Merge what a peer sent."""
        self.merge_state(now, frame.commits, source=peer)
        return []

    def take_in(self, now: Instant, peer: AgentId, commits: Sequence[WireCommit]) -> list[bytes]:
        """Merge what `peer` sent; the ids of all of it."""
        self.merge_state(now, commits, source=peer)
        return [commit_id(wire.header) for wire in commits]

    def merge_state(self, now: Instant, commits: Sequence[WireCommit], *, source: AgentId) -> None:
        """Take in commits, and charge each that no correct node would pass on to who brought it."""
        start = self._phases.now()
        _, bad = self._replica.merge(
            now, commits, source=source, may_open=partial(self._validator.may_open, now.monotonic, source)
        )
        self._phases.since("merge", start)
        for bringer, error in bad:
            self._validator.charge_commit(now, bringer, error.reason)

    def check_convergence(self) -> list[Event]:
        """One event when this node has become quiescent with all the peers of its last round, else none."""
        start = self._phases.now()
        root = self._replica.log.root()
        quiescent = bool(self.last_round) and all(self._peer_roots.get(peer) == root for peer in self.last_round)
        became = quiescent and not self._quiescent
        self._quiescent = quiescent
        self._phases.since("convergence", start)
        return [Event("converged", {"round": self.rounds, "root": root.hex()})] if became else []

    def pull(self, peer: AgentId, wants: Sequence[bytes]) -> Send:
        """Ask `peer` for what it has and this node lacks, and for `wants` by name, without being asked back."""
        return self._pull(peer, forks=list(wants)[:WANTS_MAX], answer=True)

    def _pull(self, peer: AgentId, *, forks: list[bytes], answer: bool) -> Send:
        table, outbox = self._replica.heads, self._outbox
        start = table.start_at(self._random.random())
        heads, low, high = table.row(entries_max=self._entries_max, start=start)
        wants = [*forks, *self._replica.pending.roots(WANTS_MAX - len(forks))]
        root = self._replica.log.root()
        return outbox.send(peer, Pull(outbox.session, outbox.next(peer), root, heads, low, high, wants, answer))
