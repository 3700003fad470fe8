"""Keeping one connection to one peer: dialling it, for ever, and noticing when it is no longer there.

Attempts start at most `backoff_max_ns` apart whatever becomes of the earlier ones, so that a link that comes back is
found soon; an attempt lives longer than that, so that a slow link can be connected at all.  The first to connect wins.
QUIC's own recovery after a long blackhole, and TCP's, take seconds: so a connection that has gone silent is dropped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from knhk_mesh.effects import RandomSource
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.transport import LinkReport, TransportConfig
from knhk_mesh.transport.carrier import Connection, Handler
from knhk_mesh.transport.channel import DiallerChannel

Dial = Callable[[AgentId, str, Handler], Connection]
"""Begin a connection to the peer at "host:port", at once and without waiting; the handler is told, but never during
the call itself."""


class Attempt:
    """One try at a connection to the peer, and the connection if it comes to one: the `Handler` of it."""

    def __init__(self, dialler: Dialler, channel: DiallerChannel, now: int) -> None:
        self.channel = channel
        self.begun = now
        self.connection: Connection | None = None
        self._dialler = dialler

    def opened(self) -> None:
        """The acceptor speaks first."""

    def received(self, data: bytes) -> None:
        """Bytes from the other end, which has proven its key."""
        now = time.monotonic_ns()
        out = self.channel.receive(now, data)
        assert self.connection is not None
        if self.channel.failed is not None:
            self.connection.close()
            self.closed(self.channel.failed)
            return
        if out:
            self.connection.write(out)
        self._dialler.progressed(self, now)

    def closed(self, reason: str) -> None:
        """It has ended."""
        self._dialler.lost(self, reason)


class Dialler:
    """One peer's connection.  `tick` drives it, every few milliseconds; `counters` counts what goes wrong."""

    def __init__(
        self,
        peer: AgentId,
        address: str,
        *,
        signer: Signer,
        network: str,
        config: TransportConfig,
        random: RandomSource,
        dial: Dial,
        counters: Counter[str],
    ) -> None:
        self.peer = peer
        self._address = address
        self._signer = signer
        self._network = network
        self._config = config
        self._random = random
        self._dial = dial
        self._counters = counters
        self._current: Attempt | None = None
        self._connected_at = 0
        self._attempts: list[Attempt] = []
        self._backoff = config.backoff_min_ns
        self._next_attempt: int | None = None
        self._pinged_at = 0
        self._sent = 0
        self._dropped = 0

    def tick(self, now: int, *, starved: bool = False) -> None:
        """What time brings: pings, silence, attempts that took too long, new ones.

        A node that is `starved` of its core waits for the attempts it has made: handshakes cost, and more of them
        would only make all of them slower.
        """
        current = self._current
        if current is not None:
            heard_at = current.channel.heard_at
            assert heard_at is not None
            if now - heard_at >= self._config.silence_timeout_ns:
                self._give_up(current, "silent")
            elif now - self._pinged_at >= self._config.ping_interval_ns:
                self._ping(current, now)
            return
        for attempt in [one for one in self._attempts if now - one.begun >= self._config.attempt_life_ns]:
            self._give_up(attempt, "attempt-timeout")
        if starved and self._attempts:
            return
        if self._next_attempt is None or now >= self._next_attempt:
            self._begin(now)

    def _begin(self, now: int) -> None:
        if len(self._attempts) >= self._config.attempts_max:
            # The newest finds a link that has just come back; the oldest has had the most time, in vain.
            self._give_up(self._attempts[0], "attempt-timeout")
        channel = DiallerChannel(self._signer, network=self._network, peer=self.peer, config=self._config)
        attempt = Attempt(self, channel, now)
        self._attempts.append(attempt)
        self._next_attempt = now + int(self._backoff * (0.8 + 0.2 * self._random.random()))
        self._backoff = min(2 * self._backoff, self._config.backoff_max_ns)
        self._counters["dialled"] += 1
        attempt.connection = self._dial(self.peer, self._address, attempt)

    def _give_up(self, attempt: Attempt, reason: str) -> None:
        assert attempt.connection is not None
        attempt.connection.close()
        self.lost(attempt, reason)

    def progressed(self, attempt: Attempt, now: int) -> None:
        """Something came in on `attempt`: it may be connected now, or have room for more."""
        if attempt is self._current:
            self.flush()
        elif attempt.channel.connected:
            assert self._current is None  # the others were closed when it connected
            self._current = attempt
            self._connected_at = now
            self._counters["connected"] += 1
            others = [one for one in self._attempts if one is not attempt]
            self._attempts = []
            for other in others:
                assert other.connection is not None
                other.connection.close()
            self._ping(attempt, now)

    def lost(self, attempt: Attempt, reason: str) -> None:
        """`attempt` is over.  A connection that lasted is dialled again at once, one that did not in its turn."""
        self._counters[reason] += 1
        lasted = time.monotonic_ns() - self._config.backoff_max_ns
        if attempt is not self._current:
            self._attempts.remove(attempt)
            if reason != "attempt-timeout" and attempt.begun <= lasted:
                # It hung, and now somebody has ended it: so a relay does when its link is mended.
                self._next_attempt = None
            return
        channel = attempt.channel
        self._current = None
        self._sent += channel.sent
        self._dropped += channel.queued
        if channel.queued:
            self._counters["dropped-disconnected"] += channel.queued
        if self._connected_at <= lasted:
            self._backoff = self._config.backoff_min_ns
            self._next_attempt = None

    @property
    def idle(self) -> bool:
        """Nothing that was queued is still on its way."""
        return self._current is None or self._current.channel.idle

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
        current = self._current
        if current is not None and current.channel.queued:
            data = current.channel.take()
            if data:
                assert current.connection is not None
                current.connection.write(data)

    def hurry(self) -> None:
        """Send what may go and ask for its acknowledgement now."""
        if self._current is not None:
            self._ping(self._current, time.monotonic_ns())

    def _ping(self, current: Attempt, now: int) -> None:
        assert current.connection is not None
        self._pinged_at = now
        data = current.channel.take() + current.channel.ping(now)
        if data:
            current.connection.write(data)

    def report(self, now: int) -> LinkReport:
        """How it stands."""
        channel = self._current.channel if self._current is not None else None
        return LinkReport(
            agent=self.peer,
            connected=channel is not None,
            round_trip_ns=channel.round_trip_ns if channel is not None else None,
            last_echo_ns=now - channel.heard_at if channel is not None and channel.heard_at is not None else None,
            queued_bytes=channel.queued_bytes if channel is not None else 0,
            sent=self._sent + (channel.sent if channel is not None else 0),
            dropped=self._dropped,
        )

    def end(self) -> None:
        """Close everything."""
        attempts, current = self._attempts, self._current
        self._attempts, self._current = [], None
        for attempt in [*attempts, *([] if current is None else [current])]:
            assert attempt.connection is not None
            attempt.connection.close()
