"""Reconciling with a quorum: who counts, what waits for whom, and when it ends without success."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.catch_up import CatchUp
from tests.mesh_shell import MS

PEERS = [bytes([number]) * 32 for number in range(1, 4)]
TIMEOUT = 5_000 * MS
X, Y = b"x" * 32, b"y" * 32


class Desk:
    """A CatchUp of one of four members, what is accepted here, and what its waiters were told."""

    def __init__(self, quorum_size=3, peers=PEERS):
        self.accepted: set[bytes] = set()
        self.told: list[tuple[str, bool, int]] = []
        self.rounds = CatchUp(
            peers, quorum_size=quorum_size, timeout_ns=TIMEOUT, accepted=lambda one: one in self.accepted,
            random=random.Random(1),
        )  # fmt: skip

    def begin(self, name, now=0):
        return self.rounds.begin(now, lambda complete, at: self.told.append((name, complete, at)))

    @property
    def nonce(self):
        nonces = {nonce for _, nonce in self.rounds.asks()}
        assert len(nonces) == 1
        return nonces.pop()

    def answer(self, peer, *frontier, nonce=None):
        return self.rounds.answered(peer, self.nonce if nonce is None else nonce, list(frontier))


def test_it_is_complete_when_q_members_this_one_among_them_are_satisfied():
    desk = Desk()
    assert desk.begin("read")
    assert [peer for peer, _ in desk.rounds.asks()] == PEERS
    desk.answer(PEERS[0])
    assert not desk.rounds.settle(1) and not desk.told
    desk.answer(PEERS[1])
    assert not desk.rounds.settle(2)
    assert desk.told == [("read", True, 2)] and len(desk.rounds) == 0
    assert desk.rounds.asks() == []


def test_a_member_counts_once_all_that_it_named_is_accepted_here():
    desk = Desk()
    desk.begin("read")
    desk.answer(PEERS[0])
    assert desk.answer(PEERS[1], X, Y) == [X, Y]
    for missing in (X, Y):
        desk.rounds.settle(1)
        assert not desk.told
        desk.accepted.add(missing)
    desk.rounds.settle(2)
    assert desk.told == [("read", True, 2)]


def test_what_is_accepted_already_is_not_asked_for():
    desk = Desk()
    desk.accepted.add(X)
    desk.begin("read")
    assert desk.answer(PEERS[0], X, Y) == [Y]


@pytest.mark.parametrize("answers", [1, 10])
def test_one_member_counts_once_however_often_it_answers(answers):
    desk = Desk()
    desk.begin("read")
    for _ in range(answers):
        desk.answer(PEERS[0])
    desk.rounds.settle(1)
    assert not desk.told


def test_a_member_that_names_what_nobody_has_is_not_counted_and_holds_nobody_up():
    desk = Desk()
    desk.begin("read")
    desk.answer(PEERS[0], b"?" * 32)
    desk.answer(PEERS[1])
    desk.rounds.settle(1)
    assert not desk.told
    desk.answer(PEERS[2])
    desk.rounds.settle(2)
    assert desk.told == [("read", True, 2)]


def test_answers_to_another_round_and_of_strangers_say_nothing():
    desk = Desk()
    desk.begin("first")
    former = desk.nonce
    for peer in PEERS[:2]:
        desk.answer(peer)
    desk.rounds.settle(1)
    desk.begin("second", 2)
    assert desk.nonce != former
    for peer in PEERS:
        assert desk.answer(peer, X, nonce=former) == []
    for guess in (bytes(8), b""):
        assert desk.answer(PEERS[0], X, nonce=guess) == []
    for stranger in (b"s" * 32, b"t" * 32):
        assert desk.answer(stranger, X) == []
    desk.rounds.settle(3)
    assert desk.told == [("first", True, 1)]


def test_no_answer_counts_while_there_is_no_round():
    desk = Desk()
    assert desk.answer(PEERS[0], X, nonce=bytes(8)) == []
    assert not desk.rounds.settle(1)


def test_who_has_not_answered_or_is_not_satisfied_is_asked_again():
    desk = Desk(quorum_size=4)
    desk.begin("read")
    desk.answer(PEERS[0])
    desk.answer(PEERS[1], X)
    assert [peer for peer, _ in desk.rounds.asks()] == PEERS[1:]


def test_what_begins_during_a_round_waits_for_the_next():
    desk = Desk()
    assert desk.begin("first")
    former = desk.nonce
    assert not desk.begin("second", 1), "its answers may be older than this one"
    for peer in PEERS[:2]:
        desk.answer(peer)
    assert desk.rounds.settle(2), "and the next begins at once"
    assert desk.told == [("first", True, 2)]
    assert desk.nonce != former and len(desk.rounds.asks()) == 3, "everybody is asked anew"
    for peer in PEERS[1:]:
        desk.answer(peer)
    assert not desk.rounds.settle(3)
    assert desk.told[1:] == [("second", True, 3)]


def test_any_number_that_wait_share_one_round():
    desk = Desk()
    begun = [desk.begin(f"r{number}") for number in range(20)]
    assert begun == [True] + [False] * 19
    for _ in range(2):
        for peer in PEERS[:2]:
            desk.answer(peer)
        desk.rounds.settle(1)
    assert [name for name, complete, _ in desk.told if complete] == [f"r{number}" for number in range(20)]


def test_a_quorum_of_one_needs_nobody():
    desk = Desk(quorum_size=1)
    desk.begin("read", 5)
    desk.rounds.settle(5)
    assert desk.told == [("read", True, 5)]


@pytest.mark.parametrize("role", ["served", "waits"])
def test_a_waiter_is_given_up_after_its_own_timeout_and_told_so_once(role):
    desk = Desk()
    desk.begin("first", 0)
    if role == "waits":
        desk.begin("second", 1)
    desk.rounds.expire(TIMEOUT)
    assert not desk.told, "at the timeout itself there is time yet"
    desk.rounds.expire(TIMEOUT + 1)
    assert desk.told == [("first", False, TIMEOUT + 1)]
    desk.rounds.expire(TIMEOUT + 2)
    assert [name for name, complete, _ in desk.told if not complete] == (
        ["first", "second"] if role == "waits" else ["first"]
    )


def test_when_those_of_a_round_are_given_up_the_next_begins_with_another_nonce():
    desk = Desk()
    desk.begin("first", 0)
    former = desk.nonce
    desk.begin("second", 100 * MS)
    assert desk.rounds.expire(TIMEOUT + 1)
    assert desk.nonce != former
    for peer in PEERS[:2]:
        assert desk.answer(peer, nonce=former) == []
    desk.rounds.settle(TIMEOUT + 2)
    assert desk.told == [("first", False, TIMEOUT + 1)], "answers of the former round serve nobody"


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "answer", "unsatisfied", "old", "settle", "expire"]), st.integers(0, 2)),
        max_size=60,
    )
)
def test_every_waiter_is_told_once_and_only_after_a_quorum_answered_what_was_asked_after_it_came(steps):
    """The model: the serial number of each ask, and who has answered which of them."""
    desk, now = Desk(), 0
    asked_at: dict[bytes, int] = {}
    satisfied: dict[bytes, set[bytes]] = {}
    came: dict[str, int] = {}
    for step, (what, which) in enumerate(steps):
        now += 1 if what != "expire" else TIMEOUT // 2
        peer, told = PEERS[which], len(desk.told)
        if what == "begin":
            came[f"r{step}"] = now
            desk.begin(f"r{step}", now)
        elif what in ("answer", "unsatisfied"):
            asks = dict(desk.rounds.asks())
            if peer in asks:
                desk.rounds.answered(peer, asks[peer], [X] if what == "unsatisfied" else [])
                if what == "answer":
                    satisfied.setdefault(asks[peer], set()).add(peer)
        elif what == "old":
            for nonce in list(asked_at)[:-1]:
                desk.rounds.answered(peer, nonce, [])
        elif what == "expire":
            desk.rounds.expire(now)
        else:
            desk.rounds.settle(now)
        for name, complete, _ in desk.told[told:]:
            rounds = [nonce for nonce, at in asked_at.items() if at >= came[name]]
            assert not complete or any(1 + len(satisfied.get(nonce, ())) >= 3 for nonce in rounds)
        for _, nonce in desk.rounds.asks():
            asked_at.setdefault(nonce, now)
    names = [name for name, _, _ in desk.told]
    assert len(names) == len(set(names))
    assert len(names) + len(desk.rounds) == len(came)
