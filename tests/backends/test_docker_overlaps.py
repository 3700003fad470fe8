"""What containers cannot have at one time on one node is said before the run, by name."""

import pytest

from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.docker.hosts import overlaps

CAMPAIGN = """
name = "overlaps"
shows = "x"
[cluster]
wiring = "direct"
[[workloads]]
type = "gset"
"""

KILL = '[[faults]]\nfault = "kill"\nnodes = [1]\nstart_s = {}\nduration_s = 1.0\n'
PAUSE = '[[faults]]\nfault = "pause"\nnodes = [1]\nstart_s = {}\nduration_s = 1.0\n'
DISCONNECT = '[[faults]]\nfault = "disconnect"\nnodes = [{}]\nstart_s = {}\nduration_s = 2.0\n'
FILTER = '[[faults]]\nfault = "cut"\nby = "filter"\ngroups = [[1], [2, 3]]\nstart_s = {}\nduration_s = 2.0\n'


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        (KILL.format(2) + DISCONNECT.format(1, 1), ["disconnect and kill of node 1 at one time"]),
        (KILL.format(2) + FILTER.format(1), ["cut and kill of node 1 at one time"]),
        (DISCONNECT.format(1, 1) + DISCONNECT.format(1, 2), ["disconnect and disconnect of node 1 at one time"]),
        (DISCONNECT.format(1, 1) + FILTER.format(2), ["cut and disconnect of node 1 at one time"]),
        (KILL.format(8) + DISCONNECT.format(1, 1), []),
        (KILL.format(2) + DISCONNECT.format(0, 1), []),
        (FILTER.format(1) + FILTER.format(2), []),
        (PAUSE.format(2) + FILTER.format(1), []),
        (KILL.format(4) + DISCONNECT.format(1, 1), ["disconnect and kill of node 1 at one time"]),  # ends take a while
    ],
)
def test_faults_that_a_container_cannot_have_together(faults, found):
    plan = compile_campaign(parse_campaign((CAMPAIGN + faults).encode(), source="o"), 1, source="o")
    assert [" ".join(sorted(one.split()[0:1] + one.split()[2:3])) for one in overlaps(plan)] == [
        " ".join(sorted(one.split()[0:1] + one.split()[2:3])) for one in found
    ]
    assert all("node 1" in one for one in overlaps(plan))
