"""How frames travel between nodes: one interface, over QUIC (`quic`) and over TLS on TCP (`tcp`).

Every node dials one long-lived connection to each peer for what it sends, so that a link that is cut in one
direction leaves the other one alone.  Both ends are authenticated by the agents' keys before a frame is parsed.
Frames are lost when there is no connection or too much waits: gossip repairs that, and a stale frame is worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from knhk_mesh.errors import MeshError
from knhk_mesh.identity import AgentId

Sink = Callable[[AgentId, bytes], None]
"""Takes a frame and who sent it."""

MILLISECOND = 1_000_000


class TransportError(MeshError):
    """An address that cannot be had; one line that names it."""


class TransportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times of a transport; times are nanoseconds."""

    frame_bytes_max: int = 64 * 1024
    window_bytes: int = 4 * 1024 * 1024
    """What may be under way to a peer without having been acknowledged by it."""
    queue_bytes_max: int = 4 * 1024 * 1024
    """What may wait for the window; beyond that a new frame is dropped."""
    ping_interval: int = 250 * MILLISECOND
    silence_timeout: int = 1500 * MILLISECOND
    """A connection on which nothing was heard for so long is dropped and dialled again."""
    backoff_min: int = 50 * MILLISECOND
    backoff_max: int = 500 * MILLISECOND
    """From one attempt's start to the next one's; the first attempt that connects wins."""
    attempt_life: int = 3000 * MILLISECOND
    attempts_max: int = 8
    strangers_max: int = 64
    """Connections that have not proven who they are yet."""
    proof_timeout: int = 3000 * MILLISECOND


class LinkReport(msgspec.Struct, frozen=True):
    """How the connection to a peer stands: last round trip and age of the last echo in ns, None if there is none."""

    agent: AgentId
    connected: bool
    round_trip_ns: int | None
    last_echo_ns: int | None
    queued_bytes: int
    sent: int
    dropped: int


class Transport(Protocol):
    """What a node's shell needs of a transport.  `counters` counts what was refused, dropped and lost, by reason."""

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

    async def stop(self) -> None:
        """End every connection and leave nothing open."""
