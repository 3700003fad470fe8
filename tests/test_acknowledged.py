"""Of which stable writes a node is asked for the certificate, in the end."""

import pytest

from checkers.history import Complete, Invoke
from harness.acknowledged import ASKED_A_NODE_MAX, BEFORE_KILLS_MAX, Acknowledged


def acknowledged(*writes):
    """Each write: (node, level, outcome, commit, certificate)."""
    seen = Acknowledged()
    for op, write in enumerate(writes):
        acknowledge(seen, op, write)
    return seen


def acknowledge(seen, op, write):
    node, level, outcome, commit, certificate = write
    seen.take(Invoke(op=op, process="p", node=node, t=op, intended=op, object="s", action="add", level=level))
    seen.take(Complete(op=op, t=op, outcome=outcome, commit=commit, certificate=certificate))


@pytest.mark.parametrize("count", [*range(8), 1000])
def test_some_are_asked_for_the_first_and_the_last_among_them(count):
    seen = acknowledged(*((0, "stable", "ok", f"{number}", {"votes": []}) for number in range(count)))
    asked = [int(one) for one in seen.some_of(0)]
    assert len(set(asked)) == len(asked) == min(count, ASKED_A_NODE_MAX) and asked == sorted(asked)
    assert not count or (asked[0] == 0 and (asked[-1] == count - 1 or count == 1))


def test_the_one_given_last_before_a_kill_is_among_them_in_its_place():
    seen = Acknowledged()
    for number in range(100):
        acknowledge(seen, number, (0, "stable", "ok", f"{number}", {}))
        if number in (41, 57):
            seen.killed([1, 0])
    assert seen.some_of(0) == ["0", "33", "41", "57", "66", "99"] and seen.some_of(1) == []


def test_of_many_kills_the_last_count():
    seen = Acknowledged()
    for number in range(1000):
        acknowledge(seen, number, (0, "stable", "ok", f"{number}", {}))
        seen.killed([0])
    asked = seen.some_of(0)
    assert asked[-BEFORE_KILLS_MAX:] == ["996", "997", "998", "999"]
    assert len(asked) <= ASKED_A_NODE_MAX + BEFORE_KILLS_MAX


def test_each_node_is_asked_for_its_own():
    seen = acknowledged((0, "stable", "ok", "a", {}), (1, "stable", "ok", "b", {}))
    assert (seen.some_of(0), seen.some_of(1), seen.some_of(2)) == (["a"], ["b"], [])


@pytest.mark.parametrize(
    "write",
    [
        (0, "local", "ok", "a", {}),
        (0, "stable", "info", "a", {}),
        (0, "stable", "fail", None, None),
        (0, "stable", "ok", "a", None),
        (0, "stable", "ok", None, {}),
    ],
)
def test_what_was_not_acknowledged_with_a_certificate_is_not_asked_for(write):
    assert acknowledged(write).some_of(0) == []
