"""One plan, one seed, three backends: their verdicts agree, on the mesh as it is and on the mesh with a bug in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.execution import execute
from harness.mutants import planted
from harness.plan import Plan, encode_plan
from tests.backends.docker_here import needs_docker

BUGS = Path(__file__).resolve().parent.parent / "planted_bugs"
CAMPAIGN = b"""
name = "agreement"
shows = "that three backends come to one verdict"
[cluster]
nodes = 4
[load]
duration_s = 8.0
[[workloads]]
type = "gset"
object = "g"
rate = 30
[[workloads]]
type = "orset"
object = "o"
rate = 20
removes = 0.3
[[faults]]
fault = "cut"
groups = [[0, 1], [2, 3]]
start_s = 1.0
duration_s = 2.0
[[faults]]
fault = "kill"
nodes = [2]
start_s = 3.2
duration_s = 0.5
[[faults]]
fault = "skew"
nodes = [1]
offset_ms = 600000.0
start_s = 0.1
[[checks]]
name = "availability"
options = { ok_min = 0.5 }
"""
BUGGY = ("reads_of_yesterday", "reads_from_a_cache", "wall_clock_decides", "slot_reused_after_restart")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_campaign(parse_campaign(CAMPAIGN, source="agreement"), 3, source="agreement")


@needs_docker
@pytest.mark.parametrize("backend", ["sim", "local", "docker"])
def test_the_mesh_as_it_is_is_valid(plan: Plan, backend: str) -> None:
    verdict = execute(plan, backend=backend).verdict
    assert verdict.validity == "valid", verdict


@needs_docker
@pytest.mark.parametrize("bug", BUGGY)
def test_a_planted_bug_is_invalid_on_all_three(plan: Plan, bug: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(encode_plan(plan))
    launched = subprocess.run(
        [sys.executable, BUGS / "launch.py", bug, "harness", "replay", tmp_path / "plan.json", "--store", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (verdict,) = tmp_path.glob("agreement/2*/verdict.json")
    assert json.loads(verdict.read_bytes())["validity"] == "invalid" and launched.returncode == 1, launched.stdout
    assert "node-crashed" not in launched.stdout, "a bug that only makes nodes crash has gone stale"
    for backend in ("local", "docker"):
        found = execute(plan, backend=backend, subject=planted(bug, BUGS, backend)).verdict
        assert found.validity == "invalid", (backend, found)
        assert "crashes" not in {result.checker for result in found.results if result.anomalies}, (backend, found)
