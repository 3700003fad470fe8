"""A process of ours is all that its command has started: what is stopped or killed is the node, not its wrapper."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.local.processes import Process, marked, state_of, stop_or_continue

WORK = "import time\nwhile True: time.sleep(0.01)"
COMMANDS = {
    "alone": [sys.executable, "-c", WORK],
    "behind a shell": ["sh", "-c", f'"{sys.executable}" -c "$1"; true', "sh", WORK],
    "in a session of its own": [
        sys.executable,
        "-c",
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {WORK!r}], start_new_session=True)\n"
        "time.sleep(600)",
    ],
}


@pytest.fixture(params=COMMANDS)
def process(request: pytest.FixtureRequest, tmp_path: Path):
    made = Process(COMMANDS[request.param], log=tmp_path / "log", directory=tmp_path)
    try:
        wanted = 1 if request.param == "alone" else 2
        until = time.monotonic() + 10
        while len(made.members()) < wanted:
            assert time.monotonic() < until, made.members()
            time.sleep(0.01)
        yield made
    finally:
        made.kill()


def test_all_of_it_stands_still_and_goes_on(process: Process) -> None:
    assert not process.stopped()
    assert stop_or_continue(process, signal.SIGSTOP, wait_s=5)
    assert process.stopped() and {state_of(pid) for pid in process.members()} <= {"T", "D"}
    assert stop_or_continue(process, signal.SIGCONT, wait_s=5)
    assert not any(state_of(pid) == "T" for pid in process.members())


def test_all_of_it_is_gone_after_a_kill_paused_or_not(process: Process) -> None:
    members = process.members()
    stop_or_continue(process, signal.SIGSTOP, wait_s=5)
    process.kill()
    assert process.members() == [] and process.exit_code() == -signal.SIGKILL
    assert all(state_of(pid) in (None, "Z") for pid in members)


def test_all_of_it_is_gone_after_it_was_asked_to_end(process: Process) -> None:
    process.terminate(wait_s=0.5)
    assert process.members() == []


def test_what_ignores_sigterm_ends_all_the_same(tmp_path: Path) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w').close(); {WORK}"
    process = Process(
        [sys.executable, "-c", stubborn.replace("; import", "\nimport")], log=tmp_path / "log", directory=tmp_path
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert process.terminate(wait_s=0.3) == -signal.SIGKILL


def test_two_processes_of_one_harness_are_told_apart(process: Process, tmp_path: Path) -> None:
    other = Process(COMMANDS["alone"], log=tmp_path / "other", directory=tmp_path)
    try:
        other.kill()
        assert process.members()
    finally:
        other.kill()


def test_a_process_of_nobody_s_is_no_member() -> None:
    bystander = subprocess.Popen(COMMANDS["alone"])
    try:
        assert bystander.pid not in marked("KNHK_HARNESS_PROCESS=0-0")
    finally:
        bystander.kill()
        bystander.wait()


def test_last_words_are_the_last_line_of_the_log(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo one; echo two >&2"], log=tmp_path / "log", directory=tmp_path)
    while process.exit_code() is None:
        time.sleep(0.01)
    assert process.last_words() == "two"
    silent = Process(["true"], log=tmp_path / "silent", directory=tmp_path)
    silent.terminate(wait_s=5)
    assert silent.last_words() == "it said nothing"


def test_a_parent_whose_child_was_stopped_before_its_exec_stands_still_too(tmp_path: Path) -> None:
    forks = (
        "import ctypes, os, signal\n"
        "libc = ctypes.CDLL(None)\n"
        "child = libc.vfork()\n"
        "if child == 0:\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    os._exit(0)\n"
    )
    process = Process([sys.executable, "-c", forks], log=tmp_path / "log", directory=tmp_path)
    try:
        until = time.monotonic() + 10
        while "D" not in {state_of(pid) for pid in process.members()}:
            assert time.monotonic() < until and process.exit_code() is None, process.last_words()
            time.sleep(0.01)
        assert not process.stopped()  # nobody has asked the parent to stop
        assert stop_or_continue(process, signal.SIGSTOP, wait_s=5) and process.stopped()
    finally:
        process.kill()
