"""Planted bugs: does the harness find what is wrong, and nothing where nothing is?

A planted bug is a file in tests/planted_bugs: its docstring says what is wrong, SHOWS names the path by which it
shows, and `plant()` breaks the mesh in memory.  A path is either

    property  tests/test_x.py::test_y     tests that must fail
    campaign  name.toml                   a campaign that must end invalid within the seeds

A bug that makes the code raise where it was meant to go wrong has gone stale, and shows nothing of a checker: a node
that crashes, or a test that fails by a TypeError and the like, is not a catch.

`launch.py` beside the bugs plants one and then runs the very same command that a user would; the product itself
has no hook.  Each bug runs in a process of its own.  Then the unchanged mesh goes through the same paths, and
through every campaign, and must not be accused.

On real nodes only bugs that say SHOWS_LOCAL are hunted, in the campaign that it names: there the launcher is the
subject, and the harness itself is whole.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from harness.errors import EXIT_INVALID, EXIT_VALID, BadInput
from harness.progress import progress
from harness.subject import CONFIG, REFERENCE, Subject
from harness.sweep import SweepResult, Where, sweep_campaign

LAUNCHER = "launch.py"
NOTHING = "nothing"
TIMEOUT_S = 1800
ENDING_S = 10
PLANTED_IN_IMAGE = "/opt/knhk/app/tests/planted_bugs"
_PATHS = ("property", "campaign")
_STALE = ("TypeError", "AttributeError", "NameError", "ImportError", "ModuleNotFoundError", "KeyError")
_WIDE = "1000"
"""Columns, so that pytest's summary does not cut off why a test failed."""


@dataclass(frozen=True)
class PlantedBug:
    """A bug and the path by which it shows.  `name` is NOTHING for the unchanged mesh."""

    name: str
    wrong: str
    path: str
    where: str
    where_local: str | None = None


@dataclass(frozen=True)
class Hunt:
    """What hunting one bug gave: by what it was caught (None if it was not), where, after how many seeds."""

    bug: PlantedBug
    caught_by: str | None
    seeds: int | None
    trouble: str | None = None


def read_bugs(directory: Path) -> list[PlantedBug]:
    """Every planted bug in `directory`, by name.  Raises BadInput for a file that does not say how it shows."""
    if not (directory / LAUNCHER).is_file():
        raise BadInput(str(directory), "", f"holds no planted bugs ({LAUNCHER} is not there)")
    paths = [path for path in sorted(directory.glob("*.py")) if path.name not in (LAUNCHER, "__init__.py")]
    return [_read_bug(path) for path in paths if not path.name.startswith("_")]


def _read_bug(path: Path) -> PlantedBug:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    shows, shows_local = (_constant(tree, name) for name in ("SHOWS", "SHOWS_LOCAL"))
    kind, _, where = shows.partition(" ") if isinstance(shows, str) else ("", "", "")
    wrong = ast.get_docstring(tree)
    if kind not in _PATHS or not where or not wrong:
        raise BadInput(
            path.name,
            "SHOWS",
            f'is "<{" | ".join(_PATHS)}> <where>", below a docstring that says what is wrong',
        )
    return PlantedBug(
        name=path.stem,
        wrong=wrong.splitlines()[0].rstrip("."),
        path=kind,
        where=where.strip(),
        where_local=shows_local if isinstance(shows_local, str) else None,
    )


def _constant(tree: ast.Module, name: str) -> object:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def run_mutants(
    directory: Path, *, names: Sequence[str], seeds: int, false_alarm_seeds: int, campaigns: Path, jobs: int
) -> int:
    """Hunt every bug, `jobs` at a time, look for false alarms, print both; 0 if all are caught and none is accused."""
    bugs = read_bugs(directory)
    known = {bug.name for bug in bugs}
    for name in names:
        if name not in known:
            raise BadInput(str(directory), "", f'no planted bug "{name}"; one of {", ".join(sorted(known))}')
    wanted = [bug for bug in bugs if not names or bug.name in names]
    launcher = _Launcher(directory)
    hunts = list(progress(_hunts(launcher, wanted, seeds, campaigns, jobs), total=len(wanted), what="planted bugs"))
    _print_table(hunts)
    alarms = list(_false_alarms(launcher, wanted, false_alarm_seeds, campaigns, jobs, everything=not names))
    return _conclude(hunts, alarms, false_alarm_seeds)


