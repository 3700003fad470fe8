"""The header and the plan in it say the same, or the history is no evidence."""

import msgspec
import pytest

from checkers.history import Header
from harness.campaign import read_campaign
from harness.cli import CAMPAIGNS
from harness.compiler import compile_campaign
from harness.header import contradiction, header_for
from harness.simulator.backend import SimulatorBackend
from harness.subject import REFERENCE


def header(of="equivocators", subject=REFERENCE, **changed):
    """As it is read again from a history."""
    plan = compile_campaign(read_campaign(CAMPAIGNS / f"{of}.toml"), 3, source="test")
    made = header_for(plan, SimulatorBackend(plan), (), msgspec.to_builtins(plan), subject)
    return msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(made, **changed)), type=Header)


@pytest.mark.parametrize("campaign", sorted(path.stem for path in CAMPAIGNS.glob("*.toml")))
def test_a_header_agrees_with_the_plan_in_it(campaign):
    assert contradiction(header(campaign)) is None


def test_what_a_subject_does_not_offer_may_be_left_out():
    other = msgspec.structs.replace(REFERENCE, name="other", offers=())
    made = header(subject=other, backend="local")
    assert "visibility" in made.left_out and contradiction(made) is None
    assert contradiction(header(subject=other)) is not None, "in the simulator there is the reference mesh alone"


def test_of_real_machines_the_bounds_of_time_are_not_known_here():
    made = header()
    slower = msgspec.structs.replace(made.quorum, detection_ns=made.quorum.detection_ns + 1)
    later = msgspec.structs.replace(made.deadline, total_ns=made.deadline.total_ns + 1)
    assert contradiction(header(backend="local", quorum=slower, deadline=later)) is None


def test_a_header_without_a_plan_has_nothing_to_contradict():
    assert contradiction(header(plan={}, core=[1])) is None


def altered(field):
    """A header with that field altered, as somebody would whom the truth does not suit."""
    made = header()
    kept = {
        "campaign": "baseline",
        "seed": 4,
        "faulty": 0,
        "core": made.core[1:],
        "objects": made.objects[1:],
        "faults": [],
        "checks": [check for check in made.checks if check.name != "quorum"],
        "left_out": {"quorum": "I would rather not"},
        "network": msgspec.structs.replace(made.network, loss=0.5),
        "deadline": msgspec.structs.replace(made.deadline, total_ns=1 << 60),
    }
    if field == "left_out":
        return header(left_out=kept[field], checks=kept["checks"]), "checks"
    if field in kept:
        return header(**{field: kept[field]}), field
    if field == "byzantine":
        first = msgspec.structs.replace(made.nodes[0], byzantine=True)
        return header(nodes=[first, *made.nodes[1:]]), "nodes"
    if field == "fewer nodes":
        return header(nodes=made.nodes[1:]), "nodes"
    if field == "no quorum":
        return header(quorum=None), "quorum"
    changed = {"detection_ns": 1 << 60, "recovery_ns": 1 << 60, "gated": True, "size": 1, "epoch": 9}
    return header(quorum=msgspec.structs.replace(made.quorum, **{field: changed[field]})), "quorum"


@pytest.mark.parametrize(
    "field",
    [
        "campaign", "seed", "faulty", "core", "objects", "faults", "checks", "left_out", "network", "deadline",
        "byzantine", "fewer nodes", "no quorum", "detection_ns", "recovery_ns", "gated", "size", "epoch",
    ],
)  # fmt: skip
def test_what_was_altered_is_named(field):
    made, named = altered(field)
    assert contradiction(made) == f"{named}: is not what the plan in this header says"


def test_a_plan_that_is_none_is_said():
    assert contradiction(header(plan={"campaign": 3})).startswith("plan: ")
