"""Processes that a run starts: marked, watched, and ended for certain.

Every one carries who started it in its environment (OWNER: process id and start time of the harness), so that what is
left after a harness that was killed can be told from everything else on the machine, and be ended by `leftovers`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

OWNER = "KNHK_HARNESS_OWNER"
STARTED_FIELD = 19  # of /proc/PID/stat, counted after the command: the start time in clock ticks
KILL_WAIT_S = 5.0
LOG_BYTES_TOLD = 2000


def owner_mark() -> str:
    """What OWNER says for processes that this process starts."""
    pid = os.getpid()
    return f"{pid}:{started_at(pid)}"


def started_at(pid: int) -> str | None:
    """When process `pid` was started, in the kernel's ticks; None if there is none, or only its zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[STARTED_FIELD]


def state_of(pid: int) -> str | None:
    """The kernel's letter for the state of `pid`: R, S, D, T (stopped), Z, ...; None if there is none."""
    fields = _stat(pid)
    return None if fields is None else fields[0]


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


class Process:
    """One child: its own session, so that a Ctrl-C at the terminal is ours to handle; output goes to `log`."""

    def __init__(
        self, command: Sequence[str], *, log: Path, directory: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, **(environment or {}), OWNER: owner_mark()},
                start_new_session=True,
            )
        self.pid = self._child.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; one that has ended already gets none."""
        if self._child.poll() is None:
            self._child.send_signal(number)

    def kill(self) -> int:
        """End it at once, paused or not, and see it gone; returns its exit code."""
        self.signal(signal.SIGKILL)
        return self._child.wait(KILL_WAIT_S)

    def stopped(self) -> bool:
        """Whether the kernel says that it stands still."""
        return state_of(self.pid) in ("T", "t")

    def terminate(self, wait_s: float) -> int:
        """Ask it to end, and make it if it has not after `wait_s`; returns its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(wait_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def last_words(self) -> str:
        """The last line of its log, for an error that has to name a reason."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_BYTES_TOLD))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].strip() if lines else "it said nothing"


def wait_until_stopped(process: Process, *, stopped: bool, wait_s: float) -> bool:
    """Whether the process comes to stand still, or to go on, within `wait_s`.  Blocks: for a thread."""
    until = time.monotonic() + wait_s
    while process.stopped() != stopped:
        if time.monotonic() > until or process.exit_code() is not None:
            return False
        time.sleep(0.002)
    return True
