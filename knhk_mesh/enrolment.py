"""Who may vote: a member that has lost its disk must not, and it is the others who know that it has.

A member whose disk came back empty has forgotten its votes, so it might vote again for another commit of a slot.  By
itself it cannot tell a lost disk from a first start.  So each member *enrols* the first incarnation that it hears of
from each other one, durably, once an epoch, and says in every echo which one that is.  A member votes only once q
members, itself among them, have enrolled the incarnation that it has now.

A member that votes has had q members enrol its incarnation i.  If it is wiped and comes back as j, it would need q
that have enrolled j.  Two sets of q share more than f members; at most f are Byzantine or wiped, the wiped one among
them; so one of those shared is correct and has kept its disk, and that one has enrolled i, and nothing else.  So j
never votes in this epoch: it abstains (spec/byzantine.md).  A liar can deny a member its own word, and f liars leave
q that do not.
"""

from __future__ import annotations

from knhk_mesh.commits import INCARNATION_BYTES
from knhk_mesh.effects import Event, Record
from knhk_mesh.errors import ConfigError
from knhk_mesh.identity import AGENT_ID_BYTES, AgentId

EPOCH_BYTES = 8


class Enrolment:
    """One member's side, for one epoch.  `journal` is where what it enrols is to be recorded."""

    def __init__(self, *, epoch: int, members: int, quorum_size: int, journal: list[Record]) -> None:
        self._epoch = epoch.to_bytes(EPOCH_BYTES, "big")
        self._members = members
        self._quorum_size = quorum_size
        self._journal = journal
        self._enrolled: dict[AgentId, bytes] = {}
        self._confirmed: dict[AgentId, None] = {}
        self._denied: dict[AgentId, None] = {}

    def recover(self, data: bytes) -> None:
        """Take in a record "enrolled": epoch (8), the member's id, and its incarnation.  Raises ConfigError."""
        if len(data) != EPOCH_BYTES + AGENT_ID_BYTES + INCARNATION_BYTES:
            raise ConfigError("a record of an enrolment has another length")
        if data.startswith(self._epoch):
            member = data[EPOCH_BYTES : EPOCH_BYTES + AGENT_ID_BYTES]
            self._enrolled.setdefault(member, data[EPOCH_BYTES + AGENT_ID_BYTES :])

    def heard(self, peer: AgentId, incarnation: bytes) -> bytes:
        """`peer` says that it is in this incarnation; returns the one of it that is enrolled here."""
        known = self._enrolled.get(peer)
        if known is None:
            known = self._enrolled[peer] = incarnation
            self._journal.append(Record("enrolled", self._epoch + peer + incarnation))
        return known

    def told(self, peer: AgentId, enrolled: bytes, own: bytes) -> list[Event]:
        """`peer` says which incarnation of this node it has enrolled; `own` is the one that it has."""
        before, out = self.may_vote, self.abstains
        if enrolled:  # a peer's last word counts
            yes, no = (self._confirmed, self._denied) if enrolled == own else (self._denied, self._confirmed)
            yes[peer] = None
            no.pop(peer, None)
        if self.may_vote and not before:
            return [Event("enrolled", {"confirmed": len(self._confirmed)})]
        if self.abstains and not out:
            return [Event("abstains", {"denied": len(self._denied)})]
        return []

    @property
    def may_vote(self) -> bool:
        """Whether q members, this one among them, have enrolled this incarnation."""
        return 1 + len(self._confirmed) >= self._quorum_size

    @property
    def abstains(self) -> bool:
        """Whether so many have enrolled another incarnation that this one will never vote in this epoch."""
        return self._members - len(self._denied) < self._quorum_size
