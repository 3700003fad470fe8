"""What one peer can make a node do, keep or wait for: buckets, what waits for its past, an author's new chains."""

import random
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import NO_COMMIT, Commit, make_commit, network_id
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Instant
from knhk_mesh.messages import Delta, Push, encode_frame
from knhk_mesh.node import Node
from knhk_mesh.pending import PendingCommits
from knhk_mesh.quotas import SECOND, TokenBucket
from knhk_mesh.replica import INCARNATION_SECONDS, INCARNATIONS_BURST
from knhk_mesh.requests import ClientOperation, Status, Write
from knhk_mesh.security import (
    FRAMES_A_SECOND,
    FRAMES_BURST,
    PULLS_A_SECOND,
    PULLS_BURST,
    VOTES_A_SECOND,
    VOTES_BURST,
)
from tests.commit_graphs import NOW, START_MS, add, replica, send, signer
from tests.mesh_shell import MS, Shell

# Buckets

TAKES = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 12)), max_size=60)


@given(st.integers(1, 20), st.integers(1, 12), TAKES)
def test_a_bucket_lets_through_its_burst_and_its_rate_and_no_more_in_any_span(rate, burst, takes):
    bucket, now, passed = TokenBucket(rate=rate, burst=burst, now=0), 0, []
    for gap, amount in takes:
        now += gap
        if bucket.take(now, amount):
            passed.append((now, amount))
    for first in range(len(passed)):
        since, total = passed[first][0], 0
        for at, amount in passed[first:]:
            total += amount
            assert total * SECOND <= burst * SECOND + rate * (at - since)


