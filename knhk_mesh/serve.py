"""One node process from start to end: storage, transport, node and control API, and their undoing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable

from aiohttp import web

from knhk_mesh.api import ControlApi
from knhk_mesh.server import NodeServer, Wrap
from knhk_mesh.settings import Settings
from knhk_mesh.transport import Transport, TransportConfig


async def serve(settings: Settings, *, wrap: Wrap | None = None, routes: Iterable[web.RouteDef] = ()) -> None:
    """Run the node until SIGTERM or SIGINT, then drain.  Raises MeshError if it cannot start or go on.

    `wrap` puts something between node and shell, `routes` are served beside the node contract's.
    """
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    server = NodeServer(settings, make_transport(settings), wrap=wrap)
    api = ControlApi(server, address=settings.control, token=settings.token, routes=routes)
    try:
        await server.start()
        await api.start()
        server.finished.add_done_callback(lambda _: asked_to_stop.set())
        await asked_to_stop.wait()
    finally:
        server.draining = True
        await api.stop()
        await server.stop()
    if server.finished.done():
        server.finished.result()


def make_transport(settings: Settings) -> Transport | None:
    """The transport that the settings ask for; a node without peers needs none."""
    peers = [(peer.agent_id, peer.addr) for peer in settings.config.peers]
    if not peers:
        return None
    if settings.transport == "quic":
        from knhk_mesh.transport.quic import QuicTransport as Chosen
    else:
        from knhk_mesh.transport.tcp import TcpTransport as Chosen  # type: ignore[assignment]
    return Chosen(
        seed=settings.seed,
        network=settings.config.network,
        listen=settings.listen,
        peers=peers,
        config=TransportConfig(frame_bytes_max=settings.config.frame_bytes_max),
    )
