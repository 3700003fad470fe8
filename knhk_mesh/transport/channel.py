"""What travels on a connection, whatever carries it: bytes in, bytes and frames out, and no socket or clock.

    acceptor                                dialler
    MAGIC, nonce (32)  -------------------> checks that the connection's other end holds the peer's key
                       <------------------- agent id (32), signature (64) of DOMAIN, both ids, nonce, network
    total (8)          -------------------> connected: from here on the dialler sends frames
                       <------------------- length (4), frame; length 0 is a ping
    total (8)          ------------------->

The connection itself proves the acceptor's key: its certificate is that key's.  The dialler's proof cannot be
replayed, since the nonce was made for this connection, nor relayed, since it names the acceptor, and only whoever
holds the acceptor's key can have sent the nonce over this connection.

`total` counts the bytes taken in after the proof.  It is the acknowledgement: what was sent and is not yet in it is
under way, and a ping whose end it has passed has come back.  It is sent at once for a ping, after each
ACKNOWLEDGE_BYTES, and on a slow link, where those take long, after ACKNOWLEDGE_INTERVAL_NS.

Neither class raises for what the other end does: `failed` says why the connection has to be closed, and nothing is
taken in after that.  How the bytes were cut on their way makes no difference to frames or `failed`.
"""

from __future__ import annotations

from collections import deque

from knhk_mesh.identity import AGENT_ID_BYTES, SIGNATURE_BYTES, AgentId, Signer, verify
from knhk_mesh.transport import LENGTH_BYTES, TransportConfig

MAGIC = b"knhk\r\n\x001"
NONCE_BYTES = 32
HELLO_BYTES = len(MAGIC) + NONCE_BYTES
PROOF_BYTES = AGENT_ID_BYTES + SIGNATURE_BYTES
TOTAL_BYTES = 8
DOMAIN = b"knhk.channel.1"
PING = bytes(LENGTH_BYTES)
ACKNOWLEDGE_BYTES = 64 * 1024
ACKNOWLEDGE_INTERVAL_NS = 200_000_000
PINGS_MAX = 64


def proof_message(network: str, acceptor: AgentId, dialler: AgentId, nonce: bytes) -> bytes:
    """What the dialler signs; the lengths of all parts but the network's name are fixed."""
    return DOMAIN + acceptor + dialler + nonce + network.encode()


