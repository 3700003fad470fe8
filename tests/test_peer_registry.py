"""The peer registry: the specification's section 1 with defects 22 to 27 resolved.

A stateful test drives every method against a model that is written from the rules, then come the properties
that need statistics, counting or a story: uniformity, cost, backoff, recovery.
"""

import math
import sys
from collections import Counter
from hashlib import blake2b
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from knhk_mesh.dialling import DIAL_BACKOFF_MIN_NS
from knhk_mesh.peer_registry import REPUTATION_RECOVERY_PER_S, PeerRegistry, PeerRejected, UnknownPeer
from knhk_mesh.selection import NEVER, REPUTATION_MAX, PeerInfo, ShuffledPeers

SECOND = 1_000_000_000
TIMEOUT = 3 * SECOND
STRATEGIES = ("get_random_peers", "get_nearest_peers", "get_hybrid_peers")
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def agent(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=32).digest()


SELF = agent(-1)


def peer(number: int, **known) -> PeerInfo:
    fields = {"addr": f"host-{number}:7000", "latency_ms": float(number), "last_seen": 0} | known
    return PeerInfo(**({"agent_id": agent(number), "public_key": agent(number)} | fields))


def registry(peers: int = 0, *, random: Random | None = None, **options) -> PeerRegistry:
    made = PeerRegistry(
        SELF, quorum_size=3, peer_sample_size=5, random=random or Random(7), bootstrap_seeds=(), **options
    )
    for number in range(peers):
        made.register_peer(peer(number))
    return made


def ids(peers: list[PeerInfo]) -> list[bytes]:
    return [each.agent_id for each in peers]


class Registry(RuleBasedStateMachine):
    """The registry against a model: what is known of a peer, and what follows from that."""

    numbers = st.integers(0, 4)

    @initialize(threshold=st.sampled_from([0, 500, REPUTATION_MAX]), seed=st.integers(0, 2**32))
    def begin(self, threshold, seed):
        self.threshold = threshold
        self.subject = registry(random=Random(seed), reputation_threshold=threshold)
        self.now = 0
        self.seen: dict[int, int] = {}
        self.score: dict[int, int] = {}
        self.dormant: set[int] = set()
        self.proven: set[int] = set()

    def admitted(self) -> set[bytes]:
        return {
            agent(number)
            for number, score in self.score.items()
            if score >= self.threshold and number not in self.proven
        }

    def selectable(self) -> set[bytes]:
        return self.admitted() - {agent(number) for number in self.dormant}

    @rule(number=numbers, score=st.sampled_from([0, 499, 500, REPUTATION_MAX]))
    def register(self, number, score):
        known = number in self.score
        self.subject.register_peer(peer(number, reputation=score, last_seen=self.now, region=f"region-{number % 2}"))
        if not known:
            self.score[number] = 0 if number in self.proven else score
            self.seen[number] = self.now

    @rule(number=numbers)
    def touch(self, number):
        if number not in self.score:
            with pytest.raises(UnknownPeer):
                self.subject.touch_peer(agent(number), self.now)
            return
        self.subject.touch_peer(agent(number), self.now)
        self.seen[number] = self.now
        self.dormant.discard(number)

    @rule(number=numbers, delta=st.integers(-600, 600))
    def judge(self, number, delta):
        if number in self.score:
            self.subject.update_reputation(agent(number), delta, now=self.now)
            self.score[number] = self.subject.get_peer(agent(number)).reputation
            assert number not in self.proven or self.score[number] == 0

    @rule(number=numbers)
    def prove(self, number):
        self.subject.prove_faulty(agent(number))
        self.proven.add(number)
        self.dormant.discard(number)
        if number in self.score:
            self.score[number] = 0

    @rule(number=numbers, latency=st.floats(0, allow_nan=False))
    def measure(self, number, latency):
        if number in self.score:
            self.subject.update_latency(agent(number), latency)

    @rule(passed=st.sampled_from([1, SECOND, TIMEOUT]))
    def wait(self, passed):
        self.now += passed

    @rule()
    def recover(self):
        self.subject.recover_reputation(self.now)
        self.score = {number: self.subject.get_peer(agent(number)).reputation for number in self.score}

    @rule()
    def prune(self):
        stale = {
            number
            for number, seen in self.seen.items()
            if self.now - seen >= TIMEOUT and number not in self.dormant | self.proven
        }
        assert self.subject.prune_stale_peers(self.now, TIMEOUT) == len(stale)
        self.dormant |= stale

    @rule(limit=st.integers(0, 9))
    def dial(self, limit):
        dialled = ids(self.subject.due_for_dialling(self.now, limit))
        assert len(dialled) == len(set(dialled)) <= limit
        assert set(dialled) <= self.admitted() - self.selectable()

    @rule(k=st.integers(0, 9), strategy=st.sampled_from(STRATEGIES))
    def select(self, k, strategy):
        chosen = ids(getattr(self.subject, strategy)(k))
        assert len(chosen) == len(set(chosen)) == min(k, len(self.selectable()))
        assert set(chosen) <= self.selectable()

    @invariant()
    def every_view_agrees(self):
        everyone = self.subject.get_all_peers()
        assert ids(everyone) == [agent(number) for number in self.score]
        assert {each for each in ids(everyone) if self.subject.admits(each)} == self.admitted()
        assert SELF not in self.admitted() and not self.subject.admits(SELF)
        nearest = self.subject.get_nearest_peers(99)
        assert set(ids(nearest)) == self.selectable()
        assert [each.latency_ms for each in nearest] == sorted(each.latency_ms for each in nearest)
        regions = [self.subject.get_peers_by_region(f"region-{number}") for number in range(2)]
        assert Counter(ids(regions[0] + regions[1])) == Counter(self.selectable())
        assert self.subject.peer_count() == len(self.score)
        assert self.subject.byzantine_count() == len(self.score) - len(self.admitted())
        assert self.subject.quorum_size() == 3
        assert {number for number in self.score if self.subject.is_dormant(agent(number))} == self.dormant


