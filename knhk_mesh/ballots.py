"""Votes and certificates at one member: what it votes for, and how its own stable writes get their certificates.

    author                                    each other member
    commit, own vote: durable
    propose(commit) ------------------------> takes it in; lacks its past: pull(wants), deltas
                                              commit, past and vote: durable
                  <-------------------------- votes
    q votes: certificate, durable
    certificates ---------------------------> verified and kept with the commit

A member votes for a commit that its author has proposed, that it has accepted with its past, and whose slot it has not
given to another commit; the vote is in the journal behind the commit, and leaves when both are durable.  Votes are
recovered from the journal, so neither a restart nor a later epoch gives a second one away; a member that may have lost
its journal abstains (`enrolment`).  Votes are idempotent: whoever asks again gets the same bytes again.

Each stable write waits for the certificate of that very commit (spec-defects 8).  What is lost on the way is proposed
again; what takes too long, or is still open when the node sees that it is cut off, is answered as indefinite, because
the commit is there, and may yet be certified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from knhk_mesh.commits import Commit, Slot, Verify
from knhk_mesh.effects import Event, Record
from knhk_mesh.enrolment import Enrolment
from knhk_mesh.errors import BadCertificate, ConfigError
from knhk_mesh.identity import AgentId, Signer, verify
from knhk_mesh.log import CommitLog
from knhk_mesh.quorum import (
    Certificate,
    Roster,
    Vote,
    check_certificate,
    check_vote,
    double_signers,
    read_statement,
    statement_of,
)

ASKED_A_PEER_MAX = 256
_encode: Any = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Certificate).decode


class Ballot(msgspec.Struct):
    """One of this node's commits on its way to a certificate.  `votes`: signature by voter; `begun` monotonic ns."""

    commit: Commit
    statement: bytes
    begun: int
    votes: dict[AgentId, bytes]


class Voter:
    """What this member votes for.  `journal` is where votes are recorded."""

    def __init__(
        self, roster: Roster, signer: Signer, log: CommitLog, enrolment: Enrolment, *, journal: list[Record]
    ) -> None:
        self._roster = roster
        self._signer = signer
        self._log = log
        self._enrolment = enrolment
        self._journal = journal
        self._given: dict[Slot, bytes] = {}  # slot -> the one commit that it was given to
        self._asked: dict[AgentId, dict[bytes, None]] = {}  # author -> its proposals that cannot be voted for yet

    def recover(self, data: bytes) -> None:
        """Take in a record "vote", a statement of this or of another epoch.  Raises ConfigError.

        A slot is given once, in whichever epoch, or two epochs could certify two commits of one slot.
        """
        try:
            statement = read_statement(self._roster.network, data)
        except BadCertificate as error:
            raise ConfigError(f"a record of a vote is none: {error}") from None
        self._given.setdefault(statement.slot, statement.id)

    def vote(self, commit: Commit) -> Vote | None:
        """The vote for `commit`, which is accepted; None if there is none to give."""
        if not self._enrolment.may_vote:
            return None
        given = self._given.get(commit.slot)
        if given is not None and given != commit.id:
            return None
        statement = statement_of(self._roster.network, self._roster.epoch, commit)
        if given is None:
            self._given[commit.slot] = commit.id
            self._journal.append(Record("vote", statement))
        return Vote(statement, self._signer.sign(statement))

    def asked(self, author: AgentId, ids: Iterable[bytes]) -> None:
        """`author` proposes these commits of its own; at most ASKED_A_PEER_MAX wait, and it will ask again."""
        waiting = self._asked.setdefault(author, {})
        for one in ids:
            waiting[one] = None
        while len(waiting) > ASKED_A_PEER_MAX:
            del waiting[next(iter(waiting))]

    def due(self, may_vote: Callable[[AgentId], bool]) -> list[tuple[AgentId, list[Vote]]]:
        """The votes that can be given now, by the author who asked for them; `may_vote` is asked for each commit."""
        found = []
        for author, waiting in self._asked.items():
            ready = [one for one in waiting if one in self._log.accepted] if waiting else []
            votes = []
            for one in ready:
                if not may_vote(author):
                    break
                del waiting[one]
                vote = self.vote(self._log.held[one]) if self._log.held[one].author == author else None
                if vote is not None:
                    votes.append(vote)
            if votes:
                found.append((author, votes))
        return found

    def lacks(self, author: AgentId) -> list[bytes]:
        """What `author` has proposed and is not accepted here yet."""
        return list(self._asked.get(author, ()))

    @property
    def waiting(self) -> int:
        """Proposals that cannot be voted for yet."""
        return sum(map(len, self._asked.values()))


