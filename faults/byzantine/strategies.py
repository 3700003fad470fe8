"""The strategies by the names that campaigns use."""

from __future__ import annotations

from faults.byzantine import commits, frames, pasts, votes
from faults.byzantine.attacker import Attacker, Strategy
from knhk_mesh.effects import Effect, Instant, Send
from knhk_mesh.identity import AgentId

_SINGLE: dict[str, type[Strategy]] = {
    "equivocate": commits.Equivocate,
    "forge": commits.Forge,
    "bad-signature": commits.BadSignature,
    "clocks": commits.Clocks,
    "deep": pasts.Deep,
    "wide": pasts.Wide,
    "orphan": pasts.Orphan,
    "scatter": pasts.Scatter,
    "slander": commits.Slander,
    "vouch": commits.Vouch,
    "replay": frames.Replay,
    "inflate": frames.Inflate,
    "behind": frames.Behind,
    "withhold": frames.Withhold,
    "selective": frames.Selective,
    "garbage": frames.Garbage,
    "flood": frames.Flood,
    "silent": frames.Silent,
    "lie-latency": frames.LieLatency,
    "hollow-propose": votes.HollowPropose,
    "short-certificate": votes.ShortCertificate,
    "double-vote": votes.DoubleVote,
    "double-propose": votes.DoublePropose,
    "late-propose": votes.LatePropose,
}
ROUNDS_EACH = 3


class Mix(Strategy):
    """One strategy after the other, each for ROUNDS_EACH rounds, in an order that the seed draws."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._strategies = [make(attacker) for name, make in _SINGLE.items() if name != "silent"]
        self._now = self._strategies[0]
        self._rounds = 0

    def round(self, now: Instant) -> list[Effect]:
        """Change it now and then."""
        if self._rounds % ROUNDS_EACH == 0:
            self._now = self._strategies[int(self.attacker.random.random() * len(self._strategies))]
            self._now.begins()
        self._rounds += 1
        return self._now.round(now)

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """As the present one does."""
        return self._now.sends(now, effect)

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """As the present one does."""
        return self._now.hears(now, peer, frame)


STRATEGIES: dict[str, type[Strategy]] = {**_SINGLE, "mix": Mix}
"""Every strategy of `spec/byzantine.md`: the package's docstring says what each does."""
