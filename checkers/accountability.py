"""Accountability: who is proven has lied, who forks is proven to everybody in time, and nothing accepted is taken back.

Decides, from what the nodes tell:

`wrongly-proven`     a correct node holds a correct one to be proven: zero tolerance
`stranger-proven`    a correct node holds somebody to be proven who is no member, however sound the proof: anybody can
                     make up a key that forks, and have every node answer for it
`bad-proof`          a correct node tells of a proof that does not verify from its recorded bytes (`signed`), or that is
                     against somebody else
`not-proven-everywhere`   of an author that forks, some core node has no proof in time.  The time begins when the fork
                     is seen by connected correct nodes: core nodes have accepted two branches, the same node or two, or
                     a correct node has a proof; and not before no fault lies on the core.  It ends deadline.total_ns
                     later, which is `bound_rounds` rounds and what the machines need besides
`correct-fork`       a correct author has told of two commits of its own for one slot
`suspicion-stands`   a correct node suspects a correct one with a score s of a thousand, and has not cleared it after
                     (500 - s) / 10 seconds and FORGIVEN_LATE_NS: a score recovers 10 a second, and 500 are enough
`vouched-for-proven` see `vouching`
`retracted`          a node told that it had accepted a commit, and its own final read, of the same disk, names heads
                     whose past lacks it

Definition: spec/byzantine.md, "Liars are never retracted, only stopped" and "What must hold"; Haeberlen, Kouznetsov and
Druschel, "PeerReview", SOSP 2007: every observed fault is eventually proven, and no correct node ever is.

Forks, and who has seen them, are in `forks`.  Of a commit, only what its author tells is believed.  Soundness: nobody
is blamed for time in which he was killed or paused, nor for what he may have told when nobody listened any more.  Who
never told what it accepts, some of whose events are lost, or whose final reads do not say what they saw, has not been
judged: unknown; likewise a fork that was seen so late that a core node had no proof yet when the run ended, a suspicion
of a correct node that stands there still, and one without a score, 0 to 1000.  Only forks that were seen count as
evidence.

Complexity: O(1) an event, O(commits) a core node in the end.  Cannot see: forks of which nobody tells.  A node whose
score falls again while it is suspected is taken for one whose suspicion stands: a correct one gives no cause twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from checkers.forks import Forks
from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.pairing import Operation, Pairing, Wipes
from checkers.past import Commits
from checkers.reach import FOREVER, Reach
from checkers.signed import network_id, proof_problem
from checkers.timeline import Timeline
from checkers.verdict import Anomaly, CheckResult, result
from checkers.vouching import Vouching

NAME = "accountability"
FORKING = ("equivocate", "double-propose")
"""Strategies that sign two commits for one slot as soon as they are in force, and show both."""
SCORE_MAX = 1000
SCORE_ENOUGH = 500
SCORE_A_SECOND = 10
FORGIVEN_LATE_NS = 2_000_000_000


class _Suspicion(NamedTuple):
    """`node` suspects `agent` since `t`, and must have cleared it by `due`."""

    node: int
    agent: str
    t: int
    due: int
    event: int


class Accountability:
    """Option: `forks_min`, how many forks must have been told of (default 0; fewer: unknown)."""

    def __init__(self, header: Header, *, forks_min: int = 0) -> None:
        self._header = header
        self._forks_min = forks_min
        self._network = network_id(header.quorum.network) if header.quorum is not None else None
        self._byzantine = {entry.index for entry in header.nodes if entry.byzantine}
        self._members = {entry.agent for entry in header.nodes}
        self._correct = {entry.agent: entry.index for entry in header.nodes if not entry.byzantine}
        self._core = set(header.core)
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._reach = Reach(header)
        self._timeline = Timeline()
        self._commits = Commits(())
        self._vouching = Vouching()
        self._forks = Forks(self._core)
        self._own_forks = Forks(self._core)  # of correct authors
        self._agents = {entry.index: entry.agent for entry in header.nodes}
        self._scoreless: set[int] = set()
        self._accepted: dict[int, dict[str, int]] = {node: {} for node in self._core}  # node -> id -> event
        self._tellers: set[int] = set()  # who has told of anything that it has accepted
        self._proofs: dict[str, str | None] = {}
        self._suspected: dict[tuple[int, str], _Suspicion] = {}
        self._standing: list[_Suspicion] = []
        self._suspicions = 0
        self._suspicions_of_correct = 0
        self._finals: list[Operation] = []
        self._kills = {entry.id: entry.nodes for entry in header.faults if entry.fault == "kill"}
        self._injected: dict[str, int] = {}
        self._killed: set[int] = set()  # and not told of a start since
        self._lost: set[int] = set()
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """A proof that is wrong is certain at once."""
        self._reach.on_event(event)
        self._timeline.on_event(event)
        if type(event) is FaultEvent:
            self._on_fault(event)
        if type(event) is NodeEvent:
            return self._on_node(index, event)
        operation = self._pairing.on_event(index, event)
        if operation is not None and operation.complete.outcome == "ok" and operation.invoke.final:
            self._on_final(operation)
        return None

    def _on_fault(self, event: FaultEvent) -> None:
        if event.stage == "injected":
            self._injected[event.fault] = event.t
            for node in self._kills.get(event.fault, ()):
                self._forget(node, event.t)
                self._killed.add(node)
        for node in self._wipes.on_event(event):
            self._accepted.get(node, {}).clear()
            self._forks.on_wiped(node, self._injected.get(event.fault, event.t))

    def _on_node(self, index: int, event: NodeEvent) -> Anomaly | None:
        if event.name == "committed":
            if event.data["author"] == self._agents.get(event.node):
                self._commits.tell(event.data)
                self._vouching.on_committed(event.data)
                forks = self._forks if event.node in self._byzantine else self._own_forks
                forks.on_committed(event.data, index)
        elif event.node in self._byzantine:
            return None
        elif event.name == "accepted":
            self._on_accepted(index, event)
        elif event.name == "proven":
            return self._on_proven(index, event)
        elif event.name in ("suspected", "cleared"):
            self._on_suspicion(index, event)
        elif event.name == "crashed":
            self._killed.add(event.node)
        elif event.name == "started" and event.node in self._killed:
            self._killed.discard(event.node)
            self._forget(event.node, self._timeline.place(event))
        elif event.name == "events-lost":
            self._lost.add(event.node)
        return None

    def _on_accepted(self, index: int, event: NodeEvent) -> None:
        held = self._accepted.get(event.node)
        ids = event.data.get("ids", ())
        if ids:
            self._tellers.add(event.node)
        if held is not None:
            self._forks.on_accepted(self._timeline.place(event), event.node, ids)
            for one in ids:
                held.setdefault(one, index)

    def _on_proven(self, index: int, event: NodeEvent) -> Anomaly | None:
        agent, proof = event.data.get("agent"), event.data.get("proof")
        agent = agent.lower() if isinstance(agent, str) else agent
        node, found = event.node, None
        key = repr((agent, proof))
        if key not in self._proofs:
            self._proofs[key] = proof_problem(proof, agent, network=self._network)
        problem = self._proofs[key]
        if problem is not None:
            said = f"node {node} tells of a proof against {str(agent)[:8]} that is none: {problem}"
            found = self._found("bad-proof", said, [index], {"node": node, "agent": agent, "reason": problem})
        if agent in self._correct:
            said = f"node {node} holds node {self._correct[agent]} to be proven, which is correct"
            data = {"node": node, "agent": agent, "proven": self._correct[agent]}
            found = self._found("wrongly-proven", said, [index], data)
        elif agent not in self._members:
            said = f"node {node} holds {str(agent)[:8]} to be proven, who is no member"
            found = self._found("stranger-proven", said, [index], {"node": node, "agent": agent})
        if problem is None and agent in self._members:
            self._forks.on_proven(self._timeline.place(event), node, str(agent), index)
        return found

    def _on_suspicion(self, index: int, event: NodeEvent) -> None:
        agent, score = str(event.data.get("agent")).lower(), _score(event.data.get("score"))
        t = self._timeline.place(event)
        former = self._suspected.pop((event.node, agent), None)
        if event.name == "cleared":
            if former is not None and t > former.due:
                self._standing.append(former)
            return
        self._suspicions += 1
        self._suspicions_of_correct += agent in self._correct
        if agent not in self._members or score is None:
            self._scoreless.add(event.node)
        elif former is not None:  # never cleared: it stands since it was told first
            self._suspected[event.node, agent] = former
        elif agent in self._correct:
            due = t + int((SCORE_ENOUGH - score) / SCORE_A_SECOND * 1e9) + FORGIVEN_LATE_NS
            self._suspected[event.node, agent] = _Suspicion(event.node, agent, t, due, index)

    def _forget(self, node: int, t: int) -> None:
        """What a node held against others goes with its life; what stood too long before has stood."""
        mine = [key for key in self._suspected if key[0] == node]
        self._standing += [one for one in map(self._suspected.pop, mine) if one.due < t]

    def _on_final(self, operation: Operation) -> None:
        """Heads of a node that may have lost its disk just now, and told nobody yet, say nothing."""
        node = operation.invoke.node
        if node in self._core and operation.invoke.action == "read" and not self._wipes.pending():
            self._finals.append(operation)

    def _found(self, name: str, said: str, events: list[int], data: dict[str, Any]) -> Anomaly:
        anomaly = Anomaly(name, said, events, data)
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """What is certain by now; unknown where something was not judged, or no fork seen that was asked for."""
        seen = self._forks.seen()
        unknown = self._judge_proofs(seen)
        unknown += self._judge_suspicions()
        unknown += self._judge_retractions()
        self._judge_own_forks()
        self._anomalies += self._vouching.judge(self._first_acceptances())
        if self._lost & self._core:
            unknown.append(f"some of what nodes {sorted(self._lost & self._core)} told is lost")
        forks = sum(author in seen for author, _, _ in self._forks.forks)
        if forks < self._forks_min:
            unknown.append(f"{forks} forks were seen, at least {self._forks_min} are needed")
        forking = [one.id for one in self._header.faults if one.strategy in FORKING]
        if forking and not forks:
            unknown.append(f"nobody saw a fork, though {', '.join(forking)} would make some")
        rounds = sorted(delay / self._header.deadline.interval_ns for delay in self._forks.delays(seen))
        figures: dict[str, Any] = {
            "forks": len(self._forks.forks),
            "forks_seen": forks,
            "proven": self._forks.pairs,
            "bound_rounds": self._header.deadline.rounds + 1,
            "suspicions": self._suspicions,
            "suspicions_of_correct": self._suspicions_of_correct,
        }
        if rounds:
            figures["proven_after_rounds_p50"] = round(rounds[(len(rounds) - 1) // 2], 2)
            figures["proven_after_rounds_max"] = round(rounds[-1], 2)
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)

    def _first_acceptances(self) -> dict[str, tuple[int, int]]:
        """Of each commit that a core node has accepted, one that did, and the event that told so."""
        found: dict[str, tuple[int, int]] = {}
        for node, held in self._accepted.items():
            for commit, event in held.items():
                found.setdefault(commit, (node, event))
        return found

    def _judge_own_forks(self) -> None:
        for (author, _, seq), ids in self._own_forks.forks.items():
            node = self._correct[author]
            said = f"node {node}, which is correct, has told of {len(ids)} commits of its own for slot {seq}"
            self._found("correct-fork", said, self._own_forks.told(ids), {"node": node, "ids": ids})

    def _judge_proofs(self, seen: dict[str, int]) -> list[str]:
        """What is lacking; returns of which forks that is not known."""
        early: list[str] = []
        lasting = self._header.deadline.total_ns
        for agent, since in sorted(seen.items()):
            due = self._reach.calm_from(self._core, after=since, lasting_ns=lasting) + lasting
            judged = [node for node in sorted(self._core) if self._can_tell(node, due, due)]
            lacking = self._forks.lacking(agent, due, judged)
            others = self._forks.lacking(agent, FOREVER, sorted(self._core - self._lost - set(judged)))
            if others:
                early.append(f"{agent[:8]} has forked, and the run ended before nodes {others} had to have a proof")
            if not lacking:
                continue
            said = (
                f"{agent[:8]} has forked, which was seen {(due - since) / 1e6:.0f} ms before, and nodes {lacking} have "
                f"no proof, after the {lasting / 1e6:.0f} ms that it may take"
            )
            data = {"agent": agent, "nodes": lacking, "seen_ns": since, "due_ns": due}
            self._found("not-proven-everywhere", said, self._forks.evidence(agent), data)
        return early

    def _can_tell(self, node: int, begin: int, end: int) -> bool:
        """Whether it ran from `begin` to `end`, and all that it did up to then has been heard."""
        if node in self._lost or end >= self._timeline.heard_until(node):
            return False
        return not any(span.begin <= end and span.end >= begin for span in self._reach.still(node))

    def _judge_suspicions(self) -> list[str]:
        """Those that stand; returns what is not known of others."""
        for one in [*self._standing, *self._suspected.values()]:
            if self._can_tell(one.node, one.t, one.due):
                suspect = self._correct[one.agent]
                said = (
                    f"node {one.node} suspects node {suspect}, which is correct, for more than "
                    f"{(one.due - one.t) / 1e6:.0f} ms, in which its score must have recovered"
                )
                data = {"node": one.node, "agent": one.agent, "suspected": suspect}
                self._found("suspicion-stands", said, [one.event], data)
        told = {one.data["node"] for one in self._anomalies if one.name == "suspicion-stands"}
        open_still = sorted({one.node for one in self._suspected.values()} - told - self._lost)
        unknown = [f"nodes {open_still} suspected correct ones when the run ended"] if open_still else []
        if self._scoreless:
            unknown.append(f"nodes {sorted(self._scoreless)} suspect without a score, or somebody who is no member")
        return unknown

    def _judge_retractions(self) -> list[str]:
        """What is gone; returns of what that is not known: of who knows of others' commits in the end, and told of
        none, and of final reads that do not say what they saw."""
        mute: set[int] = set()
        judged: set[tuple[int, frozenset[str]]] = set()
        unknown: list[str] = []
        blind = 0
        for operation in self._finals:
            node, heads = operation.invoke.node, frozenset(operation.complete.visible or ())
            if operation.complete.visible is None:
                blind += 1
                continue
            if (node, heads) in judged:
                continue
            judged.add((node, heads))
            past = self._commits.past(heads)
            if past is None:
                blind += 1
                continue
            others = (one for one in past if self._correct.get(self._commits.author(one) or "") != node)
            if node not in self._tellers and any(others):
                mute.add(node)
            lacking = [
                (one, event)
                for one, event in self._accepted[node].items()
                if event < operation.invoked_at and one not in past
            ]
            if lacking:
                said = f"node {node} had accepted {len(lacking)} commits that its final read does not know any more"
                events = [*(event for _, event in lacking[:19]), operation.completed_at]
                data = {"node": node, "commits": [one for one, _ in lacking[:20]]}
                self._found("retracted", said, events, data)
        if blind:
            unknown.append(f"of {blind} final reads, what they claim to have seen is not known")
        if mute:
            nodes = sorted(mute)
            unknown.append(f"nodes {nodes} never told what they accept: whether they take it back was not judged")
        return unknown


def _score(told: Any) -> float | None:
    """A score in thousandths, or None for what is none."""
    number = isinstance(told, int | float) and not isinstance(told, bool)
    return float(told) if number and 0 <= told <= SCORE_MAX else None
