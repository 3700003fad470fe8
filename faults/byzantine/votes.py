"""Lies in votes.

double-vote     votes at once for whatever it is asked for, held or not, and for as many commits of a slot as there are;
                now and then for one of them in the slot after its own, too.
double-propose  proposes two commits for one slot, one to each half of the peers first, votes for both, and shows both
                certificates to everybody if it gets them; certificates with a voter twice, or with too few, beside.
                With at most f liars it cannot get two; with f + 1 who double-vote it can.
late-propose    the same with patience: honest proposals while it is in force for the first time, and the second commit
                of those slots when it comes back, to voters that may have forgotten.
short-certificate   forks nothing, and so is heard to the end: proposes its commits to one member too few, and shows
                what nearly is a certificate, alone or with a stranger's vote.
hollow-propose  proposes commits whose pasts do not exist, which can never be voted for.

Whoever proposes tells the harness of each vote that it is given (`voted`): one that no certificate shows would be seen
by nobody else.
"""

from __future__ import annotations

import msgspec

from faults.byzantine.attacker import Attacker, Chain, Strategy
from knhk_mesh.commits import Commit, Slot, open_commit
from knhk_mesh.effects import Effect, Event, Instant
from knhk_mesh.errors import BadCertificate, BadCommit, BadFrame
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.messages import VOTES_MAX, Certificates, Propose, Votes, decode_frame
from knhk_mesh.quorum import Certificate, Roster, Vote, check_vote, statement_of

OPEN_MAX = 64
REMEMBERED_MAX = 4096
HOLLOW = 32
SHOWN_SHARE = 0.2
ELSEWHERE_SHARE = 0.05
"""Of what is nearly a certificate, and of votes for another slot: who sends many is soon suspected, and not heard."""


class DoubleVote(Strategy):
    """One voter, any number of votes."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._given: dict[Slot, bytes] = {}

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """Vote for all that is proposed; the node itself is not asked."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        message = _decoded(attacker, frame)
        if roster is None or not isinstance(message, Propose):
            return True, []
        votes: list[Vote] = []
        for wire in message.commits:
            try:
                votes += self._votes(roster, open_commit(attacker.network, wire))
            except BadCommit:
                continue
        parts = [votes[at : at + VOTES_MAX] for at in range(0, len(votes), VOTES_MAX)]
        return False, [attacker.frame(peer, Votes, part) for part in parts]

    def _votes(self, roster: Roster, commit: Commit) -> list[Vote]:
        """The vote that was asked for; a lie if this slot has another one's already, or with one for another slot."""
        attacker = self.attacker
        commits = [commit]
        if attacker.random.random() < ELSEWHERE_SHARE:
            commits.insert(0, msgspec.structs.replace(commit, seq=commit.seq + 1))
        if len(self._given) < REMEMBERED_MAX:
            self._given.setdefault(commit.slot, commit.id)
        attacker.lies += len(commits) > 1 or self._given.get(commit.slot, commit.id) != commit.id
        statements = [statement_of(roster.network, roster.epoch, one) for one in commits]
        return [Vote(one, attacker.signer.sign(one)) for one in statements]


class HollowPropose(Strategy):
    """Proposals that wait for ever."""

    def round(self, now: Instant) -> list[Effect]:
        """HOLLOW of them to everybody, each the beginning of a chain of its own."""
        attacker = self.attacker
        pasts = [attacker.random.getrandbits(256).to_bytes(32, "big") for _ in range(HOLLOW)]
        wires = [Chain(attacker).next(now, deps=[past]).wire for past in pasts]
        attacker.lies += 1
        return [attacker.frame(peer, Propose, wires) for peer in attacker.peers]


class _Open(msgspec.Struct):
    """A commit that was proposed, and the votes that have come for it."""

    statement: bytes
    votes: dict[AgentId, bytes]
    shown: bool = False


