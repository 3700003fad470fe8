"""One run from plan to verdict, and whether that is what the campaign expected."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from checkers.compose import check
from checkers.history import History
from checkers.verdict import CheckResult, Verdict
from faults.vocabulary import PlannedFault, capabilities_needed
from harness.backend import Backend, Drift
from harness.backends import BACKENDS
from harness.campaign import Expect
from harness.errors import BadInput, HostError, RunBroken
from harness.header import header_for
from harness.plan import Plan
from harness.recorder import HistoryFull, HistoryUnwritable, Recorder
from harness.runner import Runner
from harness.store import RunDirectory
from harness.subject import REFERENCE, Subject


@dataclass(frozen=True)
class Outcome:
    """What came of one run.  `wall_s` is real time, `virtual_s` the run's own."""

    plan: Plan
    history: History
    verdict: Verdict
    trace_hash: str | None
    wall_s: float
    virtual_s: float
    drift: Drift | None = None

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the campaign claims."""
        return meets(self.plan.expect, self.verdict)


def meets(expect: Expect, verdict: Verdict) -> bool:
    """Whether `verdict` is what was expected: the validity and, if invalid, the anomalies that were named and no other.

    What else is unknown counts, too: an anomaly that was expected excuses nothing beside it.
    """
    found = {anomaly.name for result in verdict.results for anomaly in result.anomalies}
    unknown = any(result.validity == "unknown" for result in verdict.results)
    return verdict.validity == expect.validity and found == set(expect.anomalies) and not unknown


def lacking(plan: Plan, backend: str, subject: Subject = REFERENCE) -> tuple[list[str], list[tuple[PlannedFault, str]]]:
    """(what a required fault or the campaign itself needs and `backend` lacks, the opportunistic faults to skip)."""
    kind = BACKENDS[backend]
    capabilities = set(kind.capabilities(plan, subject))
    needed = [*kind.cannot(plan, subject), *(one for one in plan.requires if one not in capabilities)]
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
    subject: Subject = REFERENCE,
    directory: RunDirectory | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run `plan` and judge it; with a `directory`, leave plan, history, verdict and what nodes leave there.

    The caller has asked `lacking` before; what is only opportunistic and cannot be done is skipped and said.
    `progress` is told the share of the load that is behind, each second.  Raises BadInput where the directory cannot
    be written or the nodes cannot be started.
    """
    started = time.perf_counter()
    broken: str | None = None
    kind = BACKENDS[backend]
    _, skips = lacking(plan, backend, subject)
    skipped = {planned.id for planned, _ in skips}
    runnable = msgspec.structs.replace(plan, faults=tuple(one for one in plan.faults if one.id not in skipped))
    cluster = kind.make(runnable, subject, directory.nodes() if directory is not None else None)
    header = header_for(plan, cluster, kind.capabilities(plan, subject), msgspec.to_builtins(plan), subject)
    if directory is not None:
        directory.write_plan(plan)
    stream = directory.open_history() if directory is not None else None
    try:
        recorder = Recorder(header, stream)
        for planned, reason in skips:
            recorder.fault(planned.id, "skipped", 0, {}, reason)
        try:
            Runner(runnable, cluster, recorder, progress=progress).run()
        except RunBroken as error:
            broken = str(error)
        recorder.flush()
    except HistoryFull as error:
        raise BadInput(plan.campaign, "", str(error)) from None
    except HostError as error:
        raise BadInput(plan.campaign, f"backend {backend}", str(error)) from None
    except HistoryUnwritable as error:
        raise BadInput(str(directory.path if directory else ""), "", f"cannot be written: {error}") from None
    finally:
        if stream is not None:
            with suppress(OSError):  # what could not be written has been said
                stream.close()
    verdict = check(recorder.history) if broken is None else _nothing_to_judge(broken)
    return _conclude(plan, recorder.history, verdict, cluster, directory, time.perf_counter() - started)


def _nothing_to_judge(broken: str) -> Verdict:
    """Of a run in which the harness itself failed: what the mesh did then is not the mesh's to answer for."""
    return Verdict("unknown", [CheckResult("run", "unknown", notes=[f"the harness failed, not the mesh: {broken}"])])


def _conclude(
    plan: Plan, history: History, verdict: Verdict, cluster: Backend, directory: RunDirectory | None, wall_s: float
) -> Outcome:
    drift = cluster.drift()
    if directory is not None:
        directory.write_verdict(verdict)
        if drift is not None:
            directory.write_drift(drift)
    return Outcome(
        plan=plan,
        history=history,
        verdict=verdict,
        trace_hash=cluster.trace_hash(),
        wall_s=wall_s,
        virtual_s=cluster.now() / 1e9,
        drift=drift,
    )
