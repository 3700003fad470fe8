"""Keeping one connection to one peer: dialling it, for ever, and noticing when it is no longer there.

Attempts start at most `backoff_max` apart whatever becomes of the earlier ones, so that a link that comes back is found
soon; an attempt lives longer than that, so that a slow link can be connected at all.  The first to connect wins.
QUIC's own recovery after a long blackhole, and TCP's, take seconds: so a connection that has gone silent is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from knhk_mesh.effects import RandomSource
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.transport import LinkReport, TransportConfig
from knhk_mesh.transport.channel import ChannelError, DiallerChannel


class Connection(Protocol):
    """A connection of either kind, as its user sees it."""

    def write(self, data: bytes) -> None:
        """Send; what cannot go at once waits inside."""

    def close(self) -> None:
        """End it, at once and for good; nobody is told."""


class Attempt:
    """One try at a connection to the peer, and the connection if it comes to one.

    The transport sets `connection` as soon as there is something to close, and calls `received` and `lost`.
    """

    def __init__(self, dialler: Dialler, channel: DiallerChannel, now: int) -> None:
        self.channel = channel
        self.begun = now
        self.connection: Connection | None = None
        self.over = False
        self._dialler = dialler

    @property
    def peer(self) -> AgentId:
        """Whom this tries to reach: the other end has to hold this key."""
        return self._dialler.peer

    @property
    def address(self) -> str:
        """ "host:port" to dial."""
        return self._dialler.address

    def received(self, now: int, data: bytes) -> None:
        """Bytes from the other end, once it has proven its key."""
        if self.over:
            return
        try:
            out = self.channel.receive(now, data)
        except ChannelError as error:
            self.lost(error.reason)
            return
        if out and self.connection is not None:
            self.connection.write(out)
        self._dialler.progressed(self, now)

    def lost(self, reason: str) -> None:
        """It has failed, or has ended."""
        if not self.over:
            self.end()
            self._dialler.lost(self, reason)

    def end(self) -> None:
        """Close what there is."""
        self.over = True
        if self.connection is not None:
            self.connection.close()


class Dialler:
    """One peer's connection.  `dial(attempt)` begins an attempt; `counters` counts what goes wrong."""

    def __init__(
        self,
        peer: AgentId,
        address: str,
        *,
        signer: Signer,
        network: str,
        config: TransportConfig,
        random: RandomSource,
        dial: Callable[[Attempt], None],
        counters: Counter[str],
    ) -> None:
        self.peer = peer
        self.address = address
        self._signer = signer
        self._network = network
        self._config = config
        self._random = random
        self._dial = dial
        self._counters = counters
        self._current: Attempt | None = None
        self._attempts: list[Attempt] = []
        self._backoff = config.backoff_min
        self._next_attempt = 0
        self._pinged_at = 0
        self._sent = 0
        self._dropped = 0

    def tick(self, now: int) -> None:
        """What time brings: pings, silence, attempts that took too long, new ones.  Called every few milliseconds."""
        current = self._current
        if current is not None:
            heard_at = current.channel.heard_at or current.begun
            if now - heard_at >= self._config.silence_timeout:
                current.lost("silent")
            elif now - self._pinged_at >= self._config.ping_interval:
                self._ping(now)
            return
        for attempt in [one for one in self._attempts if now - one.begun >= self._config.attempt_life]:
            attempt.lost("attempt-timeout")
        if now >= self._next_attempt and len(self._attempts) < self._config.attempts_max:
            self._begin(now)

    def _begin(self, now: int) -> None:
        channel = DiallerChannel(self._signer, network=self._network, peer=self.peer, config=self._config)
        attempt = Attempt(self, channel, now)
        self._attempts.append(attempt)
        self._next_attempt = now + int(self._backoff * (0.8 + 0.2 * self._random.random()))
        self._backoff = min(2 * self._backoff, self._config.backoff_max)
        self._counters["dialled"] += 1
        self._dial(attempt)

    def progressed(self, attempt: Attempt, now: int) -> None:
        """Something came in on `attempt`: it may be connected now, or have room for more."""
        if self._current is None and attempt.channel.connected:
            self._current = attempt
            self._counters["connected"] += 1
            self._backoff = self._config.backoff_min
            for other in self._attempts:
                if other is not attempt:
                    other.end()
            self._attempts = []
            self._ping(now)
        elif attempt is self._current:
            self.flush()

    def lost(self, attempt: Attempt, reason: str) -> None:
        """`attempt` is over."""
        self._counters[reason] += 1
        if attempt is self._current:
            self._current = None
            self._sent += attempt.channel.sent
            self._next_attempt = 0
        elif attempt in self._attempts:
            self._attempts.remove(attempt)

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False if it was dropped.  Call `flush` soon."""
        reason = "unconnected" if self._current is None else self._current.channel.queue(frame)
        if reason is None:
            return True
        self._counters[f"dropped-{reason}"] += 1
        self._dropped += 1
        return False

    def flush(self) -> None:
        """Hand what may go to the connection."""
        if self._current is not None and self._current.connection is not None:
            data = self._current.channel.take()
            if data:
                self._current.connection.write(data)

    def _ping(self, now: int) -> None:
        current = self._current
        if current is not None and current.connection is not None:
            self._pinged_at = now
            current.connection.write(current.channel.take() + current.channel.ping(now))

    def report(self, now: int) -> LinkReport:
        """How it stands."""
        channel = self._current.channel if self._current is not None else None
        return LinkReport(
            agent=self.peer,
            connected=channel is not None,
            round_trip_ns=channel.round_trip if channel is not None else None,
            last_echo_ns=now - channel.heard_at if channel is not None and channel.heard_at is not None else None,
            queued_bytes=channel.queued_bytes if channel is not None else 0,
            sent=self._sent + (channel.sent if channel is not None else 0),
            dropped=self._dropped,
        )

    def end(self) -> None:
        """Close everything and dial no more."""
        for attempt in [*self._attempts, *([self._current] if self._current is not None else [])]:
            attempt.end()
        self._attempts, self._current = [], None
