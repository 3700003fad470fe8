"""Frames over TLS 1.3 on TCP, with asyncio's own protocols."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from knhk_mesh.transport import TransportError
from knhk_mesh.transport.acceptor import Accepted, Acceptor
from knhk_mesh.transport.base import BaseTransport, split_address
from knhk_mesh.transport.certificate import is_certificate_of, make_certificate
from knhk_mesh.transport.dialler import Attempt

BACKLOG = 64


class TcpTransport(BaseTransport):
    """The transport over TCP; see `knhk_mesh.transport.Transport`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._server: asyncio.Server | None = None
        self._server_tls = _server_context(self._seed)
        self._client_tls = _client_context()
        self._dialling: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """ "host:port", once started."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _listen(self) -> None:
        host, port = split_address(self._listen_on)
        handshake_s = self._config.proof_timeout / 1e9
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _AcceptedProtocol(self._acceptor),
                host,
                port,
                ssl=self._server_tls,
                ssl_handshake_timeout=handshake_s,
                backlog=BACKLOG,
            )
        except OSError as error:
            raise TransportError(f"listen: {self._listen_on} cannot be had: {error.strerror}") from None

    def _dial(self, attempt: Attempt) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(attempt))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect(self, attempt: Attempt) -> None:
        host, port = split_address(attempt.address)
        life_s = self._config.attempt_life / 1e9
        try:
            async with asyncio.timeout(life_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: _DialledProtocol(attempt), host, port, ssl=self._client_tls, server_hostname=""
                )
        except TimeoutError:
            attempt.lost("attempt-timeout")
        except OSError:  # ssl.SSLError is one
            attempt.lost("attempt-failed")

    async def _unlisten(self) -> None:
        for task in list(self._dialling):
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            self._server = None


class _Protocol(asyncio.Protocol):
    """Either end, as the `Connection` that the rest of the transport sees."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # close() would wait for what a dead link will never take


class _DialledProtocol(_Protocol):
    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._attempt.connection = self
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if self._attempt.over:
            self.close()
        elif not is_certificate_of(self._attempt.peer, _parse(certificate)):
            self._attempt.lost("wrong-certificate")

    def data_received(self, data: bytes) -> None:
        self._attempt.received(time.monotonic_ns(), data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._attempt.lost("closed")


class _AcceptedProtocol(_Protocol):
    def __init__(self, acceptor: Acceptor) -> None:
        super().__init__()
        self._acceptor = acceptor
        self._accepted: Accepted | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._accepted = self._acceptor.accept(self, time.monotonic_ns())

    def data_received(self, data: bytes) -> None:
        if self._accepted is not None:
            self._accepted.received(time.monotonic_ns(), data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._accepted is not None:
            self._accepted.lost()

    def close(self) -> None:
        super().close()
        self._accepted = None


def _parse(certificate: bytes | None) -> x509.Certificate | None:
    try:
        return None if certificate is None else x509.load_der_x509_certificate(certificate)
    except ValueError:
        return None


def _server_context(seed: bytes) -> ssl.SSLContext:
    certificate, key = make_certificate(seed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    pem = certificate.public_bytes(Encoding.PEM)
    pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # ssl reads keys from files alone: this one is in memory, and gone with its descriptor.
    descriptor = os.memfd_create("knhk-certificate")
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def _client_context() -> ssl.SSLContext:
    """No authority vouches for an agent: the certificate is compared with the agent id after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
