"""Every knob of a node, its bounds, and the formulas that derive one from another.

    fanout            k          peers a gossip round pushes to
    gossip_interval   T          from one round to the next
    peer_timeout                 a peer not heard of for so long leaves the selection and is only dialled

A correct peer must not time out merely because nobody picked it.  In one round a given peer pushes to us with
probability k / (n - 1); after r rounds it has not with probability (1 - k / (n - 1))^r.  For that to be at most
FALSE_DORMANCY, r = ln(FALSE_DORMANCY) / ln(1 - k / (n - 1)); the timeout is r rounds, at least TIMEOUT_ROUNDS_MIN.
A false alarm costs a dial and nothing else, because any frame from the peer wakes it.

    probe_interval    P          from one round of probes to the next; 0 for none
    probe_misses      m          P x m is how long an echo proves that its sender can be reached (`partition`)
"""

from __future__ import annotations

import math

import msgspec

from knhk_mesh.commits import network_id
from knhk_mesh.errors import ConfigError
from knhk_mesh.identity import AGENT_ID_BYTES
from knhk_mesh.messages import FRAME_BYTES_MIN
from knhk_mesh.quorum import Roster, check_roster

FALSE_DORMANCY = 0.001
TIMEOUT_ROUNDS_MIN = 10
MILLISECOND = 1_000_000
STRATEGIES = ("random", "nearest", "hybrid", "region")
OBSERVATIONS = ("selections", "resources")
VOTE_BYTES = 104
"""Of a vote in a certificate, with what the codec adds."""


class PeerConfig(msgspec.Struct, frozen=True):
    """One other member: its id (32 bytes), the address to use for it, and its region."""

    agent_id: bytes
    addr: str
    region: str = ""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is told at its start.  Raises ConfigError, naming the field, for what cannot work.

    Times are integer nanoseconds.  `faulty` is f; n is len(peers) + 1.  Without a `roster` there are no certificates,
    and a node is a quorum of its own; with one, only a healthy node takes stable writes, and if `gate_local_writes`
    any write.  `observe` names what the node tells of itself at intervals, beyond what it always does.
    """

    network: str
    peers: tuple[PeerConfig, ...]
    faulty: int
    region: str = ""
    fanout: int = 5
    strategy: str = "random"
    gossip_interval_ns: int = 100 * MILLISECOND
    network_start_ms: int = 1_767_225_600_000  # 2026-01-01, the clock before the first commit
    dial_backoff_max_ns: int = 500 * MILLISECOND
    dials_per_round_max: int = 2
    frame_bytes_max: int = 64 * 1024
    delta_frames_max: int = 8
    pending_commits_max: int = 4096
    pending_bytes_max: int = 8 * 1024 * 1024
    requests_waiting_max: int = 1024
    roster: Roster | None = None
    gate_local_writes: bool = False
    probe_interval_ns: int = 100 * MILLISECOND
    probe_misses: int = 7
    stable_timeout_ns: int = 5_000 * MILLISECOND
    rebalance_interval_ns: int = 5_000 * MILLISECOND
    observe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nodes = len(self.peers) + 1
        _require(0 < len(self.network) <= 128, "network", "has 1 to 128 characters")
        _require(0 <= self.faulty <= (nodes - 1) // 3, "faulty", f"is at most (n - 1) // 3, n is {nodes}")
        _require(self.fanout >= 1, "fanout", "is at least 1")
        _require(self.strategy in STRATEGIES, "strategy", f"is one of {', '.join(STRATEGIES)}")
        apart = self.strategy != "random" and self.fanout < 2 < nodes
        _require(
            not apart, "fanout", f'under "{self.strategy}" is at least 2: the one place is a near peer\'s, for ever'
        )
        _require(self.gossip_interval_ns >= MILLISECOND, "gossip_interval_ns", "is at least a millisecond")
        _require(0 <= self.network_start_ms < 1 << 48, "network_start_ms", "fits a commit's clock, 48 bits")
        _require(self.frame_bytes_max >= FRAME_BYTES_MIN, "frame_bytes_max", f"is at least {FRAME_BYTES_MIN}")
        for field in ("dial_backoff_max_ns", "dials_per_round_max", "delta_frames_max", "pending_commits_max",
                      "pending_bytes_max", "requests_waiting_max", "stable_timeout_ns",
                      "rebalance_interval_ns"):  # fmt: skip
            _require(getattr(self, field) >= 1, field, "is at least 1")
        ids = [peer.agent_id for peer in self.peers]
        _require(all(len(one) == AGENT_ID_BYTES for one in ids), "peers", "have ids of 32 bytes")
        _require(len(set(ids)) == len(ids), "peers", "are distinct")
        _require(all(peer.addr for peer in self.peers), "peers", "have an address")
        _require(
            self.probe_misses >= 2, "probe_misses", "is at least 2: with 1 every round trip would be a false alarm"
        )
        probing = self.probe_interval_ns
        _require(probing == 0 or probing >= MILLISECOND, "probe_interval_ns", "is 0, or at least a millisecond")
        _require(set(self.observe) <= set(OBSERVATIONS), "observe", f"names some of {', '.join(OBSERVATIONS)}")
        _require(self.roster is not None or not self.gate_local_writes, "gate_local_writes", "needs a roster")
        if self.roster is not None:
            self._check_roster(self.roster)

    def _check_roster(self, roster: Roster) -> None:
        check_roster(roster)
        _require(roster.network == network_id(self.network), "roster", "is of this network")
        _require({peer.agent_id for peer in self.peers} <= set(roster.members), "roster", "has every peer as a member")
        _require(len(roster.members) == len(self.peers) + 1, "roster", "has this node and its peers, and nobody else")
        _require(roster.faulty == self.faulty, "faulty", f"is the roster's, {roster.faulty}")
        _require(self.probe_interval_ns > 0, "probe_interval_ns", "is above 0 where there is a roster")
        fits = roster.quorum_size * VOTE_BYTES + 512 <= self.frame_bytes_max
        _require(fits, "frame_bytes_max", f"holds a certificate of {roster.quorum_size} votes")

    @property
    def quorum_size(self) -> int:
        """n - f.  Two quorums share more than f members, or the configuration was refused (spec-defects 5)."""
        nodes = len(self.peers) + 1
        quorum = nodes - self.faulty
        assert 2 * quorum - nodes > self.faulty
        return quorum

    @property
    def peer_timeout_ns(self) -> int:
        """How long a peer may be silent before it is only dialled; the module's docstring has the formula."""
        return peer_timeout_rounds(len(self.peers) + 1, self.fanout) * self.gossip_interval_ns


def peer_timeout_rounds(nodes: int, fanout: int) -> int:
    """Rounds after which a correct peer's silence by mere chance is rarer than FALSE_DORMANCY."""
    others = nodes - 1
    if fanout >= others:
        return TIMEOUT_ROUNDS_MIN
    rounds = math.log(FALSE_DORMANCY) / math.log(1 - fanout / others)
    return max(TIMEOUT_ROUNDS_MIN, math.ceil(rounds))


def _require(holds: bool, field: str, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{field} {rule}")
