"""Histories by hand, and histories of runs that were correct.

`Book` writes a history line by line; times are in milliseconds unless said otherwise, and every operation takes one
unless `took` says so.  `correct_run` is a toy: replicas that hold sets of facts and hand them to each other at random.
It shares no code and no idea with the mesh, save what an eventually consistent replica is.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from checkers.compose import check
from checkers.history import (
    CheckEntry,
    Complete,
    Deadline,
    Event,
    FaultEntry,
    FaultEvent,
    Header,
    History,
    Invoke,
    NodeEntry,
    ObjectEntry,
    Phase,
    SetReadEncoder,
)
from checkers.verdict import Anomaly, CheckResult

MS = 1_000_000
SET_TYPES = ("gset", "orset")


def header(*, nodes: int = 3, core: Iterable[int] | None = None, checks: Any = (), faults: Any = (), **objects: str):
    """A header of `nodes` nodes; objects are `name="type"`, checks names or CheckEntry."""
    return Header(
        campaign="by hand",
        seed=0,
        backend="none",
        nodes=[NodeEntry(index=index, agent=f"{index:02x}") for index in range(nodes)],
        faulty=0,
        objects=[ObjectEntry(name, kind) for name, kind in objects.items()],
        core=list(range(nodes) if core is None else core),
        deadline=Deadline(
            total_ns=1000 * MS,
            rounds=9,
            interval_ns=100 * MS,
            reconnect_ns=0,
            transfer_ns=0,
            exchange_ns=0,
            specification_rounds=4.58,
        ),
        checks=[one if isinstance(one, CheckEntry) else CheckEntry(one) for one in checks],
        faults=[
            one if isinstance(one, FaultEntry) else FaultEntry(one, "kill", True, nodes=tuple(range(nodes)))
            for one in faults
        ],
    )


class Book:
    """A history that is being written.  `at` is its clock in nanoseconds; every call moves it on by 1 ms."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.events: list[Event] = []
        self.at = 0
        self._next = 0
        self._kinds = {entry.name: entry.type for entry in header.objects}
        self._encoder = SetReadEncoder()
        self._open: dict[int, Invoke] = {}

    @property
    def history(self) -> History:
        """What was written so far."""
        return History(header=self.header, events=self.events)

    def begin(self, action: str, node: int, object: str, value: Any = None, **more: Any) -> int:
        """Invoke, and no more; returns the operation."""
        self._next += 1
        self.at += MS
        more.setdefault("intended", self.at)
        invoke = Invoke(
            op=self._next, process=f"c{node}", node=node, t=self.at, object=object, action=action, value=value, **more
        )
        self._open[invoke.op] = invoke
        self.events.append(invoke)
        return invoke.op

    def end(self, op: int, outcome: str = "ok", value: Any = None) -> None:
        """Complete `op`; the value of a set read is the list that was shown."""
        self.at += MS
        invoke = self._open.pop(op)
        if outcome == "ok" and invoke.action == "read" and self._kinds.get(invoke.object) in SET_TYPES:
            value = self._encoder.encode(
                node=invoke.node, object=invoke.object, op=op, value=list(value), whole=invoke.final
            )
        self.events.append(Complete(op=op, t=self.at, outcome=outcome, value=value))  # type: ignore[arg-type]

    def do(self, action: str, node: int, object: str, value: Any = None, outcome: str = "ok") -> None:
        """Invoke and complete."""
        self.end(self.begin(action, node, object, value), outcome)

    def add(self, node: int, element: Any, outcome: str = "ok", object: str = "s") -> None:
        self.do("add", node, object, element, outcome)

    def remove(self, node: int, element: Any, outcome: str = "ok", object: str = "s") -> None:
        self.do("remove", node, object, element, outcome)

    def count(self, node: int, amount: int, outcome: str = "ok", object: str = "c") -> None:
        """Increment by `amount`, or decrement where it is negative."""
        self.do("increment" if amount > 0 else "decrement", node, object, abs(amount), outcome)

    def read(self, node: int, value: Any, *, object: str = "s", final: bool = False) -> None:
        self.end(self.begin("read", node, object, final=final), value=value)

    def digest(self, node: int, root: str, digest: str | None = None, *, final: bool = False) -> None:
        """Node shows `root` and the value digest, which follows from the root unless it is given."""
        op = self.begin("digest", node, "", final=final)
        self.end(op, value={"root": root, "digest": f"values of {root}" if digest is None else digest})

    def phase(self, phase: Any, note: str = "") -> None:
        self.at += MS
        self.events.append(Phase(phase=phase, t=self.at, note=note))

    def fault(self, fault: str, stage: Any, note: str = "", **evidence: int | float | str) -> None:
        self.at += MS
        self.events.append(FaultEvent(fault=fault, stage=stage, t=self.at, evidence=evidence, note=note))

    def wipe(self, *nodes: int, fault: str = "f0") -> None:
        """These nodes die and come back with empty disks."""
        self.fault(fault, "injected")
        self.wiped(*nodes, fault=fault)

    def wiped(self, *nodes: int, fault: str = "f0") -> None:
        """The end of `wipe`."""
        named = ",".join(map(str, nodes))
        self.fault(fault, "lifted", bites=len(nodes), disk="wipe", nodes=named)

    def pass_ms(self, ms: float) -> None:
        self.at += int(ms * MS)

    def finals(self, value: Any, *, object: str = "s", nodes: Iterable[int] | None = None) -> None:
        """The final read of every core node (or `nodes`) shows `value`."""
        for node in self.header.core if nodes is None else nodes:
            self.read(node, value, object=object, final=True)

    def judge(self, checker: str, **options: Any) -> CheckResult:
        """What one checker says of the history."""
        asked = msgspec.structs.replace(self.header, checks=[CheckEntry(checker, options)])
        return check(History(header=asked, events=self.events)).results[0]


