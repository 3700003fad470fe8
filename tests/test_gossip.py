"""Gossip: what two nodes say to each other, and that all get there."""

from itertools import count, islice, pairwise

import pytest

from knhk_mesh.commits import NO_COMMIT, make_commit
from knhk_mesh.messages import Delta, Pull, Push, chain_tag, decode_frame
from tests.commit_graphs import START_MS, send, signer
from tests.mesh_shell import MS, Shell


def decoded(shell):
    return [(source, target, decode_frame(frame, bytes_max=65536)) for source, target, frame in shell.frames]


def agree(shell):
    return len({shell.digest(number) for number in range(len(shell.nodes))}) == 1


def timer(shell, number):
    shell.now = max(shell.now, shell.timers[number])
    shell.take(number, shell.nodes[number].timer(shell.instant(), "gossip"))


def test_equal_roots_end_the_exchange_at_once():
    shell = Shell(2)
    timer(shell, 0)
    assert [type(frame) for _, _, frame in decoded(shell)] == [Push]
    assert shell.deliver() == 1, "the push is answered by silence"


def test_a_difference_is_pulled_and_sent_and_the_next_push_is_silent():
    shell = Shell(2)
    shell.add(0, 1)
    timer(shell, 0)
    kinds = []
    while shell.frames:
        kinds.append(type(decoded(shell)[0][2]))
        source, target, frame = shell.frames.pop(0)
        shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))
    assert kinds == [Push, Pull, Delta]
    assert shell.read(1) == [1] and agree(shell)
    timer(shell, 0)
    assert shell.deliver() == 1


def test_one_exchange_serves_both_directions():
    shell = Shell(2)
    shell.add(0, 0)
    shell.add(1, 1)
    timer(shell, 0)
    assert shell.deliver() == 5, "push, pull, delta, pull, delta"
    assert shell.read(0) == shell.read(1) == [0, 1] and agree(shell)


@pytest.mark.parametrize(("nodes", "fanout"), [(2, 1), (5, 2), (9, 4), (9, 8), (3, 9)])
def test_a_round_pushes_to_as_many_distinct_peers_as_the_fanout_says(nodes, fanout):
    shell = Shell(nodes, fanout=fanout)
    timer(shell, 3 % nodes)
    targets = [target for _, target, _ in shell.frames]
    assert len(targets) == len(set(targets)) == min(fanout, nodes - 1) and 3 % nodes not in targets


@pytest.mark.parametrize("strategy", ["random", "hybrid"])
def test_all_converge_by_every_strategy(strategy):
    shell = Shell(9, fanout=2, strategy=strategy)
    for number in range(9):
        for element in range(10):
            shell.add(number, 10 * number + element)
    for _ in range(15):
        shell.round()
    assert agree(shell) and shell.read(4) == list(range(90))


def test_one_bad_peer_never_ends_a_round():
    shell = Shell(3)
    shell.add(0, 1)
    for _ in range(30):
        shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[1], b"garbage"))
        shell.take(0, shell.nodes[0].receive(shell.instant(), b"\0" * 32, b"from a stranger"))
    shell.round()
    assert shell.read(2) == [1]
    assert shell.nodes[0].validator.rejected["stranger"] == 30


def test_a_silent_peer_is_dialled_again_for_ever_and_heals():
    shell = Shell(2)
    shell.add(0, 1)

    def cut(source, target):
        return True

    pushes = []
    for _ in range(600):
        shell.now += 100 * MS
        shell.take(0, shell.nodes[0].timer(shell.instant(), "gossip"))
        pushes += [shell.now for source, target, _ in shell.frames if (source, target) == (0, 1)]
        shell.frames.clear()
    late = [at for at in pushes if at > 30_000 * MS]
    gaps = [after - before for before, after in pairwise(late)]
    assert shell.nodes[0].registry.is_dormant(shell.ids[1])
    assert gaps and max(gaps) <= 600 * MS, "backoff is capped at 500 ms, found out in the next round"
    for _ in range(8):
        shell.round()
    assert shell.read(1) == [1] and agree(shell)


def test_a_large_difference_arrives_in_several_frames_and_nothing_is_cut():
    limit = 52_000
    shell = Shell(2, frame_bytes_max=limit, delta_frames_max=3)
    for element in range(900):
        shell.add(0, f"{element:04}" + "x" * 200)
    sizes = []
    for _ in range(6):
        timer(shell, 0)
        while shell.frames:
            source, target, frame = shell.frames.pop(0)
            sizes.append(len(frame))
            shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))
    assert agree(shell) and len(shell.read(1)) == 900
    assert max(sizes) <= limit and sum(size > limit / 2 for size in sizes) > 3


def test_a_node_says_once_that_it_is_quiescent_with_its_peers():
    shell = Shell(3)
    for _ in range(5):
        shell.round()
    said = [event for event in shell.events[0] if event.name == "converged"]
    assert len(said) == 1
    shell.add(0, 1)
    for _ in range(5):
        shell.round()
    assert len([event for event in shell.events[0] if event.name == "converged"]) == 2


def test_a_pause_is_not_made_up_for():
    shell = Shell(2)
    timer(shell, 0)
    rounds = shell.nodes[0].gossip.rounds
    shell.now += 10_000 * MS
    shell.take(0, shell.nodes[0].timer(shell.instant(), "gossip"))
    assert shell.nodes[0].gossip.rounds == rounds + 1
    assert shell.now < shell.timers[0] <= shell.now + 100 * MS


def test_lost_frames_cost_a_round_and_nothing_else():
    shell = Shell(4, fanout=3)
    drops = iter(range(10**6))
    for number in range(4):
        shell.add(number, number)
    for _ in range(25):
        shell.round(lose=lambda source, target: next(drops) % 3 == 0)
    assert agree(shell) and shell.read(0) == [0, 1, 2, 3]


def test_a_crowd_of_chains_hides_no_other_chain_from_a_row_that_does_not_hold_all(monkeypatch):
    """An author may begin as many chains as it likes, and pick those whose tags stand just before another's."""
    monkeypatch.setattr("knhk_mesh.gossip.entries_that_fit", lambda frame_bytes_max: 3)
    shell = Shell(2)
    first = shell.nodes[0].replica
    hidden = chain_tag(shell.ids[0], first.incarnation)
    incarnations = (number.to_bytes(16, "big") for number in count())
    before = (one for one in incarnations if hidden[:1] <= chain_tag(signer("x0").agent_id, one) < hidden)
    crowd = [
        make_commit(
            signer("x0"), network=first.network, incarnation=one, seq=0, prev=NO_COMMIT, deps=[],
            clock=(START_MS << 16) + 1,
        )
        for one in islice(before, 4)
    ]  # fmt: skip
    for node in shell.nodes:
        send(node.replica, crowd)
    shell.add(0, 1)
    for _ in range(40):
        shell.round()
    assert shell.read(1) == [1] and agree(shell)
