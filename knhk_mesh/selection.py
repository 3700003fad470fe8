"""What is known of a peer, and a uniform choice of k among n that costs O(k).

The peers stand in an array, whose first k places a partial Fisher-Yates shuffle fills anew (Knuth, TAOCP 2, 3.4.2,
algorithm P, cut off after k): every sequence of k peers is equally likely, whatever order the array was in, so
the order may stay as the last choice left it.  A peer is removed by moving the last one into its place.
"""

from __future__ import annotations

import math

import msgspec

from knhk_mesh.effects import RandomSource
from knhk_mesh.identity import AgentId

REPUTATION_MAX = 1000
NEVER = -1
"""`PeerInfo.last_seen` before anything was heard."""


class PeerInfo(msgspec.Struct, kw_only=True):
    """What is known of a peer. The registry hands out its own records: read them, do not write to them.

    `agent_id` is `public_key` (32 bytes, Ed25519); `last_seen` monotonic nanoseconds or NEVER; `reputation`
    0 to 1000 thousandths; `latency_ms` the round trip, infinite while it was not measured.
    """

    agent_id: AgentId
    addr: str
    public_key: bytes
    last_seen: int = NEVER
    reputation: int = REPUTATION_MAX
    region: str = ""
    latency_ms: float = math.inf


class ShuffledPeers:
    """An array of peers with uniform samples of k in O(k), and O(1) insertion and removal."""

    __slots__ = ("_items", "_places", "_random")

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self._items: list[PeerInfo] = []
        self._places: dict[AgentId, int] = {}

    def __contains__(self, agent_id: AgentId) -> bool:
        return agent_id in self._places

    def __len__(self) -> int:
        return len(self._items)

    def add(self, peer: PeerInfo) -> None:
        """Append a peer that is not in the array."""
        self._places[peer.agent_id] = len(self._items)
        self._items.append(peer)

    def remove(self, agent_id: AgentId) -> None:
        """Remove a peer that is in the array; the last one takes its place."""
        place = self._places.pop(agent_id)
        last = self._items.pop()
        if last.agent_id != agent_id:
            self._items[place] = last
            self._places[last.agent_id] = place

    def sample(self, k: int) -> list[PeerInfo]:
        """min(k, available) distinct peers, each sequence of them equally likely; as many random draws."""
        items, places, random = self._items, self._places, self._random.random
        available = len(items)
        k = min(k, available)
        for place in range(k):
            drawn = place + int(random() * (available - place))
            if drawn != place:
                here, there = items[place], items[drawn]
                items[place], items[drawn] = there, here
                places[there.agent_id], places[here.agent_id] = place, drawn
        return items[:k]
