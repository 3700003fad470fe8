"""The Byzantine validator: what a frame must be before anything in it is believed.

The specification's checks, with its defects resolved (spec-defects 12 to 18).  The channel authenticates the
peer; here the peer must be a known member in good standing, the bytes a frame within its limits, and the
sequence number one that this session has not used.  Signatures are checked where they are: on commits and proofs.

A peer is charged only for what it should have checked itself.  A charge lowers its local score, which recovers;
only a proof is for ever, and a proof names an author, never a deliverer.
"""

from __future__ import annotations

from collections import Counter

from knhk_mesh.effects import Instant
from knhk_mesh.errors import BadFrame
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import Frame, decode_frame
from knhk_mesh.peer_registry import PeerRegistry

WINDOW_BITS = 128
SESSIONS_REMEMBERED = 8
CHARGE_BAD_FRAME = 50
CHARGE_BAD_COMMIT = 100
"""Thousandths of a peer's score.  Below 500 a peer is neither selected nor heard."""

_WINDOW = (1 << WINDOW_BITS) - 1


class ReplayWindow:
    """Which sequence numbers of one peer's session were seen: the sliding window of IPsec (RFC 4303, 3.4.3).

    Numbers may arrive out of order within WINDOW_BITS of the greatest; older ones count as replayed.
    """

    __slots__ = ("_greatest", "_past_sessions", "_seen", "_session")

    def __init__(self) -> None:
        self._session = -1
        self._greatest = -1
        self._seen = 0
        self._past_sessions: list[int] = []

    def admit(self, session: int, sequence: int) -> bool:
        """Whether this number is new; if so it is taken.  A session that a later one has replaced is over."""
        if session != self._session:
            if session in self._past_sessions:
                return False
            self._past_sessions = [*self._past_sessions, self._session][-SESSIONS_REMEMBERED:]
            self._session, self._greatest, self._seen = session, -1, 0
        ahead = sequence - self._greatest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _WINDOW if ahead < WINDOW_BITS else 1
            self._greatest = sequence
            return True
        if -ahead >= WINDOW_BITS:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True


class ByzantineValidator:
    """Validates frames against `registry` and counts what it turns away, by reason."""

    def __init__(self, registry: PeerRegistry, *, frame_bytes_max: int) -> None:
        self._registry = registry
        self._frame_bytes_max = frame_bytes_max
        self._windows: dict[AgentId, ReplayWindow] = {}
        self.validated = 0
        self.rejected: Counter[str] = Counter()

    def validate_message(self, now: Instant, peer: AgentId, data: bytes) -> Frame:
        """The frame in `data`, which the authenticated channel says is from `peer`.

        Raises BadFrame: stranger (not a member), shunned (score too low), oversized, garbage, layout, replay.
        """
        try:
            frame = self._open(peer, data)
        except BadFrame as error:
            self.rejected[error.reason] += 1
            if error.reason in ("oversized", "garbage", "layout"):
                self._registry.update_reputation(peer, -CHARGE_BAD_FRAME, now=now.monotonic)
            raise
        self.validated += 1
        return frame

    def _open(self, peer: AgentId, data: bytes) -> Frame:
        if not self._registry.admits(peer):
            raise BadFrame("stranger" if self._registry.get_peer(peer) is None else "shunned")
        frame = decode_frame(data, bytes_max=self._frame_bytes_max)
        window = self._windows.get(peer)
        if window is None:
            window = self._windows[peer] = ReplayWindow()
        if not window.admit(frame.session, frame.sequence):
            raise BadFrame("replay")
        return frame

    def charge_commit(self, now: Instant, peer: AgentId, reason: str) -> None:
        """`peer` delivered an invalid commit, which a correct node never passes on."""
        self.rejected[f"commit-{reason}"] += 1
        self._registry.update_reputation(peer, -CHARGE_BAD_COMMIT, now=now.monotonic)
