"""`pytest harness/`: every campaign in harness/campaigns/*.toml is an item, a batch of seeds each.

    --knhk-backend sim       where to run: sim, local, docker
    --knhk-subject FILE      the mesh under test on real nodes (default: the reference mesh)
    --knhk-seeds N           seeds a batch, from --knhk-seed on (default: 5 in the simulator, 1 on real nodes)
    --knhk-seed 0            the first seed
    --knhk-store DIR         where runs that are not as expected are kept (default: store)
    --knhk-replay PATH       instead of the campaigns, run this stored plan
    --knhk-allow-skips       skip everything where the backend that was asked for is not here at all

A verdict that is not the expected one fails the item, and so does "unknown".  What a backend cannot do is a skip
with its reason.  A backend that is missing altogether fails every item: a gate that runs nothing must not be green.
Bad input fails the item with the one line that names the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BadInput

if TYPE_CHECKING:
    from harness.sweep import Where

CAMPAIGN_DIRECTORY = "campaigns"
SEEDS_SIMULATED = 5
SEEDS_REAL = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options of the module's docstring."""
    group = parser.getgroup("knhk", "fault campaigns")
    group.addoption("--knhk-backend", default="sim", help="backend to run campaigns on (default: sim)")
    group.addoption("--knhk-seed", type=int, default=0, help="first seed (default: 0)")
    group.addoption("--knhk-seeds", type=int, default=None, help="seeds a campaign (default: 5 on sim, else 1)")
    group.addoption("--knhk-subject", default=None, help="the mesh under test on real nodes, a TOML file")
    group.addoption("--knhk-store", default="store", help="where runs not as expected are kept (default: store)")
    group.addoption("--knhk-replay", default=None, help="run this stored plan instead of the campaigns")
    group.addoption("--knhk-allow-skips", action="store_true", help="a backend that is missing altogether only skips")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A TOML file in a directory called campaigns is a campaign."""
    if file_path.suffix == ".toml" and file_path.parent.name == CAMPAIGN_DIRECTORY:
        return CampaignFile.from_parent(parent, path=file_path)
    return None


def check_options(config: pytest.Config) -> None:
    """Refuse options that cannot be.  Only once a campaign is collected, so that other projects' runs pay nothing."""
    from harness.backends import BACKENDS

    backend = config.getoption("--knhk-backend")
    if backend not in BACKENDS:
        raise pytest.UsageError(f'--knhk-backend: unknown backend "{backend}"; one of {", ".join(BACKENDS)}')
    seeds = config.getoption("--knhk-seeds")
    if (seeds is not None and seeds < 1) or config.getoption("--knhk-seed") < 0:
        raise pytest.UsageError("--knhk-seeds is at least 1 and --knhk-seed at least 0")


def missing_altogether(where: Where) -> str | None:
    """Why nothing at all can be run on that backend here, a line; None if something can.

    The simulator has no mesh but ours.  It and local processes need no more than this Python; what a single campaign
    needs beyond is its own skip.
    """
    from harness.subject import REFERENCE

    if where.backend == "sim" and where.subject is not REFERENCE:
        return f"it has the reference mesh alone, and not {where.subject.name}: add --knhk-backend local or docker"
    if where.backend != "docker":
        return None
    from harness.docker.engine import NODE_IMAGE, RELAY_IMAGE, problem_here

    return problem_here((RELAY_IMAGE,) if where.subject.image else (NODE_IMAGE, RELAY_IMAGE))


class CampaignFile(pytest.File):
    """One campaign's file."""

    def collect(self) -> Iterator[pytest.Item]:
        """In the simulator one item, on real nodes one for each transport: a batch of seeds, or a replay."""
        check_options(self.config)
        if self.config.getoption("--knhk-backend") == "sim":
            yield CampaignItem.from_parent(self, name=self.path.stem)
            return
        from harness.campaign import read_campaign

        try:
            transports = read_campaign(self.path).cluster.transports
        except BadInput as error:
            raise self.CollectError(str(error)) from None
        for transport in transports:
            yield CampaignItem.from_parent(self, name=f"{self.path.stem}[{transport}]", transport=transport)


class CampaignItem(pytest.Item):
    """A batch of seeds of one campaign, over one transport."""

    def __init__(self, *, transport: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._transport = transport

    def runtest(self) -> None:
        """Run the batch; fail with the explanation of every verdict that was not expected."""
        from harness.sweep import sweep_campaign

        option, where = self.config.getoption, self._where()
        self._require_backend(where)
        replayed = option("--knhk-replay")
        if replayed is not None:
            self._replay(Path(replayed), where)
            return
        first: int = option("--knhk-seed")
        seeds = option("--knhk-seeds") or (SEEDS_SIMULATED if where.backend == "sim" else SEEDS_REAL)
        result = sweep_campaign(
            self.path, seeds=range(first, first + seeds), where=where, store=Path(option("--knhk-store"))
        )
        if result.lacking:
            pytest.skip(result.lines()[0])
        self.add_report_section("call", "campaign", "\n".join(result.lines()))
        if result.unexpected:
            raise CampaignFailed("\n".join(result.lines()))

    def _where(self) -> Where:
        from harness.commands import where_to

        option = self.config.getoption
        subject = option("--knhk-subject")
        return where_to(option("--knhk-backend"), Path(subject) if subject else None, self._transport)

    def _require_backend(self, where: Where) -> None:
        problem = missing_altogether(where)
        if problem is None:
            return
        if self.config.getoption("--knhk-allow-skips"):
            pytest.skip(f"the {where.backend} backend is not here: {problem}")
        raise CampaignFailed(
            f"the {where.backend} backend was asked for and is not here: {problem}; --knhk-allow-skips makes it a skip"
        )

    def _replay(self, path: Path, where: Where) -> None:
        from harness.execution import execute, lacking
        from harness.render import outcome_line, verdict_lines
        from harness.store import PLAN, find
        from harness.stored_plan import read_plan

        plan = read_plan(find(path, PLAN))
        if plan.campaign != self.path.stem or self._transport not in (None, plan.cluster.transport):
            pytest.skip(f"--knhk-replay: the plan is of {plan.campaign}")
        needed, _ = lacking(plan, where.backend, where.subject)
        if needed:
            pytest.skip(f"the {where.backend} backend cannot: {', '.join(needed)}")
        outcome = execute(plan, backend=where.backend, subject=where.subject)
        if not outcome.as_expected:
            raise CampaignFailed("\n".join([outcome_line(outcome), *verdict_lines(outcome.verdict)]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The explanation alone: a traceback of the harness tells nothing about the mesh."""
        if isinstance(excinfo.value, CampaignFailed | BadInput):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the campaign stands."""
        return self.path, None, f"campaign {self.name}"


class CampaignFailed(Exception):
    """A batch with a verdict that was not expected."""
