"""The Byzantine validator: what a frame must be before anything in it is believed.

The specification's checks, with its defects resolved (spec-defects 12 to 18).  The channel authenticates the
peer; here the peer must be a known member in good standing, the bytes a frame within its limits, and the
sequence number one that this session has not used.  Signatures are checked where they are: on commits and proofs.

A peer is charged only for what it should have checked itself.  A charge lowers its local score, which recovers;
only a proof is for ever, and a proof names an author, never a deliverer.

Token buckets bound what each peer can make this node do: frames, bytes, commits that have to be opened, which costs a
signature's verification each, pushes and pulls that have to be answered, and the bytes of the answers.  What is
beyond them is dropped before it costs anything, and comes again.
"""

from __future__ import annotations

from collections import Counter

from knhk_mesh.effects import Instant
from knhk_mesh.errors import BadFrame
from knhk_mesh.identity import AgentId
from knhk_mesh.messages import Echo, Frame, Probe, decode_frame
from knhk_mesh.peer_registry import PeerRegistry
from knhk_mesh.quotas import TokenBucket

WINDOW_BITS = 128
SESSIONS_REMEMBERED = 8
CHARGE_BAD_FRAME = 50
CHARGE_BAD_COMMIT = 100
"""Thousandths of a peer's score.  Below 500 a peer is neither selected nor heard."""

FRAMES_A_SECOND, FRAMES_BURST = 1000, 4000
BYTES_A_SECOND, BYTES_BURST = 16 * 1024 * 1024, 64 * 1024 * 1024
COMMITS_A_SECOND, COMMITS_BURST = 2000, 20_000
PULLS_A_SECOND, PULLS_BURST = 50, 200
PUSHES_A_SECOND, PUSHES_BURST = 50, 200
VOTES_A_SECOND, VOTES_BURST = 1000, 4000
"""Each costs a signature, and whoever proposes what it has votes for already is given them again."""
ANSWERS_A_SECOND, ANSWERS_BURST = 512 * 1024, 2 * 1024 * 1024
EARNED_TIMES = 2
FORGOTTEN_NS = 60_000_000_000
"""Of one peer; answers in bytes.  What it shows to have taken in earns EARNED_TIMES as many bytes of answers, once: who
catches up is served as fast as it can be, and who asks for everything again and again is not.  A peer that starts anew
may have lost its disk, and earns anew, at most every FORGOTTEN_NS."""

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


class _Allowance:
    """What one peer may still ask of this node."""

    __slots__ = ("answers", "bytes", "commits", "frames", "pulls", "pushes", "session", "shown", "since", "votes")

    def __init__(self, now: int) -> None:
        self.shown = 0  # how many bytes of this node's commits it has shown to have
        self.session = -1
        self.since = now
        self.frames = TokenBucket(rate=FRAMES_A_SECOND, burst=FRAMES_BURST, now=now)
        self.bytes = TokenBucket(rate=BYTES_A_SECOND, burst=BYTES_BURST, now=now)
        self.commits = TokenBucket(rate=COMMITS_A_SECOND, burst=COMMITS_BURST, now=now)
        self.pulls = TokenBucket(rate=PULLS_A_SECOND, burst=PULLS_BURST, now=now)
        self.pushes = TokenBucket(rate=PUSHES_A_SECOND, burst=PUSHES_BURST, now=now)
        self.votes = TokenBucket(rate=VOTES_A_SECOND, burst=VOTES_BURST, now=now)
        self.answers = TokenBucket(rate=ANSWERS_A_SECOND, burst=ANSWERS_BURST, now=now)


