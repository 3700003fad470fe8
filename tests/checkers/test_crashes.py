"""crashes: a node that ends by itself is a finding; one that was killed, or that lies, is not."""

import msgspec
import pytest

from checkers.crashes import Crashes
from checkers.history import FaultEvent, NodeEntry, NodeEvent
from tests.checkers.histories import header


def event(node, name, **data):
    return NodeEvent(node=node, name=name, monotonic=0, wall=0, t=0, data=data)


def judged(*events, byzantine=()):
    head = header()
    nodes = [NodeEntry(one.index, one.agent, byzantine=one.index in byzantine) for one in head.nodes]
    checker = Crashes(msgspec.structs.replace(head, nodes=nodes))
    early = [checker.on_event(index, one) for index, one in enumerate(events)]
    return checker.final(), [one for one in early if one]


STARTED = [event(node, "started") for node in range(3)]


def test_a_crash_is_found_at_once_and_names_the_node_and_the_reason():
    found, early = judged(*STARTED, event(2, "crashed", error="KeyError: 7"))
    assert found.validity == "invalid"
    assert [one.name for one in found.anomalies] == ["node-crashed"] == [one.name for one in early]
    assert found.anomalies[0].events == [3] and found.anomalies[0].data == {"node": 2}
    assert "KeyError: 7" in found.anomalies[0].message


@pytest.mark.parametrize(
    "events",
    [
        STARTED,
        [*STARTED, FaultEvent(fault="kill-0", stage="injected", t=1), event(1, "started")],
        [*STARTED, event(1, "converged"), event(1, "accepted", ids=[])],
    ],
    ids=["healthy", "killed and restarted", "other events"],
)
def test_what_is_no_crash_is_valid(events):
    assert judged(*events)[0].validity == "valid"


def test_a_byzantine_node_may_end_as_it_likes():
    assert judged(*STARTED, event(1, "crashed"), byzantine={1})[0].validity == "valid"


def test_a_run_in_which_no_node_was_seen_is_unknown():
    assert judged()[0].validity == "unknown"


def test_a_node_that_did_not_end_as_asked_is_found():
    found, _ = judged(*STARTED, event(1, "bad-exit", error="exit -9 after SIGTERM: it said nothing"))
    (anomaly,) = found.anomalies
    assert found.validity == "invalid" and anomaly.name == "bad-exit" and "exit -9" in anomaly.message
