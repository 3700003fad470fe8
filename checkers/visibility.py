"""Visibility: a read is the fold of what it claims to have seen, and what a node has seen it goes on seeing.

Every read names the branch heads that its value was computed from.  Joined with the table of commits that their
authors told of, that is a claim which can be checked by an oracle of its own, one that knows the three types and
nothing of the mesh.  A subject that claims too much returns wrong values; one that claims too little lags or goes
backwards; both show.

Anomalies. `wrong-value`: the value is not the fold of the commits in the past of the heads. `went-backwards`: a node
that had seen a commit does not see it any more. `own-write-unseen`: a node that acknowledged a write does not see it
in a read that began afterwards (read your writes; Terry et al., "Session guarantees", PDIS 1994; monotonic reads for
the one before).

The oracle: a gset has what was added; an orset the elements with an add (dot: commit and index) that no remove in the
past has named with that dot; a pncounter is the sum (Shapiro et al., INRIA RR-7506).  Soundness: a read that was begun
before another of the same node was answered is not held to come after it; a node that lost its disk begins anew.

Complexity: O(1) a commit and node, O(size) a read for comparing sets.  Cannot see: what a read claims in the same wrong
way in which it is wrong; histories whose replies name no heads, or whose commits nobody told of (unknown).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from checkers.elements import SetState
from checkers.history import Element, Event, Header, NodeEvent
from checkers.pairing import Operation, Pairing, Wipes
from checkers.verdict import Anomaly, CheckResult, result

NAME = "visibility"


class _Commit(NamedTuple):
    prev: str | None
    parents: tuple[str, ...]
    operations: list[dict[str, Any]]


class _Fold:
    """The oracle's value of one object: `members` of a set, `sum` of a counter."""

    __slots__ = ("members", "removed", "sum")

    def __init__(self) -> None:
        self.members: dict[Element, set[tuple[str, int]]] = {}
        self.removed: dict[Element, set[tuple[str, int]]] = {}
        self.sum = 0

    def take(self, action: str, value: Any, dot: tuple[str, int]) -> None:
        if action == "add":
            if dot not in self.removed.get(value, ()):
                self.members.setdefault(value, set()).add(dot)
        elif action == "remove":
            element, dots = value
            gone = {(commit, index) for commit, index in dots}
            self.removed.setdefault(element, set()).update(gone)
            left = self.members.get(element, set()) - gone
            if left:
                self.members[element] = left
            else:
                self.members.pop(element, None)
        else:
            self.sum += value if action == "increment" else -value


