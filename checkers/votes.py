"""Who has signed what: the certificates of a history, slot by slot, and what they prove against their signers.

Every valid signature under a statement of this network and epoch is kept, also one from a certificate that is none:
what a member has signed it has signed, whoever shows it.  Two certificates for one slot share 2q - n signers, who have
voted twice and can be named (spec/byzantine.md, "Certificates").

Complexity: O(votes) a certificate; a certificate that another node tells of in the same bytes is not read again.
Cannot see: votes that no certificate shows, and that whoever got them does not tell of (`voted`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from typing import Any

from checkers.history import Header
from checkers.signed import Certificate, Certificates, Slot
from checkers.verdict import Anomaly


class _Claim:
    """One commit id in a slot: who signed for it, where that was first told, and where a good certificate was."""

    __slots__ = ("certified", "event", "signers")

    def __init__(self, event: int) -> None:
        self.event = event
        self.signers: set[int] = set()
        self.certified: int | None = None


class Votes:
    """Reads certificates as they are told; `certificates` counts the commits that have a good one."""

    def __init__(self, header: Header) -> None:
        self._certificates = Certificates(header)
        self._slots: dict[Slot, dict[str, _Claim]] = {}
        self._read: dict[bytes, str | None] = {}  # why it is none, by the hash of what was recorded
        self.certificates = 0

    def on_certificate(self, index: int, recorded: Any, commit: Any) -> str | None:
        """Take in a certificate that was given for `commit`; returns why it is none, or None."""
        key = blake2b(repr((recorded, commit)).encode(), digest_size=16).digest()
        if key not in self._read:
            found = self._certificates.read(recorded, commit)
            self._read[key] = found.problem
            self._count(index, found)
        return self._read[key]

    def on_vote(self, index: int, told: dict[str, Any]) -> None:
        """Take in a single vote, {statement, voter, signature}, that somebody was given.  It is no certificate."""
        recorded = {"statement": told.get("statement"), "votes": [[told.get("voter"), told.get("signature")]]}
        self._count(index, self._certificates.read(recorded, None))

    def _count(self, index: int, found: Certificate) -> None:
        if found.statement is None:
            return
        claims = self._slots.setdefault(found.statement.slot, {})
        claim = claims.get(found.statement.id)
        if claim is None:
            claim = claims[found.statement.id] = _Claim(index)
        claim.signers |= found.signers
        if found.problem is None and claim.certified is None:
            claim.certified = index
            self.certificates += 1

    def signed(self) -> Iterator[tuple[str, frozenset[int], int]]:
        """Every commit that somebody has signed for: its id, who, and the event that first told of it."""
        for claims in self._slots.values():
            for commit, claim in claims.items():
                yield commit, frozenset(claim.signers), claim.event

    def misplaced(self, slot_of: Callable[[str], Slot | None]) -> list[Anomaly]:
        """Good certificates whose statement names a slot that is not the one of their commit, as its author told it."""
        found = []
        for slot, claims in self._slots.items():
            for commit, claim in claims.items():
                own = slot_of(commit)
                if claim.certified is not None and own is not None and own != slot:
                    said = f"a certificate for commit {commit[:12]} names {_name(slot)}, and its author {_name(own)}"
                    data = {"reason": "slot", "commit": commit, "slot": list(slot), "own": list(own)}
                    found.append(Anomaly("bad-certificate", said, [claim.certified], data))
        return found

    def judge(self, faulty: Collection[int]) -> list[Anomaly]:
        """What was signed twice; `faulty` are the nodes that lie or lost their disks."""
        anomalies = []
        for slot, claims in self._slots.items():
            if len(claims) > 1:
                anomalies += _conflict(slot, claims, len(faulty))
                anomalies += _double_votes(slot, claims, faulty)
        return anomalies


def _twice(claims: list[_Claim]) -> list[int]:
    """Who signed at least two of them."""
    once: set[int] = set()
    twice: set[int] = set()
    for claim in claims:
        twice |= once & claim.signers
        once |= claim.signers
    return sorted(twice)


def _conflict(slot: Slot, claims: dict[str, _Claim], faulty: int) -> list[Anomaly]:
    certified = {one: claim for one, claim in claims.items() if claim.certified is not None}
    if len(certified) < 2:
        return []
    signers = _twice(list(certified.values()))
    said = f"{len(certified)} certificates for {_name(slot)}; nodes {signers} have signed for more than one commit"
    events = [claim.certified for claim in certified.values() if claim.certified is not None]
    data = {"slot": list(slot), "ids": list(certified), "signers": signers, "byzantine_or_wiped": faulty}
    return [Anomaly("conflicting-certificates", said, events, data)]


def _double_votes(slot: Slot, claims: dict[str, _Claim], faulty: Collection[int]) -> list[Anomaly]:
    found = []
    for node in _twice(list(claims.values())):
        if node not in faulty:
            ids = [one for one, claim in claims.items() if node in claim.signers]
            said = f"node {node} neither lies nor lost its disk, and has voted for {len(ids)} commits of {_name(slot)}"
            data = {"slot": list(slot), "ids": ids, "node": node}
            found.append(Anomaly("double-vote-by-correct", said, [claims[one].event for one in ids], data))
    return found


def _name(slot: Slot) -> str:
    author, incarnation, seq = slot
    return f"slot {seq} of {author[:8]}/{incarnation[:8]}"
