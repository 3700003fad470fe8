"""This node as a member: whom it reaches, what it certifies and votes for, and when it may write.

It joins the parts that each decide one thing: `partition` (can a quorum be reached?), `enrolment` (may this member
vote?), `ballots` (votes and certificates), `catch_up` (reconciled with a quorum?).  Every call returns effects; what
has to be durable first is put into the replica's journal, and the node holds back what rests on it.

A node without a roster is a quorum of its own: it probes its peers, for their round trips, and takes local writes
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

from knhk_mesh.ballots import Ballots, Voter
from knhk_mesh.catch_up import CatchUp
from knhk_mesh.commits import DEPENDENCIES_MAX, Commit, Verify
from knhk_mesh.config import VOTE_BYTES, NodeConfig
from knhk_mesh.effects import Effect, Instant, RandomSource, Record, Reply
from knhk_mesh.enrolment import Enrolment
from knhk_mesh.errors import BadCertificate
from knhk_mesh.gossip import GossipCoordinator
from knhk_mesh.identity import AgentId, Signer, verify
from knhk_mesh.messages import (
    CERTIFICATES_MAX,
    FRONTIER_MAX,
    VOTES_MAX,
    Ask,
    Certificates,
    Echo,
    Frontier,
    Probe,
    Propose,
    Votes,
)
from knhk_mesh.outbox import Outbox
from knhk_mesh.partition import PartitionDetector
from knhk_mesh.quorum import Certificate
from knhk_mesh.reconcile import pack_deltas
from knhk_mesh.replica import Replica
from knhk_mesh.requests import Indefinite, Refusal, Result, Written
from knhk_mesh.security import ByzantineValidator

MemberFrame = Probe | Echo | Ask | Frontier | Propose | Votes | Certificates
RoundTrip = Callable[[AgentId, int, int], None]
"""(peer, round trip in ns, monotonic now)."""

PROPOSE_FRAMES_MAX = 2
PULL_AGAIN_NS = 5_000_000


class Member:
    """One member's duties.  `measured` is told of every round trip; `round_trip` is the usual one to a peer, in ns.

    `identity_durable` says whether this node's incarnation and its enrolments are on its disk.
    """

    def __init__(
        self,
        config: NodeConfig,
        signer: Signer,
        replica: Replica,
        gossip: GossipCoordinator,
        validator: ByzantineValidator,
        outbox: Outbox,
        *,
        random: RandomSource,
        measured: RoundTrip,
        round_trip: Callable[[AgentId], int],
        identity_durable: Callable[[], bool],
        verify: Verify = verify,
    ) -> None:
        roster = config.roster
        quorum = roster.quorum_size if roster is not None else 1
        peers = [peer.agent_id for peer in config.peers]
        self._config = config
        self._me = signer.agent_id
        self._replica = replica
        self._gossip = gossip
        self._validator = validator
        self._outbox = outbox
        self._measured = measured
        self._identity_durable = identity_durable
        self._requests: dict[
            bytes, tuple[int, Written]
        ] = {}  # commit -> (request, what to answer once it is certified)
        self._out: list[Effect] = []
        self._fresh: list[Certificate] = []  # certified since the last round of probes
        room = (config.frame_bytes_max - 512) // (quorum * VOTE_BYTES + 256)
        self._certificates_a_frame = min(CERTIFICATES_MAX, max(1, room))
        self.detector = PartitionDetector(
            peers,
            quorum_size=quorum,
            interval_ns=config.probe_interval_ns,
            misses=config.probe_misses,
            random=random,
        )
        self.catch_up = CatchUp(
            peers,
            quorum_size=quorum,
            timeout_ns=config.stable_timeout_ns,
            accepted=replica.log.accepted.__contains__,
            random=random,
        )
        self.enrolment = Enrolment(
            epoch=roster.epoch if roster is not None else 0,
            members=len(peers) + 1,
            quorum_size=quorum,
            journal=replica.journal,
        )
        self.ballots: Ballots | None = None
        self.voter: Voter | None = None
        if roster is not None:
            self.ballots = Ballots(roster, journal=replica.journal, events=replica.events, verify=verify)
            self.voter = Voter(roster, signer, replica.log, self.enrolment, journal=replica.journal)
        self._recovering = False
        self._began = False
        self._round_trip = round_trip
        self._pulled: dict[AgentId, int] = {}

    def recover(self, records: Iterable[Record]) -> None:
        """Take in what this node's journal holds of a member's duties.  Raises ConfigError."""
        for record in records:
            if record.kind == "enrolled":
                self.enrolment.recover(record.data)
            elif record.kind == "vote" and self.voter is not None:
                self.voter.recover(record.data)
            elif record.kind == "certificate" and self.ballots is not None:
                self.ballots.recover(record.data)

    def start(self, now: Instant) -> None:
        """The first round of probes comes with the first timer."""
        self.detector.start(now.monotonic)

    @property
    def voting(self) -> Literal["no roster", "enrolling", "votes", "abstains"]:
        """Whether this member votes."""
        if self.voter is None:
            return "no roster"
        if self.enrolment.abstains:
            return "abstains"
        return "votes" if self.enrolment.may_vote else "enrolling"

    # Clients

    def gate(self, now: Instant, level: str) -> Refusal | None:
        """Why a write is refused now; None if it may go on."""
        if level == "stable" and self.ballots is None:
            return Refusal("level: this node has no roster, so nothing can be certified")
        if level == "stable" and len(self.ballots or ()) >= self._config.requests_waiting_max:
            return Refusal("overloaded: too many writes wait for their certificates; nothing was written")
        if not self.gated(level) or self.detector.may_write(now.monotonic):
            return None
        status = self.detector.status(now.monotonic)
        return Refusal(f"{status.state}: {status.reachable} of {status.required} members reached; nothing was written")

    def gated(self, level: str) -> bool:
        """Whether a write of this level is for healthy nodes alone."""
        return level == "stable" or self._config.gate_local_writes

    def certify(self, now: Instant, request: int, commit: Commit, written: Written) -> list[Effect]:
        """Answer `request` with `written` and the certificate of `commit`, once there is one."""
        assert self.ballots is not None and self.voter is not None
        self._requests[commit.id] = (request, written)
        own = self.voter.vote(commit)
        certificate = self.ballots.begin(now.monotonic, commit, own, self._me)
        if certificate is not None:
            self._certified([certificate])
        else:
            for peer in self._config.peers:
                self._propose(peer.agent_id, [commit])
        return self._take_out()

    def after_quorum(self, now: Instant, request: int, answer: Callable[[], Result]) -> list[Effect]:
        """Answer `request` with what `answer` returns once this node has reconciled with a quorum from now on."""
        if self.voter is None:
            return [Reply(request, Refusal("level: this node has no roster, so it knows no quorum"))]
        if self.detector.state == "partitioned" or len(self.catch_up) >= self._config.requests_waiting_max:
            return [Reply(request, Refusal(f"overloaded or cut off: this node is {self.detector.state}"))]

        def done(complete: bool, _: int) -> None:
            late = Refusal("cut off: no quorum of members answered in time")
            self._out.append(Reply(request, answer() if complete else late))

        if self.catch_up.begin(now.monotonic, done):
            self._ask()
        self._settle(now)
        return self._take_out()

    # Time

    def on_timer(self, now: Instant, *, stalled: bool = False) -> list[Effect]:
        """A round of probes, a look at what they proved, and what was lost on the way once more.

        While the disk has stalled, nothing is sent that would have to wait for it.
        """
        monotonic = now.monotonic
        incarnation = self._replica.incarnation
        assert incarnation is not None
        outbox = self._outbox
        if not self._began and not self._identity_durable():
            self.detector.start(monotonic)  # nobody can be asked yet, so nobody can be missed
            return self._take_out()
        self._began = True
        self._out.extend(self.detector.detect_partition(monotonic))
        for peer, nonce in self.detector.probe(monotonic):
            probe = Probe(outbox.session, outbox.next(peer, free=True), nonce, incarnation)
            self._out.append(outbox.send(peer, probe, free=True))
        if self.detector.state == "partitioned":
            self._give_up("partitioned: this node can no longer reach a quorum")
        elif self.detector.state == "recovering":
            self._recover_with_quorum(monotonic)
        if (self.catch_up.expire(monotonic) or len(self.catch_up)) and not stalled:
            self._ask()
        if self.ballots is not None:
            assert self.voter is not None
            self._certified(self.ballots.add_own(self._me, self.voter.vote))
            late = self.ballots.expired(monotonic - self._config.stable_timeout_ns)
            self._answer(late, Indefinite("no certificate in time: it may yet be certified"))
            for one in self._config.peers if not stalled else ():
                self._propose(one.agent_id, self.ballots.lacking(one.agent_id))
            self._spread()
        self._settle(now)
        return self._take_out()

    def _recover_with_quorum(self, monotonic: int) -> None:
        """Reconcile with a quorum, from a moment at which this node was already recovering."""
        if self._recovering:
            return
        self._recovering = True
        since = self.detector.status(monotonic).since

        def done(complete: bool, later: int) -> None:
            self._recovering = False
            if complete and self.detector.status(later).since == since:  # not a former recovery's
                self._out.extend(self.detector.handle_recovery(later))

        self.catch_up.begin(monotonic, done)  # the timer asks

    def _give_up(self, why: str) -> None:
        if self.ballots is not None:
            self._answer(self.ballots.abandon(), Indefinite(why))

    def _answer(self, commits: Iterable[bytes], result: Result) -> None:
        for commit in commits:
            found = self._requests.pop(commit, None)
            if found is not None:
                self._out.append(Reply(found[0], result))

    # Frames

    def on_frame(self, now: Instant, peer: AgentId, frame: MemberFrame) -> list[Effect]:
        """Take in a frame of a member's."""
        match frame:
            case Probe(nonce=nonce, incarnation=incarnation):
                self._echo(peer, nonce, incarnation)
            case Echo(nonce=nonce, enrolled=enrolled):
                self._echoed(now, peer, nonce, enrolled)
            case Ask(nonce=nonce):
                self._tell_frontier(now, peer, nonce)
            case Frontier(nonce=nonce, ids=ids):
                wanted = self.catch_up.answered(peer, nonce, ids)
                if wanted:
                    self._out.append(self._gossip.pull(peer, wanted))
                self._settle(now)
            case Propose():
                self._proposed(now, peer, frame)
            case Votes():
                self._voted(now, peer, frame)
            case Certificates():
                self._keep(now, peer, frame)
        return self._take_out()

    def accepted(self, now: Instant) -> list[Effect]:
        """Something was accepted: votes that waited for it, and reconciliations."""
        self._vote(now)
        self._settle(now)
        return self._take_out()

    def _echo(self, peer: AgentId, nonce: bytes, incarnation: bytes) -> None:
        enrolled = self.enrolment.heard(peer, incarnation) if self.voter is not None else b""
        if not self._identity_durable():
            enrolled = b""  # the next echo will say; that this peer is reached need not wait for a disk
        outbox = self._outbox
        echo = Echo(outbox.session, outbox.next(peer, free=True), nonce, enrolled)
        self._out.append(outbox.send(peer, echo, free=True))

    def _echoed(self, now: Instant, peer: AgentId, nonce: bytes, enrolled: bytes) -> None:
        round_trip = self.detector.echoed(peer, nonce, now.monotonic)
        if round_trip is None:
            return  # a guess, or an old one once more: it proves nothing
        self._measured(peer, round_trip, now.monotonic)
        if self.voter is not None:
            assert self._replica.incarnation is not None
            self._out.extend(self.enrolment.told(peer, enrolled, self._replica.incarnation))

    def _ask(self) -> None:
        outbox = self._outbox
        for peer, nonce in self.catch_up.asks():
            self._out.append(outbox.send(peer, Ask(outbox.session, outbox.next(peer), nonce)))

    def _tell_frontier(self, now: Instant, peer: AgentId, nonce: bytes) -> None:
        if len(self._replica.log.frontier) > DEPENDENCIES_MAX:
            self._replica.write(now)  # a commit that says nothing, and gathers them
        outbox = self._outbox
        ids = list(self._replica.log.frontier)[:FRONTIER_MAX]
        self._out.append(outbox.send(peer, Frontier(outbox.session, outbox.next(peer), nonce, ids)))

    def _settle(self, now: Instant) -> None:
        """End every reconciliation that is complete; a node that is a quorum of its own needs nobody's answer."""
        while self.catch_up.settle(now.monotonic):
            self._ask()

    def _propose(self, peer: AgentId, commits: Sequence[Commit]) -> None:
        outbox = self._outbox
        batches = pack_deltas(
            iter(commits), frame_bytes_max=self._config.frame_bytes_max, frames_max=PROPOSE_FRAMES_MAX
        )
        for batch in batches:
            self._out.append(outbox.send(peer, Propose(outbox.session, outbox.next(peer), batch)))

    def _proposed(self, now: Instant, peer: AgentId, frame: Propose) -> None:
        if self.voter is None:
            return
        ids = self._gossip.take_in(now, peer, frame.commits)
        self.voter.asked(peer, ids)
        self._vote(now)
        lacking = self.voter.lacks(peer)
        if lacking and self._may_pull(now.monotonic, peer):
            self._out.append(self._gossip.pull(peer, lacking))
        self._settle(now)

    def _may_pull(self, now: int, peer: AgentId) -> bool:
        """Whether the answer to the last pull that a proposal of `peer` called for should have come by now."""
        if now - self._pulled.get(peer, -PULL_AGAIN_NS) < PULL_AGAIN_NS + 2 * self._round_trip(peer):
            return False
        self._pulled[peer] = now
        return True

    def _vote(self, now: Instant) -> None:
        if self.voter is None:
            return
        outbox = self._outbox
        for author, votes in self.voter.due(partial(self._validator.may_vote, now.monotonic)):
            for at in range(0, len(votes), VOTES_MAX):
                part = votes[at : at + VOTES_MAX]
                self._out.append(outbox.send(author, Votes(outbox.session, outbox.next(author), part)))

    def _voted(self, now: Instant, peer: AgentId, frame: Votes) -> None:
        if self.ballots is None:
            return
        complete, bad = self.ballots.take(peer, frame.votes)
        for reason in bad:
            self._validator.charge_vote(now, peer, reason)
        self._certified(complete)

    def _certified(self, certificates: list[Certificate]) -> None:
        """Answer whoever waited."""
        assert self.ballots is not None
        for certificate in certificates:
            commit = certificate.statement[-32:]
            found = self._requests.pop(commit, None)
            if found is not None:
                request, written = found
                result = Written(written.commit, written.resolved, certificate)
                self._out.append(Reply(request, result))
        self._fresh += certificates

    def _spread(self) -> None:
        """Give every member the certificates since the last round, together: nobody waits for them."""
        outbox = self._outbox
        for at in range(0, len(self._fresh), self._certificates_a_frame):
            part = self._fresh[at : at + self._certificates_a_frame]
            for peer in self._config.peers:
                sequence = outbox.next(peer.agent_id)
                self._out.append(outbox.send(peer.agent_id, Certificates(outbox.session, sequence, part)))
        self._fresh = []

    def _keep(self, now: Instant, peer: AgentId, frame: Certificates) -> None:
        if self.ballots is None:
            return
        for certificate in frame.certificates:
            try:
                self.ballots.keep(certificate)
            except BadCertificate as error:
                self._validator.charge_vote(now, peer, error.reason)

    def _take_out(self) -> list[Effect]:
        out = self._out
        self._out = []
        return out
