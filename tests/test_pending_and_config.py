"""Commits that wait stay within their quota, and a configuration that cannot work is refused by the field's name."""

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import NO_COMMIT, make_commit
from knhk_mesh.config import (
    FALSE_DORMANCY,
    MILLISECOND,
    STRATEGIES,
    TIMEOUT_ROUNDS_MIN,
    NodeConfig,
    PeerConfig,
    peer_timeout_rounds,
)
from knhk_mesh.errors import ConfigError
from knhk_mesh.messages import FRAME_BYTES_MIN
from knhk_mesh.pending import PendingCommits
from tests.commit_graphs import NOW, START_MS, add, replica, send, signer

COMMITS = [replica(f"a{number}", 0).write(NOW, [add(number)]) for number in range(12)]
SIZE = COMMITS[0].wire.size
PARENTS = [bytes([number]) * 32 for number in range(4)]


def brought(*numbers):
    return [(COMMITS[number], b"peer") for number in numbers]


def roomy(**quota):
    return PendingCommits(**{"commits_max": 100, "bytes_max": 10**6} | quota)


def waiting(pending):
    return [number for number, commit in enumerate(COMMITS) if commit.id in pending]


@pytest.mark.parametrize(
    "quota",
    [
        {"commits_max": 3},
        {"bytes_max": 3 * SIZE},
        {"bytes_max": 4 * SIZE - 1},
        {"commits_max": 3, "bytes_max": 3 * SIZE},
    ],
)
def test_what_exceeds_the_quota_is_dropped_oldest_first_and_counted(quota):
    assert {commit.wire.size for commit in COMMITS[:10]} == {SIZE}, "so that bytes and commits can be compared"
    pending = roomy(**quota)
    for number in range(10):
        pending.add(COMMITS[number], [PARENTS[0]], b"peer")
        assert waiting(pending) == list(range(max(0, number - 2), number + 1))
    assert (len(pending), pending.dropped) == (3, 7)
    assert pending.arrived(PARENTS[0]) == brought(7, 8, 9), "what was dropped does not come back"
    assert len(pending) == 0 and pending.roots(9) == []


def test_a_commit_that_is_larger_than_the_quota_does_not_wait_at_all():
    pending = roomy(bytes_max=SIZE - 1)
    pending.add(COMMITS[0], PARENTS, b"peer")
    assert (len(pending), pending.dropped, pending.roots(9)) == (0, 1, [])


def test_what_left_gives_its_room_back():
    pending = roomy(commits_max=2, bytes_max=2 * SIZE)
    for number in range(10):
        pending.add(COMMITS[number], [PARENTS[0]], b"peer")
        assert pending.arrived(PARENTS[0]) == brought(number)
    assert pending.dropped == 0


def test_a_commit_that_waits_already_is_passed_over():
    pending = roomy(bytes_max=2 * SIZE)
    for _ in range(5):
        pending.add(COMMITS[0], [PARENTS[0]], b"peer")
    assert (len(pending), pending.dropped) == (1, 0)


def test_those_that_a_parent_completes_come_in_the_order_in_which_they_came():
    pending = roomy()
    for number in (3, 1, 2):
        pending.add(COMMITS[number], [PARENTS[0]], b"peer")
    pending.add(COMMITS[0], [PARENTS[0], PARENTS[1]], b"peer")
    assert pending.arrived(PARENTS[0]) == brought(3, 1, 2)
    assert pending.arrived(PARENTS[0]) == [], "once"
    assert pending.arrived(PARENTS[1]) == brought(0)


def test_what_waits_here_itself_is_not_asked_for():
    pending = roomy()
    pending.add(COMMITS[1], [COMMITS[0].id, PARENTS[1]], b"peer")
    pending.add(COMMITS[0], [PARENTS[0]], b"peer")
    assert pending.roots(9) == [PARENTS[1], PARENTS[0]]
    assert pending.roots(1) == [PARENTS[1]]


@given(
    st.lists(
        st.tuples(st.integers(0, 11), st.sets(st.sampled_from(PARENTS), min_size=1)) | st.sampled_from(PARENTS),
        max_size=40,
    ),
    st.integers(1, 6),
)
def test_pending_is_what_a_list_of_waiters_would_be(steps, commits_max):
    pending, model, dropped = roomy(commits_max=commits_max), {}, 0
    for step in steps:
        if isinstance(step, bytes):
            ready = [number for number, lacks in model.items() if lacks == {step}]
            model = {number: lacks - {step} for number, lacks in model.items() if lacks != {step}}
            assert pending.arrived(step) == brought(*ready)
        else:
            number, lacks = step
            pending.add(COMMITS[number], sorted(lacks), b"peer")
            model.setdefault(number, lacks)
            if len(model) > commits_max:
                del model[next(iter(model))]
                dropped += 1
        assert waiting(pending) == sorted(model) and pending.dropped == dropped
        assert set(pending.roots(99)) == set().union(*model.values())


def peers(count):
    return tuple(PeerConfig(bytes([number]) * 32, f"n{number}") for number in range(count))