TestRegistryAgainstItsModel = Registry.TestCase


# Selection


@every_strategy
@given(peers=st.integers(0, 30), k=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_a_selection_is_exactly_min_k_available_distinct_peers(strategy, peers, k, seed):
    subject = registry(peers, random=Random(seed))
    for _ in range(3):
        chosen = ids(getattr(subject, strategy)(k))
        assert len(chosen) == len(set(chosen)) == min(k, peers)


@every_strategy
@pytest.mark.parametrize("k", [-1, -(2**40)])
def test_a_negative_k_is_refused(strategy, k):
    with pytest.raises(ValueError, match="k: must not be negative"):
        getattr(registry(3), strategy)(k)


@every_strategy
@pytest.mark.parametrize(("score", "admitted"), [(499, False), (500, True)])
def test_one_rule_of_standing_holds_for_every_strategy_and_for_admission(strategy, score, admitted):
    subject = registry(4)
    subject.update_reputation(agent(2), score - REPUTATION_MAX, now=0)
    assert (agent(2) in ids(getattr(subject, strategy)(4))) == admitted
    assert subject.admits(agent(2)) == admitted


@every_strategy
def test_a_newly_registered_peer_is_selectable_at_once(strategy):
    subject = registry()
    subject.register_peer(peer(1, last_seen=NEVER, latency_ms=math.inf))
    assert ids(getattr(subject, strategy)(1)) == [agent(1)]


@pytest.mark.parametrize("k", range(41))
def test_hybrid_is_four_fifths_near_and_keeps_a_uniform_place(k):
    near_count = {0: 0, 1: 1}.get(k, min(max(1, round(0.8 * k)), k - 1))
    subject = registry(200)
    beyond = set()
    for _ in range(100):
        chosen = ids(subject.get_hybrid_peers(k))
        assert chosen[:near_count] == [agent(number) for number in range(near_count)]
        beyond |= set(chosen[near_count:])
    assert k < 2 or len(beyond) > 30, "the rest must be drawn from all, not be the next nearest"


def test_nearest_breaks_ties_by_lot_and_not_by_id_or_age():
    first = set()
    for seed in range(60):
        subject = registry(random=Random(seed))
        for number in range(4):
            subject.register_peer(peer(number, latency_ms=1.0))
        first.add(subject.get_nearest_peers(1)[0].agent_id)
    assert first == {agent(number) for number in range(4)}


def test_no_round_trip_is_shorter_than_the_floor():
    subject = registry(latency_floor_ms=0.5)
    subject.register_peer(peer(1, latency_ms=0.0))
    subject.register_peer(peer(2, latency_ms=9.0))
    subject.update_latency(agent(2), 1e-9)
    assert [each.latency_ms for each in subject.get_nearest_peers(2)] == [0.5, 0.5]


@pytest.mark.parametrize("latency", [math.nan, -0.001, -math.inf])
def test_an_impossible_latency_is_rejected_and_changes_nothing(latency):
    subject = registry(3)
    with pytest.raises(PeerRejected, match="latency_ms"):
        subject.update_latency(agent(0), latency)
    with pytest.raises(PeerRejected, match="latency_ms"):
        subject.register_peer(peer(9, latency_ms=latency))
    assert ids(subject.get_nearest_peers(9)) == [agent(number) for number in range(3)]


def test_a_region_is_listed_whole_or_sampled_and_other_regions_never():
    subject = registry()
    for number in range(12):
        subject.register_peer(peer(number, region="north" if number % 3 else "south"))
    south = {agent(number) for number in range(0, 12, 3)}
    assert set(ids(subject.get_peers_by_region("south"))) == south
    sampled = [ids(subject.get_peers_by_region("south", 2)) for _ in range(50)]
    assert all(len(set(pair)) == 2 for pair in sampled)
    assert {each for pair in sampled for each in pair} == south
    assert subject.get_peers_by_region("nowhere") == []


# Uniformity


def chi_squared(observed: list[int], weights: list[float] | None = None) -> float:
    """Pearson's statistic against `weights`, or against all alike."""
    weights = weights or [1.0] * len(observed)
    expected = [weight * sum(observed) / sum(weights) for weight in weights]
    return sum((count - mean) ** 2 / mean for count, mean in zip(observed, expected, strict=True))


def chi_squared_limit(freedom: int) -> float:
    """The 99.9 % quantile, by the approximation of Wilson and Hilferty (1931)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3


def uniform_places(subject: PeerRegistry, k: int) -> list[list[bytes]]:
    return [ids(subject.get_random_peers(k)) for _ in range(4000)]


def test_the_limit_is_the_tabulated_quantile():
    assert chi_squared_limit(19) == pytest.approx(43.820, rel=0.005)


@pytest.mark.parametrize("k", [1, 3, 10, 19])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_selection_is_uniform_at_every_place(k, seed):
    samples = uniform_places(registry(20, random=Random(seed)), k)
    for place in {0, k // 2, k - 1}:
        counts = Counter(sample[place] for sample in samples)
        assert chi_squared([counts[agent(number)] for number in range(20)]) < chi_squared_limit(19)


def test_random_selection_stays_uniform_while_peers_leave_and_return():
    subject, counts, churn = registry(20, random=Random(3)), Counter(), Random(4)
    for _ in range(4000):
        leaver = agent(churn.randrange(20))
        subject.update_reputation(leaver, -REPUTATION_MAX, now=0)
        subject.get_random_peers(3)
        subject.update_reputation(leaver, REPUTATION_MAX, now=0)
        counts.update(ids(subject.get_random_peers(1)))
    assert chi_squared([counts[agent(number)] for number in range(20)]) < chi_squared_limit(19)


def test_successive_selections_are_independent_of_each_other():
    samples = uniform_places(registry(10, random=Random(5)), 5)
    overlaps = Counter(len({*a} & {*b}) for a, b in zip(samples[::2], samples[1::2], strict=True))
    hypergeometric = [math.comb(5, common) * math.comb(5, 5 - common) for common in range(6)]
    observed = [overlaps[common] for common in range(6)]
    assert chi_squared(observed, hypergeometric) < chi_squared_limit(5)


def test_the_uniform_places_of_hybrid_are_uniform_in_the_rest():
    subject = registry(24, random=Random(6))
    counts = Counter(each for _ in range(4000) for each in ids(subject.get_hybrid_peers(5))[4:])
    assert set(counts) == {agent(number) for number in range(4, 24)}
    assert chi_squared(list(counts.values())) < chi_squared_limit(19)


def test_a_source_that_is_slightly_skewed_would_be_found():
    class Skewed(Random):
        def random(self) -> float:
            return super().random() ** 1.2

    # A registry of its own for each draw: one that goes on shuffling the same array washes the skew out.
    counts = Counter(registry(20, random=Skewed(seed)).get_random_peers(1)[0].agent_id for seed in range(1500))
    assert chi_squared([counts[agent(number)] for number in range(20)]) > chi_squared_limit(19)


# Cost


class CountingRandom(Random):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.draws = 0

    def random(self) -> float:
        self.draws += 1
        return super().random()


class CountingList(list):
    """Counts the items that are read, written or walked over."""

    touched = 0

    def __getitem__(self, at):
        found = super().__getitem__(at)
        self.touched += len(found) if isinstance(at, slice) else 1
        return found

    def __setitem__(self, at, item):
        self.touched += 1
        super().__setitem__(at, item)

    def __iter__(self):
        self.touched += len(self)
        return super().__iter__()


def work(strategy: str, *, peers: int) -> tuple[int, int, int]:
    """(random draws, places of the array touched, lines executed) of one selection of 5."""
    random = CountingRandom(11)
    subject = registry(peers, random=random)
    subject._selectable._items = CountingList(subject._selectable._items)
    random.draws = 0
    lines = 0

    def count(frame, event, argument):
        nonlocal lines
        lines += event == "line" and frame.f_code is not CountingList.__iter__.__code__
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        getattr(subject, strategy)(5)
    finally:
        sys.settrace(before)
    return random.draws, subject._selectable._items.touched, lines


@every_strategy
def test_the_work_of_a_selection_does_not_grow_with_the_number_of_peers(strategy):
    few, many = work(strategy, peers=50), work(strategy, peers=5000)
    assert many[0] == few[0] <= 5
    assert max(few[1], many[1]) <= 5 * 5
    assert many[2] <= few[2] + 5 * 8, "a shuffle that draws a peer onto itself saves a few lines, no more"


def test_an_uneventful_pruning_does_not_walk_the_peers():
    subject = registry(1000)
    for number in range(1000):
        subject.touch_peer(agent(number), 10 * SECOND)
    subject.prune_stale_peers(10 * SECOND, TIMEOUT)
    before = list(subject._watched)
    subject._peers = None  # nobody is looked up
    assert subject.prune_stale_peers(11 * SECOND, TIMEOUT) == 0
    assert subject._watched == before


# Registration


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"agent_id": SELF, "public_key": SELF}, "no peer of its own"),
        ({"agent_id": agent(2)}, "must be the public key"),
        ({"agent_id": b"short", "public_key": b"short"}, "32 bytes"),
        ({"addr": ""}, "addr"),
        ({"reputation": REPUTATION_MAX + 1}, "reputation"),
        ({"reputation": -1}, "reputation"),
        ({"last_seen": -2}, "last_seen"),
    ],
)
def test_a_peer_that_cannot_be_is_rejected(wrong, says):
    subject = registry()
    with pytest.raises(PeerRejected, match=says):
        subject.register_peer(peer(1, **wrong))
    assert subject.peer_count() == 0


@pytest.mark.parametrize(
    "option",
    [
        {"active_timeout_ns": 0},
        {"reputation_threshold": 1001},
        {"dial_backoff_max_ns": 0},
        {"latency_floor_ms": math.nan},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_cannot_work_is_refused_by_name(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        registry(**option)


def test_a_second_registration_updates_the_address_and_nothing_else():
    subject = registry(1)
    subject.update_reputation(agent(0), -100, now=0)
    subject.register_peer(peer(0, addr="elsewhere:1", region="other", latency_ms=99.0))
    assert subject.get_all_peers() == [peer(0, addr="elsewhere:1", reputation=900)]


def test_the_registry_keeps_its_own_copy():
    subject, given_away = registry(), peer(1)
    subject.register_peer(given_away)
    given_away.reputation = 0
    assert subject.get_peer(agent(1)).reputation == REPUTATION_MAX


def test_a_full_registry_rejects_newcomers_only():
    subject = registry(2, peers_max=2)
    with pytest.raises(PeerRejected, match="full"):
        subject.register_peer(peer(2))
    subject.register_peer(peer(1, addr="elsewhere:1"))
    assert subject.get_peer(agent(2)) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda subject: subject.touch_peer(agent(9), 0),
        lambda subject: subject.update_latency(agent(9), 1.0),
        lambda subject: subject.update_reputation(agent(9), 1, now=0),
    ],
    ids=["touch", "latency", "reputation"],
)
def test_a_stranger_is_named_as_such(call):
    with pytest.raises(UnknownPeer, match=agent(9).hex()[:16]):
        call(registry(1))


# Standing


@given(steps=st.lists(st.integers(0, SECOND), max_size=20), penalty=st.integers(0, REPUTATION_MAX))
def test_a_penalty_decays_by_the_time_that_passed_however_often_one_asks(steps, penalty):
    subject, now = registry(1), 0
    subject.update_reputation(agent(0), -penalty, now=0)
    for step in steps:
        now += step
        subject.recover_reputation(now)
    won = now * REPUTATION_RECOVERY_PER_S // SECOND
    assert subject.get_peer(agent(0)).reputation == min(REPUTATION_MAX, REPUTATION_MAX - penalty + won)


def test_a_penalty_meets_the_score_as_it_has_recovered_by_then():
    subject = registry(1)
    subject.update_reputation(agent(0), -100, now=0)
    subject.update_reputation(agent(0), -100, now=SECOND)
    assert subject.get_peer(agent(0)).reputation == REPUTATION_MAX - 200 + REPUTATION_RECOVERY_PER_S


@every_strategy
def test_a_peer_that_has_recovered_is_selected_again(strategy):
    subject = registry(1)
    subject.update_reputation(agent(0), -501, now=0)
    subject.recover_reputation(SECOND // REPUTATION_RECOVERY_PER_S - 1)
    assert getattr(subject, strategy)(1) == [] and subject.byzantine_count() == 1
    subject.recover_reputation(SECOND // REPUTATION_RECOVERY_PER_S)
    assert ids(getattr(subject, strategy)(1)) == [agent(0)] and subject.byzantine_count() == 0


@pytest.mark.parametrize("known", [True, False], ids=["a known peer", "a stranger"])
@pytest.mark.parametrize("threshold", [0, 500])
def test_a_proof_is_for_ever(known, threshold):
    subject = registry(int(known), reputation_threshold=threshold)
    subject.prove_faulty(agent(0))
    subject.register_peer(peer(0))
    subject.update_reputation(agent(0), REPUTATION_MAX, now=0)
    subject.prune_stale_peers(100 * SECOND, TIMEOUT)
    subject.recover_reputation(10**6 * SECOND)
    subject.touch_peer(agent(0), 10**6 * SECOND)
    assert subject.get_peer(agent(0)).reputation == 0
    assert not subject.admits(agent(0)) and subject.byzantine_count() == 1
    assert [getattr(subject, strategy)(1) for strategy in STRATEGIES] == [[], [], []]
    assert subject.due_for_dialling(10**7 * SECOND, 9) == []


# Reachability


def test_a_dead_peer_is_dialled_for_ever_with_doubling_capped_backoff():
    subject = registry(1, dial_backoff_max_ns=5 * DIAL_BACKOFF_MIN_NS)
    start = TIMEOUT
    assert subject.prune_stale_peers(start, TIMEOUT) == 1
    dials = [
        step
        for step in range(2000)  # steps of a tenth of the shortest backoff
        if subject.due_for_dialling(start + step * DIAL_BACKOFF_MIN_NS // 10, 9)
    ]
    waits = [after - before for before, after in zip([0, *dials], dials, strict=False)]
    assert waits[:3] == [10, 20, 40]
    assert set(waits[3:]) == {50} and dials[-1] > 1900


def test_a_dormant_peer_is_admitted_and_woken_by_its_first_sign_of_life():
    subject = registry(2)
    subject.touch_peer(agent(1), TIMEOUT)
    assert subject.prune_stale_peers(TIMEOUT, TIMEOUT) == 1
    assert ids(subject.get_random_peers(9)) == [agent(1)]
    assert subject.admits(agent(0)), "else its frames would be refused, and it could never wake"
    subject.touch_peer(agent(0), TIMEOUT + 1)
    assert set(ids(subject.get_random_peers(9))) == {agent(0), agent(1)}
    assert subject.due_for_dialling(10 * TIMEOUT, 9) == []


def test_waking_resets_the_backoff():
    subject = registry(1)
    subject.prune_stale_peers(TIMEOUT, TIMEOUT)
    for dial in range(1, 20):
        subject.due_for_dialling(TIMEOUT + dial * SECOND, 9)
    woken = TIMEOUT + 20 * SECOND
    subject.touch_peer(agent(0), woken)
    asleep = woken + TIMEOUT
    assert subject.prune_stale_peers(asleep, TIMEOUT) == 1
    assert subject.due_for_dialling(asleep + DIAL_BACKOFF_MIN_NS - 1, 9) == []
    assert len(subject.due_for_dialling(asleep + DIAL_BACKOFF_MIN_NS, 9)) == 1


def test_dialling_is_bounded_and_passes_over_nobody():
    subject = registry(30)
    subject.prune_stale_peers(TIMEOUT, TIMEOUT)
    counts = Counter()
    for step in range(1, 301):
        dialled = ids(subject.due_for_dialling(TIMEOUT + step * SECOND, 2))
        assert len(dialled) == 2
        counts.update(dialled)
    assert [counts[agent(number)] for number in range(30)] == [20] * 30


def test_a_dormant_peer_of_bad_standing_is_dialled_only_when_it_has_recovered():
    subject = registry(1)
    subject.prune_stale_peers(TIMEOUT, TIMEOUT)
    subject.update_reputation(agent(0), -501, now=TIMEOUT)
    assert subject.due_for_dialling(2 * TIMEOUT, 9) == []
    subject.recover_reputation(2 * TIMEOUT)
    assert ids(subject.due_for_dialling(3 * TIMEOUT, 9)) == [agent(0)]


def test_a_peer_that_was_never_heard_gets_the_timeout_from_the_first_pruning_on():
    subject, start = registry(), 10**6 * SECOND
    subject.register_peer(peer(0, last_seen=NEVER))
    assert subject.prune_stale_peers(start, TIMEOUT) == 0
    assert subject.prune_stale_peers(start + TIMEOUT - 1, TIMEOUT) == 0
    assert subject.prune_stale_peers(start + TIMEOUT, TIMEOUT) == 1


@pytest.mark.parametrize("prunings_before", [0, 1, 5])
def test_a_peer_is_pruned_by_when_it_was_heard_and_not_by_when_it_was_looked_at(prunings_before):
    subject = registry(1)
    subject.touch_peer(agent(0), SECOND)
    for pruning in range(prunings_before):
        assert subject.prune_stale_peers(TIMEOUT + pruning, TIMEOUT) == 0
    assert subject.prune_stale_peers(TIMEOUT + SECOND - 1, TIMEOUT) == 0
    assert subject.prune_stale_peers(TIMEOUT + SECOND, TIMEOUT) == 1


def test_pruning_and_proofs_never_change_the_quorum():
    subject = registry(10)
    subject.prove_faulty(agent(0))
    assert subject.prune_stale_peers(TIMEOUT, TIMEOUT) == 9
    assert subject.quorum_size() == 3
    assert subject.peer_count() == 10


def test_active_counts_self_and_whoever_was_heard_in_time():
    subject = registry(active_timeout_ns=SECOND)
    assert subject.active_peer_count(0) == 1
    subject.register_peer(peer(0, last_seen=NEVER))
    assert subject.active_peer_count(0) == 1, "never heard is not heard at the beginning of time"
    subject.touch_peer(agent(0), 5)
    assert subject.active_peer_count(SECOND + 4) == 2
    assert subject.active_peer_count(SECOND + 5) == 1


def test_a_touch_never_goes_back_in_time():
    subject = registry(1)
    subject.touch_peer(agent(0), 9)
    subject.touch_peer(agent(0), 3)
    assert subject.get_peer(agent(0)).last_seen == 9


def test_a_seed_is_dialled_for_ever_until_the_peer_behind_it_is_registered():
    subject = PeerRegistry(
        SELF,
        quorum_size=1,
        peer_sample_size=1,
        random=Random(1),
        bootstrap_seeds=["host-0:7000", "host-1:7000"],
    )
    assert subject.due_seeds(0, 9) == ["host-0:7000", "host-1:7000"]
    assert subject.due_seeds(1, 9) == []
    subject.register_peer(peer(1))
    assert [subject.due_seeds(step * SECOND, 9) for step in range(1, 50)] == [["host-0:7000"]] * 49


def test_places_survive_every_order_of_removal():
    for seed in range(50):
        random = Random(seed)
        array, inside = ShuffledPeers(random), {}
        for number in range(12):
            inside[agent(number)] = peer(number)
            array.add(inside[agent(number)])
        while inside:
            array.sample(random.randrange(4))
            gone = random.choice(list(inside))
            del inside[gone]
            array.remove(gone)
            assert sorted(ids(array.sample(99))) == sorted(inside) and gone not in array
