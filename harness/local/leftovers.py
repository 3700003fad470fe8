"""What a harness that was killed has left on this machine, and its removal.

A process is a leftover if its environment names an owner (`processes.OWNER`) that is not alive any more; a run's
directory is one if the owner in its name is not.  What an owner elsewhere has marked may be in use there: it is left
alone, unless `everything` is asked for, and told of.  Nothing else is ever touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.local.processes import OWNER, owner_mark, owner_of, started_at

PREFIX = "knhk-run-"
GONE_WAIT_S = 5.0
MARK_PARTS = 4


class Cleaned(NamedTuple):
    """What a look for leftovers came to, a line for each thing."""

    removed: list[str]
    stays: list[str]
    """Leftovers that could not be removed, with the reason."""
    elsewhere: list[str]
    """Left alone, for who made them cannot be seen from here."""
    unseen: list[str]
    """Why a place could not be looked at."""


def make_run_directory() -> Path:
    """A fresh temporary directory whose name says whose it is."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner_mark().replace(':', '-')}-"))


def leftover_processes() -> list[int]:
    """Ids of processes whose owner is not alive any more."""
    return sorted(pid for pid, mark in _marked_processes() if is_leftover(mark, everything=False))


def is_leftover(mark: str, *, everything: bool) -> bool:
    """Whether what carries this mark is to be removed."""
    owner = owner_of(mark)
    return owner == "gone" or (everything and owner == "elsewhere")


def _marked_processes() -> list[tuple[int, str]]:
    """(id, mark) of every process that carries one."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [(pid, mark) for pid in pids for mark in [_mark_of(pid)] if mark is not None]


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
    return [path for path, mark in _marked_directories() if is_leftover(mark, everything=False)]


def _marked_directories() -> list[tuple[Path, str]]:
    """(path, mark) of every run directory; what tempfile adds to the name is no part of the mark."""
    found = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*-*"))
    return [(path, ":".join(path.name.removeprefix(PREFIX).split("-")[:MARK_PARTS])) for path in found]


def remove_leftovers(*, everything: bool = False) -> Cleaned:
    """End and remove all of them; with `everything`, also what was made in another namespace, boot or machine."""
    processes, directories = _marked_processes(), _marked_directories()
    done = Cleaned([], [], [], [])
    if not everything:
        marked = [(f"process {pid}", mark) for pid, mark in processes]
        marked += [(f"directory {path}", mark) for path, mark in directories]
        done.elsewhere.extend(what for what, mark in marked if owner_of(mark) == "elsewhere")
    _end([pid for pid, mark in processes if is_leftover(mark, everything=everything)], done)
    for directory, mark in directories:
        if is_leftover(mark, everything=everything):
            _remove(directory, done)
    return done


def _end(pids: list[int], done: Cleaned) -> None:
    born = {pid: started_at(pid) for pid in pids}
    refused: dict[int, str] = {}
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            born[pid] = None
        except PermissionError as error:
            refused[pid] = str(error.strerror)
    until = time.monotonic() + GONE_WAIT_S
    alive = [pid for pid in pids if born[pid] is not None and pid not in refused]
    while any(started_at(pid) == born[pid] for pid in alive) and time.monotonic() < until:
        time.sleep(0.01)
    for pid in alive:
        if started_at(pid) == born[pid]:
            refused[pid] = f"is not gone {GONE_WAIT_S:g} s after SIGKILL"
        else:
            done.removed.append(f"process {pid}")
    done.stays.extend(f"process {pid}: {why}" for pid, why in refused.items())


def _remove(directory: Path, done: Cleaned) -> None:
    problem = ""

    def note(_call: object, path: str, info: tuple[object, BaseException, object]) -> None:
        nonlocal problem
        problem = problem or f"{path}: {getattr(info[1], 'strerror', None) or info[1]}"

    with suppress(FileNotFoundError):
        shutil.rmtree(directory, onerror=note)
    if directory.exists():
        done.stays.append(f"directory {directory} ({problem})")
    else:
        done.removed.append(f"directory {directory}")
