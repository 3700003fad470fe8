"""Histories of a mesh with a roster, by hand: real keys, so that what is signed can be verified, or not.

The bytes are packed here once more, from the layouts in `checkers.history`: what the checkers read is not made by what
they read it with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec
from nacl.signing import SigningKey

from checkers.history import Complete, FaultEntry, FaultEvent, NodeEntry, NodeEvent, QuorumEntry
from tests.checkers.histories import MS, Book, header

MESH = "by hand"
EPOCH = 3
KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 11)]
AGENTS = [bytes(key.verify_key).hex() for key in KEYS]
INCARNATION = "ab" * 16
DETECTION_MS, RECOVERY_MS = 800, 2000


def hashed(data: bytes, name: str) -> bytes:
    return blake2b(data, digest_size=32, person=name.encode()).digest()


NETWORK = hashed(MESH.encode(), "knhk.network")


def fault(id: str, kind: str, *nodes: int, links: Iterable[tuple[int, int]] = (), **more: Any) -> FaultEntry:
    return FaultEntry(id, kind, True, links=tuple(links), nodes=nodes, **more)


def between(left: Iterable[int], right: Iterable[int]) -> list[tuple[int, int]]:
    """The links of a cut both ways."""
    pairs = [(a, b) for a in left for b in right]
    return [*pairs, *((b, a) for a, b in pairs)]


def statement(id: str, *, author: int = 0, seq: int = 0, epoch: int = EPOCH, network: bytes = NETWORK) -> bytes:
    domain = b"knhk.vote.v1".ljust(16, b"\0")
    slot = bytes.fromhex(AGENTS[author] + INCARNATION) + struct.pack(">Q", seq)
    return domain + network + struct.pack(">Q", epoch) + slot + bytes.fromhex(id)


def vote(voter: int, said: bytes) -> list[str]:
    return [AGENTS[voter], KEYS[voter].sign(said).signature.hex()]


def certificate(id: str, voters: Iterable[int] = (0, 1, 2), **slot: Any) -> dict[str, Any]:
    said = statement(id, **slot)
    return {"statement": said.hex(), "votes": [vote(voter, said) for voter in voters]}


def commit_header(author: int, body: bytes, *, seq: int = 0, network: bytes = NETWORK) -> bytes:
    domain = b"knhk.commit.v1".ljust(16, b"\0")
    slot = bytes.fromhex(AGENTS[author] + INCARNATION) + struct.pack(">Q", seq)
    return domain + network + slot + bytes(64) + hashed(body, "knhk.body") + struct.pack(">Q", 7)


def proof(author: int, *, signer: int | None = None, headers: tuple[bytes, bytes] | None = None) -> dict[str, str]:
    """Two commits of one slot, by ascending id; or `headers` as they are."""
    one, other = headers or sorted(
        (commit_header(author, b"one"), commit_header(author, b"other")), key=lambda each: hashed(each, "knhk.commit")
    )
    key = KEYS[author if signer is None else signer]
    signed = {name: key.sign(each).signature.hex() for name, each in (("first", one), ("second", other))}
    return {
        "first": one.hex(),
        "first_signature": signed["first"],
        "second": other.hex(),
        "second_signature": signed["second"],
    }


class Mesh(Book):
    """A Book of `nodes` members, f of which may be faulty; `byzantine` are liars.  Commits are named by letters."""

    def __init__(
        self,
        nodes: int = 4,
        *,
        byzantine: Iterable[int] = (),
        faults: Iterable[FaultEntry] = (),
        roster: bool = True,
        gated: bool = False,
    ) -> None:
        liars = set(byzantine)
        plain = header(nodes=nodes, core=[one for one in range(nodes) if one not in liars], faults=faults, s="orset")
        faulty = (nodes - 1) // 3
        quorum = QuorumEntry(EPOCH, MESH, nodes - faulty, DETECTION_MS * MS, RECOVERY_MS * MS, gated)
        entries = [NodeEntry(one, AGENTS[one], byzantine=one in liars) for one in range(nodes)]
        super().__init__(
            msgspec.structs.replace(plain, nodes=entries, faulty=faulty, quorum=quorum if roster else None)
        )
        self.seqs: dict[int, int] = {}
        self.operations: dict[str, list[dict[str, Any]]] = {}
        self.given: dict[tuple[int, str], Any] = {}

    def tell(self, node: int, name: str, *, at_ms: float | None = None, monotonic_ms: float = 0, **data: Any) -> None:
        """An event of a node, now or at a time of its own."""
        t = self.at if at_ms is None else int(at_ms * MS)
        event = NodeEvent(node=node, name=name, monotonic=int(monotonic_ms * MS), wall=0, t=t, data=data)
        self.events.append(event)

    def commit(self, node: int, id: str, *deps: str, seq: int | None = None, prev: str | None = None) -> str:
        """`node` tells of a commit of its own, the next of its chain unless `seq` says otherwise."""
        seq = self.seqs.get(node, 0) if seq is None else seq
        self.seqs[node] = seq + 1
        operations = self.operations[id] = []
        data = {"author": AGENTS[node], "incarnation": INCARNATION, "seq": seq, "operations": operations}
        self.tell(node, "committed", id=id, prev=prev, deps=list(deps), **data)
        return id

    def write(self, node: int, element: Any, *, level: str = "stable", took_ms: float = 0, **complete: Any) -> int:
        """An add that is acknowledged."""
        op = self.begin("add", node, "s", element, level=level)
        self.at += int(took_ms * MS)
        self.complete(op, **complete)
        return op

    def complete(self, op: int, *, within: bool = True, **complete: Any) -> None:
        """An answer, now; a commit that it names holds what was asked, unless `within` is False."""
        self.at += MS
        asked = self._open.pop(op)
        if within and complete.get("commit") in self.operations:
            operation = {"object": asked.object, "action": asked.action, "value": asked.value}
            self.operations[complete["commit"]].append(operation)
        complete.setdefault("outcome", "ok")
        if asked.action == "add" and complete["outcome"] == "ok" and complete.get("certificate"):
            self.given[asked.node, str(complete.get("commit"))] = complete["certificate"]
        self.events.append(Complete(op=op, t=self.at, **complete))

    def quorum_read(self, node: int, *heads: str, level: str = "quorum") -> None:
        op = self.begin("read", node, "s", level=level)
        self.complete(op, value={"base": None, "add": []}, visible=list(heads))

    def final(self, node: int, elements: Iterable[Any], *heads: str) -> None:
        op = self.begin("read", node, "s", final=True)
        self.complete(op, value={"base": None, "add": list(elements)}, visible=list(heads) or None)

    def ask_certificate(self, node: int, commit: str, certificate: Any, outcome: str = "ok") -> None:
        """`node` is asked, in the end, for what it keeps of `commit`."""
        op = self.begin("certificate", node, "", commit, final=True)
        self.complete(op, certificate=certificate, outcome=outcome)

    def ask_certificates(self) -> None:
        """Every core node keeps what it has given."""
        for (node, commit), certificate in self.given.items():
            if node in self.header.core:
                self.ask_certificate(node, commit, certificate)

    def at_ms(self, ms: float) -> None:
        """Go on at `ms`."""
        self.at = int(ms * MS)

    def stage(self, id: str, stage: Any, at_ms: float, **evidence: Any) -> None:
        """What became of a fault, and when."""
        self.at_ms(at_ms)
        self.events.append(FaultEvent(fault=id, stage=stage, t=self.at, evidence=evidence))

    def state(self, node: int, *steps: tuple[float, str], first: str = "recovering") -> None:
        """`node` went through these states at these times (ms), from `first`."""
        for at_ms, to in steps:
            self.tell(node, "state", at_ms=at_ms, **{"from": first, "to": to})
            first = to
