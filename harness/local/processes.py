"""Processes that a run starts: marked, watched, and ended for certain.

Every one carries who started it in its environment (OWNER), so that what is left after a harness that was killed can be
told from everything else on the machine, and be ended by `leftovers`.

A process id means something only where it was given, so a mark says where that was: "pid:start time:boot:namespace",
the boot's id (proc(5), /proc/sys/kernel/random/boot_id) and the number of the PID namespace (namespaces(7)).  One
engine, or one /tmp, may serve a harness in a container beside one outside, or two machines: what is marked elsewhere
may be in use, however dead its process id looks from here.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

from harness.errors import HostError

OWNER = "KNHK_HARNESS_OWNER"
STARTED_FIELD = 19  # of /proc/PID/stat, counted after the command: the start time in clock ticks
PROCESS = "KNHK_HARNESS_PROCESS"
KILL_WAIT_S = 5.0
LOG_BYTES_TOLD = 2000

Whereabouts = Literal["alive", "gone", "elsewhere"]
"""Of an owner: running here; not running any more; or in another namespace, machine or boot, unseen from here."""

_numbers = itertools.count()


def owner_mark() -> str:
    """What OWNER says for processes that this process starts."""
    pid = int(Path("/proc/self").readlink().name)  # as /proc counts, which is where others will look
    return f"{pid}:{started_at(pid)}:{here()}"


@cache
def here() -> str:
    """Where the process ids of this process hold: "boot:namespace", both without punctuation."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    namespace = str(Path("/proc/self/ns/pid").readlink()).partition("[")[2].rstrip("]")
    return f"{boot}:{namespace}"


def started_at(pid: int) -> str | None:
    """When process `pid` was started, in the kernel's ticks; None if there is none, or only its zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[STARTED_FIELD]


def state_of(pid: int) -> str | None:
    """The kernel's letter for the state of `pid`: R, S, D, T (stopped), Z, ...; None if there is none."""
    fields = _stat(pid)
    return None if fields is None else fields[0]


def owner_of(mark: str) -> Whereabouts:
    """Whether the harness that made this mark still runs; "elsewhere", too, for a mark that nobody here can read."""
    pid, _, rest = mark.partition(":")
    started, _, place = rest.partition(":")
    if not pid.isdecimal() or place != here():
        return "elsewhere"
    return "alive" if started_at(int(pid)) == started else "gone"


def stands_still(pid: int) -> bool:
    """Whether `pid` is stopped, or sleeps in the kernel and will be before it runs another instruction of its own.

    A parent that waits for a child it has just forked, and that was stopped before its exec, is such a sleeper.
    """
    state = state_of(pid)
    if state != "D":
        return state in ("T", "t")
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask & (1 << (signal.SIGSTOP - 1)) for mask in pending)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


class Process:
    """A child with all that it starts itself; output goes to `log`.

    What a command starts may be the node itself (a shell script, `go run`, `npm`), so everything that carries the
    child's mark in its environment is signalled and looked at with it.  It has a session of its own, so that a Ctrl-C
    at the terminal is ours to handle.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, directory: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.log = log
        self._mark = f"{PROCESS}={os.getpid()}-{next(_numbers)}"
        name, _, value = self._mark.partition("=")
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, **(environment or {}), OWNER: owner_mark(), name: value},
                start_new_session=True,
            )
        self.pid = self._child.pid

    def exit_code(self) -> int | None:
        """Of the child: None while it runs; negative for a signal."""
        return self._child.poll()

    def members(self) -> list[int]:
        """The child and all that it has started, as long as they are alive."""
        alive = [self.pid] if self._child.poll() is None else []
        return alive + [pid for pid in marked(self._mark) if pid != self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every member."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End all of it at once, paused or not, and see it gone.  Raises HostError."""
        until = time.monotonic() + KILL_WAIT_S
        while self.members():
            if time.monotonic() > until:
                raise HostError(f"process {self.pid} or what it has started is not gone after SIGKILL")
            self.signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(0.01)

    def stopped(self) -> bool:
        """Whether the kernel says that every member stands still."""
        members = self.members()
        return bool(members) and all(stands_still(pid) for pid in members)

    def terminate(self, wait_s: float) -> int:
        """Ask it to end, and make it and what it has left if it has not after `wait_s`; returns its exit code."""
        self.signal(signal.SIGCONT)
        if self._child.poll() is None:
            self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(wait_s)
        self.kill()
        return self._child.wait(KILL_WAIT_S)

    def last_words(self) -> str:
        """The last line of its log, for an error that has to name a reason."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_BYTES_TOLD))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].strip() if lines else "it said nothing"


def marked(mark: str) -> list[int]:
    """Ids of the living processes that have this entry ("NAME=value") in their environment."""
    found = []
    wanted = mark.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0") and state_of(int(entry.name)) not in (None, "Z"):
                found.append(int(entry.name))
        except OSError:
            continue  # gone, or another user's
    return found


def stop_or_continue(process: Process, number: signal.Signals, *, wait_s: float) -> bool:
    """Send SIGSTOP or SIGCONT until every member stands still, or none does; whether that came within `wait_s`.

    Blocks: for a thread.
    """
    until = time.monotonic() + wait_s
    while True:
        process.signal(number)
        if process.stopped() == (number == signal.SIGSTOP):
            return True
        if time.monotonic() > until or not process.members():
            return False
        time.sleep(0.002)
