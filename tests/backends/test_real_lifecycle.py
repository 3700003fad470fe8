"""Starting, breaking off and ending a run on real machines, shown with machines that only remember what is done."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkers.history import NodeEvent
from harness import execution
from harness.backend import Answer, Ask
from harness.backends import BackendKind
from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.errors import HostError, RunBroken
from harness.execution import Outcome, execute
from harness.plan import Plan
from harness.real import backend as backend_module
from harness.real.backend import RealBackend
from harness.real.control import NoAnswer
from harness.real.hosts import Hosts
from harness.real.starvation import Span
from harness.subject import REFERENCE

NODES = 5
CAMPAIGN = """
name = "x"
shows = "how a run ends"
[cluster]
nodes = 5
wiring = "direct"
[load]
duration_s = 1.0
[[workloads]]
type = "gset"
rate = 20
"""
PAUSE = '[[faults]]\nfault = "pause"\nnodes = [1]\nstart_s = 0.2\nduration_s = 0.2\n'


def plan(faults: str = "") -> Plan:
    return compile_campaign(parse_campaign((CAMPAIGN + faults).encode(), source="x"), 0, source="x")


class Machines(Hosts):
    """Nodes that always answer, until `fate` or `end` say otherwise."""

    name = "machines"
    network_name = "run-x"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.starting: Callable[[], Any] = lambda: asyncio.sleep(0)
        self.fate: Callable[[], str | None] = lambda: None
        self.crashed: set[int] = set()
        self.pause_seconds = 0.0

    async def start(self, failpoints: dict[int, list[str]]) -> None:
        await self.starting()

    def agents(self) -> list[str]:
        return [f"{node:064x}" for node in range(NODES)]

    def control(self, node: int) -> tuple[str, str]:
        return f"node{node}", "token"

    def ended(self, node: int) -> str | None:
        return "the dog ate it" if node in self.crashed else None

    def broken(self) -> str | None:
        return self.fate()

    async def pause(self, node: int) -> None:
        await asyncio.sleep(self.pause_seconds)

    async def stop(self, artifacts: Path | None) -> dict[int, str]:
        self.log.append("stop")
        return {}


class Answers:
    """The control APIs of all nodes: empty, equal, and `SLOW_S` slow with their ticks, of `most` at one time."""

    SLOW_S = 0.3
    asked: list[str]
    most = 0

    def __init__(self) -> None:
        Answers.asked = []
        Answers.most = self._inside = 0

    async def close(self) -> None:
        Answers.asked.append("closed")

    async def ask(self, node: str, token: str, ask: Ask) -> Answer:
        values: dict[str, Any] = {"read": [], "digest": {"root": "r", "digest": "d"}, "status": {}}
        return Answer("ok", value=values[ask.action]) if ask.action in values else Answer("fail", error="full")

    async def get(self, node: str, token: str, path: str, timeout_s: float, **query: str) -> Any:
        if path != "/ticks":
            raise NoAnswer(path)
        Answers.asked.append(node)
        self._inside += 1
        Answers.most = max(Answers.most, self._inside)
        await asyncio.sleep(self.SLOW_S)
        self._inside -= 1
        return {}


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.setattr(backend_module, "Control", Answers)
    return Machines()


def silent(*_event: Any) -> None:
    """An observer that does not care."""


def run(machines: Machines, monkeypatch: pytest.MonkeyPatch, faults: str = "") -> Outcome:
    kind = BackendKind(
        lambda plan, subject, artifacts: RealBackend(plan, machines, subject, artifacts),
        lambda plan, subject: ("pause",),
        lambda plan, subject: [],
    )
    monkeypatch.setitem(execution.BACKENDS, "machines", kind)
    return execute(plan(faults), backend="machines")


# Broken off while starting.


def test_an_interrupted_start_waits_for_its_threads_before_anything_is_removed(
    machines: Machines, tmp_path: Path
) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, tmp_path)

    def make() -> None:
        backend._loop.call_soon_threadsafe(backend._interrupt)
        time.sleep(0.3)
        machines.log.append("made")

    machines.starting = lambda: asyncio.to_thread(make)
    with pytest.raises(KeyboardInterrupt):
        backend.start(silent)
    backend.stop()
    assert machines.log == ["made", "stop"]
    assert Answers.asked == ["closed"], "no node is asked that was never up, and no session stays open"


def test_what_no_thread_has_begun_is_not_begun_after_an_interrupt(machines: Machines) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, None)
    more = 50

    def make() -> None:
        backend._loop.call_soon_threadsafe(backend._interrupt)
        time.sleep(0.2)
        machines.log.append("made")

    async def starting() -> None:
        await asyncio.gather(*(asyncio.to_thread(make) for _ in range(more)))

    machines.starting = starting
    with pytest.raises(KeyboardInterrupt):
        backend.start(silent)
    backend.stop()
    assert machines.log[-1] == "stop" and 1 <= machines.log.count("made") < more


def test_an_interrupt_in_the_moment_in_which_all_is_up_is_not_lost(machines: Machines) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, None)

    async def starting() -> None:
        backend._interrupt()

    machines.starting = starting
    with pytest.raises(KeyboardInterrupt):
        backend.start(silent)
    backend.stop()
    assert machines.log == ["stop"]


def test_a_start_that_fails_is_told_as_what_it_is_though_the_machines_are_broken_too(machines: Machines) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, None)
    machines.fate = lambda: "the relay ended"

    async def starting() -> None:
        raise HostError("node 3 does not answer")

    machines.starting = starting
    with pytest.raises(HostError, match="node 3"):
        backend.start(silent)
    backend.stop()


# The end.


def test_ticks_are_fetched_at_once_and_of_nodes_that_can_answer(machines: Machines, tmp_path: Path) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, tmp_path)
    backend.start(silent)
    machines.crashed = {2}
    backend.stop()
    assert Answers.most == NODES - 1
    assert sorted(Answers.asked) == ["closed", "node0", "node1", "node3", "node4"]
    assert {path.parent.name for path in tmp_path.rglob("ticks.json")} == {"node0", "node1", "node3", "node4"}


def test_a_node_that_ends_in_the_last_moment_has_crashed(machines: Machines) -> None:
    backend, events = RealBackend(plan(), machines, REFERENCE, None), []
    backend.start(lambda node, name, *_rest: events.append((node, name)))
    machines.crashed = {2}
    backend.stop()
    assert (2, "crashed") in events


@pytest.mark.parametrize("when", ["in the midst", "seen at the end only"])
def test_a_broken_run_says_nothing_of_the_mesh(when: str, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    broken: dict[str, Callable[[], bool]] = {
        "in the midst": lambda: time.monotonic() > begun + 0.6,
        "seen at the end only": lambda: "stop" in machines.log,
    }
    machines.crashed = {2}  # for which the run would be invalid
    machines.fate = lambda: "the relay ended: dog ate it" if broken[when]() else None
    verdict = run(machines, monkeypatch).verdict
    assert verdict.validity == "unknown"
    assert verdict.results[0].notes == ["the harness failed, not the mesh: the relay ended: dog ate it"]
    assert machines.log == ["stop"]


def test_an_interrupted_run_is_interrupted_though_it_is_broken_too(machines: Machines) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, None)
    backend.start(silent)
    backend._loop.call_soon(backend._interrupt)
    with pytest.raises(KeyboardInterrupt):
        backend.run()
    machines.fate = lambda: "the relay ended"
    backend.stop()


def test_a_run_that_is_whole_is_judged(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.crashed = {2}
    outcome = run(machines, monkeypatch)
    assert outcome.verdict.validity == "invalid"
    assert "node-crashed" in {one.name for found in outcome.verdict.results for one in found.anomalies}


def test_only_the_backend_of_a_broken_run_raises(machines: Machines) -> None:
    backend = RealBackend(plan(), machines, REFERENCE, None)
    backend.start(silent)
    machines.fate = lambda: "the relay ended"
    with pytest.raises(RunBroken, match="the relay ended"):
        backend.run()
    backend.stop()


# Lateness.


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_fault_that_takes_long_to_be_in_force_is_drift(
    seconds: float, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.pause_seconds = seconds
    drift = run(machines, monkeypatch, PAUSE).drift
    assert drift is not None and drift.p50_ns < 1.9e9
    assert (drift.max_ns > 1.9e9) == (seconds > 0)


def test_a_machine_without_an_idle_processor_is_told_of_every_node(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Starved:
        def __init__(self, begun: int) -> None:
            self.told = [Span(begun + 200_000_000, 30_000_000)]

        def look(self, now: int) -> Span | None:
            return self.told.pop() if self.told and now > self.told[0].end else None

    monkeypatch.setattr(backend_module, "Starvation", Starved)
    events = [one for one in run(machines, monkeypatch).history.events if isinstance(one, NodeEvent)]
    told = [one for one in events if one.name == "starved"]
    assert [(one.node, one.data) for one in told] == [(node, {"for_ns": 30_000_000}) for node in range(NODES)]
    assert len({one.monotonic for one in told}) == 1, "when that was, and not when it was told"


def test_what_nodes_tell_last_is_in_the_history_and_nothing_is_there_twice(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[dict[str, Any]]] = {}

    async def ask(self: Answers, node: str, token: str, ask: Ask) -> Answer:
        if ask.action == "read":
            events = told.setdefault(node, [])
            events += [
                {"name": "heard", "monotonic": 1, "wall": 1, "data": {"is": len(events) + n}} for n in range(3000)
            ]
        return await plain(self, node, token, ask)

    async def get(self: Answers, node: str, token: str, path: str, timeout_s: float, **query: str) -> Any:
        if path != "/events":
            return {}
        after, events = int(query["after"]), told.get(node, [])
        await asyncio.sleep(0.05)  # fetches overlap
        found = events[after : after + 2048]
        return {"events": found, "next": after + len(found), "lost": 0}

    plain = Answers.ask
    monkeypatch.setattr(Answers, "ask", ask)
    monkeypatch.setattr(Answers, "get", get)
    events = [one for one in run(machines, monkeypatch).history.events if isinstance(one, NodeEvent)]
    heard = [(one.node, one.data["is"]) for one in events if one.name == "heard"]
    assert len(heard) == sum(map(len, told.values())) > 0 and len(set(heard)) == len(heard)
