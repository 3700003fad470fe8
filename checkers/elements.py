"""What was done to each element of a set, and what the set reads show: shared by `set_full` and `durability`."""

from __future__ import annotations

from typing import NamedTuple

from checkers.history import Element, HistoryError, SetRead, as_set_read
from checkers.pairing import Operation

FOREVER = 1 << 62
"""The completion time of an operation that may still happen."""


class Change(NamedTuple):
    """One add or remove of one element that did or may have happened.

    `begun` and `ended` bound when it took effect (ns); `ended` is FOREVER if it is indefinite.
    """

    node: int
    begun: int
    ended: int
    acknowledged: bool
    event: int


class Elements:
    """Every add and remove of one object's elements; those that failed are kept apart."""

    def __init__(self) -> None:
        self.adds: dict[Element, list[Change]] = {}
        self.removes: dict[Element, list[Change]] = {}
        self.failed_adds: dict[Element, int] = {}
        self.begun_adds: set[Element] = set()
        self.begun_removes: dict[Element, int] = {}  # how many, those that failed taken off again

    def begin(self, action: str, element: Element) -> None:
        """An add or remove was invoked."""
        if action == "add":
            self.begun_adds.add(element)
        else:
            self.begun_removes[element] = self.begun_removes.get(element, 0) + 1

    def end(self, operation: Operation) -> None:
        """An add or remove was completed."""
        invoke, complete = operation.invoke, operation.complete
        element: Element = invoke.value
        if complete.outcome == "fail":
            if invoke.action == "add":
                self.failed_adds[element] = operation.completed_at
            else:
                self.begun_removes[element] -= 1
            return
        acknowledged = complete.outcome == "ok"
        ended = complete.t if acknowledged else FOREVER
        change = Change(invoke.node, invoke.t, ended, acknowledged, operation.completed_at)
        (self.adds if invoke.action == "add" else self.removes).setdefault(element, []).append(change)

    def abandon(self, action: str, node: int, t: int, element: Element, event: int) -> None:
        """An add or remove was never completed, so it may have happened."""
        change = Change(node, t, FOREVER, False, event)
        (self.adds if action == "add" else self.removes).setdefault(element, []).append(change)

    def protected(self, element: Element, add: Change) -> bool:
        """Whether no remove can have taken this add away: a remove takes only what its node had seen when it
        happened, so it must have been over before the add began."""
        return all(remove.ended < add.begun for remove in self.removes.get(element, ()))


class SetState:
    """The set that one node last showed of one object, followed through its reads in the order of their answers.

    `members` gives, for each element, when the read was answered (ns) since which it is shown without a gap, and
    `dropped` the same for those that the last read no longer showed.
    """

    __slots__ = ("dropped", "last_event", "last_invoked", "members", "op")

    def __init__(self) -> None:
        self.op: int | None = None
        self.members: dict[Element, int] = {}
        self.dropped: dict[Element, int] = {}
        self.last_invoked = -1
        self.last_event = -1

    def follow(self, operation: Operation) -> SetRead:
        """Take in an ok read; returns what it says, with `add` and `drop` against the read before.

        Raises HistoryError for a change against a read that is not this node's last, or that drops what it lacked.
        """
        change = as_set_read(operation.complete.value)
        if change.base is None:
            shown = set(change.add)
            gone = [one for one in self.members if one not in shown]
            fresh = [one for one in change.add if one not in self.members] if self.members else change.add
            change = SetRead(base=None, add=fresh, drop=gone, twice=change.twice)
        elif change.base != self.op:
            raise HistoryError(
                f"op {operation.invoke.op} is a change against op {change.base}, not this node's last read"
            )
        unheld = [one for one in change.drop if one not in self.members]
        if unheld:
            raise HistoryError(
                f"op {operation.invoke.op} drops {unheld[0]!r}, which this node's last read did not show"
            )
        self.dropped = {one: self.members.pop(one) for one in change.drop}
        self.members.update(dict.fromkeys(change.add, operation.complete.t))
        self.op = operation.invoke.op
        self.last_invoked = operation.invoke.t
        self.last_event = operation.completed_at
        return change
