"""One end of one QUIC connection: aioquic's sans-IO connection with a timer, a socket to send on and a `Handler`.

Datagrams are taken in one by one, and only then is told what they have brought, in one piece, and sent what is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived

from knhk_mesh.transport.carrier import Handler
from knhk_mesh.transport.datagrams import Address

# aioquic logs what other ends do wrong; unless somebody asks for that, it would go to standard error without limit.
logging.getLogger("quic").addHandler(logging.NullHandler())


class QuicEnd:
    """One end of one QUIC connection: a `Connection` that has a timer and tells its `Handler`.

    `on_event` sees what concerns the end itself, and may close it.
    """

    def __init__(
        self,
        quic: QuicConnection,
        *,
        streams: tuple[int, int],
        send: Callable[[bytes, Address], None],
        on_event: Callable[[QuicEvent], None],
        on_close: Callable[[], None],
        handler: Handler,
        counters: Counter[str],
    ) -> None:
        self.quic = quic
        self.handler = handler
        self._in_stream, self._out_stream = streams
        self._send = send
        self._on_event = on_event
        self._on_close = on_close
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: list[bytes] = []
        self._pumping = False
        self._transmitting: asyncio.Handle | None = None
        self._is_made = False
        self._has_heard = False
        self.is_closed = False

    def take_in(self, data: bytes, address: Address, now: float) -> None:
        """A datagram for this connection; `pump` must follow."""
        if not self.is_closed:
            self._has_heard = True
            self._guarded(self.quic.receive_datagram, data, address, now)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What other ends send may lead aioquic into any exception: that ends this connection and no other."""
        try:
            return call(*arguments)
        except Exception:
            self.fail("broken")
            return None

    def fail(self, reason: str) -> None:
        """End it, and tell the handler."""
        if not self.is_closed:
            self.close()
            self.handler.closed(reason)

    def write(self, data: bytes) -> None:
        """Send on our stream.  What is written in one turn of the loop goes out together."""
        if self.is_closed:
            return
        try:
            self.quic.send_stream_data(self._out_stream, data)
        except (RuntimeError, ValueError):  # the other end has told us to stop: nothing of ours does
            self._loop.call_soon(self.fail, "broken")
            return
        if not self._pumping and self._transmitting is None:
            self._transmitting = self._loop.call_soon(self._transmit)

    def close(self) -> None:
        """Say so to the other end, once, and be done with it: who misses that notices the silence."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._has_heard:  # or else there may be nobody, and the next to listen there would take it for a beginning
            self._say_so()
        for handle in (self._timer, self._transmitting):
            if handle is not None:
                handle.cancel()
        self._on_close()

    def _say_so(self) -> None:
        try:
            self.quic.close()
            for data, address in self.quic.datagrams_to_send(self._loop.time()):
                self._send(data, address)
        except Exception:  # whatever state it is in, it ends here
            self._counters["broken"] += 1

    def pump(self) -> None:
        """Tell what has happened, then send what is due."""
        if self._pumping or self.is_closed:
            return
        self._pumping = True
        try:
            event = self.quic.next_event()
            while event is not None and not self.is_closed:
                self._handle(event)
                event = self.quic.next_event()
            self._hand_on()
        finally:
            self._pumping = False
        self._transmit()

    def _handle(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            if event.stream_id != self._in_stream:
                self.fail("bad-stream")
                return
            self._chunks.append(event.data)
            if event.end_stream:
                self._hand_on()
                self.fail("closed")
        elif isinstance(event, ConnectionTerminated):
            self._hand_on()
            self.fail("closed" if self._is_made else "handshake-failed")
        else:
            self._is_made = self._is_made or isinstance(event, HandshakeCompleted)
            self._on_event(event)

    def _hand_on(self) -> None:
        if self._chunks and not self.is_closed:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self.handler.received(data)

    def _transmit(self) -> None:
        if self._transmitting is not None:
            self._transmitting.cancel()
            self._transmitting = None
        if self.is_closed:
            return
        for data, address in self._guarded(self.quic.datagrams_to_send, self._loop.time()) or ():
            self._send(data, address)
        if not self.is_closed:
            self._set_timer()

    def _set_timer(self) -> None:
        """A timer that is set already, for an earlier time, is left alone: when it fires, it is set again."""
        at = self.quic.get_timer()
        if at is None:
            return
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fire, at)

    def _fire(self, at: float) -> None:
        self._timer = None
        due = self.quic.get_timer()
        if due is not None and due <= max(at, self._loop.time()):
            self._guarded(self.quic.handle_timer, max(at, self._loop.time()))
            self.pump()
        else:
            self._set_timer()
