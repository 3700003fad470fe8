"""The partition detector: its table of states, what proves a peer reachable, and how soon it sees a cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.partition import RETURNS, PartitionDetector, detection_bound_ns
from tests.mesh_shell import MS, Shell

INTERVAL, MISSES = 100 * MS, 7
WINDOW = INTERVAL * MISSES
PEERS = [b"a" * 32, b"b" * 32, b"c" * 32]


def detector(peers=PEERS, quorum_size=3, **options):
    options = {"interval_ns": INTERVAL, "misses": MISSES} | options
    made = PartitionDetector(peers, quorum_size=quorum_size, random=random.Random(0), **options)
    made.start(0)
    return made


def hear(made, now, peers=PEERS):
    """A round of probes, which come back from `peers` at once."""
    for peer, nonce in made.probe(now):
        if peer in peers:
            assert made.echoed(peer, nonce, now) == 0


def lead_to(state):
    """(a detector in `state`, the time)."""
    made, now = detector(), 0
    if state == "recovering":
        return made, now
    if state == "healthy":
        made.handle_recovery(now)
        return made, now
    now = WINDOW + 1
    made.detect_partition(now)
    return made, now


def test_a_node_starts_as_recovering_and_with_its_peers_given_a_window():
    made = detector()
    assert made.status(0).state == "recovering" and not made.may_write(0)
    assert [made.reachable(at) for at in (0, WINDOW, WINDOW + 1)] == [4, 4, 1]


@pytest.mark.parametrize("state", ["healthy", "partitioned", "recovering"])
@pytest.mark.parametrize("reached", [0, 1, 2, 3])
@pytest.mark.parametrize("asks", ["detect", "recover"])
def test_the_table_of_states(state, reached, asks):
    made, now = lead_to(state)
    now += WINDOW + 1
    hear(made, now, PEERS[:reached])
    enough = reached + 1 >= 3
    events = made.detect_partition(now) if asks == "detect" else made.handle_recovery(now)
    if asks == "detect":
        becomes = "partitioned" if not enough else state
    else:
        becomes = "healthy" if state == "recovering" and enough else state
    assert made.state == becomes
    assert [(one.data["from"], one.data["to"]) for one in events] == ([(state, becomes)] if becomes != state else [])


def test_a_transition_tells_what_it_saw_and_how_long_the_former_state_lasted():
    made, _ = lead_to("healthy")
    (event,) = made.detect_partition(WINDOW + 5)
    assert event.name == "state"
    assert event.data == {
        "from": "healthy", "to": "partitioned", "reachable": 1, "quorum": 3, "after_ns": WINDOW + 5,
    }  # fmt: skip
    status = made.status(WINDOW + 9)
    assert (status.since, status.transitions, status.required, status.reachable) == (WINDOW + 5, 2, 3, 1)


def test_one_good_check_ends_no_partition_and_a_bad_one_between_starts_anew():
    made, now = lead_to("partitioned")
    states = []
    for good in (True, False, True, False, True, True):
        now += WINDOW + 1
        if good:
            hear(made, now)
        made.detect_partition(now)
        states.append(made.state)
    assert RETURNS == 2
    assert states == ["partitioned"] * 5 + ["recovering"]


def test_a_partition_ends_in_recovering_and_never_in_healthy():
    made, now = lead_to("partitioned")
    hear(made, now)
    made.handle_recovery(now)
    assert made.state == "partitioned", "what a reconciliation says changes nothing while it is partitioned"
    for _ in range(50):
        hear(made, now)
        made.detect_partition(now)
        now += INTERVAL
    assert made.state == "recovering" and not made.may_write(now), "however long it waits"


@pytest.mark.parametrize("quorum_size", [1, 2, 3, 4])
def test_this_node_is_one_of_the_members_that_it_reaches(quorum_size):
    made = detector(quorum_size=quorum_size)
    now = WINDOW + 1
    hear(made, now, PEERS[: quorum_size - 1])
    assert made.reachable(now) == quorum_size
    assert made.detect_partition(now) == []
    made.handle_recovery(now)
    assert made.may_write(now)


@pytest.mark.parametrize("case", ["guessed", "another peer's", "twice", "a stranger's", "too old"])
def test_what_is_no_echo_of_a_fresh_probe_to_that_peer_proves_nothing(case):
    made, now = detector(), 10 * WINDOW
    nonces = dict(made.probe(now))
    a, b = PEERS[:2]
    if case == "guessed":
        assert made.echoed(a, bytes(8), now) is None
    elif case == "another peer's":
        assert made.echoed(a, nonces[b], now) is None
    elif case == "a stranger's":
        assert made.echoed(b"s" * 32, nonces[a], now) is None
    elif case == "twice":
        assert made.echoed(a, nonces[a], now) == 0
        now += WINDOW + 1
        assert made.echoed(a, nonces[a], now) is None
    else:
        made.echoed(a, nonces[a], now + WINDOW + 1)
        now += WINDOW + 1
    assert made.reachable(now) == 1


def test_an_echo_proves_the_moment_of_its_probe_and_not_that_of_its_arrival():
    made, sent = detector(), 10 * WINDOW
    nonces = dict(made.probe(sent))
    assert made.echoed(PEERS[0], nonces[PEERS[0]], sent + WINDOW) == WINDOW, "the round trip is told all the same"
    assert made.reachable(sent + WINDOW) == 2
    assert made.reachable(sent + WINDOW + 1) == 1


def test_an_older_echo_that_comes_later_takes_nothing_back():
    made, now = detector(), 10 * WINDOW
    old, young = dict(made.probe(now)), dict(made.probe(now + INTERVAL))
    made.echoed(PEERS[0], young[PEERS[0]], now + INTERVAL)
    made.echoed(PEERS[0], old[PEERS[0]], now + INTERVAL)
    assert made.reachable(now + INTERVAL + WINDOW) == 2


def test_nonces_that_never_came_back_are_forgotten():
    made = detector()
    for at in range(1000):
        made.probe(at * INTERVAL)
    assert max(map(len, made._sent.values())) <= MISSES + 1


def test_a_node_that_stood_still_does_not_write_when_it_wakes():
    made, _ = lead_to("healthy")
    before = made.probe(5)
    assert made.may_write(5)
    now = 60_000 * MS
    for peer, nonce in before:  # they were on their way all the time
        made.echoed(peer, nonce, now)
    assert made.state == "healthy", "no timer has found out yet"
    assert not made.may_write(now)


class Link:
    """A mesh of one detector and its peers: `delay(peer)` to and fro, and from `cut` on nothing passes to `lost`."""

    def __init__(self, made, *, delay, lost, cut, first=0):
        self.made, self.delay, self.lost, self.cut, self.tick = made, delay, lost, cut, first
        self.way: list[tuple[int, bytes, bytes]] = []  # (when the echo arrives, peer, nonce)
        self.last_proof = 0
        self.partitioned_at = None
        made.handle_recovery(0)

    def run(self, until, jitter=lambda: 0):
        while self.tick <= until:
            self.arrive(self.tick)
            now = self.tick + jitter()
            self.arrive(now)
            if self.made.detect_partition(now) and self.made.state == "partitioned":
                self.partitioned_at = self.partitioned_at or now
            for peer, nonce in self.made.probe(now):
                there, back = self.delay(peer), self.delay(peer)
                # What is on the wire at the cut is lost with it, on either way.
                if peer not in self.lost or now + there + back < self.cut:
                    self.way.append((now + there + back, peer, nonce))
            self.tick += INTERVAL

    def arrive(self, now):
        self.way.sort()
        while self.way and self.way[0][0] <= now:
            at, peer, nonce = self.way.pop(0)
            self.made.echoed(peer, nonce, at)


DELAYS = st.integers(0, (WINDOW - INTERVAL) // 2 - 1)


@given(
    st.integers(0, 20 * INTERVAL), st.lists(DELAYS, min_size=3, max_size=3), st.integers(0, INTERVAL - 1),
    st.integers(0, 50 * MS), st.integers(),
)  # fmt: skip
def test_a_cut_is_seen_within_the_bound_and_never_before_it_happens(cut, delays, first, jitter, seed):
    r = random.Random(seed)
    made = detector()
    late = [0]

    def jittered():
        late.append(r.randint(0, jitter))
        return late[-1]

    mesh = Link(made, delay=lambda peer: delays[PEERS.index(peer)], lost=PEERS[:2], cut=cut, first=first)
    mesh.run(cut + 3 * WINDOW, jittered)
    bound = detection_bound_ns(INTERVAL, MISSES, max(late))
    assert mesh.partitioned_at is not None
    # A timer that was late by `jitter` may look, and probe, so much later: the window is shorter by it.
    assert mesh.partitioned_at <= cut + bound
    assert mesh.partitioned_at > cut or 2 * max(delays) + 2 * max(late) >= WINDOW - INTERVAL


def test_the_bound_of_detection_is_no_wider_than_it_has_to_be():
    """A cut right after an echo whose probe left the moment before, and checks right before the window is over."""
    made = detector()
    made.handle_recovery(0)
    hear(made, 10 * INTERVAL)
    assert not made.detect_partition(10 * INTERVAL + WINDOW), "the window itself still counts"
    assert made.detect_partition(10 * INTERVAL + WINDOW + INTERVAL)
    assert detection_bound_ns(INTERVAL, MISSES) == WINDOW + INTERVAL == 800 * MS


@given(st.lists(DELAYS, min_size=3, max_size=3), st.integers(0, INTERVAL - 1), st.integers())
def test_latency_that_is_merely_bad_is_no_partition(slowest, first, seed):
    """Each way takes what it takes, another time at each frame, below half of what the window leaves."""
    r = random.Random(seed)
    mesh = Link(detector(), delay=lambda peer: r.randint(0, slowest[PEERS.index(peer)]), lost=[], cut=0, first=first)
    mesh.run(100 * INTERVAL)
    assert mesh.partitioned_at is None and mesh.made.status(0).transitions == 1


@pytest.mark.parametrize("way", ["there", "back", "both"])
def test_one_way_that_is_cut_is_a_peer_that_cannot_be_reached(way):
    shell = Shell(4, roster=True).settle_down()
    lost = {"there": {(0, 2), (0, 3)}, "back": {(2, 0), (3, 0)}}
    lost["both"] = lost["there"] | lost["back"]
    for _ in range(9):
        shell.pulse(lose=lambda source, target: (source, target) in lost[way])
    assert shell.state(0) == "partitioned"
    assert [shell.state(number) for number in (1, 2, 3)] == ["healthy"] * 3, "who still reaches three is none"


def test_the_specification_s_own_scenario():
    """n = 10, q = 7, cut 3|7: seen within a second, over within five of the heal, and only on the minority's side."""
    shell = Shell(10, roster=True).settle_down()
    assert shell.nodes[0].config.quorum_size == 7
    cut = shell.now
    for _ in range(10):
        shell.pulse(lose=lambda source, target: (source < 3) != (target < 3))
        if shell.state(0) == "partitioned":
            break
    assert shell.now - cut <= detection_bound_ns(INTERVAL, MISSES) + MS
    assert [shell.state(number) for number in range(10)] == ["partitioned"] * 3 + ["healthy"] * 7
    healed = shell.now
    shell.settle_down()
    assert shell.now - healed <= 5_000 * MS