def _conclude(hunts: Sequence[Hunt], alarms: Sequence[str], false_alarm_seeds: int) -> int:
    escaped = [hunt for hunt in hunts if hunt.caught_by is None]
    print(f"{len(hunts) - len(escaped)} of {len(hunts)} planted bugs caught")
    for alarm in alarms:
        print(f"false alarm on the unchanged mesh: {alarm}")
    if not alarms:
        print(f"no false alarm on the unchanged mesh ({false_alarm_seeds} seeds a campaign)")
    return EXIT_INVALID if escaped or alarms else EXIT_VALID


def run_real_mutants(
    directory: Path, *, backend: str, names: Sequence[str], seeds: int, false_alarm_seeds: int, campaigns: Path
) -> int:
    """Hunt, on real nodes, every bug that can show there; then the unchanged mesh in the same campaigns."""
    bugs = [
        replace(bug, path="campaign", where=bug.where_local)
        for bug in read_bugs(directory)
        if bug.where_local and (not names or bug.name in names)
    ]
    if not bugs:
        raise BadInput(str(directory), "", "none of these bugs says SHOWS_LOCAL")
    hunts = [
        _hunt_real(directory, bug, backend, seeds, campaigns)
        for bug in progress(bugs, total=len(bugs), what="planted bugs")
    ]
    _print_table(hunts)
    alarms = []
    where = sorted({bug.where for bug in bugs})
    for campaign in progress(where, total=len(where), what="unchanged mesh"):
        nothing = PlantedBug(NOTHING, "", "campaign", campaign)
        hunt = _hunt_real(directory, nothing, backend, false_alarm_seeds, campaigns)
        if hunt.caught_by or hunt.trouble:
            alarms.append(f"{campaign}: {hunt.caught_by or hunt.trouble}")
    return _conclude(hunts, alarms, false_alarm_seeds)


def _hunt_real(directory: Path, bug: PlantedBug, backend: str, seeds: int, campaigns: Path) -> Hunt:
    where = _campaign(directory, bug.where, campaigns)
    subject = planted(bug.name, directory, backend)
    result = sweep_campaign(where, seeds=range(seeds), where=Where(backend, subject), until_caught=True)
    return _judge_sweep(result, bug)


def planted(bug: str, directory: Path, backend: str) -> Subject:
    """The reference mesh with a bug in it: the launcher is the subject's command, for docker in an image of its own."""
    image = ""
    launcher = [sys.executable, str((directory / LAUNCHER).resolve())]
    if backend == "docker":
        from harness.docker.engine import build_on_node_image

        image = build_on_node_image(directory, PLANTED_IN_IMAGE, name="knhk-planted-bugs")
        launcher = ["python3", f"{PLANTED_IN_IMAGE}/{LAUNCHER}"]
    return msgspec.structs.replace(
        REFERENCE,
        name=bug,
        command=(*launcher, bug, "node", "run", "--config", CONFIG),
        offers=(*REFERENCE.offers, "failpoints"),
        image=image,
    )


def _hunts(launcher: _Launcher, bugs: Sequence[PlantedBug], seeds: int, campaigns: Path, jobs: int) -> Iterator[Hunt]:
    """In the order of `bugs`, `jobs` of them at a time."""

    def hunt(bug: PlantedBug) -> Hunt:
        if bug.path == "property":
            return _hunt_property(launcher, bug)
        return _hunt_campaign(launcher, bug, seeds, campaigns)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            yield from pool.map(hunt, bugs)
        except BaseException:  # interrupted, or one that cannot be hunted: nobody waits for the rest
            pool.shutdown(wait=False, cancel_futures=True)
            launcher.end()
            raise


class _Launcher:
    """Runs the launcher in `directory`, from any thread; `end` ends what runs, and lets nothing else begin."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(self, bug: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Plant a bug and run a command.  Raises TimeoutExpired after TIMEOUT_S."""
        command = [sys.executable, str(self.directory / LAUNCHER), bug, *arguments]
        environment = {**os.environ, "COLUMNS": _WIDE}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            self._running.add(process)
            try:
                if self._ended:
                    process.terminate()
                out, said = process.communicate(timeout=TIMEOUT_S)
            except BaseException:
                process.terminate()  # it may have a pool of its own to end
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)
                process.kill()
                raise
            finally:
                self._running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, out, said)

    def end(self) -> None:
        """End what runs: by SIGTERM, since whoever starts a job in the background may have it ignore SIGINT."""
        self._ended = True
        for process in list(self._running):
            process.terminate()


