"""Reconciliation: from what a peer claims to have, exactly what it lacks, whatever liars have put into the log."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import WIRE_BYTES_MAX
from knhk_mesh.messages import FRAME_BYTES_MIN, Delta, encode_frame
from knhk_mesh.reconcile import entries_that_fit, pack_deltas
from tests.commit_graphs import NOW, Liar, accepted, add, past_of, replica, send

FRAME = 65536


def pull(asking, answering, *, entries_max=1000, start=b"", frames_max=8):
    """`asking` pulls from `answering` as `gossip` does; returns the commits that it was sent."""
    row, low, high = asking.heads.row(entries_max=entries_max, start=start)
    theirs, _, _ = answering.heads.row(entries_max=entries_max, start=start)
    forks = asking.heads.forked_from(asking.heads.compare(theirs), 32)
    wants = [*forks, *asking.pending.roots(32)]
    lacked = answering.heads.lacked_by_peer(answering.heads.compare(row), low, high, wants)
    batches = list(pack_deltas(lacked, frame_bytes_max=FRAME, frames_max=frames_max))
    for batch in batches:
        asking.merge(NOW, batch)
    return [wire for batch in batches for wire in batch]


def history(seed, *, liars=0, steps=40):
    """Two replicas after a random run in which commits were handed about, some of them a liar's."""
    r = random.Random(seed)
    pair = [replica("c0", seed), replica("c1", seed)]
    false = [Liar(f"x{number}", pair[0]) for number in range(liars)]
    world = {}
    for step in range(r.randint(1, steps)):
        node = r.choice(pair)
        draw = r.random()
        if draw < 0.5 or (not false and draw < 0.75):
            node.write(NOW, [add(step)])
        elif draw < 0.75:
            commit = r.choice(false).sign(r, list(world.values()))
            world[commit.id] = commit
            send(node, past_of(commit, world))
        else:
            other = pair[1 - pair.index(node)]
            some = accepted(other)
            send(node, some[: r.randint(0, len(some))])
        for one in pair:
            world.update(one.log.held)
    return pair


@given(seed=st.integers(0, 2**32))
def test_without_liars_one_pull_brings_exactly_what_is_lacking_past_first(seed):
    one, other = history(seed)
    lacking = [commit.id for commit in accepted(other) if commit.id not in one.log.held]
    sent = pull(one, other)
    held = [commit.id for commit in accepted(one)]
    assert len(sent) == len(lacking)
    assert set(held) >= set(lacking) and len(one.pending) == 0


@given(seed=st.integers(0, 2**32))
def test_pulls_in_both_directions_end_in_one_accepted_set_whatever_liars_do(seed):
    one, other = history(seed, liars=2)
    for _ in range(12):
        pull(one, other)
        pull(other, one)
    assert set(one.log.accepted) == set(other.log.accepted)
    assert one.log.root() == other.log.root()
    assert set(one.log.proofs) == set(other.log.proofs)
    assert one.state.digest() == other.state.digest()
    assert pull(one, other) == [], "and equal sets have nothing to say to each other"


@given(seed=st.integers(0, 2**32), entries_max=st.integers(1, 3))
def test_rows_that_do_not_hold_all_heads_compare_them_part_by_part(seed, entries_max):
    r = random.Random(seed)
    full, empty = replica("c0", seed), replica("c1", seed)
    for number in range(12):
        send(full, [replica(f"a{number}", seed).write(NOW, [add(number)])])
    empty.write(NOW, [add(99)])
    for _ in range(200):
        start = bytes([r.randrange(256)]) + bytes(7)
        pull(empty, full, entries_max=entries_max, start=start)
    assert set(full.log.accepted) <= set(empty.log.accepted)


@given(
    st.binary(max_size=480).map(lambda noise: noise[: len(noise) // 48 * 48]),
    st.lists(st.binary(min_size=32, max_size=32)),
)
def test_false_claims_change_nothing_and_never_raise(noise, wants):
    (node, _) = history(1)
    before = node.log.root()
    comparison = node.heads.compare(noise)
    sent = list(node.heads.lacked_by_peer(comparison, b"", b"", wants))
    node.heads.lacks_any(comparison)
    node.heads.forked_from(comparison, 32)
    assert [commit.id for commit in sent] == [one for one in node.log.accepted if one in {c.id for c in sent}]
    assert node.log.root() == before


@pytest.mark.parametrize("limit", [FRAME_BYTES_MIN, FRAME])
def test_batches_fit_their_frames_and_lose_nothing_between_them(limit):
    node = replica("c0", 0)
    for number in range(2000):
        node.write(NOW, [add(number)])
    everything = accepted(node)
    batches = list(pack_deltas(iter(everything), frame_bytes_max=limit, frames_max=10**6))
    assert [wire for batch in batches for wire in batch] == [commit.wire for commit in everything]
    assert len(batches) > 5
    assert all(len(encode_frame(Delta(2**64 - 1, 2**64 - 1, batch))) <= limit for batch in batches)
    assert len(list(pack_deltas(iter(everything), frame_bytes_max=limit, frames_max=2))) == 2


def test_the_limits_leave_room_for_each_other():
    assert FRAME_BYTES_MIN > WIRE_BYTES_MAX
    assert entries_that_fit(FRAME_BYTES_MIN) * 48 + 64 * 40 < FRAME_BYTES_MIN
