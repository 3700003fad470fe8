"""One run from plan to verdict, and whether that is what the campaign expected."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from checkers.compose import check
from checkers.history import History
from checkers.verdict import Verdict
from faults.vocabulary import PlannedFault, capabilities_needed
from harness.campaign import Expect
from harness.errors import BadInput
from harness.plan import Plan
from harness.recorder import HistoryFull, Recorder
from harness.runner import Runner, header_for
from harness.simulator.backend import SimulatorBackend
from harness.simulator.faults import CAPABILITIES as SIMULATOR_CAPABILITIES
from harness.store import RunDirectory

BACKENDS = {"sim": (SimulatorBackend, SIMULATOR_CAPABILITIES)}
"""Backends by name, with what each can do; more come with the issues."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run.  `wall_s` is real time, `virtual_s` the run's own."""

    plan: Plan
    history: History
    verdict: Verdict
    trace_hash: str | None
    wall_s: float
    virtual_s: float

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the campaign claims."""
        return meets(self.plan.expect, self.verdict)


def meets(expect: Expect, verdict: Verdict) -> bool:
    """Whether `verdict` is what was expected: the validity and, if invalid, every anomaly that was named."""
    if verdict.validity != expect.validity:
        return False
    found = {anomaly.name for result in verdict.results for anomaly in result.anomalies}
    return set(expect.anomalies) <= found


def lacking(plan: Plan, backend: str) -> tuple[list[str], list[tuple[PlannedFault, str]]]:
    """(what a required fault or the campaign itself needs and `backend` lacks, the opportunistic faults to skip)."""
    capabilities = set(BACKENDS[backend][1])
    needed = [one for one in plan.requires if one not in capabilities]
    skips = []
    for planned in plan.faults:
        wanted = [one for one in capabilities_needed(planned) if one not in capabilities]
        if not wanted:
            continue
        if planned.required:
            needed += wanted
        else:
            skips.append((planned, f"the {backend} backend cannot: {', '.join(wanted)}"))
    return sorted(set(needed)), skips


def execute(
    plan: Plan,
    *,
    backend: str = "sim",
    directory: RunDirectory | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run `plan` and judge it; with a `directory`, leave plan, history and verdict there.

    The caller has asked `lacking` before; what is only opportunistic and cannot be done is skipped and said.
    `progress` is told the share of the load that is behind, each second.  Raises BadInput where the directory cannot
    be written.
    """
    started = time.perf_counter()
    make, capabilities = BACKENDS[backend]
    _, skips = lacking(plan, backend)
    skipped = {planned.id for planned, _ in skips}
    runnable = msgspec.structs.replace(plan, faults=tuple(one for one in plan.faults if one.id not in skipped))
    cluster = make(runnable)
    header = header_for(plan, cluster, capabilities, msgspec.to_builtins(plan))
    if directory is not None:
        directory.write_plan(plan)
    stream = directory.open_history() if directory is not None else None
    try:
        recorder = Recorder(header, stream)
        for planned, reason in skips:
            recorder.fault(planned.id, "skipped", 0, {}, reason)
        Runner(runnable, cluster, recorder, progress=progress).run()
    except HistoryFull as error:
        raise BadInput(plan.campaign, "", str(error)) from None
    except OSError as error:
        raise BadInput(str(directory.path if directory else ""), "", f"cannot be written: {error.strerror}") from None
    finally:
        if stream is not None:
            stream.close()
    verdict = check(recorder.history)
    if directory is not None:
        directory.write_verdict(verdict)
    return Outcome(
        plan=plan,
        history=recorder.history,
        verdict=verdict,
        trace_hash=cluster.trace_hash(),
        wall_s=time.perf_counter() - started,
        virtual_s=cluster.now() / 1e9,
    )
