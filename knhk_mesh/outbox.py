"""Everything that a node sends passes here: each frame gets this life's session and the next number to that peer.

The session is random and new at each start, so that a peer which remembers the numbers of a former life does not take
those of this one for replays (spec-defects 15).
"""

from __future__ import annotations

from collections import Counter

from knhk_mesh.effects import RandomSource, Send
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import Frame, encode_frame

SESSION_BITS = 64


class Outbox:
    """The session, and a counter a peer.  `sent` counts frames by kind."""

    __slots__ = ("_free", "_sequences", "sent", "session")

    def __init__(self, random: RandomSource) -> None:
        self.session = random.getrandbits(SESSION_BITS)
        self.sent: Counter[str] = Counter()
        self._sequences: dict[AgentId, int] = {}
        self._free: dict[AgentId, int] = {}

    def next(self, peer: AgentId, *, free: bool = False) -> int:
        """The next sequence number to `peer`; whoever takes one sends a frame with it.

        Free frames have numbers of their own: they overtake those that wait for the disk.
        """
        numbers = self._free if free else self._sequences
        sequence = numbers[peer] = numbers.get(peer, -1) + 1
        return sequence

    def send(self, peer: AgentId, frame: Frame, *, free: bool = False) -> Send:
        """`frame`, made with `session` and `next(peer)`, on its way; `free` as in `Send`."""
        self.sent[frame.__struct_config__.tag] += 1  # type: ignore[index]
        return Send(peer, encode_frame(frame), free)
