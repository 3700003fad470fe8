"""The backends by name: how each is made, what it can do, and what it cannot run at all.

What only real nodes need is imported when one of them is asked for: the simulator starts in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.backend import Backend
from harness.plan import Plan
from harness.simulator.backend import SimulatorBackend
from harness.simulator.faults import CAPABILITIES as SIMULATOR_CAPABILITIES
from harness.subject import REFERENCE, Subject


class BackendKind(NamedTuple):
    """`make(plan, subject, artifacts)`; what it can do; what keeps a plan from being run on it, a name each."""

    make: Callable[[Plan, Subject, Path | None], Backend]
    capabilities: Callable[[Plan, Subject], tuple[str, ...]]
    cannot: Callable[[Plan, Subject], list[str]]


def _make_simulator(plan: Plan, subject: Subject, artifacts: Path | None) -> Backend:
    return SimulatorBackend(plan)


def _make_local(plan: Plan, subject: Subject, artifacts: Path | None) -> Backend:
    from harness.local.hosts import LocalHosts
    from harness.real.backend import RealBackend

    return RealBackend(plan, LocalHosts(plan, subject), subject, artifacts)


def _make_docker(plan: Plan, subject: Subject, artifacts: Path | None) -> Backend:
    from harness.docker.hosts import DockerHosts
    from harness.real.backend import RealBackend

    return RealBackend(plan, DockerHosts(plan, subject), subject, artifacts)


def _real_capabilities(plan: Plan, subject: Subject) -> tuple[str, ...]:
    from harness.real.capabilities import capabilities

    return capabilities(plan, subject)


def _local_cannot(plan: Plan, subject: Subject) -> list[str]:
    from harness.local.hosts import missing_here
    from harness.real.capabilities import subject_lacks

    direct = ["direct wiring"] if plan.cluster.wiring == "direct" else []
    return [*subject_lacks(plan, subject), *missing_here(plan), *direct]


def _docker_capabilities(plan: Plan, subject: Subject) -> tuple[str, ...]:
    from harness.docker.hosts import CAPABILITIES
    from harness.real.capabilities import capabilities

    own = [one for one in CAPABILITIES if one != "filter" or plan.cluster.wiring == "direct"]
    return tuple(one for one in (*capabilities(plan, subject), *own) if one != "trigger")


def _docker_cannot(plan: Plan, subject: Subject) -> list[str]:
    from harness.docker.hosts import missing_here, overlaps
    from harness.real.capabilities import subject_lacks

    no_image = [] if subject.image or subject is REFERENCE else [f"containers ({subject.name} names no image)"]
    return [*subject_lacks(plan, subject), *missing_here(plan, subject), *no_image, *overlaps(plan)]


def _simulator_cannot(plan: Plan, subject: Subject) -> list[str]:
    # It would run ours, and judge it in the other's name.
    return [] if subject is REFERENCE else [f"{subject.name} in the simulator, which has the reference mesh alone"]


BACKENDS = {
    "sim": BackendKind(_make_simulator, lambda plan, subject: SIMULATOR_CAPABILITIES, _simulator_cannot),
    "local": BackendKind(_make_local, _real_capabilities, _local_cannot),
    "docker": BackendKind(_make_docker, _docker_capabilities, _docker_cannot),
}
"""More come with the issues."""
