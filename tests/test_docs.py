"""What the documents show works: the example in docs/campaigns.md compiles, and every checker and campaign is named."""

import re
from pathlib import Path

import pytest

from checkers.compose import CHECKERS
from faults.byzantine import STRATEGIES
from faults.grudges import GRUDGES
from faults.schedule import ByzantineSpec
from harness.campaign import parse_campaign, read_campaign
from harness.cli import CAMPAIGNS
from harness.compiler import compile_campaign

ROOT = Path(__file__).parent.parent
SECONDS_MIN, SECONDS_MAX = 10, 20


def test_the_example_of_every_field_compiles():
    text = (ROOT / "docs" / "campaigns.md").read_text()
    example = re.search(r"```toml\n(.*?)```", text, re.S).group(1)
    plan = compile_campaign(parse_campaign(example.encode(), source="docs"), 1, source="docs")
    assert plan.operations and plan.cluster.nodes == 4


@pytest.mark.parametrize("name", CHECKERS)
def test_every_checker_is_described(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "checkers.md").read_text()


@pytest.mark.parametrize("shape", GRUDGES)
def test_every_grudge_is_named(shape):
    assert f"`{shape}`" in (ROOT / "docs" / "campaigns.md").read_text()


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_campaign_says_what_it_shows_in_one_sentence(path):
    campaign = read_campaign(path)
    assert campaign.name == path.stem
    assert campaign.shows.endswith(".") and campaign.shows[0].isupper() and ". " not in campaign.shows
    assert SECONDS_MIN <= campaign.load.duration_s <= SECONDS_MAX


def test_the_campaigns_cover_the_sizes_and_the_faults():
    campaigns = [read_campaign(path) for path in CAMPAIGNS.glob("*.toml")]
    assert {campaign.cluster.nodes for campaign in campaigns} >= {3, 4, 7, 25}
    kinds = {type(fault).__name__ for campaign in campaigns for fault in campaign.faults}
    assert kinds == {"CutSpec", "LinkSpec", "PauseSpec", "KillSpec", "DisconnectSpec", "SkewSpec", "ByzantineSpec"}
    fates = {fault.disk for campaign in campaigns for fault in campaign.faults if hasattr(fault, "disk")}
    assert fates == {"keep", "lose-unsynced", "torn", "wipe"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_told_by_f_liars_in_some_campaign(strategy):
    """With f above 1, so that as many is more than one; those that need another's help do it with that other's."""
    seats = {}
    for path in CAMPAIGNS.glob("*.toml"):
        campaign = read_campaign(path)
        for fault in campaign.faults:
            if isinstance(fault, ByzantineSpec) and campaign.cluster.nodes > 4:
                named = (fault.strategy,) if isinstance(fault.strategy, str) else fault.strategy
                of = seats.setdefault(path.stem, [(campaign.cluster.nodes - 1) // 3, set(), set()])
                of[1].update(fault.nodes)
                of[2].update([(one, len(fault.nodes)) for one in named])
    alone = [name for name, (f, _, told) in seats.items() if (strategy, f) in told]
    helped = [
        name
        for name, (f, liars, told) in seats.items()
        if strategy == "vouch" and len(liars) == f and (strategy, 1) in told
    ]
    assert alone or helped


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_campaign_that_asks_for_certificates_or_quorum_reads_says_how_many_must_come(path):
    """A mesh that refuses them all says nothing that is wrong."""
    campaign = read_campaign(path)
    (budget,) = [check.options for check in campaign.checks if check.name == "availability"] or [{}]
    for level, option in (("stable", "stable_ok_min"), ("quorum", "quorum_ok_min")):
        asked = any(getattr(workload, level) for workload in campaign.workloads)
        assert (budget.get(option, 0) > 0) == asked


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_described(strategy):
    assert f"`{strategy}`" in (ROOT / "docs" / "campaigns.md").read_text()
