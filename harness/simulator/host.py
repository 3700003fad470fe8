"""A simulated machine with one node on it: its clock, its disk, its process, and what faults do to them.

The host is the node's shell: it carries out effects and calls the node back.  A paused host takes everything in
and does nothing until it is resumed; a dead one refuses requests and lets frames fall.  A node that raises has crashed:
it is dead from then on, the history says so, and the run goes on without it.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from faults.byzantine import Liar
from faults.streams import stream
from harness.backend import NodeObserver
from harness.simulator.disk import Disk
from harness.simulator.loop import Loop
from knhk_mesh.commits import Commit, Verify, WireCommit
from knhk_mesh.config import NodeConfig
from knhk_mesh.effects import Effect, Event, Instant, Persist, Reply, Send, SetTimer
from knhk_mesh.identity import Signer
from knhk_mesh.node import Node
from knhk_mesh.requests import Request, Result
from knhk_mesh.telemetry import TickSource, no_ticks

WALL_START_NS = 1_767_225_600_000_000_000
"""2026-01-01, when every simulated run begins."""

WAITING_MAX = 100_000
"""What a paused host takes in at most; further frames fall, as they would from a full socket buffer."""

Transmit = Callable[[int, bytes, bytes], None]
"""(sender's number, receiver's agent id, frame)."""


class Host:
    """Node number `number`.  `transmit` takes its frames, `observer` its events, `watch` its trigger points."""

    def __init__(
        self,
        number: int,
        config: NodeConfig,
        signer: Signer,
        *,
        loop: Loop,
        seed: int,
        transmit: Transmit,
        observer: NodeObserver,
        opener: Callable[[bytes, WireCommit], Commit],
        verify: Verify,
        sync_ns_max: int,
        liar: bool = False,
        ticks: TickSource = no_ticks,
    ) -> None:
        self.number = number
        self.agent_id = signer.agent_id
        self.disk = Disk(stream(seed, "disk", number), sync_ns_max=sync_ns_max)
        self.node: Node | Liar | None = None
        self.paused = False
        self.killed = False
        self.deferred = 0
        self.refused = 0
        self.wall_offset_ns = 0
        self._offsets: dict[str, int] = {}
        self.watch: Callable[[str], None] | None = None
        self._config = config
        self._signer = signer
        self._loop = loop
        self._seed = seed
        self._transmit = transmit
        self._observer = observer
        self._opener = opener
        self._verify = verify
        self._liar = liar
        self._ticks = ticks
        self._boots = 0
        self._timers: dict[str, int] = {}
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._requests: dict[int, Callable[[Result | None], None]] = {}
        self._next_request = 0

    def instant(self) -> Instant:
        """This host's clocks: only the wall clock can be skewed."""
        now = self._loop.now
        return Instant(now, WALL_START_NS + now + self.wall_offset_ns)

    def set_wall_offset(self, fault: str, offset_ns: int) -> None:
        """Let `fault` put the wall clock off by `offset_ns`, beside what other faults do to it."""
        self._offsets[fault] = offset_ns
        self.wall_offset_ns = sum(self._offsets.values())

    def boot(self) -> None:
        """Start the node from what the disk holds."""
        assert self.node is None
        self.paused = self.killed = False
        self._boots += 1
        random: Random = stream(self._seed, "node", self.number, self._boots)
        records = self.disk.read()
        try:
            node = Node(
                self._config,
                self._signer,
                random=random,
                ticks=self._ticks,
                opener=self._opener,
                verify=self._verify,
                records=records,
            )
            self.node = Liar(node, self._signer, random=random) if self._liar else node
        except Exception as error:
            self._crashed(error)
            return
        self._carry_out(self._ask(self.node.start))

    def kill(self, fate: str) -> int:
        """End the process at once; returns the number of journal records that its disk lost."""
        self.node = None
        self.killed = True
        self._boots += 1
        self._timers.clear()
        self._waiting.clear()
        broken, self._requests = self._requests, {}
        for done in broken.values():
            done(None)
        return self.disk.crash(fate)

    def _ask(self, call: Callable[..., list[Effect]], *arguments: Any) -> list[Effect]:
        """Call the node.  What it raises ends its process and nothing else: a crash of the subject is a finding."""
        try:
            return call(self.instant(), *arguments)
        except Exception as error:
            self._crashed(error)
            return []

    def _crashed(self, error: Exception) -> None:
        now = self.instant()
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno} in {where.name})"
        self.kill("keep")
        self.killed = False
        self._observer(self.number, "crashed", now.monotonic, now.wall, {"error": said})

    def resume(self) -> None:
        """End a pause; what came meanwhile is taken in, in order."""
        self.paused = False
        while self._waiting and not self.paused:
            call, arguments = self._waiting.popleft()
            call(*arguments)

    def deliver(self, sender: bytes, frame: bytes) -> None:
        """A frame arrives."""
        node = self.node
        if node is None:
            self.refused += 1
        elif self.paused:
            self.deferred += 1
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append((self.deliver, (sender, frame)))
        else:
            # The path of every frame: what `_ask` does, without the call.
            now = self._loop.now
            try:
                effects = node.receive(Instant(now, WALL_START_NS + now + self.wall_offset_ns), sender, frame)
            except Exception as error:
                self._crashed(error)
                return
            if effects:
                self._carry_out(effects)

    def request(self, what: Request, done: Callable[[Result | None], None]) -> bool:
        """A client's request arrives; False if the connection is refused.  `done(None)` if the process dies."""
        if self.node is None:
            self.refused += 1
            return False
        number = self._next_request
        self._next_request += 1
        self._requests[number] = done
        self._submit(number, what)
        return True

    def _submit(self, number: int, what: Request) -> None:
        if self.paused:
            self.deferred += 1
            self._waiting.append((self._submit, (number, what)))
        elif self.node is not None and number in self._requests:
            self._carry_out(self._ask(self.node.submit, number, what))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._transmit(self.number, effect.peer, effect.frame)  # type: ignore[union-attr]
            elif kind is SetTimer:
                self._set_timer(effect)  # type: ignore[arg-type]
            elif kind is Persist:
                self._persist(effect)  # type: ignore[arg-type]
            elif kind is Reply:
                done = self._requests.pop(effect.request, None)  # type: ignore[union-attr]
                if done is not None:
                    done(effect.result)  # type: ignore[union-attr]
            else:
                assert isinstance(effect, Event)
                self._observe(effect)
            if self.node is None:
                return  # a trigger killed the process between two effects

    def _observe(self, event: Event) -> None:
        now = self.instant()
        self._observer(self.number, event.name, now.monotonic, now.wall, event.data)
        if event.name == "accepted" and self.watch is not None:
            self.watch("accept")

    def _set_timer(self, effect: SetTimer) -> None:
        self._timers[effect.timer] = effect.at
        self._loop.at(effect.at, self._fire, self._boots, effect.timer, effect.at)

    def _fire(self, boot: int, timer: str, at: int) -> None:
        if boot != self._boots or self._timers.get(timer) != at or self.node is None:
            return
        if self.paused:
            self.deferred += 1
            self._waiting.append((self._fire, (boot, timer, at)))
            return
        del self._timers[timer]
        self._carry_out(self._ask(self.node.timer, timer))

    def _persist(self, effect: Persist) -> None:
        at, mark = self.disk.write(self._loop.now, effect.records)
        self._loop.note(b"persist %d %d" % (self.number, mark))
        self._loop.at(at, self._synced, self._boots, effect.token, mark)
        if self.watch is not None:
            self.watch("persist")

    def _synced(self, boot: int, token: int, mark: int) -> None:
        if boot != self._boots or self.node is None:
            return
        if self.paused:
            self._waiting.append((self._synced, (boot, token, mark)))
            return
        self.disk.synced(mark)
        self._carry_out(self._ask(self.node.persisted, token))
