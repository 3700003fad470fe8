"""Lies in frames: what is said to whom, how often, or not at all.

replay       old frames once more, to whom they were meant for; what others said, as its own.
inflate      claims of heads and frontiers that do not exist.  A claim changes nothing but where to ask.
behind       votes for what is new, and tells whoever asks for its frontier that it knows nothing: that counts at once,
             and a quorum of too few, or of answers to an older question, would rest on it.
withhold     keeps back what others need: deltas, frontiers, votes, certificates.
selective    talks to some of the peers alone.
garbage      bytes that are no frame, frames that are cut off or too large.
flood        hundreds of frames a round that cost their receiver work: pushes of made-up roots, pulls of everything,
             proposals and votes that were there before.
silent       sends nothing at all.
lie-latency  echoes of guessed and of old nonces, so as to seem near; real ones late or never.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from faults.byzantine.attacker import Attacker, Strategy
from knhk_mesh.commits import WireCommit
from knhk_mesh.effects import Effect, Instant, Send
from knhk_mesh.errors import BadFrame
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import (
    HEAD_BYTES,
    PROBE_BYTES,
    Certificates,
    Delta,
    Echo,
    Frame,
    Frontier,
    Probe,
    Propose,
    Pull,
    Push,
    Votes,
    chain_tag,
    decode_frame,
)
from knhk_mesh.quorum import Vote, statement_of

KEPT = 256
REPLAYED = 16
FLOOD_A_PEER = 60
FLOOD_COMMITS = 8
GUESSES = 8
GARBAGE_BYTES = 200


def _decoded(attacker: Attacker, frame: bytes) -> Frame | None:
    try:
        return decode_frame(frame, bytes_max=attacker.node.config.frame_bytes_max)
    except BadFrame:
        return None


def _noise(attacker: Attacker, size: int) -> bytes:
    return attacker.random.getrandbits(8 * size).to_bytes(size, "big")


class Replay(Strategy):
    """What was said once is said again."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._sent: deque[Send] = deque(maxlen=KEPT)
        self._heard: deque[tuple[type, list[object]]] = deque(maxlen=KEPT)

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Keep a copy."""
        self._sent.append(effect)
        return [effect]

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """What others said, to be passed off as one's own: under their session it would only end this one."""
        message = _decoded(self.attacker, frame)
        if message is not None:
            fields = [getattr(message, name) for name in message.__struct_fields__[2:]]
            self._heard.append((type(message), fields))
        return True, []

    def round(self, now: Instant) -> list[Effect]:
        """Some of the copies, and some of what others said, to somebody."""
        attacker, sent, heard = self.attacker, list(self._sent), list(self._heard)
        said: list[Effect] = [sent[int(attacker.random.random() * len(sent))] for _ in range(REPLAYED // 2) if sent]
        for _ in range(REPLAYED // 2 if heard else 0):
            kind, fields = heard[int(attacker.random.random() * len(heard))]
            said.append(attacker.frame(attacker.some(1)[0], kind, *fields))
        attacker.lies += len(said)
        return said


class Inflate(Strategy):
    """Heads that do not exist."""

    def round(self, now: Instant) -> list[Effect]:
        """A pull that claims to be far ahead on everybody's chain."""
        attacker = self.attacker
        claims = []
        for author, incarnation in list(attacker.node.replica.log.chains)[:64]:
            claims.append(chain_tag(author, incarnation) + b"\x7f" + b"\xff" * 7 + _noise(attacker, 32))
        attacker.lies += 1
        heads = b"".join(claims)
        wants = [_noise(attacker, 32) for _ in range(16)]
        return [
            attacker.frame(peer, Pull, _noise(attacker, 32), heads, b"", b"", wants, False) for peer in attacker.some(2)
        ]

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """A frontier of commits that nobody has."""
        message = _decoded(self.attacker, effect.frame)
        if not isinstance(message, Frontier):
            return [effect]
        self.attacker.lies += 1
        return [self.attacker.frame(effect.peer, Frontier, message.nonce, [_noise(self.attacker, 32)])]


class Behind(Strategy):
    """Who asks it is satisfied at once."""

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """An empty frontier."""
        message = _decoded(self.attacker, effect.frame)
        if not isinstance(message, Frontier):
            return [effect]
        self.attacker.lies += 1
        return [self.attacker.frame(effect.peer, Frontier, message.nonce, [])]


class Withhold(Strategy):
    """Answers that never come."""

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Nothing that anybody needs."""
        if isinstance(_decoded(self.attacker, effect.frame), Delta | Frontier | Votes | Certificates | Propose):
            self.attacker.lies += 1
            return []
        return [effect]


class Selective(Strategy):
    """Some are told, and others never."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._friends = frozenset(attacker.halves()[0])

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Only to friends."""
        if effect.peer in self._friends:
            return [effect]
        self.attacker.lies += 1
        return []


class Garbage(Strategy):
    """Bytes that are no frame."""

    def round(self, now: Instant) -> list[Effect]:
        """Noise, a frame that was cut off, a frame of fields that no frame has, and one that is too large."""
        attacker = self.attacker
        peer = attacker.some(1)[0]
        whole = attacker.frame(peer, Push, _noise(attacker, 32)).frame
        oversized = bytes(attacker.node.config.frame_bytes_max + 1)
        bad = attacker.frame(peer, Probe, _noise(attacker, 3), _noise(attacker, 5)).frame
        kinds = (_noise(attacker, GARBAGE_BYTES), whole[:-5], bad, oversized)
        attacker.lies += 1
        return [Send(peer, kinds[int(attacker.random.random() * len(kinds))])]


class Flood(Strategy):
    """Work for others."""

    def round(self, now: Instant) -> list[Effect]:
        """To every peer: pushes that make it answer, pulls of all that it has, probes, proposals, votes."""
        attacker = self.attacker
        found: list[Effect] = [self._one(peer, number) for peer in attacker.peers for number in range(FLOOD_A_PEER)]
        attacker.lies += len(found)
        return found

    def _one(self, peer: AgentId, number: int) -> Send:
        attacker = self.attacker
        match number % 5:
            case 0:
                return attacker.frame(peer, Push, _noise(attacker, 32))
            case 1:
                claim = _noise(attacker, HEAD_BYTES)
                return attacker.frame(peer, Pull, _noise(attacker, 32), claim, b"", b"", [], True)
            case 2:
                return attacker.frame(peer, Propose, self._own())
            case 3:
                return attacker.frame(peer, Votes, self._votes())
            case _:
                return attacker.frame(peer, Probe, _noise(attacker, PROBE_BYTES), bytes(16))

    def _own(self) -> list[WireCommit]:
        """Commits of its own that everybody may have voted for already."""
        chain = self.attacker.node.replica.log.heads.values()
        return [commit.wire for commit in chain if commit.author == self.attacker.signer.agent_id][:FLOOD_COMMITS]

    def _votes(self) -> list[Vote]:
        """Votes for what is certified, or is nothing."""
        roster = self.attacker.node.config.roster
        if roster is None:
            return []
        held = list(islice(reversed(self.attacker.node.replica.log.held.values()), FLOOD_COMMITS))
        signature = _noise(self.attacker, 64)
        return [Vote(statement_of(roster.network, roster.epoch, commit), signature) for commit in held]


class Silent(Strategy):
    """Nothing leaves."""

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Nothing."""
        self.attacker.lies += 1
        return []


class LieLatency(Strategy):
    """To seem nearer, and farther, than it is."""

    def __init__(self, attacker: Attacker) -> None:
        super().__init__(attacker)
        self._late: list[Send] = []

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """Half of the echoes wait for the next round."""
        if isinstance(_decoded(self.attacker, effect.frame), Echo) and self.attacker.random.random() < 0.5:
            self.attacker.lies += 1
            self._late.append(effect)
            return []
        return [effect]

    def round(self, now: Instant) -> list[Effect]:
        """Guesses for everybody, and what was kept back."""
        attacker = self.attacker
        late, self._late = self._late, []
        guesses = [
            attacker.frame(peer, Echo, _noise(attacker, PROBE_BYTES), b"")
            for peer in attacker.peers
            for _ in range(GUESSES)
        ]
        attacker.lies += len(guesses)
        return [*guesses, *late]
