"""Triggers on real nodes: a node of the test launcher stands still at its failpoint until the fault is in force."""

import sys
from pathlib import Path

import msgspec

from checkers.history import FaultEvent
from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.execution import execute, lacking
from harness.store import RunDirectory
from harness.subject import CONFIG, REFERENCE

LAUNCHER = Path(__file__).resolve().parent.parent / "planted_bugs" / "launch.py"
SUBJECT = msgspec.structs.replace(
    REFERENCE,
    command=(sys.executable, str(LAUNCHER), "nothing", "node", "run", "--config", CONFIG),
    offers=(*REFERENCE.offers, "failpoints"),
)
CAMPAIGN = b"""
name = "failpoints"
shows = "that a trigger strikes at its very step"
[cluster]
nodes = 3
[load]
duration_s = 5.0
[[workloads]]
type = "gset"
rate = 60
[[faults]]
fault = "kill"
nodes = [0]
after = { after = "persist", node = 0, count = 17 }
duration_s = 0.5
[[faults]]
fault = "pause"
nodes = [1]
after = { after = "send", node = 1, count = 40 }
duration_s = 0.5
[[faults]]
fault = "cut"
shape = "isolate-one"
after = { after = "accept", node = 2, count = 5 }
duration_s = 0.7
[[checks]]
name = "availability"
options = { ok_min = 0.5 }
"""


def test_triggers_strike_and_let_the_node_go_on(tmp_path: Path) -> None:
    plan = compile_campaign(parse_campaign(CAMPAIGN, source="x"), 1, source="x")
    assert lacking(plan, "local", SUBJECT)[0] == [] and lacking(plan, "local")[0] == ["trigger"]
    outcome = execute(plan, backend="local", subject=SUBJECT, directory=RunDirectory(tmp_path, "failpoints", 1))
    assert outcome.verdict.validity == "valid", outcome.verdict
    told: dict[str, list[str]] = {}
    for event in outcome.history.events:
        if isinstance(event, FaultEvent):
            told.setdefault(event.fault, []).append(event.stage)
    assert told == {one.id: ["injected", "observed", "lifted"] for one in plan.faults}
