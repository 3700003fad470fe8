"""Lies in votes.

double-vote     votes at once for whatever it is asked for, held or not, and for as many commits of a slot as there are.
double-propose  proposes two commits for one slot, one to each half of the peers first, votes for both, and shows both
                certificates to everybody if it gets them; certificates with a voter twice, or with too few, beside.
                With at most f liars it cannot get two; with f + 1 who double-vote it can.
late-propose    the same with patience: honest proposals while it is in force for the first time, and the second commit
                of those slots when it comes back, to voters that may have forgotten.
"""

from __future__ import annotations

import msgspec

from faults.byzantine.attacker import Attacker, Chain, Strategy
from knhk_mesh.commits import Commit, open_commit
from knhk_mesh.effects import Effect, Event, Instant
from knhk_mesh.errors import BadCertificate, BadCommit, BadFrame
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import Certificates, Propose, Votes, decode_frame
from knhk_mesh.quorum import Certificate, Roster, Vote, check_vote, statement_of

OPEN_MAX = 64


class DoubleVote(Strategy):
    """One voter, any number of votes."""

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """Vote for all that is proposed; the node itself is not asked."""
        attacker = self.attacker
        roster = attacker.node.config.roster
        message = _decoded(attacker, frame)
        if roster is None or not isinstance(message, Propose):
            return True, []
        votes = []
        for wire in message.commits:
            try:
                commit = open_commit(attacker.network, wire)
            except BadCommit:
                continue
            statement = statement_of(roster.network, roster.epoch, commit)
            votes.append(Vote(statement, attacker.signer.sign(statement)))
            attacker.lies += 1
        return False, [attacker.frame(peer, Votes, votes)]


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
            if len(proposed.votes) >= roster.quorum_size and not proposed.shown:
                proposed.shown = True
                found += self._show(Certificate(proposed.statement, tuple(sorted(proposed.votes.items()))))
        return True, found

    def _show(self, certificate: Certificate) -> list[Effect]:
        attacker = self.attacker
        votes = [[voter.hex(), signature.hex()] for voter, signature in certificate.votes]
        data = {"id": certificate.statement[-32:].hex(), "statement": certificate.statement.hex(), "votes": votes}
        attacker.told.append(Event("certified", data))
        return [attacker.frame(peer, Certificates, [certificate]) for peer in attacker.peers]


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
