"""Exposure: did the run put the mesh to the test at all?

Decides whether every required fault was put in force, was seen to bite on every node that it was meant for (`bit` of
`of` in its evidence; links may be idle, so of those one is enough) and was lifted, and whether enough operations were
answered under load.  A liar whom surely no correct node could hear for as long as it lied has not bitten, whatever it
counted (`reach`).  It never says invalid: a run that shows little is unknown, whatever the other checkers say of it.
That a verdict is no better than its evidence is rule 4 of the design.

Complexity: O(1) an event.  Cannot see: whether a fault hit what mattered; only that something felt it.
"""

from __future__ import annotations

from collections import Counter

from checkers.history import Event, FaultEntry, FaultEvent, Header, Phase
from checkers.pairing import Pairing
from checkers.reach import Reach, Span
from checkers.verdict import Anomaly, CheckResult, result

NAME = "exposure"


class Exposure:
    """Options: `writes_min` and `reads_min`, answered ok during the load (default 1 each)."""

    def __init__(self, header: Header, *, writes_min: int = 1, reads_min: int = 1) -> None:
        self._faults = header.faults
        self._minimum = {"writes": writes_min, "reads": reads_min}
        self._pairing = Pairing()
        self._reach = Reach(header)
        self._lying: dict[str, list[Span]] = {entry.id: [] for entry in header.faults if entry.fault == "byzantine"}
        self._since: dict[str, int] = {}
        self._stages: dict[str, set[str]] = {}
        self._bites: Counter[str] = Counter()
        self._skipped: dict[str, str] = {}
        self._short: dict[str, str] = {}  # on fewer nodes than were meant
        self._loading = False
        self._answered: Counter[str] = Counter()

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """Count; nothing here is ever certain to be wrong."""
        self._reach.on_event(event)
        if type(event) is FaultEvent:
            if event.fault in self._lying:
                self._on_lying(event)
            self._stages.setdefault(event.fault, set()).add(event.stage)
            self._bites[event.fault] += int(event.evidence.get("bites", 0))
            bit, meant = event.evidence.get("bit"), event.evidence.get("of")
            if isinstance(bit, int) and isinstance(meant, int) and bit < meant:
                self._short[event.fault] = f"seen to bite on {bit} of {meant} nodes"
            if event.stage == "skipped":
                self._skipped[event.fault] = event.note
        elif type(event) is Phase:
            self._loading = event.phase == "load"
        operation = self._pairing.on_event(index, event)
        if operation is not None and operation.complete.outcome == "ok" and self._loading:
            action = operation.invoke.action
            if action != "digest":
                self._answered["reads" if action == "read" else "writes"] += 1
        return None

    def _on_lying(self, event: FaultEvent) -> None:
        if event.stage == "injected":
            self._since[event.fault] = event.t
        elif event.stage == "lifted" and event.fault in self._since:
            self._lying[event.fault].append(Span(self._since.pop(event.fault), event.t))

    def final(self) -> CheckResult:
        """Unknown with each reason, or valid with the bites of every fault."""
        unknown: list[str] = []
        notes: list[str] = []
        unheard = self._reach.unheard()
        for entry in self._faults:
            problem = self._problem(entry.id) or self._unheard(entry, unheard)
            if problem is not None:
                said = f"{'required' if entry.required else 'opportunistic'} fault {entry.id} ({entry.what}): {problem}"
                (unknown if entry.required else notes).append(said)
        for what, least in self._minimum.items():
            if self._answered[what] < least:
                unknown.append(f"{self._answered[what]} {what} were answered under load, at least {least} are needed")
        figures = {
            "faults": len(self._faults),
            "bites": {entry.id: self._bites[entry.id] for entry in self._faults},
            "writes": self._answered["writes"],
            "reads": self._answered["reads"],
        }
        return result(NAME, [], unknown=unknown, notes=notes, figures=figures)

    def _problem(self, fault: str) -> str | None:
        stages = self._stages.get(fault, set())
        if "skipped" in stages:
            return f"skipped: {self._skipped[fault]}"
        if "injected" not in stages:
            return "never put in force"
        if "lifted" not in stages:
            return "never confirmed lifted"
        if self._bites[fault] <= 0:
            return "not seen to bite"
        return self._short.get(fault)

    def _unheard(self, entry: FaultEntry, unheard: dict[int, list[Span]]) -> str | None:
        """Whether of some of its liars no correct node could hear anything in any of its windows."""
        windows = self._lying.get(entry.id, [])
        for node in entry.nodes if windows else ():
            apart = unheard.get(node, [])
            if all(any(cut.begin <= one.begin and one.end <= cut.end for cut in apart) for one in windows):
                return f"node {node} reached no correct node for as long as it lied"
        return None
