"""Real nodes as a backend: one event loop, the control APIs of the nodes, and the machines' own clock."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec

from faults.toxiproxy import ToxiproxyError
from faults.vocabulary import At, PlannedFault, Trigger
from harness.backend import Allowance, Answer, Ask, Drift, FaultDone, NodeObserver
from harness.errors import HostError, RunBroken
from harness.plan import Plan
from harness.real.control import Control, NoAnswer
from harness.real.faults import ASK_SECONDS, RealFaults
from harness.real.hosts import Hosts, node_directory
from harness.real.links import LinkFaults
from harness.real.starvation import EVERY_S, Starvation
from harness.subject import Subject

EVENTS_EVERY_S = 0.2
LAST_WORDS_SECONDS = 0.3
TICKS_SECONDS = 5.0
"""For all nodes at once: each takes a tenth of a second of a core to encode its own."""
TICKS_INTERRUPTED_SECONDS = 1.0
WATCH_EVERY_S = 0.1
FAILPOINT_EVERY_S = 0.005
FETCHES_MAX, FEW = 50, 100
"""How often a node's last events are fetched at most, and so few that no more wait, but what it tells meanwhile."""
ASKED_AT_ONCE_MAX = 10_000
OURS_TO_TELL = ("started", "starved", "clock", "broke-contract", "bad-exit", "events-lost")
"""What the harness knows of a node better than the node does."""
DRIFTS_MAX = 1_000_000


class ToldEvent(msgspec.Struct, frozen=True):
    """One of GET /events."""

    name: str
    monotonic: int
    wall: int
    data: dict[str, Any]


class ToldEvents(msgspec.Struct, frozen=True):
    """GET /events, as docs/node-contract.md has it."""

    events: list[ToldEvent]
    next: Annotated[int, msgspec.Meta(ge=0)]
    lost: int = 0


