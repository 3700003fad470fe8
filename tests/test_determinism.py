"""Equal plans give equal runs: twice in one process, in another process, and under another hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.campaign import read_campaign
from harness.cli import CAMPAIGNS
from harness.compiler import compile_campaign
from harness.execution import execute
from harness.plan import encode_plan

ROOT = Path(__file__).parent.parent
PRINT_HASH = """
import sys
from pathlib import Path
from harness.campaign import read_campaign
from harness.compiler import compile_campaign
from harness.execution import execute
path = Path(sys.argv[1])
plan = compile_campaign(read_campaign(path), int(sys.argv[2]), source=path.name)
print(execute(plan).trace_hash)
"""


def plan_of(name: str, seed: int):
    path = CAMPAIGNS / f"{name}.toml"
    return compile_campaign(read_campaign(path), seed, source=path.name)


def in_another_process(name: str, seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_HASH, str(CAMPAIGNS / f"{name}.toml"), str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["baseline", "crash", "lossy", "regions"])
def test_one_plan_gives_one_trace_under_every_hash_seed(name):
    first = execute(plan_of(name, 11))
    again = execute(plan_of(name, 11))
    assert first.trace_hash == again.trace_hash
    assert msgspec.json.encode(first.history) == msgspec.json.encode(again.history)
    assert {in_another_process(name, 11, hash_seed) for hash_seed in ("1", "2")} == {first.trace_hash}


def test_another_seed_gives_another_trace():
    assert execute(plan_of("baseline", 1)).trace_hash != execute(plan_of("baseline", 2)).trace_hash


def test_compiling_is_a_function_of_campaign_and_seed():
    assert encode_plan(plan_of("everything", 5)) == encode_plan(plan_of("everything", 5))
    assert encode_plan(plan_of("everything", 5)) != encode_plan(plan_of("everything", 6))


def test_deleting_from_a_plan_leaves_the_rest_as_it_was():
    """What shrinking rests on: the operations before the deleted fault's time see exactly the same run."""
    plan = plan_of("halves", 3)
    second = plan.faults[1]
    shorter = msgspec.structs.replace(plan, faults=plan.faults[:1])

    def before(outcome):
        return [
            event
            for event in outcome.history.events
            if event.t < second.start.at_ns and type(event).__name__ != "FaultEvent"
        ]

    whole, less = before(execute(plan)), before(execute(shorter))
    assert len(whole) > 100
    assert whole == less