def the_anomaly(result: CheckResult, name: str) -> Anomaly:
    """The first anomaly called `name`; the result must be invalid, and for no other reason."""
    assert result.validity == "invalid", result
    assert {one.name for one in result.anomalies} == {name}, result.anomalies
    return result.anomalies[0]


class Replica:
    """Holds facts: ("add", object, dot, element), ("remove", object, dots), ("count", object, dot, amount)."""

    def __init__(self) -> None:
        self.facts: set[tuple[Any, ...]] = set()

    def dots(self, object: str) -> dict[Any, Any]:
        removed = {dot for fact in self.facts if fact[:2] == ("remove", object) for dot in fact[2]}
        return {fact[2]: fact[3] for fact in self.facts if fact[:2] == ("add", object) and fact[2] not in removed}

    def elements(self, object: str) -> list[Any]:
        return sorted(set(self.dots(object).values()), key=repr)

    def total(self, object: str) -> int:
        return sum(fact[3] for fact in self.facts if fact[:2] == ("count", object))

    def apply(self, dot: int, action: str, object: str, value: Any) -> None:
        if action == "add":
            self.facts.add(("add", object, dot, value))
        elif action == "remove":
            seen = frozenset(other for other, element in self.dots(object).items() if element == value)
            self.facts.add(("remove", object, seen))
        else:
            self.facts.add(("count", object, dot, value if action == "increment" else -value))

    def root(self) -> str:
        return str(sorted(map(repr, self.facts)))


ALL_CHECKS = ("set_full", "durability", "counter", "convergence", "availability", "exposure")


def correct_run(r: Random, *, steps: int = 60, wipes: bool = True) -> Book:
    """A run of 2 to 5 correct replicas with a gset `s`, an orset `o` and a counter `c`.

    Operations overlap: each happens at a moment of its own between its invocation and its completion, if at all.
    """
    nodes = r.randint(2, 5)
    book = Book(
        header(nodes=nodes, checks=ALL_CHECKS, faults=["f0"] if wipes else [], s="gset", o="orset", c="pncounter")
    )
    replicas = [Replica() for _ in range(nodes)]
    flight: dict[int, dict[str, Any]] = {}  # op -> what is to be said of it
    book.phase("load")
    wipe_at = r.randint(0, steps) if wipes else None
    for step in range(steps):
        draw = r.random()
        if step == wipe_at:
            _wipe(book, replicas, flight, r.randrange(nodes))
        if draw < 0.4:
            _invoke(r, book, flight, r.randrange(nodes), step)
        elif draw < 0.55 and nodes > 1:
            source, target = r.sample(replicas, 2)
            target.facts |= source.facts
        elif draw < 0.8:
            _happen(r, flight, replicas)
        else:
            _complete(r, book, flight)
    for op in list(flight):
        if r.random() < 0.5:
            flight[op]["outcome"] = "info"
            _finish(book, flight, op)
    for op, said in list(flight.items()):
        if said["outcome"] is None and said["action"] not in ("read", "digest") and r.random() < 0.5:
            replicas[said["node"]].apply(op, said["action"], said["object"], said["value"])
    if wipes and wipe_at is not None and wipe_at >= steps:
        book.wipe(0)
        replicas[0].facts = set()
    _end(book, replicas)
    return book