class RealBackend:
    """One cluster of real nodes for one run of `plan`.  `artifacts` gets logs, databases and histograms."""

    allowance = Allowance(reconnect_ns=1_000_000_000, exchange_ns=50_000_000, timer_ns=250_000_000)
    """A dead peer is found and dialled anew within a second of the heal; exchanges wait for processes and syncs that
    share two cores."""

    def __init__(self, plan: Plan, hosts: Hosts, subject: Subject, artifacts: Path | None) -> None:
        self.name = hosts.name
        self.network_name = hosts.network_name
        self._plan = plan
        self._hosts = hosts
        self._subject = subject
        self._artifacts = artifacts
        self._loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(thread_name_prefix="knhk")
        self._loop.set_default_executor(self._threads)
        self._begun = time.monotonic_ns()
        self._ended = 0
        self._drifts: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupted = False
        self._stopped = False
        self._up = False
        self._control: Control | None = None
        self._observer: NodeObserver | None = None
        self._heard: dict[int, int] = {}  # node -> the last event that was fetched since it was started
        self._starts: dict[int, int] = {}
        self._crashed: set[int] = set()
        self._breakers: set[int] = set()
        self._triggers: list[tuple[Trigger, Callable[[], None]]] = []
        self._problem: BaseException | None = None
        self._faults = RealFaults(
            hosts,
            transport=plan.cluster.transport,
            ask=self._get,
            set_clock=self._set_clock,
            lie=self._lie,
            before_kill=self._last_words,
            broke=lambda what: self._fail(RunBroken(what)),
        )

    def agents(self) -> list[str]:
        """The agent id (hex) of each node, by number."""
        return self._hosts.agents()

    def now(self) -> int:
        """Nanoseconds since the start of the load."""
        return (self._ended or time.monotonic_ns()) - self._begun

    def when(self, trigger: Trigger, call: Callable[[], None]) -> None:
        """Call `call` when the node stands at its failpoint.  Before `start` only."""
        self._triggers.append((trigger, call))

    def start(self, observer: NodeObserver) -> None:
        """Start every node; returns when all answer.  Raises HostError."""
        self._observer = observer
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not the main thread: then the signals are another's to handle
                self._loop.add_signal_handler(number, self._interrupt)
        self._serve_until(self._loop.create_task(self._start()))
        self._begun = time.monotonic_ns()
        for node in range(self._plan.cluster.nodes):  # one machine, one monotonic clock: the nodes' times can be placed
            self._tell(node, "clock", {})

    async def _start(self) -> None:
        self._control = Control()
        failpoints: dict[int, list[str]] = {}
        for trigger, _ in self._triggers:
            failpoints.setdefault(trigger.node, []).append(failpoint_of(trigger))
        await self._hosts.start(failpoints)
        if self._plan.cluster.wiring == "relayed":
            try:
                await asyncio.to_thread(LinkFaults(self._hosts.relay()).make_ordinary, self._plan.cluster)
            except ToxiproxyError as error:
                raise HostError(f"the relay does not take the links' ordinary state: {error}") from None
        self._up = True
        for node in range(self._plan.cluster.nodes):
            self._tell(node, "started", {})
        self._spawn(self._watch())
        self._spawn(self._see_starvation())
        if "events" in self._subject.offers:
            for node in range(self._plan.cluster.nodes):
                self._spawn(self._listen(node))

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        """Call `call` at `at`, and note how late that was."""
        due = max(at, self.now())
        self._loop.call_at((self._begun + due) / 1e9, self._punctual, due, call)

    def _punctual(self, due: int, call: Callable[[], None]) -> None:
        if self._stopped:
            return
        self._note_late(due)
        try:
            call()
        except BaseException as error:
            self._fail(error)

    def _note_late(self, due: int) -> None:
        if len(self._drifts) < DRIFTS_MAX:
            self._drifts.append(max(0, self.now() - due))

    def _fail(self, error: BaseException) -> None:
        """What a callback raises ends the run: nobody is above it to catch it."""
        self._problem = self._problem or error
        if not self._stopped:  # otherwise the loop is ending everything, and must not be kept from it
            self._loop.stop()

    def invoke(self, node: int, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Send a request to the node's control API, which no fault touches."""
        if len(self._tasks) > ASKED_AT_ONCE_MAX:
            self._loop.call_soon(done, Answer("fail", error="too many requests wait for answers"))
            return
        self._spawn(self._invoke(node, ask, done))

    async def _invoke(self, node: int, ask: Ask, done: Callable[[Answer], None]) -> None:
        assert self._control is not None
        address, token = self._hosts.control(node)
        answer = await self._control.ask(address, token, ask)
        if not self._stopped:
            done(answer)

    def inject(self, planned: PlannedFault, done: FaultDone) -> None:
        """Put a fault in force."""
        due = planned.start.at_ns if isinstance(planned.start, At) else self.now()
        self._faults.inject(planned, self._guarded(due, done))

    def lift(self, planned: PlannedFault, done: FaultDone) -> None:
        """Undo a fault and tell how it was seen to bite."""
        self._faults.lift(planned, self._guarded(self.now(), done))

    def _guarded(self, due: int, done: FaultDone) -> FaultDone:
        """A fault is in force, or gone, when that is confirmed: what it is late by counts as drift like the rest."""

        def told(evidence: Any, problem: str | None) -> None:
            if not self._stopped:
                if problem is None:
                    self._note_late(due)
                try:
                    done(evidence, problem)
                except BaseException as error:
                    self._fail(error)

        return told

    def run(self) -> None:
        """Serve until `stop`.

        Raises what a callback raised, KeyboardInterrupt for SIGINT and SIGTERM, and RunBroken.
        """
        self._loop.run_forever()
        self._check()

    def _check(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        if self._problem is not None:
            raise self._problem

    def _serve_until(self, task: asyncio.Task[None]) -> None:
        task.add_done_callback(self._stop_loop)
        self._loop.run_forever()
        if not task.done():
            task.remove_done_callback(self._stop_loop)
            task.cancel()
            self._loop.run_until_complete(asyncio.wait([task]))
        self._check()  # the signal may have come in the very moment in which all was up
        task.result()

    def _stop_loop(self, _: asyncio.Task[None]) -> None:
        if not self._stopped:  # it was interrupted in the same moment, and is ending everything already
            self._loop.stop()

    def _interrupt(self) -> None:
        """SIGINT or SIGTERM; a second one does not keep what was started from being ended."""
        self._interrupted = True
        if not self._stopped:
            self._loop.stop()

    def stop(self) -> None:
        """End `run`; and once it has ended, end everything that was started.

        Raises RunBroken where only that shows that nothing can be said of this run.
        """
        if self._loop.is_running():
            self._loop.stop()
        elif not self._loop.is_closed():
            self._stopped = True
            self._ended = time.monotonic_ns()
            try:
                self._loop.run_until_complete(self._stop())
            finally:
                self._loop.close()
            broken = self._hosts.broken() if self._up else None
            if broken is not None and not self._interrupted and self._problem is None:
                raise RunBroken(broken)

    async def _stop(self) -> None:
        try:
            await self._let_go()
        finally:
            try:
                for node, how in sorted((await self._hosts.stop(self._artifacts)).items()):
                    self._tell(node, "bad-exit", {"error": how})
            finally:
                await self._loop.shutdown_default_executor()

    async def _let_go(self) -> None:
        """Ask the nodes for the last time, and begin nothing more."""
        try:
            if self._up:
                self._look_for_crashes()
                if self._artifacts is not None and "ticks" in self._subject.offers:
                    await self._collect_ticks(self._artifacts)
            await self._faults.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            if self._control is not None:
                await self._control.close()
            await self._end_threads()

    async def _end_threads(self) -> None:
        """Wait for what was handed to threads.

        A thread goes on when the task that waits for it is cancelled, and may make what must not be left behind.
        """
        former, self._threads = self._threads, ThreadPoolExecutor(thread_name_prefix="knhk-end")
        self._loop.set_default_executor(self._threads)
        await asyncio.to_thread(former.shutdown, wait=True, cancel_futures=True)

    def trace_hash(self) -> None:
        """Real runs do not repeat."""

    def drift(self) -> Drift:
        """How late the plan was carried out."""
        late = sorted(self._drifts) or [0]
        return Drift(late[len(late) // 2], late[int(len(late) * 0.99)], late[-1])

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    async def _get(self, node: int, path: str, timeout_s: float = ASK_SECONDS, **query: str) -> Any:
        assert self._control is not None
        address, token = self._hosts.control(node)
        return await self._control.get(address, token, path, timeout_s, **query)

    async def _set_clock(self, node: int, offset_ns: int) -> None:
        assert self._control is not None
        address, token = self._hosts.control(node)
        await self._control.set_clock(address, token, offset_ns, ASK_SECONDS)

    async def _lie(self, node: int, fault: str, strategy: str | None) -> int:
        assert self._control is not None
        address, token = self._hosts.control(node)
        return await self._control.lie(address, token, fault, strategy, ASK_SECONDS)

    def _tell(self, node: int, name: str, data: dict[str, Any]) -> None:
        """An event that the harness itself knows of."""
        if self._observer is not None:
            self._observer(node, name, time.monotonic_ns(), time.time_ns(), data)

    async def _listen(self, node: int) -> None:
        """Fetch what the node tells, for as long as the run lasts."""
        while True:
            await asyncio.sleep(EVENTS_EVERY_S)
            if not self._faults.dead(node):
                await self._fetch_events(node)

    def hear(self, done: Callable[[], None]) -> None:
        """Fetch what the nodes have told since they were last asked, then call `done`."""
        self._spawn(self._hear(done))

    async def _hear(self, done: Callable[[], None]) -> None:
        if "events" in self._subject.offers:
            alive = [node for node in range(self._plan.cluster.nodes) if not self._faults.dead(node)]
            await asyncio.gather(*map(self._fetch_all, alive))
        if not self._stopped:
            done()

    async def _fetch_all(self, node: int) -> None:
        """A node gives a limited number at a time, and goes on telling meanwhile."""
        for _ in range(FETCHES_MAX):
            before = self._heard.get(node, 0)
            await self._fetch_events(node)
            if self._heard.get(node, 0) - before < FEW:
                return

    async def _last_words(self, node: int) -> None:
        """What a node has told must not die with it; what it tells after a restart is counted anew."""
        await self._fetch_events(node, LAST_WORDS_SECONDS)
        self._heard[node] = 0
        self._starts[node] = self._starts.get(node, 0) + 1

    async def _fetch_events(self, node: int, timeout_s: float = ASK_SECONDS) -> None:
        """Take in what it has told, unless another fetch, which was under way, has heard more of it meanwhile."""
        start, after = self._starts.get(node, 0), self._heard.get(node, 0)
        with suppress(NoAnswer):
            told = await self._get(node, "/events", timeout_s, after=str(after))
            if start != self._starts.get(node, 0) or self._observer is None or self._stopped:
                return
            try:
                events = msgspec.convert(told, ToldEvents)
            except msgspec.ValidationError as error:
                self._breaks_contract(node, f"/events: {error}")
                return
            known = self._heard.get(node, 0) - after
            self._heard[node] = max(events.next, self._heard.get(node, 0))
            if events.lost and not known:
                self._tell(node, "events-lost", {"count": events.lost})
            for event in events.events[max(0, known - events.lost) :]:
                if event.name not in OURS_TO_TELL:
                    self._observer(node, event.name, event.monotonic, event.wall, event.data)

    def _breaks_contract(self, node: int, what: str) -> None:
        """Told once a node: what rests on such an answer has no evidence."""
        if node not in self._breakers:
            self._breakers.add(node)
            self._tell(node, "broke-contract", {"error": what})

    async def _watch(self) -> None:
        """See nodes that end by themselves, nodes that stand at a failpoint, and the end of the harness's own."""
        while True:
            await asyncio.sleep(FAILPOINT_EVERY_S if self._triggers else WATCH_EVERY_S)
            self._look_for_crashes()
            broken = self._hosts.broken()
            if broken is not None:
                raise RunBroken(broken)
            for node in sorted({trigger.node for trigger, _ in self._triggers}):
                reached = self._hosts.failpoint(node)
                if reached is not None:
                    await self._reach(node, reached)

    async def _see_starvation(self) -> None:
        """Tell, of each node, when no processor was idle: all nodes are on this machine."""
        starvation = Starvation(time.monotonic_ns())
        while True:
            await asyncio.sleep(EVERY_S)
            span = starvation.look(time.monotonic_ns())
            if span is not None and self._observer is not None:
                for node in range(self._plan.cluster.nodes):
                    self._observer(node, "starved", span.end, time.time_ns(), {"for_ns": span.lasted})

    def _look_for_crashes(self) -> None:
        for node in range(self._plan.cluster.nodes):
            reason = self._hosts.ended(node) if node not in self._crashed else None
            if reason is not None:
                self._crashed.add(node)
                self._tell(node, "crashed", {"error": reason})

    async def _reach(self, node: int, reached: str) -> None:
        """The node stands still where a trigger has it; it goes on when the faults are in force, if they let it."""
        here = [one for one in self._triggers if one[0].node == node and failpoint_of(one[0]) == reached]
        self._triggers = [one for one in self._triggers if one not in here]
        for _, call in here:
            call()
        await self._faults.settled()
        if not self._faults.held(node):
            await self._hosts.resume(node)

    async def _collect_ticks(self, artifacts: Path) -> None:
        """Of all nodes that can answer, at once: an interrupted run has to be gone soon."""
        nodes = range(self._plan.cluster.nodes)
        able = [node for node in nodes if not self._faults.held(node) and node not in self._crashed]
        await asyncio.gather(*(self._collect_ticks_of(node, artifacts) for node in able))

    async def _collect_ticks_of(self, node: int, artifacts: Path) -> None:
        with suppress(NoAnswer, OSError):
            timeout_s = TICKS_INTERRUPTED_SECONDS if self._interrupted else TICKS_SECONDS
            ticks = await self._get(node, "/ticks", timeout_s)
            directory = node_directory(artifacts, node)
            (directory / "ticks.json").write_bytes(msgspec.json.format(msgspec.json.encode(ticks), indent=1))


def failpoint_of(trigger: Trigger) -> str:
    """A trigger as the test launcher is told of it."""
    return f"{trigger.after}:{trigger.count}"
