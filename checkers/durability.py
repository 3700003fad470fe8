"""Durability: no acknowledged write is lost, and nothing that was removed comes back.

Decides, from the final reads of the core nodes and from what each node's own reads show:

`lost-write`    an add that a core node acknowledged and no remove can have taken away (`Elements.protected`) is
                absent from the final read of a core node.
`resurrected`   a node acknowledged a remove, and shows the element afterwards, or, if it is of the core, a core node
                does in its final read, though that node had seen every add there ever was: all adds of the element
                were acknowledged by that very node before the remove was invoked, so the remove took all of their
                dots.

Excused: a write at level `local` is durable on one node.  If that node's disk is wiped afterwards, no core node shows
the element in the end, and none that kept its disk ever did, the write went with the disk; such are counted.  With
`wipe_excuses = false` they are lost.  A final read that is missing is unknown, and takes no excuse away: the node may
lack the element like the others.  A node that was ever wiped is not held to what it removed before.

Definition: durability as in spec/byzantine.md ("hold every acknowledged write of correct authors"); the removal rule
is that of the observed-remove set, Shapiro et al., INRIA RR-7506 (2011), specification 15.  Complexity: O(1) a change.
Cannot see: counters (see `counter`); a write that is lost and written again; a resurrection that another node's
unseen add could explain.
"""

from __future__ import annotations

from checkers.elements import FOREVER, Change, Elements, SetState
from checkers.history import Element, Event, Header, Invoke
from checkers.pairing import Operation, Pairing, Wipes
from checkers.verdict import Anomaly, CheckResult, result

NAME = "durability"


class _Object:
    def __init__(self) -> None:
        self.elements = Elements()
        self.states: dict[int, SetState] = {}
        self.final: dict[int, tuple[int, frozenset[Element]]] = {}
        self.last_shown: dict[int, dict[Element, tuple[int, int]]] = {}  # node -> element -> last read (invoked, event)


class Durability:
    """Option: `wipe_excuses` (default true)."""

    def __init__(self, header: Header, *, wipe_excuses: bool = True) -> None:
        self._objects = {entry.name: _Object() for entry in header.objects if entry.type in ("gset", "orset")}
        self._core = header.core
        self._wipe_excuses = wipe_excuses
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._writes = 0
        self._excused = 0

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Follow; a loss is certain only in the end."""
        self._wipes.on_event(event)
        operation = self._pairing.on_event(index, event)
        if type(event) is Invoke and event.object in self._objects and event.action != "read":
            self._objects[event.object].elements.begin(event.action, event.value)
        if operation is None:
            return None
        found = self._objects.get(operation.invoke.object)
        if found is None:
            return None
        if operation.complete.outcome == "ok" and operation.invoke.action != "read":
            self._writes += 1
        if operation.invoke.action != "read":
            found.elements.end(operation)
        elif operation.complete.outcome == "ok":
            self._on_read(found, operation)
        return None

    def _on_read(self, found: _Object, operation: Operation) -> None:
        node = operation.invoke.node
        state = found.states.setdefault(node, SetState())
        before = (state.last_invoked, state.last_event)
        change = state.follow(operation)
        last_shown = found.last_shown.setdefault(node, {})
        for element in change.drop:
            last_shown[element] = before
        if operation.invoke.final:
            found.final[node] = (operation.completed_at, frozenset(state.members))

    def final(self) -> CheckResult:
        """Lost writes and resurrections; unknown without final reads or without an acknowledged write."""
        anomalies: list[Anomaly] = []
        unknown: list[str] = []
        for index, invoke in self._pairing.open.values():
            if invoke.object in self._objects and invoke.action in ("add", "remove"):
                self._objects[invoke.object].elements.abandon(invoke.action, invoke.node, invoke.t, invoke.value, index)
        for name, found in self._objects.items():
            missing = [node for node in self._core if node not in found.final]
            if missing:
                unknown.append(f"{name}: no final read of core nodes {missing}")
            for element, adds in found.elements.adds.items():
                anomalies += self._lost(name, found, element, adds)
            for element, removes in found.elements.removes.items():
                anomalies += self._resurrected(name, found, element, removes)
        if not self._writes:
            unknown.append("no write to a set was acknowledged")
        figures = {"writes": self._writes, "excused_by_wipe": self._excused}
        return result(NAME, anomalies, unknown=unknown, figures=figures)

    def _lost(self, name: str, found: _Object, element: Element, adds: list[Change]) -> list[Anomaly]:
        vouched = [
            add
            for add in adds
            if add.acknowledged and add.node in self._core and found.elements.protected(element, add)
        ]
        finals = [(node, *found.final[node]) for node in self._core if node in found.final]
        lacking = [(node, event) for node, event, members in finals if element not in members]
        if not vouched or not lacking:
            return []
        on_wiped_disks = all(self._wipes.after(add.node, add.begun) for add in vouched)
        nowhere = len(lacking) == len(finals) and not self._held_elsewhere(found, element)
        if on_wiped_disks and nowhere and self._wipe_excuses:
            self._excused += 1
            return []
        nodes = [node for node, _ in lacking]
        by = vouched[0].node
        said = (
            f"{name}: element {element!r}, acknowledged by node {by}, is absent from the final reads of nodes {nodes}"
        )
        events = [vouched[0].event, *(event for _, event in lacking)]
        return [Anomaly("lost-write", said, events, {"object": name, "element": element, "nodes": nodes})]

    def _held_elsewhere(self, found: _Object, element: Element) -> bool:
        """Whether a core node has shown `element` and then kept its disk.

        If anybody asked to remove it, what was shown may have been an earlier add, and says nothing of this one.
        """
        if found.elements.removes.get(element):
            return False
        for node in self._core:
            invoked, _ = found.last_shown.get(node, {}).get(element, (-1, -1))
            if invoked >= 0 and not self._wipes.within(node, invoked, FOREVER):
                return True
        return False

    def _resurrected(self, name: str, found: _Object, element: Element, removes: list[Change]) -> list[Anomaly]:
        adds = found.elements.adds.get(element, [])
        for remove in removes:
            if not remove.acknowledged or self._wipes.ever(remove.node):
                continue
            if not all(add.acknowledged and add.node == remove.node and add.ended < remove.begun for add in adds):
                continue
            shown = self._shown_after(found, element, remove)
            if shown is not None:
                node, event = shown
                said = (
                    f"{name}: element {element!r} was removed by node {remove.node}, which had seen every add of it, "
                    f"and node {node} shows it afterwards"
                )
                data = {"object": name, "element": element, "nodes": [node]}
                return [Anomaly("resurrected", said, [remove.event, event], data)]
        return []

    def _shown_after(self, found: _Object, element: Element, remove: Change) -> tuple[int, int] | None:
        state = found.states.get(remove.node)
        if state is not None:
            invoked, event = found.last_shown.get(remove.node, {}).get(element, (-1, -1))
            if element in state.members:
                invoked, event = state.last_invoked, state.last_event
            if invoked > remove.ended:
                return remove.node, event
        for node in self._core if remove.node in self._core else ():
            event, members = found.final.get(node, (-1, frozenset()))
            if element in members:
                return node, event
        return None
