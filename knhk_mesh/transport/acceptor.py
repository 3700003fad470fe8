"""The connections that others have dialled to this node: strangers until they prove who they are.

Of each peer only the newest connection that has proven itself is kept: it dials anew when the former one is dead, and
knows that before we do.
"""

from __future__ import annotations

import secrets
from collections import Counter

from knhk_mesh.identity import AgentId
from knhk_mesh.transport import Sink, TransportConfig
from knhk_mesh.transport.channel import NONCE_BYTES, AcceptorChannel, ChannelError
from knhk_mesh.transport.dialler import Connection


class Accepted:
    """One connection from its handshake on.  The transport calls `received` and `lost`."""

    def __init__(self, acceptor: Acceptor, channel: AcceptorChannel, connection: Connection, now: int) -> None:
        self.begun = now
        self.channel = channel
        self.connection = connection
        self._acceptor = acceptor

    def received(self, now: int, data: bytes) -> None:
        """Bytes from the dialler."""
        channel = self.channel
        known = channel.peer
        try:
            frames = channel.receive(data)
        except ChannelError as error:
            self._acceptor.refuse(self, error.reason)
            return
        if channel.peer is None:
            return
        if known is None:
            self._acceptor.proven(self, channel.peer)
        acknowledgement = channel.acknowledgement(now)
        if acknowledgement:
            self.connection.write(acknowledgement)
        for frame in frames:
            self._acceptor.sink(channel.peer, frame)

    def lost(self) -> None:
        """It has ended."""
        self._acceptor.forget(self)


class Acceptor:
    """All of them.  `members` are who may dial; `counters` counts whom we refused, and why."""

    def __init__(
        self,
        me: AgentId,
        *,
        network: str,
        members: frozenset[AgentId],
        config: TransportConfig,
        counters: Counter[str],
    ) -> None:
        self.sink: Sink = lambda peer, frame: None
        self._me = me
        self._network = network
        self._members = members
        self._config = config
        self._counters = counters
        self._strangers: dict[Accepted, None] = {}
        self._peers: dict[AgentId, Accepted] = {}

    def accept(self, connection: Connection, now: int) -> Accepted | None:
        """A connection has been made: greet it; None, and it is closed, if too many have not proven themselves."""
        if len(self._strangers) >= self._config.strangers_max:
            self._counters["too-many-strangers"] += 1
            connection.close()
            return None
        channel = AcceptorChannel(
            self._me,
            network=self._network,
            nonce=secrets.token_bytes(NONCE_BYTES),
            members=self._members,
            config=self._config,
        )
        accepted = Accepted(self, channel, connection, now)
        self._strangers[accepted] = None
        connection.write(channel.hello)
        return accepted

    def proven(self, accepted: Accepted, peer: AgentId) -> None:
        """It is `peer`: its former connection, if there is one, is of no more use."""
        self._strangers.pop(accepted, None)
        former = self._peers.get(peer)
        self._peers[peer] = accepted
        if former is not None:
            former.connection.close()

    def refuse(self, accepted: Accepted, reason: str) -> None:
        """Close a connection that broke the protocol or is nobody's."""
        self._counters[reason] += 1
        self.forget(accepted)
        accepted.connection.close()

    def forget(self, accepted: Accepted) -> None:
        """It is gone."""
        self._strangers.pop(accepted, None)
        peer = accepted.channel.peer
        if peer is not None and self._peers.get(peer) is accepted:
            del self._peers[peer]

    def tick(self, now: int) -> None:
        """Close whoever takes too long to prove itself."""
        late = [one for one in self._strangers if now - one.begun >= self._config.proof_timeout]
        for accepted in late:
            self.refuse(accepted, "proof-timeout")

    def end(self) -> None:
        """Close everything."""
        for accepted in [*self._strangers, *self._peers.values()]:
            accepted.connection.close()
        self._strangers.clear()
        self._peers.clear()
