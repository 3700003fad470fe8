"""The runner's last phases: what may still come while a run is coming to its end."""

import pytest

from checkers.compose import check
from checkers.history import Phase
from harness.backend import Ask
from harness.campaign import Campaign, Cluster, Load, WorkloadSpec
from harness.compiler import compile_campaign
from harness.header import header_for
from harness.recorder import Recorder
from harness.runner import Runner
from harness.simulator.backend import SimulatorBackend

CAMPAIGN = Campaign(
    name="test",
    shows="a test",
    cluster=Cluster(nodes=4),
    load=Load(duration_s=2.0),
    workloads=(WorkloadSpec(type="gset", rate=40.0),),
)


class Latecomer(SimulatorBackend):
    """Node 0 gets something new after the last poll, just before it is asked for a digest; `often` times so."""

    def __init__(self, plan, *, often):
        super().__init__(plan)
        self._left = often
        self._load_ns = plan.load_ns
        self._reading = False
        self._number = 0

    def invoke(self, node, ask, answer):
        """As the simulator, save what is late."""
        self._reading |= ask.action == "read" and self.now() >= self._load_ns
        if self._reading and ask.action == "digest" and node == 0 and self._left:
            self._left -= 1
            self._number += 1
            super().invoke(
                0, Ask("late", "gset", "add", self._number), lambda _: super(Latecomer, self).invoke(0, ask, answer)
            )
            return
        super().invoke(node, ask, answer)


def ended(often):
    plan = compile_campaign(CAMPAIGN, 1, source="test")
    backend = Latecomer(plan, often=often)
    recorder = Recorder(header_for(plan, backend, (), {}))
    Runner(plan, backend, recorder).run()
    return recorder.history


@pytest.mark.parametrize("often", [1, 2, 3])
def test_who_took_in_more_since_the_roots_were_one_is_asked_again(often):
    history = ended(often)
    verdict = check(history, names=["convergence"])
    assert verdict.validity == "valid", verdict
    assert history.events[-1].phase == "done" and verdict.results[0].figures["converged_after_ms"] > 0


def test_the_run_ends_even_if_it_never_comes_to_rest():
    history = ended(10**9)
    assert check(history, names=["convergence"]).validity == "invalid"
    times = {event.phase: event.t for event in history.events if type(event) is Phase}
    assert times["done"] - times["heal"] < 3 * history.header.deadline.total_ns
