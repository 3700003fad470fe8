"""What a harness that was killed has left on this machine, and its removal.

A process is a leftover if its environment names an owner (`processes.OWNER`) that is not alive any more; a run's
directory is one if the owner in its name is not.  Nothing else is ever touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from harness.local.processes import OWNER, is_owner_alive, owner_mark, started_at

PREFIX = "knhk-run-"
GONE_WAIT_S = 5.0


def make_run_directory() -> Path:
    """A fresh temporary directory whose name says whose it is."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner_mark().replace(':', '-')}-"))


def leftover_processes() -> list[int]:
    """Ids of processes whose owner is not alive any more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            mark = _mark_of(int(entry.name))
            if mark is not None and not is_owner_alive(mark):
                found.append(int(entry.name))
    return sorted(found)


def _mark_of(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for entry in environment.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name == OWNER.encode():
            return value.decode(errors="replace")
    return None


def leftover_directories() -> list[Path]:
    """Run directories whose owner is not alive any more."""
    found = []
    for directory in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*-*")):
        pid, started = directory.name.removeprefix(PREFIX).split("-")[:2]
        if not is_owner_alive(f"{pid}:{started}"):
            found.append(directory)
    return found


def remove_leftovers() -> list[str]:
    """End and remove all of them; returns a line for each."""
    said = []
    processes = leftover_processes()
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            said.append(f"process {pid}")
    until = time.monotonic() + GONE_WAIT_S
    while any(started_at(pid) for pid in processes) and time.monotonic() < until:
        time.sleep(0.01)
    for directory in leftover_directories():
        shutil.rmtree(directory, ignore_errors=True)
        said.append(f"directory {directory}")
    return said