@given(st.integers(1, 20), st.integers(1, 12), TAKES, st.data())
def test_a_bucket_starves_nobody(rate, burst, takes, data):
    """However it was used, what fits the burst passes once the burst has had time to fill."""
    bucket, now = TokenBucket(rate=rate, burst=burst, now=0), 0
    for gap, amount in takes:
        now += gap
        bucket.take(now, amount)
    amount = data.draw(st.integers(1, burst))
    assert bucket.take(now + -(-amount * SECOND // rate), amount)


@given(TAKES)
def test_a_bucket_is_the_plain_arithmetic_of_levels(takes):
    bucket, now, level = TokenBucket(rate=3, burst=10, now=0), 0, 10 * SECOND
    for gap, amount in takes:
        now += gap
        level = min(10 * SECOND, level + 3 * gap)
        passes = amount * SECOND <= level
        level -= amount * SECOND if passes else 0
        assert bucket.take(now, amount) == passes


def test_asking_often_and_in_vain_costs_nothing():
    bucket = TokenBucket(rate=1, burst=1, now=0)
    assert bucket.take(0)
    assert not any(bucket.take(at) for at in range(1, SECOND, SECOND // 1000))
    assert bucket.take(SECOND)


def test_time_that_stands_still_or_goes_back_fills_nothing():
    bucket = TokenBucket(rate=1, burst=1, now=5 * SECOND)
    assert bucket.take(5 * SECOND) and not bucket.take(5 * SECOND) and not bucket.take(0)
    assert not bucket.take(6 * SECOND - 1) and bucket.take(6 * SECOND)


def test_what_is_given_back_fits_the_burst_and_no_more():
    bucket = TokenBucket(rate=1, burst=4, now=0)
    bucket.take(0, 4)
    bucket.give(3)
    assert not bucket.take(0, 4) and bucket.take(0, 3)
    bucket.give(100)
    assert bucket.take(0, 4) and not bucket.take(0)


class Pair:
    """A node, and two peers whose frames the test makes up."""

    def __init__(self):
        self.peers = [signer("p0").agent_id, signer("p1").agent_id]
        peers = tuple(PeerConfig(one, "addr") for one in self.peers)
        self.node = Node(NodeConfig(network="quota", peers=peers, faulty=0), signer("node"), random=random.Random(1))
        self.node.start(Instant(0, 0))
        self.sequence = 0

    def push(self, peer, now):
        before = self.node.validator.validated
        self.sequence += 1
        frame = encode_frame(Push(1, self.sequence, self.node.replica.log.root()))
        self.node.receive(Instant(now, 0), self.peers[peer], frame)
        return self.node.validator.validated > before


def test_a_flood_of_frames_is_cut_to_the_rate_and_another_peer_does_not_feel_it():
    pair = Pair()
    assert sum(pair.push(0, 0) for _ in range(FRAMES_BURST + 500)) == FRAMES_BURST
    assert pair.node.validator.rejected == {"throttled": 500}
    assert pair.push(1, 0)
    assert sum(pair.push(0, SECOND // 10) for _ in range(500)) == FRAMES_A_SECOND // 10
    assert pair.node.registry.admits(pair.peers[0]), "whoever is throttled is not charged for it"


def test_a_frame_that_was_throttled_may_come_again():
    """Its number was not taken: otherwise it would be refused for ever as a replay."""
    pair = Pair()
    while pair.push(0, 0):
        pass
    pair.sequence -= 1
    assert pair.push(0, SECOND)


@pytest.mark.parametrize(
    ("what", "rate", "burst"), [("pull", PULLS_A_SECOND, PULLS_BURST), ("vote", VOTES_A_SECOND, VOTES_BURST)]
)
def test_pulls_and_votes_are_answered_at_their_own_rates(what, rate, burst):
    pair = Pair()
    validator, peer = pair.node.validator, pair.peers[0]
    may = getattr(validator, f"may_{what}")
    assert sum(may(0, peer) for _ in range(burst + 9)) == burst
    assert sum(may(SECOND, peer) for _ in range(rate + 99)) == rate
    assert validator.rejected[f"{what}-throttled"] == 9 + 99
    assert may(SECOND, pair.peers[1])


@pytest.mark.parametrize("frame_bytes_max", [64 * 1024, 1 << 20, 16 << 20])
def test_a_node_that_was_far_behind_is_served_whatever_size_frames_may_have(frame_bytes_max):
    shell = Shell(2, frame_bytes_max=frame_bytes_max)
    for number in range(50):
        shell.add(0, f"{number:03}" + "x" * 1000)
        shell.submit(0, many(number))
    for _ in range(100):
        shell.round()
    assert shell.digest(0) == shell.digest(1)


def many(number):
    return Write(tuple(ClientOperation("o", "gset", "add", f"{number}/{i}" + "y" * 1000) for i in range(29)))


def test_what_waits_for_a_disk_that_stands_still_is_bounded():
    shell = Shell(4, roster=True, requests_waiting_max=50).settle_down()
    shell.auto_durable = False
    shell.add(0, "x")
    for _ in range(100):
        shell.round()
        shell.pulse()
        for other in (1, 2, 3):
            shell.durable(other)
    assert len(shell.nodes[0]._output) <= 2 * 50


# What waits for its past


def invented(number):
    return blake2b(b"%d" % number, digest_size=32).digest()


def orphan(author, number, *, operations=0, deps=None):
    """A valid commit whose past, `deps` or something made up, is not here."""
    return make_commit(
        signer(author), network=network_id("graphs"), incarnation=number.to_bytes(16, "big"), seq=0, prev=NO_COMMIT,
        deps=[invented(number)] if deps is None else deps, clock=(START_MS << 16) + 1,
        operations=[add(at) for at in range(operations)],
    )  # fmt: skip


def wait(pending, commit, source):
    pending.add(commit, list(commit.parents), source)
    return commit


def brought_by(pending, commits):
    return sum(commit.id in pending for commit in commits)


@pytest.mark.parametrize("quota", [{"commits_max": 20}, {"bytes_max": 20 * 500}])
def test_a_flood_of_one_source_evicts_only_its_own(quota):
    pending = PendingCommits(**{"commits_max": 10**6, "bytes_max": 10**9} | quota)
    mine = [wait(pending, orphan("honest", number), b"honest") for number in range(3)]
    for number in range(100, 400):
        wait(pending, orphan("flooder", number), b"flooder")
    assert brought_by(pending, mine) == 3 and pending.dropped > 200


def test_a_flood_of_small_commits_does_not_evict_the_few_large_ones_of_another():
    pending = PendingCommits(commits_max=20, bytes_max=10**9)
    mine = [wait(pending, orphan("honest", number, operations=600), b"honest") for number in range(3)]
    for number in range(100, 400):
        wait(pending, orphan("flooder", number), b"flooder")
    assert brought_by(pending, mine) == 3


def test_a_source_keeps_what_it_brought_last():
    pending = PendingCommits(commits_max=3, bytes_max=10**9)
    commits = [wait(pending, orphan("flooder", number), b"flooder") for number in range(10)]
    assert [commit.id in pending for commit in commits] == [False] * 7 + [True] * 3


def test_who_brought_it_first_answers_for_it():
    """A liar that repeats what an honest peer brought neither takes it over nor makes it count twice."""
    pending = PendingCommits(commits_max=4, bytes_max=10**9)
    mine = wait(pending, orphan("honest", 0), b"honest")
    wait(pending, mine, b"flooder")
    for number in range(1, 30):
        wait(pending, orphan("flooder", number), b"flooder")
    assert mine.id in pending and len(pending) == 4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=120), st.integers(4, 12))
def test_bytes_and_numbers_stay_within_the_quota_and_add_up(steps, commits_max):
    pending = PendingCommits(commits_max=commits_max, bytes_max=commits_max * 600)
    sources = [b"a", b"b", b"c", b"d"]
    for source, number in steps:
        if source == 3:
            pending.arrived(invented(number))
        else:
            wait(pending, ORPHANS[number], sources[source])
        inside = [commit for commit in ORPHANS if commit.id in pending]
        assert len(pending) == len(inside) <= commits_max
        assert pending.bytes == sum(commit.wire.size for commit in inside) <= commits_max * 600


ORPHANS = [orphan("anybody", number) for number in range(41)]


def test_each_who_brought_what_waits_has_its_parents_asked_for():
    pending = PendingCommits(commits_max=100, bytes_max=10**9)
    for number in range(60):
        wait(pending, orphan("flooder", number), b"flooder")
    wait(pending, orphan("honest", 99), b"honest")
    assert invented(99) in pending.roots(4), "at the next pull, not after sixty made-up ones"


def test_more_sources_than_may_be_asked_for_at_once_come_in_turns():
    pending = PendingCommits(commits_max=100, bytes_max=10**9)
    for number in range(5):
        wait(pending, orphan("anybody", number), b"source %d" % number)
    asked = {parent for _ in range(20) for parent in pending.roots(2)}
    assert asked == {invented(number) for number in range(5)}


def test_parents_of_what_was_evicted_are_forgotten_too():
    """A liar names 512 made-up parents in each commit; nobody pulls meanwhile, because the roots are equal."""
    pending = PendingCommits(commits_max=4, bytes_max=10**9)
    for number in range(50):
        wide = [invented(1000 + 100 * number + at) for at in range(100)]
        wait(pending, orphan("flooder", number, deps=wide), b"flooder")
    assert sum(map(len, pending._roots.values())) <= 2 * 4 * 100


# New chains of one author


def beginning(author, number, *, deps=(), target):
    return make_commit(
        signer(author), network=target.network, incarnation=number.to_bytes(16, "big"), seq=0, prev=NO_COMMIT,
        deps=list(deps), clock=max([START_MS << 16, *(target.log.held[one].clock for one in deps)]) + 1,
        operations=[add(number)],
    )  # fmt: skip


def held(target, commits):
    return sum(commit.id in target.log.held for commit in commits)


def test_an_author_s_new_chains_beyond_the_burst_are_delayed_and_come_in_with_time():
    target = replica("r", 0)
    chains = [beginning("wiped", number, target=target) for number in range(INCARNATIONS_BURST + 4)]
    send(target, chains)
    assert held(target, chains) == INCARNATIONS_BURST and target.delayed == 4
    for more in range(1, 5):
        later = Instant(more * INCARNATION_SECONDS * SECOND, NOW.wall)
        target.merge(later, [commit.wire for commit in chains])
        assert held(target, chains) == INCARNATIONS_BURST + more
    assert target.log.proofs == {}


def test_each_author_has_a_burst_of_its_own_and_going_on_costs_nothing():
    target = replica("r", 0)
    flood = [beginning("wiped", number, target=target) for number in range(50)]
    send(target, flood)
    other = beginning("other", 0, target=target)
    send(target, [other])
    assert held(target, [other]) == 1
    peer = replica("honest", 1)
    chain = [peer.write(NOW, [add(number)]) for number in range(100)]
    send(target, chain)
    assert held(target, chain) == 100


@pytest.mark.parametrize("first", ["the beginning", "what vouches for it"])
def test_a_chain_that_another_author_vouches_for_comes_in_at_once(first):
    target, witness = replica("r", 0), replica("witness", 1)
    chains = [beginning("wiped", number, target=target) for number in range(INCARNATIONS_BURST + 1)]
    send(target, chains)
    late = chains[-1]
    assert held(target, [late]) == 0
    send(witness, [late])
    vouches = witness.write(NOW, [add(1)])
    assert late.id in vouches.deps
    send(target, [late, vouches] if first == "the beginning" else [vouches])
    assert late.id in target.pending.roots(9), "it is asked for by name"
    send(target, [late])
    assert held(target, [late, vouches]) == 2


def test_an_author_cannot_vouch_for_its_own_chains():
    target = replica("r", 0)
    chains = [beginning("wiped", number, target=target) for number in range(INCARNATIONS_BURST + 1)]
    send(target, chains)
    own = make_commit(
        signer("wiped"), network=target.network, incarnation=bytes(16), seq=1, prev=chains[0].id, deps=[chains[-1].id],
        clock=chains[-1].clock + 9,
    )  # fmt: skip
    send(target, [own])
    send(target, [chains[-1]])
    assert held(target, [chains[-1], own]) == 0


def test_chains_that_waited_for_their_past_are_counted_like_any_other():
    target, author = replica("r", 0), replica("peer", 1)
    last = author.write(NOW, [add(1)])
    chains: list[Commit] = [
        make_commit(
            signer("wiped"), network=target.network, incarnation=number.to_bytes(16, "big"), seq=0, prev=NO_COMMIT,
            deps=[last.id], clock=last.clock + 1,
        )
        for number in range(100)
    ]  # fmt: skip
    send(target, chains)
    assert held(target, chains) == 0
    send(target, [last])
    assert held(target, chains) == INCARNATIONS_BURST


def test_a_member_cannot_bring_in_the_commits_of_any_number_of_keys_that_are_no_members():
    shell = Shell(4, roster=True)
    target = shell.nodes[0].replica
    strangers = [beginning(f"stranger {number}", 0, target=target).wire for number in range(100)]
    shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[1], encode_frame(Delta(1, 1, strangers))))
    assert len(target.log.chains) == 0


def test_a_status_names_who_is_suspected_and_both_turns_are_told():
    shell = Shell(2)
    for number in range(11):
        shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[1], b"garbage %d" % number))
    shell.round()
    assert [data["agent"] for data in shell.told(0, "suspected")] == [shell.ids[1].hex()]
    assert shell.submit(0, Status()).suspected == (shell.ids[1],)
    shell.now += 60_000 * MS
    shell.take(0, shell.nodes[0].timer(shell.instant(), "gossip"))
    assert [data["agent"] for data in shell.told(0, "cleared")] == [shell.ids[1].hex()]
    assert shell.submit(0, Status()).suspected == ()