def _invoke(r: Random, book: Book, flight: dict[int, dict[str, Any]], node: int, step: int) -> None:
    object, action, value = r.choice(
        [
            ("s", "add", step),
            ("s", "add", str(step)),
            ("s", "read", None),
            ("o", "add", r.randint(0, 5)),
            ("o", "add", r.randint(0, 5)),
            ("o", "remove", r.randint(0, 5)),
            ("o", "read", None),
            ("c", "increment", r.randint(1, 5)),
            ("c", "decrement", r.randint(1, 5)),
            ("c", "read", None),
            ("", "digest", None),
        ]
    )
    op = book.begin(action, node, object, value)
    flight[op] = {"node": node, "object": object, "action": action, "value": value, "outcome": None, "reply": None}


def _happen(r: Random, flight: dict[int, dict[str, Any]], replicas: list[Replica]) -> None:
    """One operation in flight takes effect, or turns out to fail, or is lost on its way with nobody told."""
    waiting = [op for op, said in flight.items() if said["outcome"] is None]
    if not waiting:
        return
    op = r.choice(waiting)
    said = flight[op]
    replica = replicas[said["node"]]
    said["outcome"] = r.choice(["ok", "ok", "ok", "fail", "info", "done but info"])
    if said["action"] == "digest":
        root = replica.root()
        said["reply"] = {"root": root, "digest": f"values of {root}"}
    elif said["action"] == "read":
        said["reply"] = replica.total("c") if said["object"] == "c" else replica.elements(said["object"])
    elif said["outcome"] in ("ok", "done but info"):
        replica.apply(op, said["action"], said["object"], said["value"])
    if said["outcome"] == "done but info":
        said["outcome"] = "info"
    if said["outcome"] == "info" and said["action"] in ("read", "digest"):
        said["outcome"] = "fail"


def _complete(r: Random, book: Book, flight: dict[int, dict[str, Any]]) -> None:
    decided = [op for op, said in flight.items() if said["outcome"] is not None]
    if decided:
        _finish(book, flight, r.choice(decided))


def _finish(book: Book, flight: dict[int, dict[str, Any]], op: int) -> None:
    said = flight.pop(op)
    outcome = "fail" if said["outcome"] == "info" and said["action"] in ("read", "digest") else said["outcome"]
    book.end(op, outcome, said["reply"] if outcome == "ok" else None)


def _wipe(book: Book, replicas: list[Replica], flight: dict[int, dict[str, Any]], node: int) -> None:
    """The node dies with its connections: whatever it was asked has come to an end before it is back."""
    book.fault("f0", "injected")
    for op in [op for op, said in flight.items() if said["node"] == node]:
        if flight[op]["outcome"] is None:
            flight[op]["outcome"] = "info"
        _finish(book, flight, op)
    replicas[node].facts = set()
    book.wiped(node)


def _end(book: Book, replicas: list[Replica]) -> None:
    book.phase("heal")
    book.phase("quiesce")
    for node, replica in enumerate(replicas):
        root = replica.root()
        book.digest(node, root)
    together = set().union(*(replica.facts for replica in replicas))
    for replica in replicas:
        replica.facts = set(together)
    for node, replica in enumerate(replicas):
        book.digest(node, replica.root())
    book.phase("final")
    for object in ("s", "o"):
        book.finals(replicas[0].elements(object), object=object)
    book.finals(replicas[0].total("c"), object="c")
    for node, replica in enumerate(replicas):
        book.digest(node, replica.root(), final=True)
    book.phase("done")
