"""set_full: what became of every element of a set, on every node.

Decides, for each element that was added to a gset or an orset, whether it is stable, lost, or never read, and how long
each node showed a stale set.  The idea and the words are those of `jepsen.checker/set-full`; its known weaknesses
are mended: outcomes are per node (`by_node`) and not only per history, an element that nobody added is a phantom, every
duplicate counts, an add that failed must stay invisible, and staleness is kept in nanoseconds.

An element is *known* from the first moment at which its add was acknowledged or a read that shows it was answered.
Node N is *stale* about it by the time from then to the invocation of N's last read that still lacked it.

Elements that somebody asked to remove are left out, since a node may lack them with good reason.

Anomalies. `lost`: known, and absent from a core node's final read, or shown by a node and absent from a later read of
it, though no remove that was ever begun can explain it; unknown if a kill might, of whose disks the history does
not tell. `phantom`: shown before anybody had begun to add it.
`duplicate`: more than once in one read. `failed-but-visible`: shown though every add of it had failed.

Soundness. Of two reads, the later is the one that was invoked after the other was answered: reads that overlap say
nothing of each other.  A remove that was begun (ok or indefinite) before a read was answered excuses an element's
vanishing; an add is held against the final reads only if no remove of that element can have come after it
(`Elements.protected`), and if a core node acknowledged it or showed it: others may stay cut off.  A node that lost
its disk starts over; what was added through such a node, and is then absent from *every* final read there is, went with
the disk, and is counted as excused, not lost.

Complexity: O(1) for each change of each node's set, so a read costs what it changed, not what it shows.  Cannot see:
an element that a node loses and regains between two of its reads; which of two concurrent adds of one element a read
shows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from checkers.availability import percentiles_ms
from checkers.elements import Change, Elements, SetState
from checkers.history import Element, Event, Header, Invoke
from checkers.pairing import Operation, Pairing, Wipes
from checkers.verdict import Anomaly, CheckResult, result

NAME = "set_full"
WORST_SHOWN = 5


class _Object:
    """What is known about one set."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.elements = Elements()
        self.known: dict[Element, int] = {}
        self.states: dict[int, SetState] = {}
        self.final: dict[int, tuple[int, frozenset[Element]]] = {}  # node -> its final read: event, elements
        self.ever_shown: dict[Element, bool] = {}  # whether by a core node
        self.shown_by: dict[int, set[Element]] = {}
        self.stale_on: Counter[int] = Counter()
        self.doubtful: dict[int, dict[Element, tuple[int, int]]] = {}  # node -> gone in a read that overlapped


