"""Quorum: what is acknowledged as certified is so, for good, and by a majority that was there.

Decides, from certificates, acknowledgements and reads, and from whom the faults let a node reach:

`bad-certificate`           a certificate that a client was given, or that a correct node kept, does not verify from its
                            recorded bytes (`signed` has the reasons)
`conflicting-certificates`  two good certificates for one slot and different commits; with the double signers
`double-vote-by-correct`    a member that neither lies nor has lost its disk has signed for two commits of one slot
`acknowledged-without-certificate`   a correct node acknowledged a stable write, and gave none
`acknowledged-in-minority`  a correct node acknowledged a stable write, or with `gated` any write, though for longer
                            than detection_ns it surely could reach fewer than `size` members, itself counted
`stable-write-lost`, `stale-quorum-read`, `certificate-of-another-write`   see `stable`
`wiped-member-voted`        see `abstention`
`certificate-not-kept`      see `keeping`

Definition: spec/byzantine.md, "Certificates" and "What must hold"; spec-defects 2, 4, 5 and 8.  The bounds that rest on
at most f lying or wiped nodes are not judged beyond f, save certificates in conflict: those are always told, since to
find them is what a campaign beyond f is for.  A Byzantine seat may tell of certificates; only good ones count.

A node may write for a while after it was cut off, until it can know: `minority_ack_window_ms` is the longest time after
which that still happened.  Unknown without a roster, or with fewer than `stable_min` stable writes acknowledged.

Complexity: O(1) a signature, O(chains) a commit and read.  Cannot see: a majority that loses frames without a cut, and
votes that no certificate shows and no liar tells of (`voted`).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from checkers.abstention import Abstention
from checkers.availability import percentiles_ms
from checkers.history import Complete, Event, FaultEvent, Header, NodeEvent
from checkers.keeping import Keeping
from checkers.pairing import Operation, Pairing, Wipes
from checkers.reach import Reach, Span, without
from checkers.stable import StableWrites
from checkers.verdict import Anomaly, CheckResult, result
from checkers.votes import Votes

NAME = "quorum"


class Quorum:
    """Option: `stable_min`, stable writes acknowledged by correct nodes (default 1; fewer: unknown)."""

    def __init__(self, header: Header, *, stable_min: int = 1) -> None:
        self._header = header
        self._quorum = header.quorum
        self._stable_min = stable_min
        self._byzantine = {entry.index for entry in header.nodes if entry.byzantine}
        self._kills = {entry.id: entry.nodes for entry in header.faults if entry.fault == "kill"}
        self._dead: set[str] = set()  # kills in force
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._keeping = Keeping(header, self._wipes)
        self._reach = Reach(header)
        self._stable = StableWrites(header)
        self._abstention = Abstention(header)
        self._votes = Votes(header) if header.quorum is not None else None
        self._acknowledged: list[tuple[int, int, int]] = []  # (node, when, event) of what needs a quorum
        self._latencies: list[int] = []
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """A certificate that is none, and an acknowledgement without one, are certain at once."""
        self._wipes.on_event(event)
        self._reach.on_event(event)
        self._abstention.on_event(event)
        if type(event) is NodeEvent:
            if event.name == "committed":
                self._stable.on_committed(event)
            elif event.name == "certified":
                return self._certificate(index, event.node, event.data, event.data.get("id"))
            elif event.name == "voted" and self._votes is not None:
                self._votes.on_vote(index, event.data)
            return None
        if type(event) is FaultEvent and event.fault in self._kills:
            if event.stage == "injected":
                self._dead.add(event.fault)
            elif event.stage == "lifted":
                self._dead.discard(event.fault)
        operation = self._pairing.on_event(index, event)
        return self._on_operation(operation) if operation is not None else None

    def _on_operation(self, operation: Operation) -> Anomaly | None:
        invoke, complete = operation.invoke, operation.complete
        self._stable.on_operation(operation)
        self._keeping.on_operation(operation)
        if complete.outcome != "ok" or invoke.action in ("read", "digest"):
            return None
        found = None
        index = operation.completed_at
        kept = invoke.action == "certificate"
        if complete.certificate is not None:
            commit = invoke.value if kept else complete.commit
            found = self._certificate(index, invoke.node, complete.certificate, commit)
        if kept or invoke.node in self._byzantine:
            return found
        if invoke.level == "stable":
            self._latencies.append(complete.t - invoke.intended)
            if complete.certificate is None:
                found = self._found_uncertified(invoke.node, index, complete)
        if invoke.level == "stable" or (self._quorum is not None and self._quorum.gated):
            self._acknowledged.append((invoke.node, complete.t, index))
        return found

    def _certificate(self, index: int, node: int, recorded: Any, commit: Any) -> Anomaly | None:
        if self._votes is None:
            return None
        problem = self._votes.on_certificate(index, recorded, commit)
        if problem is None or node in self._byzantine:
            return None
        said = f"a certificate for commit {str(commit)[:12]}, from node {node}, is none: {problem}"
        return self._found("bad-certificate", said, [index], {"node": node, "reason": problem, "commit": commit})

    def _found_uncertified(self, node: int, index: int, complete: Complete) -> Anomaly:
        said = f"node {node} acknowledged commit {str(complete.commit)[:12]} as stable and gave no certificate"
        data = {"node": node, "commit": complete.commit}
        return self._found("acknowledged-without-certificate", said, [index], data)

    def _found(self, name: str, said: str, events: list[int], data: dict[str, Any]) -> Anomaly:
        anomaly = Anomaly(name, said, events, data)
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """All of it together."""
        if self._quorum is None or self._votes is None:
            return result(NAME, self._anomalies, unknown=["there is no roster, so nothing can be certified"])
        for index, invoke in self._pairing.open.values():
            self._stable.on_abandoned(index, invoke)
        faulty = self._faulty()
        notes: list[str] = []
        unknown: list[str] = []
        self._anomalies += self._votes.judge(faulty)
        self._anomalies += self._votes.misplaced(self._stable.slot)
        self._anomalies += self._stable.unfounded()
        self._anomalies += self._abstention.judge(self._votes.signed())
        if len(faulty) <= self._header.faulty:
            self._anomalies += self._stable.judge()
            notes, unknown = self._stable.notes, list(self._stable.unknown)
        else:
            notes = [
                f"nodes {sorted(faulty)} lie or lost their disks, more than {self._header.faulty}: whether stable "
                "writes last, and quorum reads see them, was not judged"
            ]
        gone, unsaid = self._keeping.judge(invoke for _, invoke in self._pairing.open.values())
        self._anomalies += gone
        unknown += unsaid
        window = self._judge_minorities(self._reach.cut_off(self._quorum.size), self._quorum.detection_ns)
        members, size, f = len(self._header.nodes), self._quorum.size, self._header.faulty
        if size != members - f or 2 * size - members <= f:
            unknown.append(
                f"{size} of {members} members are no quorum where {f} may lie: two share no correct one for sure"
            )
        stable = len(self._stable.writes)
        if stable < self._stable_min:
            unknown.append(f"{stable} stable writes were acknowledged, at least {self._stable_min} are needed")
        figures: dict[str, Any] = {
            "stable_writes": stable,
            "quorum_reads": len(self._stable.reads),
            "certificates": self._votes.certificates,
            "certificates_asked": self._keeping.asked.total(),
            "minority_ack_window_ms": window / 1e6,
            "detection_bound_ms": self._quorum.detection_ns / 1e6,
            **percentiles_ms("stable", self._latencies),
        }
        return result(NAME, self._anomalies, unknown=unknown, notes=notes, figures=figures)

    def _faulty(self) -> set[int]:
        """The nodes that lie, that lost their disk, or were killed and never told to be back: they may have."""
        wiped = {entry.index for entry in self._header.nodes if self._wipes.ever(entry.index)}
        wiped.update(*(self._kills[fault] for fault in self._dead))
        return self._byzantine | wiped

    def _judge_minorities(self, cut_off: dict[int, list[Span]], bound: int) -> int:
        """Judge what was acknowledged by nodes that were cut off; returns the longest time that was within bounds."""
        window = 0
        for node, t, event in self._acknowledged:
            still = self._reach.still(node)  # who stands still learns nothing; its time begins when it is back
            spans = [piece for span in cut_off.get(node, []) for piece in without(span, still)]
            at = bisect_right(spans, t, key=lambda span: span.begin) - 1
            if at < 0 or t > spans[at].end:
                continue
            since = t - spans[at].begin
            if since <= bound:
                window = max(window, since)
                continue
            said = (
                f"node {node} acknowledged a write {since / 1e6:.0f} ms after it was cut off from a quorum; after "
                f"{bound / 1e6:.0f} ms it must know"
            )
            self._found("acknowledged-in-minority", said, [event], {"node": node, "since_ns": since})
        return window
