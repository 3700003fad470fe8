"""What travels on a connection, whatever carries it: bytes in, bytes and frames out, and no socket or clock.

    acceptor                                dialler
    MAGIC, nonce (32)  -------------------> checks that the connection's other end holds the peer's key
                       <------------------- agent id (32), signature (64) of DOMAIN, network, both ids, nonce
    total (8)          -------------------> connected: from here on the dialler sends frames
                       <------------------- length (4), frame; length 0 is a ping
    total (8)          ------------------->

The connection itself proves the acceptor's key: its certificate is that key's.  The dialler's proof cannot be
replayed, since the nonce was made for this connection, nor relayed, since it names the acceptor, and only whoever
holds the acceptor's key can have sent the nonce over this connection.

`total` counts the bytes taken in after the proof.  It is the acknowledgement: what was sent and is not yet in it is
under way, and a ping whose end it has passed has come back.
"""

from __future__ import annotations

from collections import deque

from knhk_mesh.errors import MeshError
from knhk_mesh.identity import AGENT_ID_BYTES, SIGNATURE_BYTES, AgentId, Signer, verify
from knhk_mesh.transport import TransportConfig

MAGIC = b"knhk\r\n\x001"
NONCE_BYTES = 32
HELLO_BYTES = len(MAGIC) + NONCE_BYTES
PROOF_BYTES = AGENT_ID_BYTES + SIGNATURE_BYTES
TOTAL_BYTES = 8
LENGTH_BYTES = 4
DOMAIN = b"knhk.channel.1"
PING = bytes(LENGTH_BYTES)
ACKNOWLEDGE_BYTES = 64 * 1024
ACKNOWLEDGE_INTERVAL = 200_000_000
PINGS_MAX = 64


class ChannelError(MeshError):
    """The other end broke the protocol or is not who it should be; `reason` is one of a few fixed words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def proof_message(network: str, acceptor: AgentId, dialler: AgentId, nonce: bytes) -> bytes:
    """What the dialler signs; the lengths of all parts but the network's name are fixed."""
    return DOMAIN + acceptor + dialler + nonce + network.encode()


class DiallerChannel:
    """The end that sends frames.  Times are monotonic nanoseconds."""

    def __init__(self, signer: Signer, *, network: str, peer: AgentId, config: TransportConfig) -> None:
        self.connected = False
        self.queued_bytes = 0
        self.sent = 0
        self.round_trip: int | None = None
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
        self._pings: deque[tuple[int, int]] = deque(maxlen=PINGS_MAX)  # (where it ends, when it was sent)

    def receive(self, now: int, data: bytes) -> bytes:
        """Take in what arrived; returns what to send at once.  Raises ChannelError: bad-magic, bad-total."""
        self._buffer += data
        self.heard_at = now
        out = b""
        if not self._greeted:
            if len(self._buffer) < HELLO_BYTES:
                if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
                    raise ChannelError("bad-magic")
                return b""
            out = self._prove(self._buffer[:HELLO_BYTES])
            self._buffer = self._buffer[HELLO_BYTES:]
        whole = len(self._buffer) // TOTAL_BYTES * TOTAL_BYTES
        if whole:
            total = int.from_bytes(self._buffer[whole - TOTAL_BYTES : whole], "big")
            self._buffer = self._buffer[whole:]
            self._acknowledge(now, total)
        return out

    def _prove(self, hello: bytes) -> bytes:
        if not hello.startswith(MAGIC):
            raise ChannelError("bad-magic")
        self._greeted = True
        me = self._signer.agent_id
        return me + self._signer.sign(proof_message(self._network, self._peer, me, hello[len(MAGIC) :]))

    def _acknowledge(self, now: int, total: int) -> None:
        if not self._acknowledged <= total <= self._given:
            raise ChannelError("bad-total")
        self.connected = True
        self._acknowledged = total
        while self._pings and self._pings[0][0] <= total:
            self.round_trip = now - self._pings.popleft()[1]

    def queue(self, frame: bytes) -> str | None:
        """Queue a frame; the reason if it is dropped instead: unconnected, oversized, full."""
        if not self.connected:
            return "unconnected"
        if not 0 < len(frame) <= self._config.frame_bytes_max:
            return "oversized"
        size = LENGTH_BYTES + len(frame)
        if self.queued_bytes + size > self._config.queue_bytes_max:
            return "full"
        self._queue.append(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        self.queued_bytes += size
        return None

    def take(self) -> bytes:
        """What may be sent now: whole frames, while less than the window is under way."""
        taken: list[bytes] = []
        under_way = self._given - self._acknowledged
        while self._queue and under_way < self._config.window_bytes:
            one = self._queue.popleft()
            taken.append(one)
            under_way += len(one)
            self.queued_bytes -= len(one)
        self.sent += len(taken)
        self._given = self._acknowledged + under_way
        return b"".join(taken)

    def ping(self, now: int) -> bytes:
        """A ping, to be sent after what `take` has given."""
        self._given += len(PING)
        self._pings.append((self._given, now))
        return PING


class AcceptorChannel:
    """The end that takes frames in.  `nonce` is 32 fresh random bytes; `members` are who may dial."""

    def __init__(
        self, me: AgentId, *, network: str, nonce: bytes, members: frozenset[AgentId], config: TransportConfig
    ) -> None:
        assert len(nonce) == NONCE_BYTES
        self.peer: AgentId | None = None
        self.hello = MAGIC + nonce
        self._me = me
        self._network = network
        self._nonce = nonce
        self._members = members
        self._config = config
        self._buffer = bytearray()
        self._total = 0
        self._acknowledged = -1
        self._acknowledged_at = 0
        self._pinged = False

    def receive(self, data: bytes) -> list[bytes]:
        """Take in what arrived; returns the frames that are complete.

        Raises ChannelError: stranger, bad-proof (before anything is taken for a frame), oversized.
        """
        buffer = self._buffer
        buffer += data
        if self.peer is None:
            if len(buffer) < PROOF_BYTES:
                return []
            self.peer = self._check_proof(bytes(buffer[:PROOF_BYTES]))
            del buffer[:PROOF_BYTES]
        frames: list[bytes] = []
        at, end, most = 0, len(buffer), self._config.frame_bytes_max
        while end - at >= LENGTH_BYTES:
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if length > most:
                raise ChannelError("oversized")
            if end - at - LENGTH_BYTES < length:
                break
            at += LENGTH_BYTES
            if length:
                frames.append(bytes(buffer[at : at + length]))
                at += length
            else:
                self._pinged = True
        del buffer[:at]
        self._total += at
        return frames

    def _check_proof(self, proof: bytes) -> AgentId:
        dialler, signature = proof[:AGENT_ID_BYTES], proof[AGENT_ID_BYTES:]
        if dialler not in self._members:
            raise ChannelError("stranger")
        if not verify(dialler, proof_message(self._network, self._me, dialler, self._nonce), signature):
            raise ChannelError("bad-proof")
        return dialler

    def acknowledgement(self, now: int) -> bytes:
        """What to send back: at once after the proof and a ping, else now and then while bytes arrive."""
        if self.peer is None or (self._total == self._acknowledged and not self._pinged):
            return b""
        owed = self._total - self._acknowledged
        due = self._acknowledged < 0 or self._pinged or owed >= ACKNOWLEDGE_BYTES
        if not due and now - self._acknowledged_at < ACKNOWLEDGE_INTERVAL:
            return b""
        self._acknowledged, self._acknowledged_at, self._pinged = self._total, now, False
        return self._total.to_bytes(TOTAL_BYTES, "big")
