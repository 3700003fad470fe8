"""Lies in commits: what is signed, or claims to be.

equivocate     two commits for one slot, each to half of the peers.  They compare heads, find the fork, fence.
forge          commits in another's name, and others' commits with their dependencies or operations altered.  The
               signature is not over what is said; the deliverer should have checked.
bad-signature  own commits, with a bit of the signature turned.
clocks         commits whose clock is not after their past, or beyond the allowance, or as far ahead as is allowed.
slander        accusations of correct nodes, with forged proofs; and sound proofs against keys that it has made up.
vouch          lends a proven liar a name: passes on what it signs, under commits that do not know of the proof.
"""

from __future__ import annotations

from typing import Any

import msgspec

from faults.byzantine.attacker import Attacker, Chain, Strategy
from knhk_mesh.commits import NO_COMMIT, Commit, Proof, WireCommit, commit_id, make_commit, make_proof, open_commit
from knhk_mesh.effects import Effect, Instant, Send
from knhk_mesh.errors import BadCommit, BadFrame
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.log import CLOCK_ALLOWANCE_MS
from knhk_mesh.messages import Delta, Propose, decode_frame

LENT_MAX = 64


def _altered(wire: WireCommit, *, signature: bytes | None = None, header: bytes | None = None) -> WireCommit:
    return msgspec.structs.replace(wire, signature=signature or wire.signature, header=header or wire.header)


class Equivocate(Strategy):
    """Two commits for one slot, each round."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._chain = Chain(attacker)

    def round(self, now: Instant) -> list[Effect]:
        """One to each half of the peers; the chain goes on from either."""
        one, other = self._chain.next(now), self._chain.next(now)
        self.attacker.tell(one, other)
        self.attacker.lies += 1
        self._chain.advance(one if self.attacker.random.random() < 0.5 else other)
        left, right = self.attacker.halves()
        return [*self.attacker.deltas(left, [one.wire]), *self.attacker.deltas(right, [other.wire])]


class Forge(Strategy):
    """Commits that their author has not signed."""

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Others' commits leave with a past that is not theirs."""
        attacker = self.attacker
        try:
            message = decode_frame(effect.frame, bytes_max=attacker.node.config.frame_bytes_max)
        except BadFrame:
            return [effect]
        if not isinstance(message, Delta):
            return [effect]
        attacker.lies += 1
        own = attacker.signer.agent_id
        altered = [
            wire if wire.header[48:80] == own else msgspec.structs.replace(wire, deps=b"") for wire in message.commits
        ]
        return [attacker.frame(effect.peer, Delta, altered)]

    def round(self, now: Instant) -> list[Effect]:
        """The victim's key in the header and this node's signature under it; and a victim's newest commit, altered."""
        attacker = self.attacker
        wire = Chain(attacker).next(now).wire
        victim = attacker.some(1)[0]
        header = wire.header[:48] + victim + wire.header[80:]
        forged = [_altered(wire, header=header, signature=attacker.signer.sign(header))]
        theirs = [one for one in attacker.node.replica.log.heads.values() if one.author == victim]
        if theirs:
            real = theirs[-1].wire
            altered = {"deps": b""} if attacker.random.random() < 0.5 else {"body": wire.body}
            forged.append(msgspec.structs.replace(real, **altered))
        attacker.lies += 1
        return attacker.deltas(attacker.some(2), forged)


class BadSignature(Strategy):
    """Own commits that nobody can verify."""

    def round(self, now: Instant) -> list[Effect]:
        """One bit of the signature is turned."""
        wire = Chain(self.attacker).next(now).wire
        bad = bytes([wire.signature[0] ^ 1]) + wire.signature[1:]
        self.attacker.lies += 1
        return self.attacker.deltas(self.attacker.some(2), [_altered(wire, signature=bad)])


