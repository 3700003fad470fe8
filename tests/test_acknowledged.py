"""Of which stable writes a node is asked for the certificate, in the end."""

import pytest

from checkers.history import Complete, Invoke
from harness.acknowledged import ASKED_A_NODE_MAX, Acknowledged


def acknowledged(*writes):
    """Each write: (node, level, outcome, commit, certificate)."""
    seen = Acknowledged()
    for op, (node, level, outcome, commit, certificate) in enumerate(writes):
        seen.take(Invoke(op=op, process="p", node=node, t=op, intended=op, object="s", action="add", level=level))
        seen.take(Complete(op=op, t=op, outcome=outcome, commit=commit, certificate=certificate))
    return seen


@pytest.mark.parametrize("count", [*range(8), 1000])
def test_some_are_asked_for_the_first_and_the_last_among_them(count):
    seen = acknowledged(*((0, "stable", "ok", f"{number}", {"votes": []}) for number in range(count)))
    asked = [int(one) for one in seen.some_of(0)]
    assert len(set(asked)) == len(asked) == min(count, ASKED_A_NODE_MAX) and asked == sorted(asked)
    assert not count or (asked[0] == 0 and (asked[-1] == count - 1 or count == 1))


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