def config(**fields):
    return NodeConfig(**{"network": "mesh", "peers": peers(3), "faulty": 1} | fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", ""),
        ("network", "x" * 129),
        ("peers", (PeerConfig(bytes(31), "a"), *peers(3)[1:])),
        ("peers", (*peers(3), PeerConfig(bytes(32), "b"))),
        ("peers", (PeerConfig(bytes(32), ""), *peers(3)[1:])),
        ("faulty", -1),
        ("faulty", 2),
        ("fanout", 0),
        ("strategy", "farthest"),
        ("gossip_interval_ns", MILLISECOND - 1),
        ("network_start_ms", -1),
        ("network_start_ms", 2**48),
        ("frame_bytes_max", FRAME_BYTES_MIN - 1),
        *((field, 0) for field in ("dial_backoff_max_ns", "dials_per_round_max", "delta_frames_max",
                                   "pending_commits_max", "pending_bytes_max", "requests_waiting_max")),
    ],
)  # fmt: skip
def test_a_field_that_cannot_work_is_refused_by_its_name(field, value):
    with pytest.raises(ConfigError) as error:
        config(**{field: value})
    assert str(error.value).startswith(f"{field} ") and "\n" not in str(error.value)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_place_that_is_a_near_peer_s_would_keep_regions_apart(strategy):
    """Unless there is one peer to pick."""
    assert config(peers=peers(1), faulty=0, strategy=strategy, fanout=1).fanout == 1
    if strategy == "random":
        assert config(strategy=strategy, fanout=1).fanout == 1
        return
    with pytest.raises(ConfigError, match=f'^fanout under "{strategy}" is at least 2'):
        config(strategy=strategy, fanout=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "x"),
        ("network", "x" * 128),
        ("faulty", 0),
        ("fanout", 1),
        *(("strategy", strategy) for strategy in STRATEGIES),
        ("gossip_interval_ns", MILLISECOND),
        ("network_start_ms", 0),
        ("frame_bytes_max", FRAME_BYTES_MIN),
    ],
)
def test_a_field_may_be_at_its_bound(field, value):
    assert getattr(config(**{field: value}), field) == value


NODES_AND_FANOUT = st.integers(1, 2000).flatmap(lambda nodes: st.tuples(st.just(nodes), st.integers(1, nodes)))


@given(NODES_AND_FANOUT)
def test_a_correct_peer_times_out_by_chance_as_rarely_as_promised_and_no_later(case):
    nodes, fanout = case
    rounds = peer_timeout_rounds(nodes, fanout)
    missed = max(0.0, 1 - fanout / max(1, nodes - 1))  # in one round
    assert rounds >= TIMEOUT_ROUNDS_MIN
    assert missed**rounds <= FALSE_DORMANCY * (1 + 1e-9)
    assert rounds == TIMEOUT_ROUNDS_MIN or missed ** (rounds - 1) > FALSE_DORMANCY * (1 - 1e-9)


@given(NODES_AND_FANOUT)
def test_the_timeout_grows_with_the_mesh_and_shrinks_with_the_fanout(case):
    nodes, fanout = case
    rounds = peer_timeout_rounds(nodes, fanout)
    assert rounds <= peer_timeout_rounds(nodes + 1, fanout)
    assert rounds >= peer_timeout_rounds(nodes, fanout + 1)


@pytest.mark.parametrize("interval_ns", [MILLISECOND, 100 * MILLISECOND])
def test_the_timeout_is_so_many_rounds_of_the_mesh_with_this_node_in_it(interval_ns):
    made = config(peers=peers(12), fanout=2, gossip_interval_ns=interval_ns)
    assert made.peer_timeout_ns == peer_timeout_rounds(13, 2) * interval_ns == 38 * interval_ns


@pytest.mark.parametrize(("nodes", "faulty"), [(n, f) for n in range(1, 14) for f in range((n - 1) // 3 + 1)])
def test_two_quorums_share_more_members_than_can_be_faulty(nodes, faulty):
    quorum = config(peers=peers(nodes - 1), faulty=faulty).quorum_size
    assert 2 * quorum - nodes > faulty
    assert quorum <= nodes - faulty, "and the correct alone are one"


@pytest.mark.parametrize("nodes", range(1, 14))
def test_more_faults_than_quorums_can_bear_are_refused(nodes):
    with pytest.raises(ConfigError, match="faulty"):
        config(peers=peers(nodes - 1), faulty=(nodes - 1) // 3 + 1)


def test_parents_that_nobody_has_do_not_crowd_out_the_others():
    source, target = replica("c0", 0), replica("c1", 0)
    first, second = source.write(NOW, [add(1)]), source.write(NOW, [add(2)])
    invented = [blake2b(b"%d" % number, digest_size=32).digest() for number in range(20)]
    for number, parent in enumerate(invented):
        liar = make_commit(
            signer(f"x{number}"), network=target.network, incarnation=bytes(16), seq=0, prev=NO_COMMIT, deps=[parent],
            clock=(START_MS << 16) + 1,
        )  # fmt: skip
        send(target, [liar])
    send(target, [second])
    asked = [parent for _ in range(6) for parent in target.pending.roots(4)]
    assert first.id in asked and set(invented) <= set(asked)
