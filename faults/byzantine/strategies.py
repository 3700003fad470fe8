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
SHUNNED = ("forge", "bad-signature", "clocks", "orphan", "slander", "garbage", "flood")
"""Those that may get whoever follows them suspected: for a while nobody hears it then."""

PROVEN = ("equivocate", "double-propose")
"""Those that get whoever follows them proven: nobody listens to it ever again."""

NOT_ALONE = ("vouch",)
"""Those that need another liar, proven before, and so say nothing in a mix, where all are proven in the end."""

ROUNDS_EACH = 5


class Mix(Strategy):
    """Every strategy but NOT_ALONE, each for ROUNDS_EACH rounds, in an order that the seed draws: first those that
    nobody punishes, then those after which nobody listens for a while, then those after which nobody does any more."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._strategies = {name: make(attacker) for name, make in _SINGLE.items() if name not in NOT_ALONE}
        self._left: list[str] = []
        self._now = Strategy(attacker)
        self._rounds = 0

    def _order(self) -> list[str]:
        """The last comes first."""
        drawn = {name: self.attacker.random.random() for name in self._strategies}
        return sorted(drawn, key=lambda name: (name not in PROVEN, name not in SHUNNED, drawn[name]))

    def round(self, now: Instant) -> list[Effect]:
        """Change it now and then."""
        if self._rounds % ROUNDS_EACH == 0:
            self._left = self._left or self._order()
            self._now = self._strategies[self._left.pop()]
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
