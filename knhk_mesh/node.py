"""A node, as the world sees it: five calls, each of which takes the time and returns effects.

    start(now)                   once, before anything else
    receive(now, peer, frame)    a frame from a peer whom the channel has authenticated
    timer(now, timer)            a timer that the node had set
    persisted(now, token)        a Persist, and all before it, is durable
    submit(now, request, what)   a client's request, answered by a Reply with the same number

**Output commit.**  The node works on what it has in memory, at once, but nothing leaves it before what it rests
on is durable: while a Persist is outstanding, frames, replies and events wait in order behind it.  So whatever a
peer, a client or an observer has seen survives a crash, no acknowledged write is lost and no slot is used twice;
what was in memory only is forgotten together with every trace of it (Strom and Yemini, 1985).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from knhk_mesh.commits import (
    BODY_BYTES_MAX,
    OPERATIONS_MAX,
    Operation,
    check_operation,
    fits_a_commit,
    open_commit,
)
from knhk_mesh.config import NodeConfig
from knhk_mesh.crdt import TYPES, InvalidOperation
from knhk_mesh.effects import Effect, Event, Instant, Persist, RandomSource, Record, Reply, SetTimer
from knhk_mesh.errors import BadFrame
from knhk_mesh.gossip import GossipCoordinator
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.messages import Delta, Pull, Push
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.replica import OpenCommit, Replica
from knhk_mesh.requests import (
    ClientOperation,
    Digest,
    Digests,
    Read,
    Refusal,
    Request,
    Result,
    StatusReport,
    Value,
    Write,
    Written,
)
from knhk_mesh.security import ByzantineValidator
from knhk_mesh.selection import PeerInfo
from knhk_mesh.telemetry import PhaseTimes, TickSource, no_ticks

GOSSIP_TIMER = "gossip"


class Node:
    """One member of the mesh.  `records` is what its disk held, in order; empty for a new or wiped disk."""

    def __init__(
        self,
        config: NodeConfig,
        signer: Signer,
        *,
        random: RandomSource,
        ticks: TickSource = no_ticks,
        opener: OpenCommit = open_commit,
        records: Iterable[Record] = (),
    ) -> None:
        self.agent_id = signer.agent_id
        self.config = config
        self.phases = PhaseTimes(ticks)
        self.registry = PeerRegistry(
            signer.agent_id,
            quorum_size=config.quorum_size,
            peer_sample_size=config.fanout,
            bootstrap_seeds=[peer.addr for peer in config.peers],
            random=random,
            dial_backoff_max_ns=config.dial_backoff_max_ns,
        )
        self.replica = Replica(config, signer, random=random, opener=opener)
        self.replica.recover(records)
        self.validator = ByzantineValidator(self.registry, frame_bytes_max=config.frame_bytes_max)
        self.gossip = GossipCoordinator(
            config, self.registry, self.replica, self.validator, random=random, phases=self.phases
        )
        self._random = random
        self._next_round = 0
        self._token = 0
        self._durable = 0
        self._held_back: deque[tuple[int, Effect]] = deque()

    def start(self, now: Instant) -> list[Effect]:
        """Register the members, choose an incarnation if there is none, and set the first round's timer."""
        for peer in self.config.peers:
            self.registry.register_peer(
                PeerInfo(
                    agent_id=peer.agent_id,
                    addr=peer.addr,
                    public_key=peer.agent_id,
                    last_seen=now.monotonic,
                    reputation=1000,
                    region=peer.region,
                )
            )
        self.replica.begin()
        assert self.replica.incarnation is not None
        self._next_round = now.monotonic + int(self._random.random() * self.config.gossip_interval_ns)
        started = Event("started", {"incarnation": self.replica.incarnation.hex(), "held": len(self.replica.log.held)})
        return self._release([started, SetTimer(GOSSIP_TIMER, self._next_round)])

    def receive(self, now: Instant, peer: AgentId, frame: bytes) -> list[Effect]:
        """Take in a frame.  A bad one is counted, charged to the peer where that is just, and dropped."""
        start = self.phases.now()
        try:
            message = self.validator.validate_message(now, peer, frame)
        except BadFrame:
            return []
        finally:
            self.phases.since("validate", start)
        self.registry.touch_peer(peer, now.monotonic)
        kind = type(message)
        if kind is Push:
            return self._release(self.gossip.on_push(peer, message))  # type: ignore[arg-type]
        if kind is Pull:
            return self._release(self.gossip.on_pull(peer, message))  # type: ignore[arg-type]
        assert isinstance(message, Delta)
        return self._release(self.gossip.on_delta(now, peer, message))

    def timer(self, now: Instant, timer: str) -> list[Effect]:
        """Run a gossip round and set the timer of the next; rounds that a pause swallowed are not made up for."""
        if timer != GOSSIP_TIMER:
            return []
        effects: list[Effect] = [*self.gossip.check_convergence(), *self.gossip.gossip_round(now)]
        interval = self.config.gossip_interval_ns
        missed = max(0, (now.monotonic - self._next_round) // interval)
        self._next_round += (missed + 1) * interval
        effects.append(SetTimer(GOSSIP_TIMER, self._next_round))
        return self._release(effects)

    def persisted(self, now: Instant, token: int) -> list[Effect]:
        """Everything up to `token` is durable: let go of what waited for it."""
        self._durable = max(self._durable, token)
        free: list[Effect] = []
        while self._held_back and self._held_back[0][0] <= self._durable:
            free.append(self._held_back.popleft()[1])
        return free

    def submit(self, now: Instant, request: int, what: Request) -> list[Effect]:
        """Carry out a client's request; exactly one Reply with this number follows, now or once it is durable."""
        return self._release([Reply(request, self._answer(now, what))])

    def _answer(self, now: Instant, what: Request) -> Result:
        if len(self._held_back) >= self.config.requests_waiting_max:
            return Refusal("overloaded: too many effects wait for the disk")
        if isinstance(what, Write):
            return self._write(now, what)
        if isinstance(what, Read):
            return self._read(what)
        if isinstance(what, Digest):
            state = self.replica.state
            return Digests(root=state.merkle_root, digest=state.digest(), heads=tuple(state.version))
        return self._status(now)

    def _write(self, now: Instant, what: Write) -> Result:
        if self.agent_id in self.replica.log.proofs:
            return Refusal("this node's own key is proven to have forked: nobody would take in what it writes")
        operations = []
        resolved: list[dict[str, int]] = []
        for index, asked in enumerate(what.operations):
            try:
                operation = self._prepare(asked)
            except InvalidOperation as error:
                return Refusal(f"operations[{index}]: {error}")
            operations.append(operation)
            dots = operation.value[1] if (asked.type, asked.action) == ("orset", "remove") else None
            resolved.append({} if dots is None else {"dots": len(dots)})
        if not operations:
            return Refusal("operations: at least one")
        if not fits_a_commit(operations):
            return Refusal(f"operations: more than a commit holds ({OPERATIONS_MAX}, {BODY_BYTES_MAX} bytes)")
        commit = self.replica.write(now, operations)
        return Written(commit=commit.id, resolved=tuple(resolved))

    def _prepare(self, asked: ClientOperation) -> Operation:
        kind = TYPES.get(asked.type)
        if kind is None:
            raise InvalidOperation(f'unknown type "{asked.type}"; one of {", ".join(sorted(TYPES))}')
        current = self.replica.state.data.get((asked.type, asked.object))
        value = (current if current is not None else kind()).prepare(asked.action, asked.value)
        operation = Operation(asked.object, asked.type, asked.action, value)
        check_operation(operation)
        return operation

    def _read(self, what: Read) -> Result:
        kind = TYPES.get(what.type)
        if kind is None:
            return Refusal(f'unknown type "{what.type}"; one of {", ".join(sorted(TYPES))}')
        found = self.replica.state.data.get((what.type, what.object))
        value = (found if found is not None else kind()).value()
        return Value(value=value, visible=tuple(self.replica.state.version))

    def _status(self, now: Instant) -> StatusReport:
        replica = self.replica
        return StatusReport(
            root=replica.log.root(),
            monotonic=now.monotonic,
            wall=now.wall,
            rounds=self.gossip.rounds,
            peers=self.registry.peer_count(),
            active=self.registry.active_peer_count(now.monotonic),
            accepted=len(replica.log.accepted),
            pending=len(replica.pending),
            proven=tuple(sorted(replica.log.proofs)),
            rejected=dict(self.validator.rejected),
            sent=dict(self.gossip.sent),
        )

    def _release(self, effects: Sequence[Effect]) -> list[Effect]:
        """Order what one call produced: journal first, and what rests on it only when it is durable."""
        replica = self.replica
        if not replica.journal and not replica.events and self._durable == self._token:
            return list(effects)
        out: list[Effect] = []
        if replica.journal:
            self._token += 1
            out.append(Persist(self._token, tuple(replica.journal)))
            replica.journal.clear()
        observed: list[Effect] = [*replica.events, *effects] if replica.events else list(effects)
        replica.events.clear()
        if self._durable == self._token:
            return [*out, *observed] if out else observed
        for effect in observed:
            if isinstance(effect, SetTimer):
                out.append(effect)
            else:
                self._held_back.append((self._token, effect))
        return out
