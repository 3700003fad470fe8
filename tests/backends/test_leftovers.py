"""However a run ends, nothing of it stays: no process, no socket, no directory."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from harness.errors import EXIT_UNKNOWN
from harness.local.leftovers import PREFIX, leftover_directories, leftover_processes, remove_leftovers
from harness.local.processes import OWNER, owner_mark

ROOT = Path(__file__).resolve().parent.parent.parent
CAMPAIGN = """
name = "short"
shows = "nothing but its own end"
[cluster]
nodes = 3
transports = ["quic"]
[load]
duration_s = {seconds}
[[workloads]]
type = "gset"
[[faults]]
fault = "pause"
nodes = [1]
start_s = 0.5
"""


def processes_of(owner_pid: int) -> list[int]:
    """Every process on this machine that was started by harness `owner_pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{OWNER}={owner_pid}:".encode() in environment:
                found.append(int(entry.name))
    return found


def directories_of(owner_pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{owner_pid}-*"))


@pytest.fixture
def running(tmp_path: Path):
    """A harness in the midst of a run, with a node paused."""
    campaign = tmp_path / "short.toml"
    campaign.write_text(CAMPAIGN.format(seconds=60))
    command = [sys.executable, "-m", "harness", "run", str(campaign), "--backend", "local"]
    harness = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 30
        history = tmp_path / "store" / "short" / "latest" / "history.jsonl"
        while not (history.exists() and b'"observed"' in history.read_bytes()):
            assert harness.poll() is None and time.monotonic() < until, harness.stdout.read()
            time.sleep(0.05)
        assert len(processes_of(harness.pid)) == 4 and len(directories_of(harness.pid)) == 1
        yield harness
    finally:
        harness.kill()
        harness.wait()
        remove_leftovers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_harness_that_is_asked_to_end_ends_everything(running: subprocess.Popen, number: signal.Signals) -> None:
    running.send_signal(number)
    assert running.wait(30) == 130
    assert processes_of(running.pid) == [] and directories_of(running.pid) == []
    assert "Traceback" not in running.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_harness_that_is_interrupted_while_nodes_start_ends_everything(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "short.toml").write_text(CAMPAIGN.format(seconds=60))
    (tmp_path / "s.toml").write_text(
        f'name = "hangs"\ncommand = ["{sys.executable}", "-c", "import time; time.sleep(99)", "{{config}}"]\n'
    )
    options = ["--backend", "local", "--subject", str(tmp_path / "s.toml"), "--store", str(tmp_path / "store")]
    harness = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(tmp_path / "short.toml"), *options],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 30
        while len(processes_of(harness.pid)) < 4:
            assert harness.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        harness.send_signal(number)
        said, _ = harness.communicate(timeout=30)
        assert harness.returncode == 130 and "Traceback" not in said, said
        assert processes_of(harness.pid) == [] and directories_of(harness.pid) == []
    finally:
        harness.kill()
        harness.wait()
        remove_leftovers()


def test_a_relay_that_ends_leaves_the_run_unknown_and_says_so(running: subprocess.Popen) -> None:
    (relay,) = (pid for pid in processes_of(running.pid) if b"relay_udp" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(relay, signal.SIGKILL)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == EXIT_UNKNOWN, said
    assert "the harness failed, not the mesh: the relay has ended by itself (exit -9)" in said, said
    assert processes_of(running.pid) == [] and directories_of(running.pid) == []


def test_a_sweep_that_is_asked_to_end_ends_the_runs_of_its_pool_and_begins_no_other(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(CAMPAIGN.format(seconds=60))
    options = ["--seeds", "0-5", "--jobs", "2", "--backend", "local", "--store", str(tmp_path / "store")]
    harness = subprocess.Popen(
        [sys.executable, "-m", "harness", "sweep", str(tmp_path / "short.toml"), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 30
        while len(list((tmp_path / "store").glob("short/2*/history.jsonl"))) < 2:
            assert harness.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        harness.send_signal(signal.SIGTERM)
        said, _ = harness.communicate(timeout=30)
        assert harness.returncode == 130 and "Traceback" not in said, said
        assert leftover_processes() == [] and leftover_directories() == []
    finally:
        harness.kill()
        harness.wait()
        remove_leftovers()


def test_what_a_killed_harness_left_is_found_and_removed_and_nothing_else(running: subprocess.Popen) -> None:
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, OWNER: owner_mark()}
    )
    try:
        running.kill()
        running.wait()
        left = processes_of(running.pid)
        assert len(left) == 4 and set(left) <= set(leftover_processes())
        assert set(directories_of(running.pid)) <= set(leftover_directories())
        clean = subprocess.run(
            [sys.executable, "-m", "harness", "clean"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert all(f"removed process {pid}\n" in clean.stdout for pid in left)
        assert processes_of(running.pid) == [] and directories_of(running.pid) == []
        assert bystander.poll() is None
        again = subprocess.run(
            [sys.executable, "-m", "harness", "clean"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert again.stdout == "nothing was left behind\n"
    finally:
        bystander.kill()
        bystander.wait()


def test_a_run_that_comes_to_its_end_leaves_its_store_alone(tmp_path: Path) -> None:
    campaign = tmp_path / "short.toml"
    campaign.write_text(CAMPAIGN.format(seconds=2))
    harness = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(campaign), "--backend", "local", "--store", str(tmp_path / "s")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = harness.communicate(timeout=60)
    assert harness.returncode == 0, said
    assert processes_of(harness.pid) == [] and directories_of(harness.pid) == []
    kept = tmp_path / "s" / "short" / "latest"
    assert {one.name for one in kept.iterdir()} >= {"plan.json", "history.jsonl", "verdict.json", "drift.json"}
    for number in range(3):
        assert {one.name for one in (kept / "nodes" / f"node{number}").iterdir()} == {"node.log", "data", "ticks.json"}
    assert not list(kept.rglob("*.key")) and not list(kept.rglob("*.token"))
