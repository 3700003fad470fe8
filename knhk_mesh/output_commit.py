"""Output commit: nothing leaves a node before what it rests on is durable.

The node works on what it has in memory, at once; while a Persist is outstanding, frames, replies and events wait in
order behind it.  So whatever a peer, a client or an observer has seen survives a crash, no acknowledged write is lost
and no slot is used twice; what was in memory only is forgotten together with every trace of it (Strom and Yemini,
1985).

Probes, echoes and what the detector has found are free and need not wait: a slow disk is no reason to be called
unreachable.  What they tell of an incarnation and of enrolments, they tell only once that is durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from knhk_mesh.effects import Effect, Event, Persist, Record, Send, SetTimer

IDENTITY_RECORDS = ("incarnation", "enrolled")


class OutputCommit:
    """What has left one node and what waits.  Tokens count up, one a Persist, and become durable in order."""

    def __init__(self) -> None:
        self._token = 0
        self._durable = 0
        self._identity_token = 0  # of the last Persist with what probes and echoes tell of
        self._held_back: deque[tuple[int, Effect]] = deque()

    def __len__(self) -> int:
        """How many effects wait for the disk."""
        return len(self._held_back)

    def release(self, records: Sequence[Record], effects: list[Effect]) -> list[Effect]:
        """`records` are to be written, and `effects` rest on them and on all before: what may leave now."""
        if not records and self._durable == self._token:
            return effects
        out: list[Effect] = []
        if records:
            self._token += 1
            out.append(Persist(self._token, tuple(records)))
            if any(record.kind in IDENTITY_RECORDS for record in records):
                self._identity_token = self._token
        for effect in effects:
            if isinstance(effect, SetTimer) or (isinstance(effect, Send | Event) and effect.free):
                out.append(effect)
            else:
                self._held_back.append((self._token, effect))
        return out

    def persisted(self, token: int) -> list[Effect]:
        """Everything up to `token` is durable: what waited for it may leave."""
        self._durable = max(self._durable, token)
        free: list[Effect] = []
        while self._held_back and self._held_back[0][0] <= self._durable:
            free.append(self._held_back.popleft()[1])
        return free

    def identity_durable(self, records: Sequence[Record]) -> bool:
        """Whether the node's incarnation and every enrolment survive a crash; `records` are not yet on their way."""
        return self._durable >= self._identity_token and not any(one.kind in IDENTITY_RECORDS for one in records)
