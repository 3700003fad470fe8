"""A node, as the world sees it: five calls, each of which takes the time and returns effects.

    start(now)                   once, before anything else
    receive(now, peer, frame)    a frame from a peer whom the channel has authenticated
    timer(now, timer)            a timer that the node had set
    persisted(now, token)        a Persist, and all before it, is durable
    submit(now, request, what)   a client's request, answered by a Reply with the same number

Nothing leaves before what it rests on is durable (`output_commit`).

**The write gate.**  A write that is for healthy nodes alone is refused while this one is not, and looked at once more
when its answer is let go: what was true when it came may not be true when its disk has it (spec-defects 2 and 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from knhk_mesh.ballots import ASKED_A_PEER_MAX
from knhk_mesh.commits import Verify, open_commit
from knhk_mesh.config import NodeConfig
from knhk_mesh.crdt import TYPES, InvalidOperation
from knhk_mesh.effects import Effect, Event, Instant, RandomSource, Record, Reply, SetTimer
from knhk_mesh.errors import BadFrame, ConfigError
from knhk_mesh.gossip import GossipCoordinator
from knhk_mesh.identity import AgentId, Signer, verify
from knhk_mesh.member import Member
from knhk_mesh.messages import Delta, Propose, Pull, Push, is_free
from knhk_mesh.outbox import Outbox
from knhk_mesh.output_commit import OutputCommit
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.prepare import prepare_operations
from knhk_mesh.replica import OpenCommit, Replica
from knhk_mesh.requests import (
    CertificateOf,
    Digest,
    Digests,
    Indefinite,
    Kept,
    Read,
    Refusal,
    Request,
    Result,
    Status,
    StatusReport,
    Value,
    Write,
    Written,
)
from knhk_mesh.security import ByzantineValidator
from knhk_mesh.selection import PeerInfo
from knhk_mesh.telemetry import PhaseTimes, TickSource, no_ticks
from knhk_mesh.topology import TopologyManager

GOSSIP_TIMER = "gossip"
PROBE_TIMER = "probe"
TOLD_EVERY_ROUNDS = 10
"""How often a node that is asked to tells of its selections and its resources."""
EFFECTS_A_CALL_MAX = 4096
"""What one call may add before the node sees that its disk has stalled."""
KNOWN_RECORDS = ("incarnation", "commit", "enrolled", "vote", "certificate")


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
        verify: Verify = verify,
        records: Iterable[Record] = (),
    ) -> None:
        records = list(records)
        _check_kinds(records)
        if config.roster is not None and signer.agent_id not in config.roster.members:
            raise ConfigError("roster: does not name this node")
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
        members = frozenset((signer.agent_id, *(peer.agent_id for peer in config.peers)))
        self.replica = Replica(config, signer, random=random, opener=opener, members=members)
        self.replica.recover(records)
        self.validator = ByzantineValidator(self.registry, frame_bytes_max=config.frame_bytes_max)
        outbox = Outbox(random)
        self.topology = TopologyManager(
            self.registry,
            random=random,
            faulty=config.faulty,
            strategy=config.strategy,
            region=config.region,
            rebalance_interval_ns=config.rebalance_interval_ns,
        )
        self.gossip = GossipCoordinator(
            config,
            self.registry,
            self.replica,
            self.validator,
            outbox,
            select=self.topology.select_peers,
            round_trip=self.topology.round_trip,
            random=random,
            phases=self.phases,
        )
        self.member = Member(
            config,
            signer,
            self.replica,
            self.gossip,
            self.validator,
            outbox,
            random=random,
            measured=self.topology.measured,
            round_trip=self.topology.round_trip,
            identity_durable=lambda: self._output.identity_durable(self.replica.journal),
            verify=verify,
        )
        self.member.recover(records)
        self.outbox = outbox
        self._probing = bool(config.probe_interval_ns and (config.roster or config.strategy != "random"))
        self._next_probe = 0
        self._picked: list[list[str]] = []
        self._gated: set[int] = set()
        self._random = random
        self._next_round = 0
        self._output = OutputCommit()

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
        effects: list[Effect] = [started, SetTimer(GOSSIP_TIMER, self._next_round)]
        for liar in self.replica.log.proofs:
            self.registry.prove_faulty(liar)
        if not self._probing:
            self.member.detector.state = "healthy"  # it is a quorum of its own, and watches nobody
        else:
            self.member.start(now)
            self._next_probe = now.monotonic + int(self._random.random() * self.config.probe_interval_ns)
            effects.append(SetTimer(PROBE_TIMER, self._next_probe))
        return self._release(effects)

    def receive(self, now: Instant, peer: AgentId, frame: bytes) -> list[Effect]:
        """Take in a frame.  A bad one is counted, charged to the peer where that is just, and dropped."""
        start = self.phases.now()
        if self._stalled and not is_free(frame):
            self.validator.rejected["stalled"] += 1
            return []
        try:
            message = self.validator.validate_message(now, peer, frame)
        except BadFrame:
            return []
        finally:
            self.phases.since("validate", start)
        self.registry.touch_peer(peer, now.monotonic)
        kind = type(message)
        if kind is Push:
            return self._release(self.gossip.on_push(now, peer, message))  # type: ignore[arg-type]
        if kind is Pull:
            return self._release(self.gossip.on_pull(now, peer, message))  # type: ignore[arg-type]
        if kind is Delta:
            return self._took_in(now, partial(self.gossip.on_delta, now, peer, message))  # type: ignore[arg-type]
        frames = partial(self.member.on_frame, now, peer, message)  # type: ignore[arg-type]
        return self._took_in(now, frames) if kind is Propose else self._release(frames())

    def _took_in(self, now: Instant, take: Callable[[], Sequence[Effect]]) -> list[Effect]:
        """Take in commits; whoever waited for one that was accepted is told, and who is proven is shut out."""
        log = self.replica.log
        accepted, proven = len(log.accepted), len(log.proofs)
        effects = list(take())
        if len(log.proofs) != proven:
            for liar in log.proofs:
                self.registry.prove_faulty(liar)
        if len(log.accepted) != accepted:
            effects += self.member.accepted(now)
        return self._release(effects)

    def timer(self, now: Instant, timer: str) -> list[Effect]:
        """Run a round and set the timer of the next; rounds that a pause swallowed are not made up for."""
        if timer == GOSSIP_TIMER:
            effects: list[Effect] = []
            if not self._stalled:
                effects = [*self.gossip.check_convergence(), *self.gossip.gossip_round(now)]
                effects += self._observations()
            self._next_round = _following(self._next_round, self.config.gossip_interval_ns, now)
            return self._release([*effects, SetTimer(GOSSIP_TIMER, self._next_round)])
        if timer == PROBE_TIMER:
            effects = [
                *self.member.on_timer(now, stalled=self._stalled),
                *self.topology.rebalance_topology(now.monotonic),
            ]
            self._next_probe = _following(self._next_probe, self.config.probe_interval_ns, now)
            return self._release([*effects, SetTimer(PROBE_TIMER, self._next_probe)])
        return []

    @property
    def _stalled(self) -> bool:
        """Whether so much waits for the disk that nothing more may be made to wait."""
        return len(self._output) >= self.config.requests_waiting_max

    def _observations(self) -> list[Event]:
        """What this node was asked to tell of itself, every TOLD_EVERY_ROUNDS rounds."""
        observe = self.config.observe
        events = []
        if "selections" in observe:
            self._picked.append([peer.hex()[:16] for peer in self.gossip.last_round])
        if not observe or self.gossip.rounds % TOLD_EVERY_ROUNDS:
            return []
        if "selections" in observe:
            available = self.registry.selectable_count()
            events.append(Event("selected", {"rounds": self._picked, "available": available, "k": self.config.fanout}))
            self._picked = []
        if "resources" in observe:
            events.append(Event("resources", {"used": self._used(), "limits": self._limits()}))
        return events

    def _used(self) -> dict[str, int]:
        """How much of each bounded thing is in use."""
        replica, member = self.replica, self.member
        return {
            "held_back": len(self._output),
            "pending_commits": len(replica.pending),
            "pending_bytes": replica.pending.bytes,
            "proposals": member.voter.waiting if member.voter is not None else 0,
            "stable_writes": len(member.ballots) if member.ballots is not None else 0,
            "quorum_reads": len(member.catch_up),
        }

    def _limits(self) -> dict[str, int]:
        config = self.config
        return {
            "held_back": config.requests_waiting_max + EFFECTS_A_CALL_MAX,
            "pending_commits": config.pending_commits_max,
            "pending_bytes": config.pending_bytes_max,
            "proposals": ASKED_A_PEER_MAX * len(config.peers),
            "stable_writes": config.requests_waiting_max,
            "quorum_reads": config.requests_waiting_max + 1,
        }

    def persisted(self, now: Instant, token: int) -> list[Effect]:
        """Everything up to `token` is durable: let go of what waited for it."""
        free = self._output.persisted(token)
        return [self._gate_again(now, one) for one in free] if self._gated else free

    def _gate_again(self, now: Instant, effect: Effect) -> Effect:
        """The answer to a write for healthy nodes alone, as far as this node still is one."""
        if not isinstance(effect, Reply) or effect.request not in self._gated:
            return effect
        self._gated.discard(effect.request)
        if not isinstance(effect.result, Written) or self.member.detector.may_write(now.monotonic):
            return effect
        return Reply(
            effect.request,
            Indefinite(
                "cut off when the disk had it: it is written here, and what the others know of it is not certain"
            ),
        )

    def submit(self, now: Instant, request: int, what: Request) -> list[Effect]:
        """Carry out a client's request; exactly one Reply with this number follows, now or later."""
        if self._stalled:
            return self._release([Reply(request, Refusal("overloaded: too many effects wait for the disk"))])
        if isinstance(what, Write):
            return self._release(self._write(now, request, what))
        if isinstance(what, Read) and what.level == "quorum":
            return self._release(self.member.after_quorum(now, request, partial(self._read, what)))
        return self._release([Reply(request, self._answer(now, what))])

    def _answer(self, now: Instant, what: Read | Digest | CertificateOf | Status) -> Result:
        if isinstance(what, Read):
            return self._read(what)
        if isinstance(what, Digest):
            state = self.replica.state
            return Digests(root=state.merkle_root, digest=state.digest(), heads=tuple(state.version))
        if isinstance(what, CertificateOf):
            kept = self.member.ballots.certificates if self.member.ballots is not None else {}
            return Kept(kept.get(what.commit))
        return self._status(now)

    def _write(self, now: Instant, request: int, what: Write) -> list[Effect]:
        if self.agent_id in self.replica.log.proofs:
            why = "this node's own key is proven to have forked: nobody would take in what it writes"
            return [Reply(request, Refusal(why))]
        shut = self.member.gate(now, what.level)
        if shut is not None:
            return [Reply(request, shut)]
        try:
            operations, resolved = prepare_operations(self.replica.state, what.operations)
        except InvalidOperation as error:
            return [Reply(request, Refusal(str(error)))]
        commit = self.replica.write(now, operations)
        written = Written(commit=commit.id, resolved=resolved)
        if self.member.gated(what.level):
            self._gated.add(request)
        if what.level == "stable":
            return self.member.certify(now, request, commit, written)
        return [Reply(request, written)]

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
            sent=dict(self.outbox.sent),
            partition=self.member.detector.status(now.monotonic),
            voting=self.member.voting,
            suspected=tuple(sorted(self.registry.suspected())),
            proofs=dict(replica.log.proofs),
            used=self._used(),
            round_trips=self.topology.measure_latency(),
        )

    def _release(self, effects: Sequence[Effect]) -> list[Effect]:
        """Order what one call produced: journal first, and what rests on it only when it is durable."""
        journal, events = self.replica.journal, self.replica.events
        if self.registry.changes:
            self._tell_standing()
        out = self._output.release(journal, [*events, *effects])
        journal.clear()
        events.clear()
        for effect in out if self._gated else ():
            if isinstance(effect, Reply):  # it rests on nothing that has yet to become durable
                self._gated.discard(effect.request)
        return out

    def _tell_standing(self) -> None:
        for agent, suspected, score in self.registry.changes:
            name = "suspected" if suspected else "cleared"
            self.replica.events.append(Event(name, {"agent": agent.hex(), "score": score}))
        self.registry.changes.clear()


def _following(at: int, interval: int, now: Instant) -> int:
    """The next time of a timer that was due at `at`: in step with it, and after now."""
    missed = max(0, (now.monotonic - at) // interval)
    return at + (missed + 1) * interval


def _check_kinds(records: Iterable[Record]) -> None:
    for place, record in enumerate(records):
        if record.kind not in KNOWN_RECORDS:
            raise ConfigError(f'journal record {place} is of unknown kind "{record.kind}"')
