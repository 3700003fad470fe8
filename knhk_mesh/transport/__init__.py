"""How frames travel between nodes: one interface, over QUIC (`quic`) and over TLS on TCP (`tcp`).

Every node dials one long-lived connection to each peer for what it sends, so that a link that is cut in one
direction leaves the other one alone.  Both ends are authenticated by the agents' keys before a frame is parsed.
Frames are lost when there is no connection or too much waits: gossip repairs that, and a stale frame is worth nothing.

What a transport counts, by name:

    dialled, connected, accepted    attempts of ours, those that came to something, peers that proved themselves
    dropped-unconnected, -full      frames that `send_message` refused: there is no connection, the queue is full,
    -unsendable, -unknown-peer      they are empty or too long, for nobody we know;
    -disconnected                   and those that waited when their connection ended
    silent, closed, unreachable     connections and attempts that ended: nothing was heard, the other end said so,
    attempt-timeout                 nobody listens there, they took too long
    wrong-certificate               the other end does not hold the key of the peer that was dialled
    handshake-failed                TLS or QUIC came to no agreement
    bad-magic, bad-total            an acceptor that broke the protocol
    oversized, bad-stream           a dialler that broke it
    stranger, bad-proof             a dialler that is no member, or is not who it says,
    proof-timeout, crowded          that takes too long to prove it, that is one too many
    garbage, unknown-connection     datagrams that are no QUIC, or for no connection of ours
    unsent, broken                  datagrams that the kernel did not take, connections on which aioquic failed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from knhk_mesh.errors import ConfigError, MeshError
from knhk_mesh.identity import AgentId

Sink = Callable[[AgentId, bytes], None]
"""Takes a frame and who sent it."""

MILLISECOND = 1_000_000
DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX = 1200, 1472
"""QUIC asks for the one; an Ethernet frame holds no more than the other."""
LENGTH_BYTES = 4


class TransportError(MeshError):
    """An address that cannot be had; one line that names it."""


class TransportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times of a transport.  Raises ConfigError, naming the field, for what cannot work."""

    frame_bytes_max: int = 64 * 1024
    window_bytes: int = 4 * 1024 * 1024
    """What may be under way to a peer without having been acknowledged by it."""
    queue_bytes_max: int = 4 * 1024 * 1024
    """What may wait for the window; beyond that a new frame is dropped."""
    ping_interval_ns: int = 250 * MILLISECOND
    silence_timeout_ns: int = 1500 * MILLISECOND
    """A connection on which nothing was heard for so long is dropped, and dialled again by whoever dialled it."""
    backoff_min_ns: int = 50 * MILLISECOND
    backoff_max_ns: int = 500 * MILLISECOND
    """From one attempt's start to the next one's; the first attempt that connects wins."""
    attempt_life_ns: int = 3000 * MILLISECOND
    attempts_max: int = 8
    strangers_max: int = 64
    """Connections that have not proven who they are yet."""
    proof_timeout_ns: int = 3000 * MILLISECOND
    datagram_bytes_max: int = 1350
    """Bytes of UDP payload; fits an Ethernet frame with room for a tunnel's headers."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is at least 1")
        frame = LENGTH_BYTES + self.frame_bytes_max
        for field in ("window_bytes", "queue_bytes_max"):
            if getattr(self, field) < frame:
                raise ConfigError(f"{field} holds at least one frame of frame_bytes_max")
        if self.silence_timeout_ns <= self.ping_interval_ns:
            raise ConfigError("silence_timeout_ns is longer than ping_interval_ns")
        if self.backoff_max_ns < self.backoff_min_ns:
            raise ConfigError("backoff_max_ns is at least backoff_min_ns")
        if not DATAGRAM_BYTES_MIN <= self.datagram_bytes_max <= DATAGRAM_BYTES_MAX:
            raise ConfigError(f"datagram_bytes_max is in {DATAGRAM_BYTES_MIN} .. {DATAGRAM_BYTES_MAX}")


class LinkReport(msgspec.Struct, frozen=True):
    """How the connection to a peer stands: last round trip and age of the last echo in ns, None if there is none.

    `sent` and `dropped` count frames since the start, over all connections to this peer.
    """

    agent: AgentId
    connected: bool
    round_trip_ns: int | None
    last_echo_ns: int | None
    queued_bytes: int
    sent: int
    dropped: int


class Transport(Protocol):
    """What a node's shell needs of a transport.  `counters` counts what the module's docstring lists."""

    counters: Counter[str]

    @property
    def address(self) -> str:
        """ "host:port" that peers reach it at, once started."""
        ...

    def receive_messages(self, sink: Sink) -> None:
        """Give every frame that arrives to `sink`.  Before `start`."""

    async def start(self) -> None:
        """Listen, and begin to dial every peer.  Raises TransportError."""

    def send_message(self, peer: AgentId, frame: bytes) -> bool:
        """Queue `frame` for `peer`; False if it was dropped, which `counters` tells the reason of."""
        ...

    def links(self) -> list[LinkReport]:
        """How the connection to each peer stands."""
        ...

    async def stop(self, drain_s: float = 1.0) -> None:
        """Wait at most `drain_s` for what was queued to be acknowledged; end every connection, leave nothing open."""