class SetFull:
    """Option: `objects`, the names of the sets to judge (default: all)."""

    def __init__(self, header: Header, *, objects: list[str] | None = None) -> None:
        sets = {entry.name: _Object(entry.type) for entry in header.objects if entry.type in ("gset", "orset")}
        for name in objects or ():
            if name not in sets:
                raise ValueError(f'checker {NAME}: objects: no set called "{name}"')
        self._objects = {name: sets[name] for name in sets if objects is None or name in objects}
        self._core = header.core
        self._pairing = Pairing()
        self._wipes = Wipes(header)
        self._anomalies: list[Anomaly] = []
        self._vanished: list[tuple[int, int, int, Anomaly]] = []  # node, and between which times
        self._staleness: dict[int, list[int]] = {}
        self._worst: list[tuple[int, int, str, Element]] = []
        self._reads = 0

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Phantoms, duplicates, and elements that vanish are certain at once."""
        self._wipes.on_event(event)
        operation = self._pairing.on_event(index, event)
        if type(event) is Invoke and event.object in self._objects and event.action in ("add", "remove"):
            self._objects[event.object].elements.begin(event.action, event.value)
        if operation is None or operation.invoke.object not in self._objects:
            return None
        found = self._objects[operation.invoke.object]
        if operation.invoke.action != "read":
            found.elements.end(operation)
            if operation.invoke.action == "add" and operation.complete.outcome == "ok":
                found.known.setdefault(operation.invoke.value, operation.complete.t)
            return None
        return self._on_read(found, operation) if operation.complete.outcome == "ok" else None

    def _on_read(self, found: _Object, operation: Operation) -> Anomaly | None:
        self._reads += 1
        node, name = operation.invoke.node, operation.invoke.object
        state = found.states.get(node)
        if state is None:
            state = found.states[node] = SetState()
        before_event, before_invoked = state.last_event, state.last_invoked
        change = state.follow(operation)
        if operation.invoke.final:
            found.final[node] = (operation.completed_at, frozenset(state.members))
        certain: list[Anomaly] = []
        for element in dict.fromkeys(change.twice):
            said = f"stands more than once in a read of node {node}"
            certain.append(_anomaly("duplicate", name, element, said, [operation.completed_at], nodes=[node]))
        certain += self._appear(found, operation, change.add, before_invoked)
        self._anomalies += certain
        certain += self._vanish(found, operation, self._gone(found, operation, state, before_event))
        return certain[0] if certain else None

    def _gone(
        self, found: _Object, operation: Operation, state: SetState, before: int
    ) -> dict[Element, tuple[int, int]]:
        """What this read lacks and an earlier read of the node showed: since when, and in which event.

        What has gone in a read that overlapped the one which showed it is doubtful until a later read decides.
        """
        node, begun = operation.invoke.node, operation.invoke.t
        gone = {one: shown for one, shown in found.doubtful.get(node, {}).items() if one not in state.members}
        gone.update((element, (since, before)) for element, since in state.dropped.items())
        found.doubtful[node] = {element: shown for element, shown in gone.items() if shown[0] > begun}
        return {element: shown for element, shown in gone.items() if shown[0] <= begun}

    def _vanish(self, found: _Object, operation: Operation, gone: dict[Element, tuple[int, int]]) -> list[Anomaly]:
        """Keep what nobody removed; returns those of it that no wipe can turn out to explain."""
        node, invoke, now = operation.invoke.node, operation.invoke, operation.complete.t
        certain: list[Anomaly] = []
        for element, (since, before) in gone.items():
            if found.elements.begun_removes.get(element):
                continue
            said = f"was shown by node {node} and then was not, though nobody removed it"
            anomaly = _anomaly("lost", invoke.object, element, said, [before, operation.completed_at], nodes=[node])
            self._vanished.append((node, since, now, anomaly))
            if not self._wipes.pending() and not self._wipes.within(node, since, now):
                certain.append(anomaly)
        return certain

    def _appear(self, found: _Object, operation: Operation, fresh: list[Element], before_invoked: int) -> list[Anomaly]:
        """`fresh` are shown by this read and were not by this node's read before, invoked at `before_invoked`."""
        node, now = operation.invoke.node, operation.complete.t
        known, begun, removed = found.known, found.elements.begun_adds, found.elements.begun_removes
        phantoms: list[Anomaly] = []
        staleness = self._staleness.setdefault(node, [])
        for element in fresh:
            since = known.get(element)
            if since is None:
                known[element] = now
                if element not in begun:
                    said = f"is shown by node {node} though nobody had begun to add it"
                    events = [operation.completed_at]
                    phantoms.append(_anomaly("phantom", operation.invoke.object, element, said, events, nodes=[node]))
            elif element in removed:
                continue
            elif before_invoked > since:
                found.stale_on[node] += 1
                self._stale(node, before_invoked - since, operation.invoke.object, element, staleness)
            else:
                staleness.append(0)
        found.shown_by.setdefault(node, set()).update(fresh)
        if node in self._core:
            found.ever_shown.update(dict.fromkeys(fresh, True))
        else:
            for element in fresh:
                found.ever_shown.setdefault(element, False)
        return phantoms

    def _stale(self, node: int, by_ns: int, name: str, element: Element, staleness: list[int]) -> None:
        staleness.append(by_ns)
        if len(self._worst) < WORST_SHOWN or by_ns > self._worst[-1][0]:
            self._worst = sorted([*self._worst, (by_ns, node, name, element)], key=lambda one: -one[0])[:WORST_SHOWN]

    def final(self) -> CheckResult:
        """What became of each element; unknown where a core node's final read is missing or no set was read."""
        unknown: list[str] = []
        figures: dict[str, Any] = {"reads": self._reads}
        for index, invoke in self._pairing.open.values():
            if invoke.object in self._objects and invoke.action in ("add", "remove"):
                self._objects[invoke.object].elements.abandon(invoke.action, invoke.node, invoke.t, invoke.value, index)
        unknown += self._settle_vanished()
        for name, found in self._objects.items():
            missing = [node for node in self._core if node not in found.final]
            if missing:
                unknown.append(f"{name}: no final read of core nodes {missing}")
            if not found.elements.adds:
                unknown.append(f"{name}: nothing was ever added")
            figures[name] = self._conclude(name, found)
            figures.setdefault("by_node", {})[name] = self._by_node(name, found)
        if not self._objects:
            unknown.append("there is no set to judge")
        for node, values in sorted(self._staleness.items()):
            figures.setdefault("stale_by_node", {})[node] = percentiles_ms("stale", values)
        everything = [value for values in self._staleness.values() for value in values]
        figures.update(percentiles_ms("stale", everything))
        if self._worst:
            figures["stalest"] = [
                {"element": element, "object": name, "node": node, "ms": by_ns / 1e6}
                for by_ns, node, name, element in self._worst
            ]
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)

    def _settle_vanished(self) -> list[str]:
        """What vanished is lost, unless a wipe explains it; returns what nobody can tell."""
        unknown: list[str] = []
        for node, since, until, anomaly in self._vanished:
            if self._wipes.within(node, since, until):
                continue
            if self._wipes.untold(until):
                unknown.append(f"{anomaly.message}; a kill, of whose disks nothing is told, may explain it")
            else:
                self._anomalies.append(anomaly)
        return unknown[:WORST_SHOWN]

    def _lost_of(self, name: str) -> dict[Element, list[int]]:
        """Element -> the nodes that lost it, by the anomalies of one object so far."""
        lost: dict[Element, list[int]] = {}
        for one in self._anomalies:
            if one.name == "lost" and one.data["object"] == name:
                lost.setdefault(one.data["element"], []).extend(one.data["nodes"])
        return lost

    def _by_node(self, name: str, found: _Object) -> dict[int, dict[str, int]]:
        """What became of the elements on each node, those left out that somebody asked to remove.

        `stable`: in its final read; `stale`: times shown late; `lost`: by an anomaly; `never_read`: never shown.
        """
        lost: Counter[int] = Counter()
        for element, nodes in self._lost_of(name).items():
            if element in found.elements.adds:
                lost.update(set(nodes))
        kept = [element for element in found.elements.adds if not found.elements.removes.get(element)]
        outcomes: dict[int, dict[str, int]] = {}
        for node in sorted({*self._core, *found.states}):
            shown = found.shown_by.get(node, set())
            final = found.final[node][1] if node in found.final else frozenset()
            outcomes[node] = {
                "stable": sum(element in final for element in kept),
                "stale": found.stale_on[node],
                "lost": lost[node],
                "never_read": sum(element not in shown for element in kept),
            }
        return outcomes

    def _conclude(self, name: str, found: _Object) -> dict[str, Any]:
        elements = found.elements
        answered = [node for node in self._core if node in found.final]
        vanished = self._lost_of(name)
        for element, event in elements.failed_adds.items():
            shown = found.known[element] if element in found.ever_shown else None
            if shown is not None and all(add.begun > shown for add in elements.adds.get(element, ())):
                said = "is shown though every add of it had failed"
                self._anomalies.append(_anomaly("failed-but-visible", name, element, said, [event]))
        counts = {"elements": len(elements.adds), "stable": 0, "lost": 0, "never_read": 0, "excused_by_wipe": 0}
        for element, adds in elements.adds.items():
            lacking = [node for node in answered if element not in found.final[node][1]]
            vouched = self._vouched(found, element, adds) if lacking else []
            if not lacking:
                counts["stable"] += bool(found.final)
            elif (
                vouched and len(lacking) == len(answered) and element not in vanished and self._gone_with_disks(vouched)
            ):
                counts["excused_by_wipe"] += 1
            elif vouched:
                counts["lost"] += 1
                said = f"is absent from the final reads of nodes {lacking}, and no remove explains it"
                events = [*(add.event for add in vouched), *(found.final[node][0] for node in lacking)]
                self._anomalies.append(_anomaly("lost", name, element, said, events, nodes=lacking))
            counts["never_read"] += element not in found.ever_shown
        return counts

    def _vouched(self, found: _Object, element: Element, adds: list[Change]) -> list[Change]:
        """The adds of which at least one must have lasted; none if the element may rightly be absent."""
        acknowledged = [add for add in adds if add.acknowledged and found.elements.protected(element, add)]
        of_core = [add for add in acknowledged if add.node in self._core]
        removed = found.elements.removes.get(element)
        shown_by_core = found.ever_shown.get(element, False) and not removed
        return of_core or (acknowledged or adds if shown_by_core else [])

    def _gone_with_disks(self, vouched: list[Change]) -> bool:
        """Whether every copy of an element can have been on disks that were wiped.

        What a core node acknowledged was on its disk; anything else was on that of a core node that showed it.
        """
        if all(add.acknowledged and add.node in self._core for add in vouched):
            return all(self._wipes.after(add.node, add.begun) for add in vouched)
        return any(self._wipes.ever(node) for node in self._core)


def _anomaly(kind: str, name: str, element: Element, said: str, events: list[int], **data: Any) -> Anomaly:
    return Anomaly(kind, f"{name}: element {element!r} {said}", events, {"object": name, "element": element, **data})
