"""Reconciliation: from what a peer claims to have, exactly what it lacks, whatever liars have put into the log."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import HEADER_BYTES, NO_COMMIT, WIRE_BYTES_MAX, WireCommit, make_commit
from knhk_mesh.messages import FRAME_BYTES_MIN, Delta, encode_frame, pack_head, split_heads, unpack_head
from knhk_mesh.reconcile import entries_that_fit, pack_deltas
from tests.commit_graphs import NOW, START_MS, Liar, accepted, add, past_of, replica, send, signer

FRAME = 65536


def pull(asking, answering, *, entries_max=1000, start=b"", frames_max=8, frame_bytes_max=FRAME):
    """`asking` pulls from `answering` as `gossip` does; returns the commits that it was sent."""
    row, low, high = asking.heads.row(entries_max=entries_max, start=start)
    theirs, _, _ = answering.heads.row(entries_max=entries_max, start=start)
    forks = asking.heads.forked_from(asking.heads.compare(theirs), 32)
    wants = [*forks, *asking.pending.roots(32)]
    lacked = answering.heads.lacked_by_peer(answering.heads.compare(row), low, high, wants)
    batches = list(pack_deltas(lacked, frame_bytes_max=frame_bytes_max, frames_max=frames_max))
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


@given(seed=st.integers(0, 2**32))
def test_without_liars_the_stream_is_what_the_peer_lacks_past_first_and_each_once(seed):
    one, other = history(seed)
    lacking = [commit.id for commit in accepted(other) if commit.id not in one.log.held]
    row, low, high = one.heads.row(entries_max=1000, start=b"")
    stream = list(other.heads.lacked_by_peer(other.heads.compare(row), low, high, []))
    assert [commit.id for commit in stream] == lacking
    known = set(one.log.held)
    for commit in stream:
        assert known.issuperset(commit.parents), "past first"
        known.add(commit.id)


def test_thousands_of_commits_come_in_small_frames_over_many_pulls_and_none_waits():
    source, target = replica("c0", 0), replica("c1", 0)
    for number in range(2000):
        source.write(NOW, [add(number)])
    pulls = 0
    while pull(target, source, frame_bytes_max=FRAME_BYTES_MIN, frames_max=2):
        assert not len(target.pending), "a cut keeps the order, so no past is ever missing"
        pulls += 1
    assert pulls > 3
    assert list(target.log.accepted) == list(source.log.accepted)


@given(
    authors=st.integers(1, 12),
    entries_max=st.integers(1, 12),
    start=st.binary(min_size=8, max_size=8),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_row_holds_every_entry_between_its_bounds_and_one_that_starts_at_a_chain_holds_it(
    authors, entries_max, start, draw
):
    node = replica("c0", 0)
    for number in range(authors):
        send(node, [replica(f"a{number}", 0).write(NOW, [add(number)])])
    every = split_heads(node.heads.row(entries_max=authors, start=b"")[0])
    assert len(every) == authors

    def between(low, high):
        return sorted(entry for entry in every if low <= entry[:8] and (not high or entry[:8] < high))

    row, low, high = node.heads.row(entries_max=entries_max, start=start)
    assert sorted(split_heads(row)) == between(low, high) and 0 < len(row) <= 48 * entries_max

    chosen = node.heads.start_at(draw)
    row, low, high = node.heads.row(entries_max=entries_max, start=chosen)
    assert sorted(split_heads(row)) == between(low, high)
    assert chosen in [entry[:8] for entry in split_heads(row)]


def test_a_row_may_start_at_any_chain():
    node = replica("c0", 0)
    assert node.heads.start_at(0.0) == bytes(8), "an empty table has no chain"
    for number in range(10):
        send(node, [replica(f"a{number}", 0).write(NOW, [add(number)])])
    tags = {entry[:8] for entry in split_heads(node.heads.row(entries_max=10, start=b"")[0])}
    assert {node.heads.start_at(number / 10) for number in range(10)} == tags


@given(data=st.data(), seed=st.integers(0, 2**32))
def test_claims_that_are_half_true_change_nothing_and_never_raise(data, seed):
    """Noise alone never meets a chain that is there: here true tags, numbers and ids are put together wrongly."""
    node, _ = history(seed, liars=2, steps=20)
    before = node.log.root(), node.state.digest(), len(node.log.held), len(node.pending)
    true = [unpack_head(entry) for entry in split_heads(node.heads.row(entries_max=1000, start=b"")[0])]
    noise = st.binary(min_size=32, max_size=32)
    ids = st.sampled_from([*node.log.held, bytes(32)]) | noise
    tags = st.sampled_from([*(tag for tag, _, _ in true), bytes(8), b"\xff" * 8])
    numbers = st.integers(0, 2**64 - 1) | st.integers(0, 20)
    entry = st.builds(lambda tag, seq, one: tag + seq.to_bytes(8, "big") + one, tags, numbers, ids)
    heads = b"".join(data.draw(st.lists(entry, max_size=6)))
    low, high = data.draw(st.just(b"") | tags), data.draw(st.just(b"") | tags)
    wants = data.draw(st.lists(ids, max_size=4))
    comparison = node.heads.compare(heads)
    sent = [commit.id for commit in node.heads.lacked_by_peer(comparison, low, high, wants)]
    node.heads.lacks_any(comparison)
    node.heads.forked_from(comparison, 32)
    assert sent == [one for one in node.log.accepted if one in set(sent)], "in order, each once"
    assert before == (node.log.root(), node.state.digest(), len(node.log.held), len(node.pending))


@pytest.mark.parametrize("length", [1, 3])
def test_both_sides_of_a_fork_end_with_both_branches_and_the_proof(length):
    one, other = replica("c0", 0), replica("c1", 0)
    branches = [branch(one.network, value, length) for value in (1, 2)]
    send(one, branches[0])
    send(other, branches[1])
    for _ in range(4):
        pull(one, other)
        pull(other, one)
    for node in (one, other):
        assert list(node.log.proofs) == [signer("x0").agent_id]
        assert node.state.object("gset", "set").value() == sorted({*range(10, 10 + length), *range(20, 20 + length)})
        assert not len(node.pending)
    assert one.log.root() == other.log.root()


@given(seed=st.integers(0, 2**32))
def test_a_newcomer_is_sent_every_branch_at_once_past_first_without_asking_by_name(seed):
    source, _ = history(seed, liars=2)
    stream = list(source.heads.lacked_by_peer(source.heads.compare(b""), b"", b"", []))
    assert [commit.id for commit in stream] == list(source.log.accepted)


@given(seed=st.integers(0, 2**32), entries_max=st.integers(1, 6), draw=st.floats(0, 1, exclude_max=True))
def test_a_row_is_never_cut_within_a_forked_chain(seed, entries_max, draw):
    """Heads of one chain share a tag: a row with some of them would claim that the others are not there."""
    node = replica("c0", seed)
    for value in (1, 2, 3):
        other = replica(f"c{value}", seed)
        send(other, branch(node.network, value, 1))
        other.write(NOW, [add(value)])
        send(node, accepted(other))
    every = split_heads(node.heads.row(entries_max=1000, start=b"")[0])
    assert len({entry[:8] for entry in every}) < len(every), "a chain with more than one head"
    row, low, high = node.heads.row(entries_max=entries_max, start=node.heads.start_at(draw))
    covered = [entry for entry in every if low <= entry[:8] and (not high or entry[:8] < high)]
    assert sorted(split_heads(row)) == sorted(covered)


def test_what_is_held_but_not_accepted_is_passed_on_to_nobody_not_even_by_name():
    node = replica("c0", 0)
    (first,), (second,) = (branch(node.network, value, 1) for value in (1, 2))
    send(node, [first, second])
    assert second.id in node.log.held and second.id not in node.log.accepted
    nothing = node.heads.compare(node.heads.row(entries_max=99, start=b"")[0])
    sent = node.heads.lacked_by_peer(nothing, b"", b"", [second.id, first.id])
    assert [commit.id for commit in sent] == [first.id]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_frame_of_a_few_large_commits_fits_however_close_to_the_limit_they_come(parts):
    overhead = WireCommit(bytes(HEADER_BYTES), bytes(64), b"", b"").size
    for beyond in range(-120, 120):
        body, more = divmod(FRAME_BYTES_MIN + beyond, parts)
        bodies = [body - overhead] * (parts - 1) + [body + more - overhead]
        wires = [WireCommit(bytes(HEADER_BYTES), bytes(64), b"", bytes(size)) for size in bodies]
        if parts == 1 and wires[0].size > WIRE_BYTES_MAX:
            continue  # no such commit can be made
        commits = iter([SimpleNamespace(wire=wire) for wire in wires])
        batches = list(pack_deltas(commits, frame_bytes_max=FRAME_BYTES_MIN, frames_max=9))
        assert [wire for batch in batches for wire in batch] == wires
        for batch in batches:
            assert len(encode_frame(Delta(2**64 - 1, 2**64 - 1, batch))) <= FRAME_BYTES_MIN


def branch(network, value, length):
    """A chain of the liar x0 from seq 0 on, different for each `value`, marked 10 * value and up."""
    chain = []
    for seq in range(length):
        chain.append(
            make_commit(
                signer("x0"), network=network, incarnation=bytes(16), seq=seq,
                prev=chain[-1].id if chain else NO_COMMIT, deps=[],
                clock=(START_MS << 16) + seq + 1, operations=[add(10 * value + seq)],
            )
        )  # fmt: skip
    return chain


def test_what_is_wanted_by_name_does_not_bring_back_what_the_peer_has_of_its_chain():
    """It would come first, and fill the frames: a chain that is far ahead would never get there."""
    asking, answering = replica("c0", 0), replica("c1", 0)
    mine = [answering.write(NOW, [add(number)]) for number in range(400)]
    send(asking, mine[:300])
    row, low, high = asking.heads.row(entries_max=9, start=b"")
    lacked = answering.heads.lacked_by_peer(answering.heads.compare(row), low, high, [mine[-1].id])
    assert list(lacked) == mine[300:]


def test_what_a_peer_shows_to_have_counts_once_however_many_heads_of_a_chain_it_lists():
    answering = replica("c1", 0)
    mine = [answering.write(NOW, [add(number)]) for number in range(50)]
    row, _, _ = answering.heads.row(entries_max=9, start=b"")
    listed = b"".join(pack_head(row[:8], commit) for commit in mine)
    for heads in (row, listed, listed + row):
        shown = answering.heads.shown_by(answering.heads.compare(heads))
        assert shown == sum(commit.wire.size for commit in mine)
    assert answering.heads.shown_by(answering.heads.compare(pack_head(row[:8], mine[9]))) == sum(
        commit.wire.size for commit in mine[:10]
    )
    assert answering.heads.shown_by(answering.heads.compare(pack_head(bytes(8), mine[9]))) == 0
