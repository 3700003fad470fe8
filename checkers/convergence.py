"""Convergence: strong eventual consistency, and how long it took.

Decides. (1) Safety: two nodes that accepted the same set hold the same values (Shapiro et al., "Conflict-free
replicated data types", SSS 2011: strong convergence).  Any two digests with one root must have one value digest,
whoever gave them and whenever.  (2) Liveness: after the heal every core node ends with one root and one value digest
(eventual delivery), and the last of them gets there within the header's deadline.

The time of convergence is that of the answer by which, for good, all core nodes were last seen with one root; so it
is late by at most one poll.  The specification's bound, log2 n + 3 rounds, is reported and never judged by.

Complexity: O(1) a digest.  Cannot see: what happens between two digests; a fold that is wrong in the same way on
every node, which is for the workload's own checkers.
"""

from __future__ import annotations

from typing import Any

from checkers.history import Event, Header, Phase
from checkers.pairing import Operation, Pairing
from checkers.verdict import Anomaly, CheckResult, result

NAME = "convergence"


class Convergence:
    """No options."""

    def __init__(self, header: Header) -> None:
        self._core = header.core
        self._deadline = header.deadline
        self._pairing = Pairing()
        self._digest_of: dict[str, tuple[str, int, int]] = {}  # root -> (value digest, node, event)
        self._digests = 0
        self._anomalies: list[Anomaly] = []
        self._healed_at: int | None = None
        self._latest: dict[int, str] = {}
        self._one_root_since: int | None = None
        self._final: dict[int, tuple[str, str, int]] = {}  # node -> (root, value digest, event)
        self._why: list[str] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """An anomaly as soon as one root has two value digests."""
        if type(event) is Phase:
            if event.phase == "heal":
                self._healed_at = event.t
            if event.phase == "final" and event.note:
                self._why.append(event.note)
            return None
        operation = self._pairing.on_event(index, event)
        if operation is None or operation.invoke.action != "digest" or operation.complete.outcome != "ok":
            return None
        return self._on_digest(operation)

    def _on_digest(self, operation: Operation) -> Anomaly | None:
        node, index = operation.invoke.node, operation.completed_at
        root, digest = operation.complete.value["root"], operation.complete.value["digest"]
        self._digests += 1
        if operation.invoke.final and node in self._core:
            self._final[node] = (root, digest, index)
        if self._healed_at is not None and node in self._core:
            self._follow(node, root, operation.complete.t)
        known, other, at = self._digest_of.setdefault(root, (digest, node, index))
        if known == digest:
            return None
        anomaly = Anomaly(
            "same-root-different-values",
            f"nodes {other} and {node} have accepted the same commits (root {root[:12]}) and hold different values "
            f"({known[:12]} and {digest[:12]})",
            [at, index],
            {"nodes": [other, node], "root": root},
        )
        self._anomalies.append(anomaly)
        return anomaly

    def _follow(self, node: int, root: str, t: int) -> None:
        self._latest[node] = root
        one = len(self._latest) == len(self._core) and len(set(self._latest.values())) == 1
        if not one:
            self._one_root_since = None
        elif self._one_root_since is None:
            self._one_root_since = t

    def final(self) -> CheckResult:
        """Diverged, late, or valid; unknown where a core node's last digest is missing."""
        anomalies = list(self._anomalies)
        unknown = []
        missing = [node for node in self._core if node not in self._final]
        if missing:
            unknown.append(f"no final digest of core nodes {missing}")
        if len({(root, digest) for root, digest, _ in self._final.values()}) > 1:
            anomalies.append(self._diverged())
        if self._healed_at is None:
            unknown.append("the run never came to its heal")
        figures: dict[str, Any] = {
            "digests": self._digests,
            "rounds_of_the_model": self._deadline.rounds,
            "specification_rounds": round(self._deadline.specification_rounds, 2),
            "deadline_ms": self._deadline.total_ns / 1e6,
        }
        if self._healed_at is not None and self._one_root_since is not None:
            took = self._one_root_since - self._healed_at
            figures["converged_after_ms"] = took / 1e6
            figures["intervals"] = -(-took // self._deadline.interval_ns)
            figures["intervals_allowed"] = self._deadline.total_ns // self._deadline.interval_ns
            if took > self._deadline.total_ns:
                anomalies.append(self._late(took))
        return result(NAME, anomalies, unknown=unknown, notes=self._why, figures=figures)

    def _diverged(self) -> Anomaly:
        groups: dict[tuple[str, str], list[int]] = {}
        for node, (root, digest, _) in sorted(self._final.items()):
            groups.setdefault((root, digest), []).append(node)
        said = "; ".join(
            f"nodes {nodes}: root {root[:12]}, values {digest[:12]}" for (root, digest), nodes in groups.items()
        )
        events = [index for _, (_, _, index) in sorted(self._final.items())]
        return Anomaly("diverged", f"core nodes end apart: {said}", events, {"groups": list(groups.values())})

    def _late(self, took: int) -> Anomaly:
        d = self._deadline
        return Anomaly(
            "late",
            f"converged {took / 1e6:.1f} ms after the heal, allowed were {d.total_ns / 1e6:.1f} ms: reconnect "
            f"{d.reconnect_ns / 1e6:.0f} + transfer {d.transfer_ns / 1e6:.0f} + ({d.rounds} + 1) rounds of "
            f"{(d.interval_ns + d.exchange_ns) / 1e6:.1f}",
            [index for _, _, index in self._final.values()],
            {"took_ns": took},
        )
