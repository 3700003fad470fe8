"""Keeping: whoever has acknowledged a stable write has its certificate, whenever it is asked for it.

`certificate-not-kept`  a correct node acknowledged a stable write, has not lost its disk since, and answers that it has
                        no certificate of that commit

Definition: docs/node-contract.md, "GET /certificates": a node keeps the certificates of its own stable writes for as
long as it has its disk, so they are durable before they are returned.

After the heal each core node is asked, with an operation "certificate" whose value is the commit, for some of those
that it has given; what it shows is verified like any other.  Unknown where a core node that has given some, and kept
its disk since, was not asked for any of these, or did not answer; and where one that is gone may have gone with the
node's disk, of which the history never tells.

Complexity: O(1) an operation.  Cannot see: what was not asked for, and whether others keep a certificate too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from checkers.history import Header, Invoke
from checkers.pairing import Operation, Wipes
from checkers.verdict import Anomaly


class Keeping:
    """Follows operations; `asked` counts the answers of each node about certificates that it has given."""

    def __init__(self, header: Header, wipes: Wipes) -> None:
        self._core = set(header.core)
        self._wipes = wipes
        self._given: dict[tuple[int, str], int] = {}  # (node, commit) -> when it was first acknowledged
        self._answers: list[Operation] = []
        self._unanswered: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()

    def on_operation(self, operation: Operation) -> None:
        """A stable write that was acknowledged by a core node, or a certificate that one was asked for."""
        invoke, complete = operation.invoke, operation.complete
        if invoke.node not in self._core:
            return
        if invoke.action != "certificate":
            if invoke.level == "stable" and complete.outcome == "ok" and complete.certificate and complete.commit:
                self._given.setdefault((invoke.node, complete.commit), complete.t)
        elif complete.outcome != "ok":
            self._unanswered[invoke.node] += 1
        elif (invoke.node, str(invoke.value)) in self._given:
            self.asked[invoke.node] += 1
            self._answers.append(operation)

    def judge(self, in_flight: Iterable[Invoke]) -> tuple[list[Anomaly], list[str]]:
        """(certificates that are gone, why there may be others), `in_flight` when the history ends."""
        for invoke in in_flight:
            if invoke.action == "certificate" and invoke.node in self._core:
                self._unanswered[invoke.node] += 1
        unknown = [
            f"node {node} did not say whether it keeps {times} certificates"
            for node, times in sorted(self._unanswered.items())
        ]
        keepers = {node for (node, _), given in self._given.items() if not self._wipes.after(node, given)}
        held = [operation for operation in self._answers if self._had(operation.invoke)]
        silent = sorted(keepers - {operation.invoke.node for operation in held} - set(self._unanswered))
        if silent:
            unknown.append(f"nodes {silent} were not asked for the certificates that they have given")
        lacking = [operation for operation in held if operation.complete.certificate is None]
        gone = [one for one in lacking if not self._wipes.untold(one.invoke.t, one.invoke.node)]
        if len(gone) < len(lacking):
            lost = len(lacking) - len(gone)
            unknown.append(f"{lost} certificates are gone, perhaps with disks whose fate is not told")
        return [self._gone(operation) for operation in gone], unknown

    def _had(self, invoke: Invoke) -> bool:
        given = self._given[invoke.node, str(invoke.value)]
        return not self._wipes.within(invoke.node, given, invoke.t)

    def _gone(self, operation: Operation) -> Anomaly:
        invoke = operation.invoke
        said = f"node {invoke.node} has given a certificate of commit {str(invoke.value)[:12]}, and does not keep it"
        data = {"node": invoke.node, "commit": invoke.value}
        return Anomaly("certificate-not-kept", said, [operation.completed_at], data)