class _View:
    """What one node has shown to have seen."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.heads: Sequence[str] = ()
        self.answered = -1
        self.folds: dict[tuple[str, str], _Fold] = {}


class Visibility:
    """No options."""

    def __init__(self, header: Header) -> None:
        self._types = {entry.name: entry.type for entry in header.objects}
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._commits: dict[str, _Commit] = {}
        self._views: dict[int, _View] = {}
        self._sets: dict[tuple[int, str], SetState] = {}
        self._own: dict[int, list[tuple[int, str, int]]] = {}  # node -> (answered, commit, event) not seen yet
        self._waiting: dict[int, deque[Operation]] = {}  # node -> reads whose commits nobody has told of yet
        self._anomalies: list[Anomaly] = []
        self._checked = 0
        self._passed_over = {"without heads": 0, "of unknown commits": 0, "overlapping": 0}

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Every anomaly is certain at once."""
        for node in self._wipes.on_event(event):
            self._views.pop(node, None)
            self._own.pop(node, None)
            self._pass_over(self._waiting.pop(node, deque()))
        if type(event) is NodeEvent and event.name == "committed":
            return self._on_commit(event)
        operation = self._pairing.on_event(index, event)
        if operation is None or operation.complete.outcome != "ok" or operation.invoke.object not in self._types:
            return None
        if operation.invoke.action == "read":
            self._waiting.setdefault(operation.invoke.node, deque()).append(operation)
            return self._judge(operation.invoke.node)
        if operation.complete.commit is not None:
            own = self._own.setdefault(operation.invoke.node, [])
            own.append((operation.complete.t, operation.complete.commit, index))
        return None

    def _on_commit(self, event: NodeEvent) -> Anomaly | None:
        """Nodes are asked for what they tell, so a commit may be told of after it was read: see who waits for it."""
        data = event.data
        parents = (*data["deps"], *([data["prev"]] if data["prev"] else []))
        self._commits[data["id"]] = _Commit(data["prev"], parents, data["operations"])
        found = [self._judge(node) for node, waiting in self._waiting.items() if waiting]
        return next((anomaly for anomaly in found if anomaly is not None), None)

    def _judge(self, node: int) -> Anomaly | None:
        """Judge the node's reads in their order, up to one that names what nobody has told of yet."""
        waiting = self._waiting[node]
        found: Anomaly | None = None
        while waiting:
            new = self._unseen(self._views.setdefault(node, _View()), waiting[0].complete.visible or ())
            if new is None:
                break
            found = self._on_read(waiting.popleft(), new) or found
        return found

    def _pass_over(self, waiting: Iterable[Operation]) -> None:
        """Reads that will never be judged; the next ones are told as changes against them."""
        for operation in waiting:
            self._follow(operation)
            self._passed_over["of unknown commits"] += 1

    def _follow(self, operation: Operation) -> None:
        node, name = operation.invoke.node, operation.invoke.object
        if self._types[name] != "pncounter":
            self._sets.setdefault((node, name), SetState()).follow(operation)

    def _on_read(self, operation: Operation, new: set[str]) -> Anomaly | None:
        node, name = operation.invoke.node, operation.invoke.object
        self._follow(operation)
        heads = operation.complete.visible
        if heads is None:
            self._passed_over["without heads"] += 1
            return None
        view = self._views[node]
        found: Anomaly | None = None
        if self._goes_backwards(view, heads, new):
            if operation.invoke.t <= view.answered:
                self._passed_over["overlapping"] += 1
                return None
            if not self._wipes.pending():
                said = f"node {node} had seen commits that it no longer sees in a read of {name}"
                found = self._found("went-backwards", said, operation)
            view = self._views[node] = _View()
            new = self._unseen(view, heads) or set()
        self._advance(view, heads, new, operation.complete.t)
        self._checked += 1
        return found or self._own_writes(view, operation) or self._value(view, operation)

    def _unseen(self, view: _View, heads: Sequence[str]) -> set[str] | None:
        """The commits in the past of `heads` that `view` has not; None if one of them is not in the table."""
        new: set[str] = set()
        stack = [head for head in heads if head not in view.seen]
        while stack:
            one = stack.pop()
            if one in new:
                continue
            commit = self._commits.get(one)
            if commit is None:
                return None
            new.add(one)
            stack.extend(parent for parent in commit.parents if parent not in view.seen and parent not in new)
        return new

    def _goes_backwards(self, view: _View, heads: Sequence[str], new: set[str]) -> bool:
        """Whether a former head is neither a head still nor the previous commit of a new one."""
        now = set(heads)
        gone = [head for head in view.heads if head not in now]
        if not gone:
            return False
        followed = {self._commits[one].prev for one in new}
        return any(head not in followed for head in gone)

    def _advance(self, view: _View, heads: Sequence[str], new: set[str], answered: int) -> None:
        view.seen |= new
        view.heads = heads
        view.answered = max(view.answered, answered)
        for one in new:  # in any order: folds commute
            for index, operation in enumerate(self._commits[one].operations):
                key = (operation["type"], operation["object"])
                fold = view.folds.get(key)
                if fold is None:
                    fold = view.folds[key] = _Fold()
                fold.take(operation["action"], operation["value"], (one, index))

    def _own_writes(self, view: _View, operation: Operation) -> Anomaly | None:
        node, begun = operation.invoke.node, operation.invoke.t
        unseen = [one for one in self._own.get(node, ()) if one[1] not in view.seen]
        late = [one for one in unseen if one[0] < begun]
        self._own[node] = [one for one in unseen if one[0] >= begun]
        if not late or self._wipes.pending():
            return None
        said = f"node {node} does not see {len(late)} writes that it had acknowledged before the read began"
        return self._found("own-write-unseen", said, operation, *(event for _, _, event in late[:5]))

    def _value(self, view: _View, operation: Operation) -> Anomaly | None:
        node, name = operation.invoke.node, operation.invoke.object
        kind = self._types[name]
        fold = view.folds.get((kind, name)) or _Fold()
        if kind == "pncounter":
            if operation.complete.value == fold.sum:
                return None
            said = f"{name}: node {node} reads {operation.complete.value}, what it has seen adds up to {fold.sum}"
            return self._found("wrong-value", said, operation)
        shown = self._sets[node, name].members
        if shown.keys() == fold.members.keys():
            return None
        extra = [one for one in shown if one not in fold.members][:3]
        lacking = [one for one in fold.members if one not in shown][:3]
        said = (
            f"{name}: node {node} shows what is not the fold of what it has seen: {extra} too much, {lacking} lacking"
        )
        return self._found("wrong-value", said, operation)

    def _finish(self, waiting: deque[Operation]) -> None:
        """The history is over: one read of which a commit was never told must not keep the others from judgement."""
        while waiting:
            node = waiting[0].invoke.node
            self._pass_over([waiting.popleft()])
            if waiting:
                self._judge(node)

    def _found(self, name: str, said: str, operation: Operation, *events: int) -> Anomaly:
        data = {"nodes": [operation.invoke.node], "object": operation.invoke.object}
        anomaly = Anomaly(name, said, [*events, operation.completed_at], data)
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Invalid with any anomaly; unknown where no read could be checked."""
        for waiting in self._waiting.values():
            self._finish(waiting)
        passed_over = [f"{count} reads {why} were passed over" for why, count in self._passed_over.items() if count]
        unknown = [] if self._checked else ["no read could be held against what it claims to have seen"]
        if 0 < self._checked < self._passed_over["of unknown commits"]:
            unknown.append("of most reads, what they claim to have seen was never told")
        figures = {"reads_checked": self._checked, "commits": len(self._commits)}
        return result(NAME, self._anomalies, unknown=unknown, notes=passed_over, figures=figures)