class Ballots:
    """This node's own stable writes.  `journal` and `events` are drained by the node after each call."""

    def __init__(self, roster: Roster, *, journal: list[Record], events: list[Event], verify: Verify = verify) -> None:
        self._roster = roster
        self._journal = journal
        self._events = events
        self._verify = verify
        self._open: dict[bytes, Ballot] = {}
        self.certificates: dict[bytes, Certificate] = {}
        self._certified: dict[Slot, bytes] = {}

    def __len__(self) -> int:
        return len(self._open)

    def recover(self, data: bytes) -> None:
        """Take in a record "certificate".  Raises ConfigError."""
        try:
            certificate = _decode(data)
            statement = read_statement(self._roster.network, certificate.statement)
        except (BadCertificate, msgspec.MsgspecError) as error:
            raise ConfigError(f"a record of a certificate is none: {error}") from None
        self.certificates[statement.id] = certificate
        self._certified[statement.slot] = statement.id

    def begin(self, now: int, commit: Commit, own: Vote | None, me: AgentId) -> Certificate | None:
        """Want a certificate for `commit`; `own` is this member's vote, if it may give one."""
        statement = statement_of(self._roster.network, self._roster.epoch, commit)
        self._open[commit.id] = Ballot(commit, statement, now, {})
        return self._count(commit.id, me, own.signature) if own is not None else None

    def take(self, voter: AgentId, votes: Sequence[Vote]) -> tuple[list[Certificate], list[str]]:
        """Count votes that `voter` sent: (what they complete, why others count for nothing)."""
        complete: list[Certificate] = []
        bad: list[str] = []
        for vote in votes:
            try:
                statement = read_statement(self._roster.network, vote.statement)
                ballot = self._open.get(statement.id)
                if ballot is None or voter in ballot.votes:
                    continue  # certified already, or given up: more votes than are needed are no fault, and cost little
                if vote.statement != ballot.statement and statement.epoch == self._roster.epoch:
                    raise BadCertificate("slot", "of this commit, and another slot than it has")  # seen for nothing
                check_vote(self._roster, voter, vote, self._verify)
            except BadCertificate as error:
                bad.append(error.reason)
                continue
            certificate = self._count(statement.id, voter, vote.signature)
            if certificate is not None:
                complete.append(certificate)
        return complete, bad

    def _count(self, commit: bytes, voter: AgentId, signature: bytes) -> Certificate | None:
        ballot = self._open[commit]
        ballot.votes[voter] = signature
        if len(ballot.votes) < self._roster.quorum_size:
            return None
        del self._open[commit]
        certificate = Certificate(ballot.statement, tuple(sorted(ballot.votes.items())))
        self._keep(certificate)
        return certificate

    def keep(self, certificate: Certificate) -> bool:
        """Verify and keep what a peer says is a certificate; False if it is known.  Raises BadCertificate."""
        claimed = read_statement(self._roster.network, certificate.statement)
        if claimed.id in self.certificates:
            return False
        check_certificate(self._roster, certificate, self._verify)
        self._keep(certificate)
        return True

    def _keep(self, certificate: Certificate) -> None:
        statement = read_statement(self._roster.network, certificate.statement)
        rival = self._certified.setdefault(statement.slot, statement.id)
        if rival != statement.id:
            signers = double_signers(self.certificates[rival], certificate)
            self._events.append(Event("conflict", {"signers": [one.hex() for one in signers]}))
        self.certificates[statement.id] = certificate
        self._journal.append(Record("certificate", _encode(certificate)))
        votes = [[voter.hex(), signature.hex()] for voter, signature in certificate.votes]
        data = {"id": statement.id.hex(), "statement": certificate.statement.hex(), "votes": votes}
        self._events.append(Event("certified", data))

    def add_own(self, me: AgentId, vote: Callable[[Commit], Vote | None]) -> list[Certificate]:
        """This member's own votes, where it could not give them when its writes began; what they complete."""
        complete = []
        for commit in self.lacking(me):
            own = vote(commit)
            certificate = self._count(commit.id, me, own.signature) if own is not None else None
            if certificate is not None:
                complete.append(certificate)
        return complete

    def lacking(self, peer: AgentId) -> list[Commit]:
        """The commits that `peer` has not voted for yet, oldest first."""
        return [ballot.commit for ballot in self._open.values() if peer not in ballot.votes]

    def expired(self, before: int) -> list[bytes]:
        """Give up on what began before then (monotonic ns); the ids of those commits."""
        late = [commit for commit, ballot in self._open.items() if ballot.begun < before]
        for commit in late:
            del self._open[commit]
        return late

    def abandon(self) -> list[bytes]:
        """Give up on everything; the ids of those commits."""
        given_up = list(self._open)
        self._open.clear()
        return given_up
