"""The deadline is the formula that ARCHITECTURE.md states, and moves the way it must."""

import msgspec
import pytest

from harness.campaign import Between, Campaign, Cluster, Network, WorkloadSpec
from harness.compiler import compile_campaign
from harness.deadline import RECONNECT_NS, TAIL_ROUNDS, deadline_for
from harness.execution import execute
from harness.rounds import rounds_quantile


def cluster(nodes=7, network=None, **fields):
    campaign = Campaign(
        name="x",
        shows="y",
        cluster=Cluster(nodes=nodes, **fields),
        network=network or Network(),
        workloads=(WorkloadSpec(type="gset"),),
    )
    return compile_campaign(campaign, 1, source="test").cluster


def total(made, writes=100, core=None):
    return deadline_for(made, core=core or tuple(range(made.nodes)), writes=writes).total_ns


def test_it_is_the_sum_of_its_parts():
    found = deadline_for(cluster(), core=tuple(range(7)), writes=100)
    each = found.interval_ns + found.exchange_ns
    assert found.total_ns == RECONNECT_NS + found.transfer_ns + (found.rounds + 1) * each
    assert found.specification_rounds == pytest.approx(5.807, abs=0.001)


@pytest.mark.parametrize(
    ("harder", "easier"),
    [
        (cluster(network=Network(latency_ms=50.0)), cluster()),
        (cluster(network=Network(loss=0.3)), cluster()),
        (cluster(nodes=25, fanout=1), cluster(nodes=25, fanout=5)),
        (cluster(gossip_interval_ms=500.0), cluster()),
        (cluster(frame_bytes_max=65536, nodes=100, fanout=1), cluster(frame_bytes_max=65536, nodes=10, fanout=1)),
    ],
    ids=["latency", "loss", "fanout", "interval", "nodes"],
)
def test_what_is_harder_is_given_longer(harder, easier):
    assert total(harder) > total(easier)


def test_more_to_send_and_silent_nodes_take_longer():
    made = cluster(nodes=25, fanout=2)
    assert total(made, writes=100_000) > total(made, writes=100)
    assert total(made, core=tuple(range(13))) > total(made)


def test_the_slowest_link_counts():
    far = Between(source="a", target="b", latency_ms=200.0)
    made = cluster(nodes=4, regions=("a", "a", "b", "b"), network=Network(between=(far,)))
    assert deadline_for(made, core=(0, 1, 2, 3), writes=1).exchange_ns > 5 * 200_000_000


def test_a_quantile_that_cannot_be_sampled_gets_a_margin():
    made = cluster(nodes=500, fanout=5)
    sampled = rounds_quantile(nodes=500, fanout=5, quantile=0.9999, messages_push=3, messages_pull=4)
    assert deadline_for(made, core=tuple(range(500)), writes=1).rounds == sampled + TAIL_ROUNDS


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_the_smallest_clusters_run(nodes):
    campaign = Campaign(name="x", shows="y", cluster=Cluster(nodes=nodes), workloads=(WorkloadSpec(type="orset"),))
    plan = compile_campaign(campaign, 3, source="test")
    assert execute(plan).verdict.validity == "valid"


def test_a_mesh_that_converges_too_late_is_late(monkeypatch):
    monkeypatch.setattr("harness.runner.DEADLINE_GRACE", 10**10)  # wait for it all the same
    campaign = Campaign(name="x", shows="y", workloads=(WorkloadSpec(type="gset"),))
    plan = compile_campaign(campaign, 3, source="test")
    hurried = msgspec.structs.replace(plan, deadline=msgspec.structs.replace(plan.deadline, total_ns=1))
    found = {one.name for result in execute(hurried).verdict.results for one in result.anomalies}
    assert found == {"late"}
