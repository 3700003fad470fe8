"""The connections that others have dialled to this node: strangers until they prove who they are.

A peer dials anew when its former connection is dead, and knows that before we do: so the newer one replaces the older.
But it may have several attempts under way, all of which prove themselves before it learns that the first has come
through.  Only that one it uses, with a ping at once, and the others it closes; so it is the first byte after the proof
that replaces what there is, and not the proof.  Otherwise two attempts would undo each other for ever on a slow link.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter

from knhk_mesh.identity import AgentId
from knhk_mesh.transport import Sink, TransportConfig
from knhk_mesh.transport.carrier import Connection
from knhk_mesh.transport.channel import NONCE_BYTES, AcceptorChannel


class Accepted:
    """One connection from its first bytes on: the `Handler` of it."""

    def __init__(self, acceptor: Acceptor, channel: AcceptorChannel, connection: Connection) -> None:
        self.begun = time.monotonic_ns()
        self.channel = channel
        self.connection = connection
        self._acceptor = acceptor
        self._is_used = False

    def opened(self) -> None:
        """We speak first."""
        self.connection.write(self.channel.hello)

    def received(self, data: bytes) -> None:
        """Bytes from the dialler."""
        now = time.monotonic_ns()
        channel, acceptor = self.channel, self._acceptor
        known = channel.peer
        frames = channel.receive(now, data)
        peer = channel.peer
        if peer is not None:
            if known is None:
                acceptor.proven(self, peer)
            if not self._is_used and channel.total > 0:
                self._is_used = True
                acceptor.replace_others(self, peer)
            acknowledgement = channel.acknowledgement(now)
            if acknowledgement:
                self.connection.write(acknowledgement)
            sink = acceptor.sink
            for frame in frames:
                sink(peer, frame)
        if channel.failed is not None:
            acceptor.refuse(self, channel.failed)

    def closed(self, reason: str) -> None:
        """It has ended; that the other end has closed it is no news."""
        if reason != "closed":
            self._acceptor.count(reason)
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
        self._peers: dict[AgentId, list[Accepted]] = {}  # the oldest first

    def has_room(self) -> bool:
        """Whether one more may come that has not proven itself; asked before anything is spent on it."""
        if len(self._strangers) < self._config.strangers_max:
            return True
        self._counters["crowded"] += 1
        return False

    def accept(self, connection: Connection) -> Accepted:
        """The handler of a connection that somebody begins; call `opened` on it once something can be sent."""
        channel = AcceptorChannel(
            self._me,
            network=self._network,
            nonce=secrets.token_bytes(NONCE_BYTES),
            members=self._members,
            config=self._config,
        )
        accepted = Accepted(self, channel, connection)
        self._strangers[accepted] = None
        return accepted

    def proven(self, accepted: Accepted, peer: AgentId) -> None:
        """It is `peer`, which may have as many as it has attempts; beyond that the oldest goes."""
        self._strangers.pop(accepted, None)
        ones = self._peers.setdefault(peer, [])
        ones.append(accepted)
        if len(ones) > self._config.attempts_max:
            ones.pop(0).connection.close()

    def replace_others(self, accepted: Accepted, peer: AgentId) -> None:
        """This is the one that `peer` uses: the others are of no more use."""
        self._counters["accepted"] += 1
        others = [one for one in self._peers[peer] if one is not accepted]
        self._peers[peer] = [accepted]
        for one in others:
            one.connection.close()

    def refuse(self, accepted: Accepted, reason: str) -> None:
        """Close a connection that broke the protocol, is nobody's or has ended unnoticed."""
        self.count(reason)
        self.forget(accepted)
        accepted.connection.close()

    def count(self, reason: str) -> None:
        """One more of these."""
        self._counters[reason] += 1

    def forget(self, accepted: Accepted) -> None:
        """It is gone."""
        self._strangers.pop(accepted, None)
        peer = accepted.channel.peer
        ones = self._peers.get(peer, []) if peer is not None else []
        if peer is not None and accepted in ones:
            ones.remove(accepted)
            if not ones:
                del self._peers[peer]

    def tick(self, now: int) -> None:
        """Close whoever takes too long to prove itself, and whose pings have stopped."""
        proof, silence = self._config.proof_timeout_ns, self._config.silence_timeout_ns
        for accepted in [one for one in self._strangers if now - one.begun >= proof]:
            self.refuse(accepted, "proof-timeout")
        proven = [one for ones in self._peers.values() for one in ones]
        for accepted in [one for one in proven if now - (one.channel.heard_at or 0) >= silence]:
            self.refuse(accepted, "silent")

    def end(self) -> None:
        """Close everything."""
        every = [*self._strangers, *(one for ones in self._peers.values() for one in ones)]
        self._strangers.clear()
        self._peers.clear()
        for accepted in every:
            accepted.connection.close()
