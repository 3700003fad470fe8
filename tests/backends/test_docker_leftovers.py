"""However a run in containers ends, nothing of it stays; what a killed harness left is removed, and nothing else."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.docker.engine import NODE_IMAGE, connect
from harness.docker.leftovers import OWNER, remove_leftovers
from tests.backends.docker_here import needs_docker

pytestmark = needs_docker
ROOT = Path(__file__).resolve().parent.parent.parent
CAMPAIGN = """
name = "short"
shows = "nothing but its own end"
[cluster]
nodes = 3
[load]
duration_s = {seconds}
[[workloads]]
type = "gset"
[[faults]]
fault = "pause"
nodes = [1]
start_s = 0.5
"""


def of_owner(pid: int) -> list[str]:
    """Everything in the engine that harness `pid` has made: containers, networks, volumes."""
    client = connect()
    try:
        found = [(one.name, one.labels) for one in client.containers.list(all=True, ignore_removed=True)]
        found += [(one.name, one.attrs.get("Labels") or {}) for one in client.networks.list()]
        found += [(one.name, one.attrs.get("Labels") or {}) for one in client.volumes.list()]
    finally:
        client.close()
    return [name for name, labels in found if labels.get(OWNER, "").startswith(f"{pid}:")]


def start(tmp_path: Path, seconds: float) -> subprocess.Popen:
    campaign = tmp_path / "short.toml"
    campaign.write_text(CAMPAIGN.format(seconds=seconds))
    command = [sys.executable, "-m", "harness", "run", str(campaign), "--backend", "docker"]
    return subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def running(tmp_path: Path):
    """A harness in the midst of a run, with a container paused."""
    harness = start(tmp_path, 60)
    try:
        until = time.monotonic() + 60
        history = tmp_path / "store" / "short" / "latest" / "history.jsonl"
        while not (history.exists() and b'"observed"' in history.read_bytes()):
            assert harness.poll() is None and time.monotonic() < until, harness.stdout.read()
            time.sleep(0.1)
        made = of_owner(harness.pid)
        assert len(made) == 4 + 2 + 6, made  # three nodes and a relay; two networks; two volumes a node
        yield harness
    finally:
        harness.kill()
        harness.wait()
        remove_leftovers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_harness_that_is_asked_to_end_ends_everything(running: subprocess.Popen, number: signal.Signals) -> None:
    running.send_signal(number)
    assert running.wait(60) == 130
    assert of_owner(running.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("made", [0, 1, 3, 6, 12])
def test_a_harness_that_is_interrupted_while_it_starts_leaves_nothing_and_is_soon_gone(
    made: int, number: signal.Signals, tmp_path: Path
) -> None:
    """When `made` things of its run are there: none, a network, the relay, nodes, all; threads are making the next."""
    harness = start(tmp_path, 60)
    try:
        until = time.monotonic() + 60
        while len(of_owner(harness.pid)) < made:
            assert harness.poll() is None and time.monotonic() < until
        if not made:
            time.sleep(0.3)  # in the midst of its imports
        begun = time.monotonic()
        harness.send_signal(number)
        said, _ = harness.communicate(timeout=60)
        assert "Traceback" not in said and "Unclosed" not in said, said
        early = harness.returncode == -number and not made  # before it has any handler
        assert early or (harness.returncode == 130 and "interrupted" in said), said
        assert time.monotonic() - begun < 8
        assert of_owner(harness.pid) == []
    finally:
        harness.kill()
        harness.wait()
        remove_leftovers()


def test_what_a_killed_harness_left_is_removed_and_nothing_else(running: subprocess.Popen) -> None:
    client = connect()
    bystander = client.containers.run(NODE_IMAGE, entrypoint=["sleep"], command=["60"], detach=True)
    try:
        running.kill()
        running.wait()
        left = of_owner(running.pid)
        assert len(left) == 12
        clean = subprocess.run(
            [sys.executable, "-m", "harness", "clean"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert all(name in clean.stdout for name in left)
        assert of_owner(running.pid) == []
        bystander.reload()
        assert bystander.status == "running"
    finally:
        bystander.remove(force=True, v=True)
        client.close()


def test_a_run_that_comes_to_its_end_leaves_its_store_alone(tmp_path: Path) -> None:
    harness = start(tmp_path, 2)
    said, _ = harness.communicate(timeout=120)
    assert harness.returncode == 0, said
    assert of_owner(harness.pid) == []
    kept = tmp_path / "store" / "short" / "latest" / "nodes"
    for number in range(3):
        names = {one.name for one in (kept / f"node{number}").iterdir()}
        assert names == {"node.log", "data", "ticks.json"}
        assert (kept / f"node{number}" / "data" / "journal.sqlite").stat().st_size > 0
    assert not list(kept.rglob("*.key")) and not list(kept.rglob("*.token"))
