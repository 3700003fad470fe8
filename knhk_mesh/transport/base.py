"""What the two transports share: diallers, an acceptor, the clock that drives them, and the interface."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from random import Random

from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.transport import LinkReport, Sink, TransportConfig
from knhk_mesh.transport.acceptor import Acceptor
from knhk_mesh.transport.dialler import Attempt, Dialler

TICK_S = 0.025


class BaseTransport(ABC):
    """See `knhk_mesh.transport.Transport`.  `seed` is the private key's; `peers` are (agent id, "host:port")."""

    def __init__(
        self,
        *,
        seed: bytes,
        network: str,
        listen: str,
        peers: Sequence[tuple[AgentId, str]],
        config: TransportConfig | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config or TransportConfig()
        self._seed = seed
        self._listen_on = listen
        signer = Signer(seed)
        self._acceptor = Acceptor(
            signer.agent_id,
            network=network,
            members=frozenset(agent for agent, _ in peers),
            config=self._config,
            counters=self.counters,
        )
        random = Random()
        self._diallers = {
            agent: Dialler(
                agent,
                address,
                signer=signer,
                network=network,
                config=self._config,
                random=random,
                dial=self._dial,
                counters=self.counters,
            )
            for agent, address in peers
        }
        self._unflushed: dict[Dialler, None] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """ "host:port" that peers reach it at, once started."""

    @abstractmethod
    async def _listen(self) -> None:
        """Begin to accept.  Raises TransportError."""

    @abstractmethod
    def _dial(self, attempt: Attempt) -> None:
        """Begin an attempt, at once and without waiting."""

    @abstractmethod
    async def _unlisten(self) -> None:
        """Accept no more, and close what is open besides the connections."""

    def receive_messages(self, sink: Sink) -> None:
        """Give every frame that arrives to `sink`.  Before `start`."""
        self._acceptor.sink = sink

    async def start(self) -> None:
        """Listen, and begin to dial every peer.  Raises TransportError."""
        self._loop = asyncio.get_running_loop()
        await self._listen()
        self._tick()

    def _tick(self) -> None:
        assert self._loop is not None
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        now = time.monotonic_ns()
        self._acceptor.tick(now)
        for dialler in self._diallers.values():
            dialler.tick(now)

    def send_message(self, peer: AgentId, frame: bytes) -> bool:
        """Queue `frame` for `peer`; False if it was dropped."""
        dialler = self._diallers.get(peer)
        if dialler is None:
            self.counters["dropped-unknown-peer"] += 1
            return False
        if not dialler.send(frame):
            return False
        if not self._unflushed:
            assert self._loop is not None
            self._loop.call_soon(self._flush)
        self._unflushed[dialler] = None
        return True

    def _flush(self) -> None:
        """Everything that was queued in one turn of the loop goes out together."""
        diallers, self._unflushed = self._unflushed, {}
        for dialler in diallers:
            dialler.flush()

    def links(self) -> list[LinkReport]:
        """How the connection to each peer stands."""
        now = time.monotonic_ns()
        return [dialler.report(now) for dialler in self._diallers.values()]

    async def stop(self) -> None:
        """End every connection and leave nothing open.  May be repeated, and called without `start`."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        for dialler in self._diallers.values():
            dialler.end()
        self._acceptor.end()
        await self._unlisten()


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port"."""
    host, _, port = address.rpartition(":")
    return host, int(port)
