"""The accepted set only grows, all correct replicas end with the same one, and no correct author is ever proven."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import (
    _HEADER,
    DOMAIN,
    NO_COMMIT,
    WireCommit,
    _body_hash,
    _deps_hash,
    make_commit,
    make_proof,
    open_commit,
)
from knhk_mesh.errors import BadCommit
from tests.commit_graphs import NOW, START_MS, Liar, accepted, add, past_of, replica, send, signer


@given(seed=st.integers(0, 2**32))
def test_accepted_sets_grow_and_converge_among_liars(seed):
    r = random.Random(seed)
    good = [replica(f"c{i}", seed) for i in range(r.randint(2, 5))]
    liars = [Liar(f"x{i}", good[0]) for i in range(r.randint(1, 4))]
    authors = {signer(f"c{i}").agent_id for i in range(len(good))}
    world = {}
    before = {id(one): set() for one in good}

    def grew(node):
        now = set(node.log.accepted)
        assert before[id(node)] <= now, "retraction"
        before[id(node)] = now
        world.update(node.log.held)

    for step in range(r.randint(5, 50)):
        draw = r.random()
        if draw < 0.25:
            node = r.choice(good)
            node.write(NOW, [add(step)])
            grew(node)
        elif draw < 0.5:
            source, target = r.sample(good, 2)
            send(target, accepted(source))
            grew(target)
        else:
            commit = r.choice(liars).sign(r, list(world.values()))
            world[commit.id] = commit
            for node in r.sample(good, r.randint(1, len(good))):
                bundle = past_of(commit, world) if r.random() < 0.8 else [commit]
                send(node, bundle)
                grew(node)

    for _ in range(100):
        sizes = [(len(one.log.accepted), len(one.log.proofs)) for one in good]
        for source in good:
            for target in good:
                if source is not target:
                    send(target, accepted(source))
                    grew(target)
        if sizes == [(len(one.log.accepted), len(one.log.proofs)) for one in good]:
            break

    assert len({one.log.root() for one in good}) == 1
    assert len({frozenset(one.log.accepted) for one in good}) == 1, "equal roots, equal sets"
    assert len({one.state.digest() for one in good}) == 1
    assert not authors & {author for one in good for author in one.log.proofs}, "a correct author was proven"


@given(seed=st.integers(0, 2**32))
def test_heads_and_frontier_are_what_their_definitions_say(seed):
    r = random.Random(seed)
    nodes = [replica(f"c{i}", seed) for i in range(3)]
    for step in range(r.randint(1, 30)):
        if r.random() < 0.6:
            r.choice(nodes).write(NOW, [add(step)])
        else:
            source, target = r.sample(nodes, 2)
            send(target, accepted(source))
    log = nodes[0].log
    commits = accepted(nodes[0])
    assert set(log.heads) == {one.id for one in commits} - {one.prev for one in commits}
    assert set(log.frontier) == {one.id for one in commits} - {parent for one in commits for parent in one.parents}


def _fork(incarnation=bytes(16)):
    """Two commits of the liar x0 for one slot."""
    node = replica("c0", 0)
    pair = [
        make_commit(
            signer("x0"), network=node.network, incarnation=incarnation, seq=0, prev=NO_COMMIT, deps=[],
            clock=(START_MS << 16) + 1, operations=[add(value)],
        )
        for value in (1, 2)
    ]  # fmt: skip
    return node, pair


def test_a_fork_is_proven_fenced_and_never_retracted():
    node, (first, second) = _fork()
    send(node, [first])
    assert first.id in node.log.accepted
    send(node, [second])
    assert first.author in node.log.proofs
    assert first.id in node.log.accepted, "what was accepted before the proof stays"
    assert second.id not in node.log.accepted, "what came with the proof is not vouched for by anybody"
    fence = node.log.held[next(iter(node.log.frontier))]
    assert fence.author == signer("c0").agent_id and fence.accused == first.author
    assert first.id in {one.id for one in past_of(fence, node.log.held)}
    send(node, [first, second])
    assert len(node.log.proofs) == 1


def test_both_branches_stay_where_each_was_vouched_for():
    (a, (first, second)), b = _fork(), replica("c1", 0)
    send(a, [first])
    send(b, [second])
    for _ in range(3):
        send(a, accepted(b))
        send(b, accepted(a))
    for node in (a, b):
        assert {first.id, second.id} <= set(node.log.accepted)
        assert node.state.object("gset", "set").value() == [1, 2]
    assert a.log.root() == b.log.root()


def test_a_commit_may_not_vouch_for_whom_its_own_past_proves():
    node, (first, second) = _fork()
    colluder = signer("x1")
    proof = make_proof(first, second)
    accusing = make_commit(
        colluder, network=node.network, incarnation=bytes(16), seq=0, prev=NO_COMMIT, deps=[],
        clock=(START_MS << 16) + 1, proof=proof,
    )  # fmt: skip
    vouching = make_commit(
        colluder, network=node.network, incarnation=bytes(16), seq=1, prev=accusing.id, deps=[first.id],
        clock=(START_MS << 16) + 9,
    )  # fmt: skip
    send(node, [accusing, first])
    _, bad = node.merge(NOW, [vouching.wire])
    assert [error.reason for _, error in bad] == ["vouches"]


def test_a_commit_waits_for_its_past():
    source, target = replica("c0", 0), replica("c1", 0)
    first, second = source.write(NOW, [add(1)]), source.write(NOW, [add(2)])
    send(target, [second])
    assert not target.log.accepted and len(target.pending) == 1
    assert target.pending.roots(9) == [first.id]
    send(target, [first])
    assert [one.id for one in accepted(target)] == [first.id, second.id]
    assert len(target.pending) == 0


def _rewire(wire, **parts):
    import msgspec

    return msgspec.structs.replace(wire, **parts)


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("signature", lambda w: _rewire(w, signature=bytes([w.signature[0] ^ 1]) + w.signature[1:])),
        (
            "signature",
            lambda w: _rewire(w, header=w.header[:96] + (7).to_bytes(8, "big") + b"\1" * 32 + w.header[136:]),
        ),
        ("hash", lambda w: _rewire(w, body=w.body + b"\0")),
        ("hash", lambda w: _rewire(w, deps=w.deps + b"\1" * 32)),
        ("layout", lambda w: _rewire(w, header=w.header[:-1])),
        ("layout", lambda w: _rewire(w, deps=b"\1")),
        ("layout", lambda w: _rewire(w, body=bytes(40_000))),
        ("network", lambda w: _rewire(w, header=bytes(16) + w.header[16:])),
        ("network", lambda w: _rewire(w, header=w.header[:16] + bytes(32) + w.header[48:])),
        ("link", lambda w: _rewire(w, header=w.header[:96] + (1).to_bytes(8, "big") + w.header[104:])),
    ],
)
def test_a_commit_that_was_tampered_with_is_thrown_out(reason, spoil):
    node = replica("c0", 0)
    wire = replica("c1", 0).write(NOW, [add(1)]).wire
    open_commit(node.network, wire)
    with pytest.raises(BadCommit) as error:
        open_commit(node.network, spoil(wire))
    assert error.value.reason == reason
    accepted_now, bad = node.merge(NOW, [spoil(wire)])
    assert not accepted_now and [error.reason for _, error in bad] == [reason]


@pytest.mark.parametrize("deep", [1, 990, 5000])
@pytest.mark.parametrize(
    "body", [b"\x93\x90\xc0", b"\x91\x91\x95\xa1o\xa4gset\xa3add\x01", b"\x92\x90\x95" + b"\xc4\x00" * 4]
)
def test_a_body_with_more_than_a_body_has_is_no_body_however_deep_it_goes(body, deep):
    """How deep the decoder gets depends on the stack, and whether a commit is valid must not."""
    node = replica("c0", 0)
    liar, body = signer("x0"), body + b"\x91" * deep + b"\xc0"
    parts = (DOMAIN, node.network, liar.agent_id, bytes(16), 0, NO_COMMIT)
    header = _HEADER.pack(*parts, _deps_hash(b""), _body_hash(body), (START_MS << 16) + 1)
    _, bad = node.merge(NOW, [WireCommit(header, liar.sign(header), b"", body)])
    assert [error.reason for _, error in bad] == ["body"]


@pytest.mark.parametrize("clock", [START_MS << 16, (START_MS + 600_001) << 16])
def test_a_clock_is_bounded_by_its_past(clock):
    node = replica("c0", 0)
    commit = make_commit(
        signer("x0"), network=node.network, incarnation=bytes(16), seq=0, prev=NO_COMMIT, deps=[], clock=clock
    )
    _, bad = node.merge(NOW, [commit.wire])
    assert [error.reason for _, error in bad] == ["clock"]


def test_a_restarted_replica_is_what_it_was_and_reuses_no_slot():
    node, (first, second) = _fork()
    node.write(NOW, [add(5)])
    send(node, [first, second])
    again = replica("c0", 99)
    again.journal.clear()
    again.recover(node.journal)
    assert again.log.root() == node.log.root() and again.state.digest() == node.state.digest()
    assert set(again.log.proofs) == set(node.log.proofs)
    slots = {one.slot for one in accepted(node)}
    assert again.write(NOW, [add(6)]).slot not in slots


def test_more_heads_than_a_commit_may_name_are_gathered_first(monkeypatch):
    monkeypatch.setattr("knhk_mesh.replica.DEPENDENCIES_MAX", 3)
    node = replica("c0", 0)
    for index in range(10):
        send(node, [replica(f"c{index + 1}", 0).write(NOW, [add(index)])])
    commit = node.write(NOW, [add(99)])
    assert set(node.log.frontier) == {commit.id}
    assert all(len(one.deps) <= 3 for one in accepted(node))


def test_a_node_that_is_itself_proven_still_starts_from_its_journal():
    """Its key has leaked, or its disk lied: it is not believed any more, but it is no reason to crash."""
    node, other = replica("c0", 0), replica("c1", 0)
    mine = node.write(NOW, [add(1)])
    twin = make_commit(
        signer("c0"), network=node.network, incarnation=mine.incarnation, seq=0, prev=NO_COMMIT, deps=[],
        clock=mine.clock, operations=[add(2)],
    )  # fmt: skip
    send(other, [mine])
    send(other, [twin])
    send(node, accepted(other))
    assert signer("c0").agent_id in node.log.proofs
    again = replica("c0", 9)
    again.journal.clear()
    again.recover(node.journal)
    assert again.log.root() == node.log.root() and set(again.log.proofs) == set(node.log.proofs)
