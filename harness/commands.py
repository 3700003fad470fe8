"""What each command does; every one returns its exit code.  `cli` has the options."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from checkers.compose import check as judge
from checkers.history import History, HistoryError, read_history
from harness.backends import BACKENDS
from harness.campaign import Expect, read_campaign
from harness.compiler import compile_campaign
from harness.errors import EXIT_BAD_INPUT, EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, BadInput
from harness.execution import Outcome, execute, lacking, meets
from harness.header import contradiction
from harness.plan import Plan
from harness.progress import share_of
from harness.render import outcome_line, verdict_lines
from harness.store import HISTORY, PLAN, RunDirectory, find
from harness.stored_plan import read_plan
from harness.subject import read_subject
from harness.sweep import Where, sweep_campaign


def where_to(backend: str, subject: Path | None, transport: str | None) -> Where:
    """The options of every command that runs something.  Raises BadInput."""
    if backend not in BACKENDS:
        raise BadInput("--backend", "", f'unknown backend "{backend}"; one of {", ".join(BACKENDS)}')
    return Where(backend, read_subject(subject), transport)  # type: ignore[arg-type]


def run(path: Path, *, seed: int, where: Where, store: Path) -> int:
    """Compile, run, judge, print."""
    plan = compile_campaign(read_campaign(path), seed, source=path.name, transport=where.transport)
    return _execute(plan, where=where, store=store)


def replay(path: Path, *, where: Where, store: Path) -> int:
    """Run a stored plan again."""
    return _execute(read_plan(find(path, PLAN)), where=where, store=store)


def _execute(plan: Plan, *, where: Where, store: Path) -> int:
    needed, _ = lacking(plan, where.backend, where.subject)
    if needed:
        print(f"skipped: the {where.backend} backend cannot: {', '.join(needed)}")
        return EXIT_UNKNOWN
    directory = RunDirectory(store, plan.campaign, plan.seed)
    with share_of(plan.campaign) as tell:
        outcome = execute(plan, backend=where.backend, subject=where.subject, directory=directory, progress=tell)
    print(outcome_line(outcome))
    print("\n".join(verdict_lines(outcome.verdict)))
    if outcome.trace_hash is not None:
        print(f"trace hash: {outcome.trace_hash}")
    if outcome.drift is not None:
        print(outcome.drift.line())
    print(f"run: {directory.path}")
    return _exit_code(outcome)


def _exit_code(outcome: Outcome) -> int:
    if outcome.as_expected:
        return EXIT_VALID
    return EXIT_UNKNOWN if outcome.verdict.validity == "unknown" else EXIT_INVALID


def check(path: Path, *, names: Sequence[str], all_figures: bool) -> int:
    """Judge a stored history with today's checkers."""
    found = find(path, HISTORY)
    history = _history(found)
    problem = contradiction(history.header)
    if problem is not None:
        raise BadInput(str(found), "header", problem)
    if history.torn is not None:
        print(f"note: {history.torn}")
    try:
        verdict = judge(history, names=list(names) or None)
    except ValueError as error:
        raise BadInput(str(found), "header", str(error)) from None
    print("\n".join(verdict_lines(verdict, all_figures=all_figures)))
    if names:  # what the campaign expects is of all its checkers together
        return {"valid": EXIT_VALID, "invalid": EXIT_INVALID, "unknown": EXIT_UNKNOWN}[verdict.validity]
    expect = msgspec.convert(history.header.plan.get("expect", {}), Expect)
    if meets(expect, verdict):
        print("as expected")
        return EXIT_VALID
    print(f"expected {expect.validity}{': ' if expect.anomalies else ''}{', '.join(expect.anomalies)}")
    return EXIT_UNKNOWN if verdict.validity == "unknown" else EXIT_INVALID


def _history(path: Path) -> History:
    try:
        return read_history(path)
    except HistoryError as error:
        raise BadInput("", "", str(error)) from None
    except OSError as error:
        raise BadInput(str(path), "", f"cannot be read: {error.strerror}") from None


def sweep(
    paths: Sequence[Path],
    *,
    seeds: range,
    where: Where,
    jobs: int,
    until_caught: bool,
    store: Path | None,
    as_json: bool,
) -> int:
    """Run many seeds of campaigns; exit 0 if every one was as expected, 2 if all campaigns were skipped."""
    worst = EXIT_VALID
    ran = 0
    for path in paths:
        result = sweep_campaign(path, seeds=seeds, where=where, jobs=jobs, until_caught=until_caught, store=store)
        if as_json:
            print(msgspec.json.encode(result).decode(), flush=True)
        else:
            print("\n".join(result.lines()), flush=True)
        ran += result.seeds
        if result.unexpected:
            unknown_only = all(one.validity == "unknown" for one in result.unexpected)
            worst = max(worst, EXIT_UNKNOWN) if unknown_only and worst != EXIT_INVALID else EXIT_INVALID
    return worst if ran else EXIT_UNKNOWN


def clean(*, everything: bool = False) -> int:
    """Remove what a harness that was killed has left on this machine and in its Docker engine.

    With `everything` also what a harness in another PID namespace, on another machine or before the last boot has
    made, which may still run.  Exits 1 if something stays that should not, 2 if an engine that should be there could
    not be asked.
    """
    from harness.docker.engine import is_expected
    from harness.docker.leftovers import remove_leftovers as remove_containers
    from harness.local.leftovers import remove_leftovers as remove_processes

    parts = (remove_processes(everything=everything), remove_containers(everything=everything))
    removed, stays, elsewhere, unseen = ([line for part in parts for line in part[kind]] for kind in range(4))
    for line in removed:
        print(f"removed {line}")
    for line in stays:
        print(f"STAYS: {line}")
    for line in elsewhere:
        print(f"left alone, its harness is not to be seen from here (clean --all removes it): {line}")
    for line in unseen:
        print(f"could not look for containers: {line}", file=sys.stderr)
    if not (removed or stays or elsewhere) and not (unseen and is_expected()):
        print("nothing was left behind")
    if stays:
        return EXIT_INVALID
    return EXIT_UNKNOWN if unseen and is_expected() else EXIT_VALID


def doctor() -> int:
    """Say what this machine can run; exits 2 if not even the simulator, or if DOCKER_HOST names what cannot be used."""
    from harness.doctor import examine, lines

    seen: dict[str, bool] = {}
    for line in lines(examine(), seen):
        print(line, flush=True)
    wanted = ["python", "packages", *(["Docker"] if os.environ.get("DOCKER_HOST") else [])]
    return EXIT_VALID if all(seen[what] for what in wanted) else EXIT_UNKNOWN


def mutants(
    bugs: Path, *, names: Sequence[str], backend: str, seeds: int, false_alarm_seeds: int, campaigns: Path, jobs: int
) -> int:
    """Run every planted bug, then the unchanged mesh, and print who caught what."""
    from harness.mutants import run_mutants, run_real_mutants

    run = partial(run_mutants, jobs=jobs) if backend == "sim" else partial(run_real_mutants, backend=backend)
    return run(bugs, names=names, seeds=seeds, false_alarm_seeds=false_alarm_seeds, campaigns=campaigns)


def bench(names: Sequence[str]) -> int:
    """Measure and print."""
    from harness.bench import BENCHES, run_benches

    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f'unknown bench "{unknown[0]}"; one of {", ".join(BENCHES)}')
        return EXIT_BAD_INPUT
    run_benches(names or list(BENCHES))
    return EXIT_VALID
