"""A node that lies while it is told to: the five calls of a node, with strategies between it and the world."""

from __future__ import annotations

from collections.abc import Sequence

from faults.byzantine.attacker import LIARS, Attacker, Strategy
from faults.byzantine.strategies import STRATEGIES
from knhk_mesh.effects import Effect, Instant, RandomSource, Send
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.node import GOSSIP_TIMER, Node
from knhk_mesh.requests import Request

__all__ = ["LIARS", "Liar"]


class Liar:
    """Wraps `node`, whose key `signer` has.  Between lies it is as honest as that node."""

    def __init__(self, node: Node, signer: Signer, *, random: RandomSource) -> None:
        self.node = node
        self._signer = signer
        self._random = random
        self._strategies: dict[str, tuple[Strategy, Attacker]] = {}
        self._before: dict[str, int] = {}  # how often each had lied when its fault began
        self._former: dict[str, tuple[Strategy, Attacker]] = {}

    def lie(self, fault: str, strategy: str) -> None:
        """Follow `strategy`, a key of STRATEGIES, until the fault called `fault` stops.

        A strategy that comes back goes on where it was: a liar does not forget which slots it has used.
        """
        kept = self._former.get(strategy)
        if kept is None:
            attacker = Attacker(self.node, self._signer, random=self._random)
            kept = self._former[strategy] = (STRATEGIES[strategy](attacker), attacker)
        self._before[fault] = kept[1].lies
        self._strategies[fault] = kept
        kept[0].begins()

    def stop(self, fault: str) -> int:
        """Follow it no more; returns how often it lied meanwhile."""
        lies = self.lies(fault)
        del self._strategies[fault], self._before[fault]
        return lies

    def lies(self, fault: str) -> int:
        """How often it has lied for `fault` so far."""
        return self._strategies[fault][1].lies - self._before[fault]

    def start(self, now: Instant) -> list[Effect]:
        """As a node."""
        return self._rewritten(now, self.node.start(now))

    def receive(self, now: Instant, peer: AgentId, frame: bytes) -> list[Effect]:
        """As a node, unless a strategy keeps the frame from it."""
        effects: list[Effect] = []
        for strategy, _ in list(self._strategies.values()):
            goes_on, beside = strategy.hears(now, peer, frame)
            effects += beside
            if not goes_on:
                return self._with_told(effects)
        return self._with_told([*effects, *self._rewritten(now, self.node.receive(now, peer, frame))])

    def timer(self, now: Instant, timer: str) -> list[Effect]:
        """As a node; each gossip round is one of the strategies', too."""
        effects = self._rewritten(now, self.node.timer(now, timer))
        if timer == GOSSIP_TIMER:
            for strategy, _ in list(self._strategies.values()):
                effects += strategy.round(now)
        return self._with_told(effects)

    def persisted(self, now: Instant, token: int) -> list[Effect]:
        """As a node."""
        return self._rewritten(now, self.node.persisted(now, token))

    def submit(self, now: Instant, request: int, what: Request) -> list[Effect]:
        """As a node: what a liar tells its clients binds nobody."""
        return self._rewritten(now, self.node.submit(now, request, what))

    def _rewritten(self, now: Instant, effects: Sequence[Effect]) -> list[Effect]:
        out = list(effects)
        for strategy, _ in list(self._strategies.values()):
            rewritten: list[Effect] = []
            for effect in out:
                rewritten += strategy.sends(now, effect) if isinstance(effect, Send) else [effect]
            out = rewritten
        return self._with_told(out)

    def _with_told(self, effects: list[Effect]) -> list[Effect]:
        """What the harness is to know comes first."""
        told: list[Effect] = []
        for _, attacker in self._strategies.values():
            told += attacker.told
            attacker.told.clear()
        return [*told, *effects]
