"""Many seeds of one campaign, over several processes; what is not as expected is kept and told.

A batch of seeds is what one pytest item runs, what `sweep` runs, and what a planted bug is hunted with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children
from pathlib import Path

import msgspec

from harness.campaign import Transport, read_campaign
from harness.compiler import compile_campaign
from harness.execution import Outcome, execute, lacking
from harness.progress import progress
from harness.render import failing_anomalies, outcome_line, verdict_lines
from harness.store import RunDirectory
from harness.subject import REFERENCE, Subject

_interrupted: list[int] = []
"""The seed in whose midst this process of a pool was interrupted."""


class Where(msgspec.Struct, frozen=True):
    """On which backend, with which subject, over which transport (None: the campaign's first)."""

    backend: str = "sim"
    subject: Subject = REFERENCE
    transport: Transport | None = None


SIMULATOR = Where()


class SeedResult(msgspec.Struct, frozen=True):
    """What one seed gave.  `lines` explains a verdict that was not expected."""

    seed: int
    validity: str
    as_expected: bool
    anomalies: list[str]
    virtual_s: float
    wall_s: float
    lines: list[str]
    kept: str | None = None


class SweepResult(msgspec.Struct, frozen=True):
    """What a batch gave.  `lacking` names capabilities for want of which nothing was run."""

    campaign: str
    shows: str
    seeds: int
    virtual_s: float
    wall_s: float
    unexpected: list[SeedResult]
    lacking: list[str] = []

    def lines(self) -> list[str]:
        """The batch as text: one line, and the explanation of each verdict that was not expected."""
        if self.lacking:
            return [f"{self.campaign}: skipped, the backend cannot: {', '.join(self.lacking)}"]
        head = f"{self.campaign}: {self.seeds} seeds, {len(self.unexpected)} not as expected"
        head += f", {self.virtual_s / 3600:.2f} virtual hours in {self.wall_s:.0f} s of work"
        return [head, *(f"  {line}" for one in self.unexpected for line in one.lines)]


def sweep_campaign(
    path: Path,
    *,
    seeds: Sequence[int],
    jobs: int = 1,
    until_caught: bool = False,
    where: Where = SIMULATOR,
    store: Path | None = None,
) -> SweepResult:
    """Run `seeds` of the campaign at `path`; raises BadInput before any seed runs if it cannot be compiled."""
    campaign = read_campaign(path)
    first = compile_campaign(campaign, seeds[0], source=path.name, transport=where.transport)
    needed, _ = lacking(first, where.backend, where.subject)
    done: list[SeedResult] = []
    if not needed:
        results = _results(path, seeds, jobs, where, store)
        for result in progress(results, total=len(seeds), what=campaign.name):
            done.append(result)
            if until_caught and not result.as_expected:
                break
    return SweepResult(
        campaign=campaign.name,
        shows=campaign.shows,
        seeds=len(done),
        virtual_s=sum(one.virtual_s for one in done),
        wall_s=sum(one.wall_s for one in done),
        unexpected=[one for one in done if not one.as_expected],
        lacking=needed,
    )


def _results(path: Path, seeds: Sequence[int], jobs: int, where: Where, store: Path | None) -> Iterator[SeedResult]:
    if jobs == 1:
        for seed in seeds:
            yield run_seed(path, seed, where, store)
        return
    count = len(seeds)
    chunk = max(1, min(8, count // (4 * jobs))) if where.backend == "sim" else 1  # a real run takes long by itself
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        try:
            yield from pool.map(_run_in_pool, [path] * count, seeds, [where] * count, [store] * count, chunksize=chunk)
        except BaseException:  # interrupted, or nobody wants the rest: what runs is to end as if it were interrupted
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _run_in_pool(path: Path, seed: int, where: Where, store: Path | None) -> SeedResult:
    """As `run_seed`; a process that was interrupted runs no other seed, though some may wait for it already."""
    if _interrupted:
        raise KeyboardInterrupt
    try:
        return run_seed(path, seed, where, store)
    except KeyboardInterrupt:
        _interrupted.append(seed)
        raise


def run_seed(path: Path, seed: int, where: Where, store: Path | None) -> SeedResult:
    """Run one seed, and keep it in `store`, if there is one.

    In the simulator only a run that is not as expected is kept, by running it again; a real one never comes again.
    """
    plan = compile_campaign(read_campaign(path), seed, source=path.name, transport=where.transport)
    repeats = where.backend == "sim"
    directory = RunDirectory(store, plan.campaign, seed) if store is not None and not repeats else None
    outcome = execute(plan, backend=where.backend, subject=where.subject, directory=directory)
    if not outcome.as_expected and store is not None and repeats:
        directory = RunDirectory(store, plan.campaign, seed)
        execute(plan, backend=where.backend, directory=directory)
    kept = str(directory.path) if directory is not None else None
    return SeedResult(
        seed=seed,
        validity=outcome.verdict.validity,
        as_expected=outcome.as_expected,
        anomalies=failing_anomalies(outcome.verdict),
        virtual_s=outcome.virtual_s,
        wall_s=outcome.wall_s,
        lines=[] if outcome.as_expected else _explain(outcome, kept),
        kept=kept,
    )


def _explain(outcome: Outcome, kept: str | None) -> list[str]:
    lines = [outcome_line(outcome), *verdict_lines(outcome.verdict)]
    return [*lines, f"run: {kept}"] if kept else lines
