"""The asyncio shell of a node: it carries out what the sans-IO node asks for, and tells it the time.

Everything happens on one event loop, but for the journal, which has a thread.  An exception inside the node is a bug of
ours: the process ends with it, since a node whose state is in doubt must not go on answering.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any, Protocol

from knhk_mesh.effects import Effect, Event, Instant, Persist, Reply, Send, SetTimer
from knhk_mesh.errors import ConfigError, StorageError
from knhk_mesh.events import EventLog
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.journal import JournalWriter
from knhk_mesh.node import Node
from knhk_mesh.requests import Refusal, Request, Result, Status, StatusReport, Write
from knhk_mesh.settings import Settings
from knhk_mesh.storage import Storage
from knhk_mesh.transport import LinkReport, Transport


class Calls(Protocol):
    """The five calls of a node, which is all that a shell knows of it."""

    def start(self, now: Instant) -> list[Effect]:
        """Once, before anything else."""
        ...

    def receive(self, now: Instant, peer: AgentId, frame: bytes) -> list[Effect]:
        """A frame."""
        ...

    def timer(self, now: Instant, timer: str) -> list[Effect]:
        """A timer."""
        ...

    def persisted(self, now: Instant, token: int) -> list[Effect]:
        """A Persist is durable."""
        ...

    def submit(self, now: Instant, request: int, what: Request) -> list[Effect]:
        """A client's request."""
        ...


Wrap = Callable[[Node, Signer, Random], Calls]
"""What may stand between a node and its shell: an attacker's strategies (`faults.byzantine`)."""

DRAIN_S = 5.0


class NodeServer:
    """One node on this machine's clocks, disk and network.  `start`, then `submit` as you like, then `stop`.

    `finished` is done when the node ends by itself: with the exception that ended it.
    """

    def __init__(self, settings: Settings, transport: Transport | None, *, wrap: Wrap | None = None) -> None:
        self.settings = settings
        self.events = EventLog()
        self.wall_offset_ns = 0
        self.draining = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        signer = Signer(settings.seed)
        storage = Storage(settings.data, agent=signer.agent_id, network=settings.config.network)
        random = Random(SystemRandom().getrandbits(256))
        try:
            self.node = Node(
                settings.config,
                signer,
                random=random,
                ticks=time.perf_counter_ns,
                records=storage.records(),
            )
        except ConfigError as error:  # what the journal holds is not what this node could have written
            storage.close()
            raise StorageError(f"{storage.path}: {error}") from None
        except BaseException:
            storage.close()
            raise
        self._calls: Calls = self.node if wrap is None else wrap(self.node, signer, random)
        self._journal = JournalWriter(storage, durable=self._from_journal, failed=self._journal_failed)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._requests: dict[int, asyncio.Future[Result]] = {}
        self._next_request = 0

    def instant(self) -> Instant:
        """This node's clocks; only the wall clock can be put off."""
        return Instant(time.monotonic_ns(), time.time_ns() + self.wall_offset_ns)

    async def start(self) -> None:
        """Listen to the peers and start the node.  Raises TransportError; then there is nothing to stop but this."""
        if self._transport is not None:
            self._transport.receive_messages(self._receive)
            await self._transport.start()
        self._call(self._calls.start)

    async def submit(self, what: Request) -> Result:
        """The node's answer, once it may be known.  While draining, writes are refused."""
        if self.draining and isinstance(what, Write):
            return Refusal("overloaded: this node is shutting down")
        if self.finished.done():
            return Refusal("overloaded: this node has ended")
        number = self._next_request
        self._next_request += 1
        answer = self._requests[number] = self._loop.create_future()
        try:
            self._call(self._calls.submit, number, what)
            result: Result = await answer
            return result
        finally:
            self._requests.pop(number, None)

    async def status(self) -> tuple[StatusReport | Refusal, list[LinkReport]]:
        """The node's report and the transport's links."""
        report = await self.submit(Status())
        assert isinstance(report, StatusReport | Refusal)
        return report, self._transport.links() if self._transport is not None else []

    def transport_counters(self) -> dict[str, int]:
        """What the transport counted: refused strangers, dropped frames, ..."""
        return dict(self._transport.counters) if self._transport is not None else {}

    async def stop(self) -> None:
        """Answer what was asked, write what was begun, and leave nothing open."""
        self.draining = True
        waiting = [answer for answer in self._requests.values() if not answer.done()]
        if waiting and not self.finished.done():
            await asyncio.wait(waiting, timeout=DRAIN_S)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._transport is not None:
            await self._transport.stop()
        await self._loop.run_in_executor(None, self._journal.close)

    def _receive(self, peer: AgentId, frame: bytes) -> None:
        self._call(self._calls.receive, peer, frame)

    def _from_journal(self, token: int) -> None:
        self._thread_safe(self._call, self._calls.persisted, token)

    def _journal_failed(self, error: Exception) -> None:
        self._thread_safe(self._end, error)

    def _thread_safe(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return

    def _call(self, call: Callable[..., list[Effect]], *arguments: Any) -> None:
        if self.finished.done():
            return
        try:
            self._carry_out(call(self.instant(), *arguments))
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)
        for answer in self._requests.values():
            if not answer.done():
                answer.cancel()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                assert self._transport is not None
                self._transport.send_message(effect.peer, effect.frame)  # type: ignore[union-attr]
            elif kind is SetTimer:
                self._set_timer(effect)  # type: ignore[arg-type]
            elif kind is Persist:
                self._journal.write(effect)  # type: ignore[arg-type]
            elif kind is Reply:
                answer = self._requests.get(effect.request)  # type: ignore[union-attr]
                if answer is not None and not answer.done():
                    answer.set_result(effect.result)  # type: ignore[union-attr]
            else:
                assert isinstance(effect, Event)
                now = self.instant()
                self.events.tell(effect.name, now.monotonic, now.wall, effect.data)

    def _set_timer(self, effect: SetTimer) -> None:
        former = self._timers.pop(effect.timer, None)
        if former is not None:
            former.cancel()
        self._timers[effect.timer] = self._loop.call_at(effect.at / 1e9, self._fire, effect)

    def _fire(self, effect: SetTimer) -> None:
        del self._timers[effect.timer]
        if time.monotonic_ns() < effect.at:  # the loop's clock is a float, and rounds
            self._set_timer(effect)
            return
        self._call(self._calls.timer, effect.timer)
