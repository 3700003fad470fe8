"""Frames over TLS 1.3 on TCP.

TLS is done by `ssl`'s objects in memory over plain asyncio protocols: so a connection counts as a stranger's from its
first byte on, what arrives is decrypted and handed on in one piece, and what asyncio's own TLS adds to each write is
saved.  Backpressure is the channel's: no more than its window ever waits here.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import tempfile
from contextlib import suppress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from knhk_mesh.identity import AgentId
from knhk_mesh.transport.acceptor import Acceptor
from knhk_mesh.transport.base import BaseTransport
from knhk_mesh.transport.carrier import Connection, Handler, join_address, split_address
from knhk_mesh.transport.certificate import is_certificate_of, make_certificate

ALPN = "knhk"
BACKLOG = 64
ACCEPT_TURNS = 4
"""Turns of the loop after which asyncio has told of a connection that it accepted before the listener was closed."""
READ_BYTES = 256 * 1024
RECORD_BYTES = 16 * 1024
"""What TLS encrypts in one piece; a read never returns more."""


class TcpTransport(BaseTransport):
    """The transport over TCP; see `BaseTransport` for the arguments."""

    def __init__(self, *, seed: bytes, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self._accepting = server_context(seed)
        self._dialling = client_context()
        self._server: asyncio.Server | None = None
        self._address = ""
        self._shared = _Shared()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """ "host:port", once started."""
        assert self._address
        return self._address

    async def _listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        self._address = join_address(*self._server.sockets[0].getsockname()[:2])

    def _accept(self) -> asyncio.BaseProtocol:
        end = _End(self._accepting, self._shared, server_side=True)
        end.acceptor = self._acceptor
        return end

    def _dial(self, peer: AgentId, address: str, handler: Handler) -> Connection:
        end = _End(self._dialling, self._shared, server_side=False)
        end.handler, end.pinned = handler, peer
        task = asyncio.get_running_loop().create_task(_connect(end, address))
        end.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return end

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            for _ in range(ACCEPT_TURNS):
                await asyncio.sleep(0)
        self._acceptor.end()  # whoever came in those turns
        for end in list(self._shared.ends):
            end.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._shared.ends:  # asyncio closes an aborted connection in its next turn
            await asyncio.sleep(0)


async def _connect(end: _End, address: str) -> None:
    try:
        await asyncio.get_running_loop().create_connection(lambda: end, *split_address(address))
    except OSError:
        end.fail("unreachable")


class _Shared:
    """What the connections of one transport have in common: those that are open, and where all of them read to.

    One buffer is enough, since what is read is decrypted before anything else is read.
    """

    def __init__(self) -> None:
        self.ends: set[_End] = set()
        self.buffer = memoryview(bytearray(READ_BYTES))


class _End(asyncio.BufferedProtocol):
    """One end of one connection: a `Connection` that does TLS and tells its `Handler`.

    A dialled end has a peer `pinned`: the other end's certificate has to be that peer's.
    """

    def __init__(self, context: ssl.SSLContext, shared: _Shared, *, server_side: bool) -> None:
        self.handler: Handler | None = None
        self.acceptor: Acceptor | None = None
        self.pinned: AgentId | None = None
        self.task: asyncio.Task[None] | None = None
        self._shared = shared
        self._transport: asyncio.Transport | None = None
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=server_side)
        self._is_made = False
        self._is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected: begin TLS."""
        assert isinstance(transport, asyncio.Transport)
        if self.acceptor is not None:
            if not self.acceptor.has_room():
                self._is_closed = True
            else:
                self.handler = self.acceptor.accept(self)
        self._shared.ends.add(self)
        self._transport = transport
        if self._is_closed:
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=1 << 62)
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio reads to."""
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        if not self._is_closed:
            self._arrived.write(self._shared.buffer[:nbytes])
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended; asyncio has closed the socket."""
        self._shared.ends.discard(self)
        self.fail("closed" if self._is_made else "unreachable" if self.pinned else "closed")

    def _advance(self) -> None:
        """Let TLS take in what has arrived, and tell what came of it."""
        try:
            if not self._is_made:
                self._tls.do_handshake()
                self._made()
            data = self._read()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ValueError):
            self._flush()  # the alert that says why
            self.fail("closed" if self._is_made else "handshake-failed")
            return
        self._flush()
        if data and not self._is_closed and self.handler is not None:
            self.handler.received(data)
            self._flush()

    def _made(self) -> None:
        self._is_made = True
        if self.pinned is not None and not is_certificate_of(self.pinned, self._certificate()):
            self.fail("wrong-certificate")
        elif self.handler is not None:
            self.handler.opened()

    def _certificate(self) -> x509.Certificate | None:
        der = self._tls.getpeercert(binary_form=True)
        with suppress(ValueError):
            return x509.load_der_x509_certificate(der) if der is not None else None
        return None

    def _read(self) -> bytes:
        """All that can be decrypted now.  Raises SSLError if there is nothing and never will be."""
        chunks: list[bytes] = []
        try:
            while True:
                chunk = self._tls.read(RECORD_BYTES)
                if not chunk:
                    break
                chunks.append(chunk)
        except ssl.SSLError:
            if not chunks:
                raise
        return b"".join(chunks)

    def _flush(self) -> None:
        if self._leaving.pending and self._transport is not None:
            self._transport.write(self._leaving.read())

    def write(self, data: bytes) -> None:
        """Send."""
        if self._is_made and not self._is_closed:
            self._tls.write(data)
            self._flush()

    def fail(self, reason: str) -> None:
        """End it, and tell the handler."""
        if not self._is_closed:
            self.close()
            if self.handler is not None:
                self.handler.closed(reason)

    def close(self) -> None:
        """End it; `abort`, since `close` would wait for what a dead link will never take."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()
        elif self.task is not None:
            self.task.cancel()


def server_context(seed: bytes) -> ssl.SSLContext:
    """TLS with the certificate of this key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    context.num_tickets = 0
    certificate, key = make_certificate(seed)
    # ssl reads keys from files alone.  This one is of use to nobody who finds it, should we be killed meanwhile.
    password = secrets.token_bytes(32).hex().encode()
    pem = certificate.public_bytes(Encoding.PEM)
    pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name, password=password)
    return context


def client_context() -> ssl.SSLContext:
    """No authority vouches for an agent: the certificate is compared with the agent id after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context
