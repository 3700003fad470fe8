"""What was sent to a peer so lately that it may still be on its way: no reason to send it again.

A peer's heads are as old as its pull.  On a link of 200 ms, under load, each of its pulls lacks what the answers to the
last few will bring, and without this memory it would get everything as many times as there are pulls in a round trip.
What was lost is sent again when the peer still lacks it after that time, or asks for it by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator

from knhk_mesh.commits import Commit
from knhk_mesh.identity import AgentId


class InFlight:
    """Per peer, the ids sent within `patience_ns`, or two round trips if those are longer.  Times are monotonic ns."""

    def __init__(self, *, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._sent: dict[AgentId, OrderedDict[bytes, int]] = {}

    def not_under_way(
        self, now: int, peer: AgentId, round_trip_ns: int, commits: Iterable[Commit], wants: Collection[bytes]
    ) -> Iterator[Commit]:
        """Those of `commits` that are worth sending now; the wanted ones always are."""
        sent = self._sent.setdefault(peer, OrderedDict())
        oldest = now - max(self._patience_ns, 2 * round_trip_ns)
        while sent and next(iter(sent.values())) <= oldest:
            sent.popitem(last=False)
        for commit in commits:
            if commit.id not in sent or commit.id in wants:
                yield commit

    def was_sent(self, now: int, peer: AgentId, ids: Iterable[bytes]) -> None:
        """These are on their way."""
        sent = self._sent[peer]
        for one in ids:
            sent[one] = now
            sent.move_to_end(one)