class Clocks(Strategy):
    """Clocks that stand still, or run away."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._chain = Chain(attacker)

    def round(self, now: Instant) -> list[Effect]:
        """Too early and too late, which is invalid, or the farthest ahead that is valid."""
        attacker = self.attacker
        most = CLOCK_ALLOWANCE_MS << 16
        ahead = (-1, most + 1, most)[int(attacker.random.random() * 3)]
        commit = self._chain.next(now, clock_ahead=ahead)
        if ahead == most:
            attacker.tell(commit)
            self._chain.advance(commit)
        attacker.lies += 1
        return attacker.deltas(attacker.some(2), [commit.wire])


class Slander(Strategy):
    """Accusations that prove nothing, or nothing of a member."""

    def round(self, now: Instant) -> list[Effect]:
        """A victim's real header and one that this node has made up; or a key's that it has made up to fork with."""
        attacker = self.attacker
        if attacker.random.random() < 0.5:
            return self._nobody(now)
        held = attacker.node.replica.log.held
        theirs = [one for one in list(held.values())[-50:] if one.author in attacker.peers]
        if not theirs:
            return []
        victim = theirs[int(attacker.random.random() * len(theirs))]
        real = victim.wire
        made_up = real.header[:-8] + attacker.random.getrandbits(64).to_bytes(8, "big")
        pair = sorted(
            [(real.header, real.signature), (made_up, attacker.signer.sign(made_up))], key=lambda one: commit_id(one[0])
        )
        proof = Proof(*pair[0], *pair[1])
        attacker.lies += 1
        return attacker.deltas(attacker.some(2), [Chain(attacker).next(now, proof=proof).wire])

    def _nobody(self, now: Instant) -> list[Effect]:
        """A proof that is sound, against somebody who is no member: it must cost nobody a fence."""
        attacker = self.attacker
        key = Signer(attacker.random.getrandbits(256).to_bytes(32, "big"))
        fields: dict[str, Any] = {"network": attacker.network, "incarnation": bytes(16), "seq": 0, "prev": NO_COMMIT}
        one, other = (make_commit(key, deps=[], clock=clock, **fields) for clock in (1, 2))
        accusing = Chain(attacker).next(now, proof=make_proof(one, other))
        attacker.tell(accusing)
        attacker.lies += 1
        return attacker.deltas(attacker.some(2), [accusing.wire])


class Vouch(Strategy):
    """Lends a proven liar its name."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._chain = Chain(attacker)
        self._lent: dict[bytes, Commit] = {}  # what liars have signed, and not been lent a name for yet

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """Keep what others send: the node itself would not take in what a proven liar says."""
        attacker = self.attacker
        try:
            message = decode_frame(frame, bytes_max=attacker.node.config.frame_bytes_max)
        except BadFrame:
            return True, []
        if isinstance(message, Delta | Propose):
            for wire in message.commits[:8]:
                try:
                    commit = open_commit(attacker.network, wire)
                except BadCommit:
                    continue
                if commit.author == peer and len(self._lent) < LENT_MAX and self._may_lend(commit):
                    self._lent[commit.id] = commit
        return True, []

    def _may_lend(self, commit: Commit) -> bool:
        """Whether a commit above this one would be valid: everybody has its past, or will, and no proof is in that."""
        log = self.attacker.node.replica.log
        return not log.missing_past(commit) and not log.accused_before(commit)

    def round(self, now: Instant) -> list[Effect]:
        """Commits of proven liars, below one of this node's that names them and knows of no proof."""
        attacker = self.attacker
        proven = attacker.node.replica.log.proofs
        found: list[Effect] = []
        for commit in [one for one in self._lent.values() if one.author in proven]:
            del self._lent[commit.id]
            vouching = self._chain.next(now, deps=[], beside=[commit])
            self._chain.advance(vouching)
            attacker.tell(vouching)
            attacker.lies += 1
            found += attacker.deltas(attacker.some(len(attacker.peers)), [commit.wire, vouching.wire])
        return found + self._against_the_rule(now)

    def _against_the_rule(self, now: Instant) -> list[Effect]:
        """A commit with a proof in its past that depends on whom it proves faulty: invalid for everybody."""
        attacker = self.attacker
        log = attacker.node.replica.log
        for liar in log.proofs:
            of_liar = [one.id for one in log.heads.values() if one.author == liar]
            if of_liar:
                deps = sorted({*list(log.frontier)[:8], of_liar[0]})
                vouching = Chain(attacker).next(now, deps=deps)
                attacker.tell(vouching)
                return attacker.deltas(attacker.some(2), [vouching.wire])
        return []