class DiallerChannel:
    """The end that sends frames.  Times are monotonic nanoseconds; `peer` is whom the connection has proven to reach.

    `failed`: bad-magic (no acceptor of ours), bad-total (it acknowledges what was not sent, or less than before).
    """

    def __init__(self, signer: Signer, *, network: str, peer: AgentId, config: TransportConfig) -> None:
        self.connected = False
        self.failed: str | None = None
        self.queued_bytes = 0
        self.sent = 0
        self.round_trip_ns: int | None = None
        self.heard_at: int | None = None
        self._signer = signer
        self._network = network
        self._peer = peer
        self._config = config
        self._buffer = b""
        self._greeted = False
        self._queue: deque[bytes] = deque()
        self._given = 0
        self._acknowledged = 0
        self._pings: deque[tuple[int, int]] = deque()  # (where it ends, when it was sent)

    def receive(self, now: int, data: bytes) -> bytes:
        """Take in what arrived; returns what to send at once."""
        if self.failed is not None:
            return b""
        self._buffer += data
        out = b""
        if not self._greeted:
            if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
                self.failed = "bad-magic"
            if self.failed is not None or len(self._buffer) < HELLO_BYTES:
                return b""
            out = self._prove(self._buffer[len(MAGIC) : HELLO_BYTES])
            self._buffer = self._buffer[HELLO_BYTES:]
        whole = len(self._buffer) // TOTAL_BYTES * TOTAL_BYTES
        for at in range(0, whole, TOTAL_BYTES):
            self._take_total(now, int.from_bytes(self._buffer[at : at + TOTAL_BYTES], "big"))
        self._buffer = self._buffer[whole:]
        return out

    def _prove(self, nonce: bytes) -> bytes:
        self._greeted = True
        me = self._signer.agent_id
        return me + self._signer.sign(proof_message(self._network, self._peer, me, nonce))

    def _take_total(self, now: int, total: int) -> None:
        if self.failed is not None or not self._acknowledged <= total <= self._given:
            self.failed = "bad-total"
            return
        self.connected = True
        self.heard_at = now
        self._acknowledged = total
        while self._pings and self._pings[0][0] <= total:
            self.round_trip_ns = now - self._pings.popleft()[1]

    @property
    def idle(self) -> bool:
        """Nothing waits, and all that was given has been acknowledged."""
        return not self._queue and self._acknowledged == self._given

    @property
    def queued(self) -> int:
        """Frames that wait for the window."""
        return len(self._queue)

    def queue(self, frame: bytes) -> str | None:
        """Queue a frame; the reason if it is dropped instead: unconnected, unsendable (empty or too long), full."""
        if not self.connected:
            return "unconnected"
        if not 0 < len(frame) <= self._config.frame_bytes_max:
            return "unsendable"
        size = LENGTH_BYTES + len(frame)
        if self.queued_bytes + size > self._config.queue_bytes_max:
            return "full"
        self._queue.append(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        self.queued_bytes += size
        return None

    def take(self) -> bytes:
        """What may be sent now: whole frames, as far as the window has room."""
        room = self._config.window_bytes - (self._given - self._acknowledged)
        taken: list[bytes] = []
        size = 0
        while self._queue and size + len(self._queue[0]) <= room:
            one = self._queue.popleft()
            taken.append(one)
            size += len(one)
        self.queued_bytes -= size
        self.sent += len(taken)
        self._given += size
        return b"".join(taken)

    def ping(self, now: int) -> bytes:
        """A ping, to be sent after what `take` has given; nothing while PINGS_MAX are out."""
        if not self.connected or len(self._pings) >= PINGS_MAX:
            return b""
        self._given += len(PING)
        self._pings.append((self._given, now))
        return PING


class AcceptorChannel:
    """The end that takes frames in.  `nonce` is 32 fresh random bytes; `members` are who may dial.

    `peer` is who dialled, once it has proven it; `total` counts the bytes after that.
    `failed`: stranger, bad-proof (before anything is taken for a frame), oversized.
    """

    def __init__(
        self, me: AgentId, *, network: str, nonce: bytes, members: frozenset[AgentId], config: TransportConfig
    ) -> None:
        assert len(nonce) == NONCE_BYTES
        self.peer: AgentId | None = None
        self.failed: str | None = None
        self.heard_at: int | None = None
        self.hello = MAGIC + nonce
        self.total = 0
        self._me = me
        self._network = network
        self._nonce = nonce
        self._members = members
        self._config = config
        self._buffer = bytearray()
        self._acknowledged = -1
        self._acknowledged_at = 0
        self._pinged = False

    def receive(self, now: int, data: bytes) -> list[bytes]:
        """Take in what arrived; returns the frames that are complete, also those before a failure."""
        if self.failed is not None:
            return []
        self._buffer += data
        if self.peer is None:
            if len(self._buffer) < PROOF_BYTES:
                return []
            self._check_proof(bytes(self._buffer[:PROOF_BYTES]))
            if self.failed is not None:
                self._buffer.clear()
                return []
            del self._buffer[:PROOF_BYTES]
            self.total += len(self._buffer)
        else:
            self.total += len(data)
        self.heard_at = now
        return self._split()

    def _check_proof(self, proof: bytes) -> None:
        dialler, signature = proof[:AGENT_ID_BYTES], proof[AGENT_ID_BYTES:]
        if dialler not in self._members:
            self.failed = "stranger"
        elif not verify(dialler, proof_message(self._network, self._me, dialler, self._nonce), signature):
            self.failed = "bad-proof"
        else:
            self.peer = dialler

    def _split(self) -> list[bytes]:
        buffer = self._buffer
        frames: list[bytes] = []
        at, end, most = 0, len(buffer), self._config.frame_bytes_max
        with memoryview(buffer) as view:
            while end - at >= LENGTH_BYTES:
                begin = at + LENGTH_BYTES
                length = int.from_bytes(view[at:begin], "big")
                if length > most:
                    self.failed = "oversized"
                    break
                if end - begin < length:
                    break
                at = begin + length
                if length:
                    frames.append(bytes(view[begin:at]))
                else:
                    self._pinged = True
        del buffer[:at]
        return frames

    def acknowledgement(self, now: int) -> bytes:
        """What to send back now: the module's docstring says when it is anything."""
        if self.peer is None or self.failed is not None:
            return b""
        owed = self.total - self._acknowledged
        late = owed > 0 and now - self._acknowledged_at >= ACKNOWLEDGE_INTERVAL_NS
        if self._acknowledged >= 0 and not self._pinged and owed < ACKNOWLEDGE_BYTES and not late:
            return b""
        self._acknowledged, self._acknowledged_at, self._pinged = self.total, now, False
        return self.total.to_bytes(TOTAL_BYTES, "big")