class ByzantineValidator:
    """Validates frames against `registry` and counts what it turns away, by reason."""

    def __init__(self, registry: PeerRegistry, *, frame_bytes_max: int) -> None:
        self._registry = registry
        self._frame_bytes_max = frame_bytes_max
        self._windows: dict[tuple[AgentId, bool], ReplayWindow] = {}
        self._allowances: dict[AgentId, _Allowance] = {}
        self.validated = 0
        self.rejected: Counter[str] = Counter()

    def validate_message(self, now: Instant, peer: AgentId, data: bytes) -> Frame:
        """The frame in `data`, which the authenticated channel says is from `peer`.

        Raises BadFrame: stranger (not a member), shunned (score too low), throttled, oversized, garbage, layout,
        replay.
        """
        try:
            frame = self._open(now.monotonic, peer, data)
        except BadFrame as error:
            self.rejected[error.reason] += 1
            if error.reason in ("oversized", "garbage", "layout"):
                self._registry.update_reputation(peer, -CHARGE_BAD_FRAME, now=now.monotonic)
            raise
        self.validated += 1
        return frame

    def _open(self, now: int, peer: AgentId, data: bytes) -> Frame:
        if not self._registry.admits(peer):
            raise BadFrame("stranger" if self._registry.get_peer(peer) is None else "shunned")
        allowance = self._allowance(now, peer)
        if not (allowance.frames.take(now) and allowance.bytes.take(now, len(data))):
            raise BadFrame("throttled")
        frame = decode_frame(data, bytes_max=self._frame_bytes_max)
        kind = (peer, isinstance(frame, Probe | Echo))  # these overtake the others, and have numbers of their own
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = ReplayWindow()
        if not window.admit(frame.session, frame.sequence):
            raise BadFrame("replay")
        return frame

    def _allowance(self, now: int, peer: AgentId) -> _Allowance:
        allowance = self._allowances.get(peer)
        if allowance is None:
            allowance = self._allowances[peer] = _Allowance(now)
        return allowance

    def may_open(self, now: int, peer: AgentId) -> bool:
        """Whether one more commit that `peer` brings may be opened now; if not, it is to come again."""
        if self._allowance(now, peer).commits.take(now):
            return True
        self.rejected["commit-throttled"] += 1
        return False

    def may_pull(self, now: int, peer: AgentId) -> bool:
        """Whether a pull of `peer` may be answered now; if not, it will ask again."""
        if self._allowance(now, peer).pulls.take(now):
            return True
        self.rejected["pull-throttled"] += 1
        return False

    def may_push(self, now: int, peer: AgentId) -> bool:
        """Whether a push of `peer` that calls for an answer may have one now; if not, it will push again."""
        if self._allowance(now, peer).pushes.take(now):
            return True
        self.rejected["push-throttled"] += 1
        return False

    def may_vote(self, now: int, peer: AgentId) -> bool:
        """Whether one more commit of `peer` may be voted for now; if not, it will propose it again."""
        if self._allowance(now, peer).votes.take(now):
            return True
        self.rejected["vote-throttled"] += 1
        return False

    def shows(self, now: int, peer: AgentId, session: int, size: int) -> None:
        """`peer` has that many bytes of what this node has accepted, as far as its pull says."""
        allowance = self._allowance(now, peer)
        if session != allowance.session and (allowance.session < 0 or now - allowance.since >= FORGOTTEN_NS):
            allowance.session, allowance.since, allowance.shown = session, now, 0
        if size > allowance.shown:
            allowance.answers.give((size - allowance.shown) * EARNED_TIMES)
            allowance.shown = size

    def room_to_answer(self, now: int, peer: AgentId) -> int:
        """How many bytes more may be sent to `peer` in answer to its pulls."""
        return self._allowance(now, peer).answers.available(now)

    def answered(self, now: int, peer: AgentId, size: int) -> None:
        """So many have been sent."""
        answers = self._allowance(now, peer).answers
        answers.take(now, min(size, answers.available(now)))

    def charge_vote(self, now: Instant, peer: AgentId, reason: str) -> None:
        """`peer` sent a vote or a certificate that proves nothing, which a correct node never does.

        Another epoch is no offence: it may have learnt of a roster earlier, or later.
        """
        self.rejected[f"vote-{reason}"] += 1
        if reason == "epoch":
            return
        self._registry.update_reputation(peer, -CHARGE_BAD_COMMIT, now=now.monotonic)

    def charge_commit(self, now: Instant, peer: AgentId, reason: str) -> None:
        """`peer` delivered an invalid commit, which a correct node never passes on."""
        self.rejected[f"commit-{reason}"] += 1
        self._registry.update_reputation(peer, -CHARGE_BAD_COMMIT, now=now.monotonic)