def _hunt_property(launcher: _Launcher, bug: PlantedBug) -> Hunt:
    done = launcher.run(
        bug.name,
        ["pytest", *bug.where.split(), "-q", "-rf", "--no-header", "-p", "no:cacheprovider"],
    )
    summary = [line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    failed = [test for test, _, why in (line.partition(" - ") for line in summary) if not why.startswith(_STALE)]
    if done.returncode == 1 and failed:
        return Hunt(bug, caught_by="property " + failed[0].partition("::")[2], seeds=None)
    if done.returncode == 1 and summary:
        return Hunt(bug, caught_by=None, seeds=None, trouble=f"it has gone stale: {summary[0]}")
    trouble = None if done.returncode == 0 else _last_line(done)
    return Hunt(bug, caught_by=None, seeds=None, trouble=trouble)


def _hunt_campaign(launcher: _Launcher, bug: PlantedBug, seeds: int, campaigns: Path) -> Hunt:
    where = _campaign(launcher.directory, bug.where, campaigns)
    done = launcher.run(
        bug.name,
        ["harness", "sweep", str(where), "--seeds", f"0-{seeds - 1}", "--until-caught", "--json"],
    )
    try:
        result = msgspec.json.decode(done.stdout, type=SweepResult)
    except msgspec.DecodeError:
        return Hunt(bug, caught_by=None, seeds=None, trouble=_last_line(done))
    return _judge_sweep(result, bug)


def _judge_sweep(result: SweepResult, bug: PlantedBug) -> Hunt:
    if result.lacking:
        return Hunt(bug, caught_by=None, seeds=None, trouble=f"cannot: {', '.join(result.lacking)}")
    caught = [one for one in result.unexpected if one.validity == "invalid"]
    if not caught:
        trouble = "unknown" if result.unexpected else None
        return Hunt(bug, caught_by=None, seeds=result.seeds, trouble=trouble)
    if any(one.startswith("crashes/") for one in caught[0].anomalies):
        crash = next((line.strip() for line in caught[0].lines if "node-crashed" in line), "a node crashed")
        return Hunt(bug, caught_by=None, seeds=result.seeds, trouble=f"it has gone stale: {crash}")
    return Hunt(bug, caught_by=", ".join(caught[0].anomalies), seeds=result.seeds)


def _campaign(directory: Path, name: str, campaigns: Path) -> Path:
    for found in (directory / "campaigns" / name, campaigns / name):
        if found.is_file():
            return found
    raise BadInput(str(directory), "SHOWS", f"no campaign {name}")


def _false_alarms(
    launcher: _Launcher, bugs: Sequence[PlantedBug], seeds: int, campaigns: Path, jobs: int, *, everything: bool
) -> Iterator[str]:
    """The paths of `bugs`, and every campaign, on the unchanged mesh: what fails there accuses the innocent."""
    properties = sorted({bug.where for bug in bugs if bug.path == "property"})
    where = {_campaign(launcher.directory, bug.where, campaigns) for bug in bugs if bug.path == "campaign"}
    if everything:
        where |= set(campaigns.glob("*.toml"))
    for tests in properties:
        hunt = _hunt_property(launcher, PlantedBug(NOTHING, "", "property", tests))
        if hunt.caught_by or hunt.trouble:
            yield f"{tests}: {hunt.caught_by or hunt.trouble}"
    for path in progress(sorted(where), total=len(where), what="unchanged mesh"):
        sweep = ["harness", "sweep", str(path), "--seeds", f"0-{seeds - 1}", "--jobs", str(jobs), "--json"]
        done = launcher.run(NOTHING, sweep)
        try:
            result = msgspec.json.decode(done.stdout, type=SweepResult)
        except msgspec.DecodeError:
            yield f"{path.name}: {_last_line(done)}"
            continue
        for one in result.unexpected:
            yield f"{path.name} seed {one.seed}: {one.validity}, {', '.join(one.anomalies)}"


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1][:200] if lines else f"exit {done.returncode}, nothing said"


def _print_table(hunts: Sequence[Hunt]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("bug", "caught by", "in", "seeds"):
        table.add_column(column, overflow="fold")
    for hunt in hunts:
        caught = hunt.caught_by or f"NOT CAUGHT{f' ({hunt.trouble})' if hunt.trouble else ''}"
        seeds = "-" if hunt.seeds is None else str(hunt.seeds)
        table.add_row(f"{hunt.bug.name}: {hunt.bug.wrong}", caught, f"{hunt.bug.path} {hunt.bug.where}", seeds)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
