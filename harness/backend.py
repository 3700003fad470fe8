"""What a backend must offer, so that one runner drives the simulator, local processes and containers alike.

Everything is a callback: the runner never waits, the backend calls it back, in virtual or in real time.  Times
are integer nanoseconds since the start of the load, on the harness's own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from checkers.history import Level
from faults.vocabulary import PlannedFault, Trigger


class Ask(msgspec.Struct, frozen=True):
    """One request to one node, in the node contract's words.

    `action` is a type's operation, "read", "digest", "status" or "certificate"; `value` is the element, the amount, or
    the commit (hex) whose certificate is asked for.
    """

    object: str
    type: str
    action: str
    value: Any = None
    level: Level = "local"


class Answer(msgspec.Struct, frozen=True):
    """What came of it: "ok", "fail" (definitely not done) or "info" (nobody knows)."""

    outcome: str
    value: Any = None
    error: str | None = None
    commit: str | None = None
    visible: list[str] | None = None
    certificate: dict[str, Any] | None = None


Evidence = dict[str, int | float | str]
"""How a fault was seen to bite; `bites` counts."""

FaultDone = Callable[[Evidence, str | None], None]
"""(what was seen, one line that says why it could not be done or None)."""

NodeObserver = Callable[[int, str, int, int, dict[str, Any]], None]
"""(node, event name, node's monotonic ns, node's wall ns, data)."""


class Allowance(msgspec.Struct, frozen=True):
    """What real machines need beyond the models (ns): to find dead peers again, for each exchange, for a timer."""

    reconnect_ns: int = 0
    exchange_ns: int = 0
    timer_ns: int = 0


class Drift(msgspec.Struct, frozen=True):
    """How much later than planned operations were begun, and faults were in force or gone (ns)."""

    p50_ns: int
    p99_ns: int
    max_ns: int

    def line(self) -> str:
        """For people."""
        p50, p99, most = (one / 1e6 for one in (self.p50_ns, self.p99_ns, self.max_ns))
        return f"timing drift p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"


class Backend(Protocol):
    """One cluster for one run of one plan."""

    name: str
    network_name: str
    allowance: Allowance

    def start(self, observer: NodeObserver) -> None:
        """Start every node; `observer` is told of the nodes' own events."""

    def agents(self) -> list[str]:
        """The agent id (hex) of each node, by number."""
        ...

    def now(self) -> int:
        """Nanoseconds since the start of the load."""
        ...

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        """Call `call` once, at `at` or as soon after as can be."""

    def when(self, trigger: Trigger, call: Callable[[], None]) -> None:
        """Call `call` once, right after what the trigger names has happened."""

    def invoke(self, node: int, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Send a request on a path that no fault touches; `done` is called at most once, or never if no answer
        comes.  The caller keeps the time-out."""

    def hear(self, done: Callable[[], None]) -> None:
        """Take in what the nodes have told of themselves and nobody has asked for yet, then call `done`."""

    def inject(self, planned: PlannedFault, done: FaultDone) -> None:
        """Put a fault in force; `done` is called once, when that is confirmed or has failed and is undone."""

    def lift(self, planned: PlannedFault, done: FaultDone) -> None:
        """Undo a fault; `done` is called once, with how it was seen to bite, when it is confirmed to be gone."""

    def run(self) -> None:
        """Serve until `stop` is called from a callback."""

    def stop(self) -> None:
        """End `run`, and leave nothing behind."""

    def trace_hash(self) -> str | None:
        """The hash of everything that happened, where runs repeat exactly; else None."""
        ...

    def drift(self) -> Drift | None:
        """How late the plan was carried out; None in virtual time, where nothing is."""
        ...