class DoublePropose(Strategy):
    """Two commits for one slot, each on its way to a certificate."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._chain = Chain(attacker)
        self._open: dict[bytes, _Open] = {}
        self._pair: tuple[Commit, Commit] | None = None

    def round(self, now: Instant) -> list[Effect]:
        """A new pair every other round; in between the same one again, each half first what the other had first."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        if roster is None:
            return []
        if self._pair is not None:
            one, other = self._pair
            self._pair = None
            return [attacker.frame(peer, Propose, [other.wire, one.wire]) for peer in attacker.peers]
        one, other = self._chain.next(now, deps=[]), self._chain.next(now, deps=[])
        self._pair = (one, other)
        self._chain.advance(one)
        attacker.tell(one, other)
        attacker.lies += 1
        for commit in self._pair:
            self._vote(roster, commit)
        left, right = attacker.peers[::2], attacker.peers[1::2]
        first = [attacker.frame(peer, Propose, [one.wire, other.wire]) for peer in left]
        second = [attacker.frame(peer, Propose, [other.wire, one.wire]) for peer in right]
        return [*self._bogus(one), *first, *second]

    def _vote(self, roster: Roster, commit: Commit) -> None:
        """This node's own vote, and a place for the others'."""
        statement = statement_of(roster.network, roster.epoch, commit)
        own = {self.attacker.signer.agent_id: self.attacker.signer.sign(statement)}
        self._open[commit.id] = _Open(statement, own)
        while len(self._open) > OPEN_MAX:
            del self._open[next(iter(self._open))]

    def _bogus(self, commit: Commit) -> list[Effect]:
        """What is no certificate: too few voters, or enough votes of one."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        assert roster is not None
        statement = statement_of(roster.network, roster.epoch, commit)
        own = (attacker.signer.agent_id, attacker.signer.sign(statement))
        count = roster.quorum_size if attacker.random.random() < 0.5 else 1
        return [
            attacker.frame(peer, Certificates, [Certificate(statement, (own,) * count)]) for peer in attacker.some(1)
        ]

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """Count the votes, and show every certificate that they make."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        message = _decoded(attacker, frame)
        if roster is None or not isinstance(message, Votes):
            return True, []
        found: list[Effect] = []
        for vote in message.votes:
            try:
                statement = check_vote(roster, peer, vote)
            except BadCertificate:
                continue
            proposed = self._open.get(statement.id)
            if proposed is None:
                continue
            proposed.votes[peer] = vote.signature
            told = {"statement": vote.statement.hex(), "voter": peer.hex(), "signature": vote.signature.hex()}
            attacker.told.append(Event("voted", told))
            found += self._counted(roster, proposed)
        return True, found

    def _counted(self, roster: Roster, proposed: _Open) -> list[Effect]:
        """One vote more has come: what it makes possible."""
        if len(proposed.votes) < roster.quorum_size or proposed.shown:
            return []
        proposed.shown = True
        return self._show(Certificate(proposed.statement, tuple(sorted(proposed.votes.items()))))

    def _show(self, certificate: Certificate) -> list[Effect]:
        attacker = self.attacker
        votes = [[voter.hex(), signature.hex()] for voter, signature in certificate.votes]
        data = {"id": certificate.statement[-32:].hex(), "statement": certificate.statement.hex(), "votes": votes}
        attacker.told.append(Event("certified", data))
        return [attacker.frame(peer, Certificates, [certificate]) for peer in attacker.peers]


class ShortCertificate(DoublePropose):
    """Nearly a certificate."""

    def round(self, now: Instant) -> list[Effect]:
        """A sound commit, to so many that with this node's own vote there is one too few."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        if roster is None:
            return []
        commit = self._chain.next(now)
        self._chain.advance(commit)
        attacker.tell(commit)
        self._vote(roster, commit)
        return [attacker.frame(peer, Propose, [commit.wire]) for peer in attacker.some(roster.quorum_size - 2)]

    def _counted(self, roster: Roster, proposed: _Open) -> list[Effect]:
        """All votes that there will be: now and then they are shown, every other time with a stranger's."""
        attacker = self.attacker
        if len(proposed.votes) != roster.quorum_size - 1 or attacker.random.random() >= SHOWN_SHARE:
            return []
        votes = dict(proposed.votes)
        if attacker.random.random() < 0.5:
            stranger = Signer(attacker.random.getrandbits(256).to_bytes(32, "big"))
            votes[stranger.agent_id] = stranger.sign(proposed.statement)
        attacker.lies += 1
        bogus = Certificate(proposed.statement, tuple(sorted(votes.items())))
        return [attacker.frame(peer, Certificates, [bogus]) for peer in attacker.some(1)]


class LatePropose(DoublePropose):
    """The same lie with patience: the second commit of a slot is shown when the strategy comes back, and not before."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._windows = 0
        self._twins: list[Commit] = []

    def begins(self) -> None:
        """Windows are counted."""
        self._windows += 1

    def round(self, now: Instant) -> list[Effect]:
        """At first honest proposals, to just as many as a certificate needs; later their twins, to everybody."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        if roster is None:
            return []
        if self._windows == 1 and len(self._twins) < OPEN_MAX // 2:
            one, twin = self._chain.next(now, deps=[]), self._chain.next(now, deps=[])
            self._chain.advance(one)
            self._twins.append(twin)
            attacker.tell(one, twin)
            self._vote(roster, one)
            attacker.lies += 1
            return [attacker.frame(peer, Propose, [one.wire]) for peer in attacker.peers[: roster.quorum_size - 1]]
        if self._windows == 1 or not self._twins:
            return []
        twin = self._twins.pop(0)
        self._vote(roster, twin)
        attacker.lies += 1
        return [attacker.frame(peer, Propose, [twin.wire]) for peer in attacker.peers]


def _decoded(attacker: Attacker, frame: bytes) -> object:
    try:
        return decode_frame(frame, bytes_max=attacker.node.config.frame_bytes_max)
    except BadFrame:
        return None
