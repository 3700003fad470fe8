"""What the two transports share: diallers, an acceptor, the clock that drives them, and the interface."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from random import Random, SystemRandom

from knhk_mesh.effects import RandomSource
from knhk_mesh.errors import ConfigError
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.transport import LinkReport, Sink, TransportConfig, TransportError
from knhk_mesh.transport.acceptor import Acceptor
from knhk_mesh.transport.carrier import Connection, Handler, split_address
from knhk_mesh.transport.dialler import Dialler

TICK_S = 0.025
DRAIN_STEP_S = 0.005
STARVED_NS = 100_000_000
"""A tick that comes so long after the one before says that this process gets too little of a core."""


class BaseTransport(ABC):
    """See `knhk_mesh.transport.Transport`.

    `seed` is the private key's 32 bytes: it signs the proofs and makes the certificate.  `peers` are (agent id,
    "host:port"); they are the members, and nobody else may dial.  Raises ConfigError for an address that is none.
    """

    def __init__(
        self,
        *,
        seed: bytes,
        network: str,
        listen: str,
        peers: Sequence[tuple[AgentId, str]],
        config: TransportConfig | None = None,
        random: RandomSource | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config or TransportConfig()
        self._listen_on = listen
        for field, address in [("listen", listen), *(("peers", address) for _, address in peers)]:
            try:
                split_address(address)
            except ValueError as error:
                raise ConfigError(f"{field}: {error}") from None
        signer = Signer(seed)
        self._acceptor = Acceptor(
            signer.agent_id,
            network=network,
            members=frozenset(agent for agent, _ in peers),
            config=self._config,
            counters=self.counters,
        )
        random = random or Random(SystemRandom().getrandbits(256))
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
        self._ticked_at = 0

    @property
    @abstractmethod
    def address(self) -> str:
        """ "host:port" that peers reach it at, once started."""

    @abstractmethod
    async def _listen(self, host: str, port: int) -> None:
        """Begin to accept.  Raises OSError, and has then opened nothing."""

    @abstractmethod
    def _dial(self, peer: AgentId, address: str, handler: Handler) -> Connection:
        """Begin a connection; see `dialler.Dial`."""

    @abstractmethod
    async def _unlisten(self) -> None:
        """Accept no more, and wait for what the connections, all closed by now, have left behind."""

    def receive_messages(self, sink: Sink) -> None:
        """Give every frame that arrives to `sink`.  Before `start`."""
        self._acceptor.sink = sink

    async def start(self) -> None:
        """Listen, and begin to dial every peer.  Raises TransportError."""
        assert self._loop is None, "a transport is started once"
        self._loop = asyncio.get_running_loop()
        try:
            await self._listen(*split_address(self._listen_on))
        except OSError as error:
            problem = (error.strerror or str(error)).strip().lower()
            raise TransportError(f"listen: {self._listen_on} cannot be had: {problem}") from None
        self._tick()

    def _tick(self) -> None:
        assert self._loop is not None
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        now = time.monotonic_ns()
        starved = now - self._ticked_at > STARVED_NS
        self._ticked_at = now
        self._acceptor.tick(now)
        for dialler in self._diallers.values():
            dialler.tick(now, starved=starved)

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

    async def stop(self, drain_s: float = 1.0) -> None:
        """Wait at most `drain_s` for acknowledgements, then close.  May be repeated, and called without `start`."""
        try:
            await self._drain(drain_s)
        finally:
            if self._ticker is not None:
                self._ticker.cancel()
                self._ticker = None
            for dialler in self._diallers.values():
                dialler.end()
            self._acceptor.end()
            await self._unlisten()

    async def _drain(self, drain_s: float) -> None:
        if self._ticker is None:
            return
        give_up = time.monotonic() + drain_s
        for dialler in self._diallers.values():
            dialler.hurry()
        while not all(dialler.idle for dialler in self._diallers.values()) and time.monotonic() < give_up:
            await asyncio.sleep(DRAIN_STEP_S)
