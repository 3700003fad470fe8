"""Plans that were stored: what the compiler makes is read again, and what was edited badly is one line."""

import json

import msgspec
import pytest

from harness import stored_plan
from harness.campaign import Cluster, Expect, Load, WorkloadSpec, read_campaign
from harness.cli import CAMPAIGNS, main
from harness.compiler import compile_campaign
from harness.deadline import deadline_for, writes_in
from harness.errors import EXIT_BAD_INPUT, BadInput
from harness.plan import encode_plan
from harness.stored_plan import read_plan

TRIGGER = {"start": "trigger", "after": "send", "node": 0, "count": 1}


def compiled(name="halves", **changed):
    campaign = msgspec.structs.replace(read_campaign(CAMPAIGNS / f"{name}.toml"), **changed)
    return compile_campaign(campaign, 7, source=f"{name}.toml")


def read_again(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_bytes(encode_plan(plan))
    return read_plan(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in CAMPAIGNS.glob("*.toml")))
def test_every_plan_that_is_compiled_can_be_replayed(name, tmp_path):
    plan = compiled(name)
    assert read_again(plan, tmp_path) == plan


def test_so_can_that_of_a_node_alone(tmp_path):
    plan = compiled("baseline", cluster=Cluster(nodes=1), checks=(), expect=Expect())
    assert read_again(plan, tmp_path) == plan


def test_with_fewer_operations_and_faults_it_is_a_plan_still(tmp_path):
    """So a schedule can be shrunk."""
    plan = compiled(load=Load(duration_s=60.0))
    fewer = msgspec.structs.replace(plan, operations=plan.operations[::3], faults=())
    needed = deadline_for(plan.cluster, core=plan.core, writes=writes_in(fewer.operations))
    assert needed.total_ns < plan.deadline.total_ns
    assert read_again(fewer, tmp_path) == fewer


def test_with_nothing_left_it_is_a_plan_still(tmp_path):
    """Of which not even the deadline need be computed anew."""
    plan = compiled(load=Load(duration_s=60.0))
    nothing = msgspec.structs.replace(plan, operations=(), objects=(), faults=(), checks=())
    assert nothing.deadline.transfer_ns > 0
    assert read_again(nothing, tmp_path) == nothing


def put(place, value):
    """An edit that puts `value` there; numbers in `place` are indexes."""
    *way, last = place

    def edit(plan):
        for step in way:
            plan = plan[step]
        plan[last] = value

    return edit


def counting(amount):
    """An edit that adds an increment by `amount`, and an object for it."""

    def edit(plan):
        plan["objects"].append({"name": "count", "type": "pncounter"})
        changed = {"id": 10**6, "object": "count", "type": "pncounter", "action": "increment", "value": amount}
        plan["operations"].insert(0, {**plan["operations"][0], **changed})

    return edit


def removing(**fields):
    """An edit that adds a remove, and an object for it."""

    def edit(plan):
        plan["objects"].append({"name": "set", "type": "orset"})
        changed = {"id": 10**6, "object": "set", "type": "orset", "action": "remove", "value": None, "seen": None}
        plan["operations"].insert(0, {**plan["operations"][0], **changed, **fields})

    return edit


def lying(*nodes, strategy="silent", asked=False, killed=False):
    """An edit that makes liars of `nodes`, who are asked for nothing unless `asked`, and killed, too, if `killed`."""

    def edit(plan):
        plan["core"] = [one for one in plan["core"] if one not in nodes]
        if not asked:
            plan["operations"] = [one for one in plan["operations"] if one["node"] not in nodes]
        faults = [("lies", {"fault": "byzantine", "nodes": nodes, "strategy": strategy})]
        faults += [("dies", {"fault": "kill", "nodes": nodes})] if killed else []
        plan["faults"] += [{**plan["faults"][0], "id": name, "fault": fault} for name, fault in faults]

    return edit


def first(action, **fields):
    """An edit of the first such operation, which becomes the first of all."""

    def edit(plan):
        found = next(one for one in plan["operations"] if one["action"] == action)
        plan["operations"].remove(found)
        plan["operations"].insert(0, found | fields)

    return edit


def filtered(plan):
    """A cut by packet filter, where links go through relays."""
    plan["faults"][0]["fault"]["by"] = "filter"


def longer(**changed):
    """An edit of the deadline that keeps the sum of its parts."""

    def edit(plan):
        deadline = plan["deadline"]
        deadline.update({field: deadline[field] + more for field, more in changed.items()})
        rounds_ns = (deadline["rounds"] + 1) * (deadline["interval_ns"] + deadline["exchange_ns"])
        deadline["total_ns"] = deadline["reconnect_ns"] + deadline["transfer_ns"] + rounds_ns

    return edit


BETWEEN = {"source": "eu", "target": "mars", "latency_ms": 1.0}


def twice(field):
    return lambda plan: plan[field].append(plan[field][0])


BAD = [
    ("format", put(["format"], 99)),
    ("seed", put(["seed"], -1)),
    ("campaign", put(["campaign"], " ")),
    ("campaign", put(["campaign"], "x" * 201)),
    ("shows", put(["shows"], "")),
    ("objects[0].name", put(["objects", 0, "name"], "")),
    ("objects[0].name", put(["objects", 0, "name"], "x" * 257)),
    ("objects[1].name", lambda plan: plan.update(objects=[plan["objects"][0]] * 2)),
    ("load_ns", put(["load_ns"], "soon")),
    ("load_ns", put(["load_ns"], 0)),
    ("operation_timeout_ns", put(["operation_timeout_ns"], -5)),
    ("core", put(["core"], [])),
    ("core", put(["core"], [0, 0])),
    ("core", put(["core"], [99])),
    ("cluster.nodes", put(["cluster", "nodes"], 0)),
    ("cluster.faulty", put(["cluster", "faulty"], 2)),
    ("cluster.faulty", put(["cluster", "faulty"], -1)),
    ("cluster.fanout", put(["cluster", "fanout"], 0)),
    ("cluster.probe_misses", put(["cluster", "probe_misses"], 1)),
    ("cluster.probe_interval_ns", put(["cluster", "probe_interval_ns"], 9_999_999)),
    ("cluster.gossip_interval_ns", put(["cluster", "gossip_interval_ns"], 3)),
    ("cluster.frame_bytes_max", put(["cluster", "frame_bytes_max"], 10)),
    ("cluster.disk_sync_ns_max", put(["cluster", "disk_sync_ns_max"], 0)),
    ("cluster.regions", put(["cluster", "regions"], [""])),
    ("cluster.regions", put(["cluster", "regions"], ["eu", " ", "eu", "eu"])),
    ("cluster.fanout", lambda plan: plan["cluster"].update(strategy="nearest", fanout=1)),
    ("cluster", put(["cluster", "colour"], "red")),
    ("operations[2]", put(["operations", 2, "leve"], "stable")),
    ("requires[1]", put(["requires"], ["cut", "luck"])),
    ("cluster.strategy", put(["cluster", "strategy"], "best")),
    ("cluster.strategy", put(["cluster", "strategy"], "region")),
    ("cluster.wiring", put(["cluster", "wiring"], "direct")),
    ("cluster.gate_local_writes", put(["cluster", "gate_local_writes"], True)),
    ("cluster.wiring", filtered),
    ("cluster.observe[0]", put(["cluster", "observe"], ["stars"])),
    ("cluster.observe", put(["cluster", "observe"], ["resources"] * 2)),
    ("cluster.network.between[0]", put(["cluster", "network", "between"], [BETWEEN])),
    ("cluster.network", put(["cluster", "network", "loss"], 5)),
    ("cluster.network", put(["cluster", "network", "latency_ms"], -1)),
    ("cluster.network", put(["cluster", "network", "jitter_ms"], -1)),
    ("operations[3].node", put(["operations", 3, "node"], 77)),
    ("operations[0].node", lying(0, 1, 2, asked=True)),
    ("operations[0].object", put(["operations", 0, "object"], "nothing")),
    ("operations[0].type", put(["operations", 0, "type"], "list")),
    ("operations[0].action", put(["operations", 0, "action"], "steal")),
    ("operations[0].level", put(["operations", 0, "level"], "stable")),
    ("operations[0].seen", put(["operations", 0, "seen"], 1.5)),
    ("operations[0].value", counting("many")),
    ("operations[0].value", counting(0)),
    ("operations[0].value", counting(2**53 + 1)),
    ("operations[0].value", counting(True)),
    ("operations[0].value", first("add", value=None)),
    ("operations[0].value", first("add", value=2**63)),
    ("operations[0].value", first("add", value=-(2**63) - 1)),
    ("operations[0].value", first("add", value="x" * 1025)),
    ("operations[0].value", first("read", value=1)),
    ("operations[0].value", first("digest", value=1)),
    ("operations[0].seen", removing(seen=1)),
    ("operations[0].seen", removing(seen=0.5, value=3)),
    ("operations[0].value", removing(value=None)),
    ("operations[0].seen", first("add", seen=0.5)),
    ("operations[0].seen", first("add", seen=0.5, value=None)),
    ("operations[0].level", first("read", level="stable")),
    ("operations[0].level", first("add", level="quorum")),
    ("operations[0].level", first("digest", level="quorum")),
    ("operations[0]", put(["operations", 0, "id"], -1)),
    ("operations[0]", put(["operations", 0, "at_ns"], -1)),
    ("operations[0]", put(["operations", 0, "at_ns"], 10**40)),
    ("faults[0].start", put(["faults", 0, "start"], {"start": "at", "at_ns": 10**40})),
    ("operations", twice("operations")),
    ("faults[0]", put(["faults", 0, "fault", "links"], [[0, 9]])),
    ("faults[0].fault", put(["faults", 0, "fault", "links"], [[0, 0]])),
    ("faults[0]", put(["faults", 0, "start"], TRIGGER | {"node": 99})),
    ("faults[1].fault.strategy", lying(0, strategy="charm")),
    ("faults[1].id", twice("faults")),
    ("faults: dies kills a liar", lying(0, killed=True)),
    ("deadline.total_ns", put(["deadline", "total_ns"], 1)),
    ("deadline.total_ns", put(["deadline", "total_ns"], 10**40)),
    ("deadline.exchange_ns", longer(exchange_ns=1)),
    ("deadline.specification_rounds", put(["deadline", "specification_rounds"], 1e40)),
    ("deadline.interval_ns", longer(interval_ns=1)),
    ("deadline.reconnect_ns", longer(reconnect_ns=1)),
    ("deadline.rounds", longer(rounds=3)),
    ("deadline.rounds", longer(rounds=-3)),
    ("deadline.transfer_ns", longer(transfer_ns=-1)),
    ("deadline.transfer_ns", longer(transfer_ns=10**13)),
    ("checks[0].name", put(["checks", 0, "name"], "astrology")),
    ("checks[0].options", put(["checks", 0, "options"], {"mild": True})),
    ("checks", twice("checks")),
    ("expect.anomalies[0]", put(["expect"], {"validity": "invalid", "anomalies": ["bad-luck"]})),
    ("expect.anomalies", put(["expect"], {"validity": "invalid"})),
]


@pytest.mark.parametrize(("place", "edit"), BAD, ids=[f"{number}-{place}" for number, (place, _) in enumerate(BAD)])
def test_a_plan_that_was_edited_badly_is_one_line(place, edit, tmp_path, capsys):
    plan = json.loads(encode_plan(compiled(faults=read_campaign(CAMPAIGNS / "halves.toml").faults[:1])))
    plan["faults"] = plan["faults"][:1]
    edit(plan)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    assert main(["replay", str(path), "--store", str(tmp_path / "store")]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"plan.json: {place}") and error.count("\n") == 1, error
    assert not (tmp_path / "store").exists()


def test_a_model_that_was_sampled_by_another_version_is_no_reason_to_refuse_it(tmp_path):
    plan = compiled()
    deadline = msgspec.to_builtins(plan.deadline)
    longer(rounds=2)({"deadline": deadline})
    deadline["specification_rounds"] *= 1 + 1e-15
    sampled = msgspec.structs.replace(plan, deadline=msgspec.convert(deadline, type(plan.deadline)))
    assert read_again(sampled, tmp_path) == sampled


def test_workloads_that_plan_as_much_as_each_may_can_be_replayed(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_plan, "OPERATIONS_MAX", 1000)
    workloads = tuple(WorkloadSpec(type="gset", object=name, rate=95.0, reads=0.0) for name in "ab")
    plan = compiled("baseline", load=Load(duration_s=10.0), workloads=workloads, checks=(), expect=Expect())
    assert writes_in(plan.operations) > 1800
    assert read_again(plan, tmp_path) == plan


def test_a_between_of_regions_that_are_there_can_be_replayed_and_another_not(tmp_path):
    plan = compiled("regions")
    between = plan.cluster.network.between[0]
    for field in ("source", "target"):
        wrong = msgspec.structs.replace(between, **{field: "mars"})
        network = msgspec.structs.replace(plan.cluster.network, between=(wrong,))
        changed = msgspec.structs.replace(plan, cluster=msgspec.structs.replace(plan.cluster, network=network))
        with pytest.raises(BadInput, match=r"^plan\.json: cluster\.network\.between\[0\]: no node is in region"):
            read_again(changed, tmp_path)


def test_beyond_f_it_is_not_valid_either(tmp_path, capsys):
    """As the compiler has it, of campaigns."""
    plan = json.loads(encode_plan(compiled("equivocators")))
    lying(*plan["core"][: plan["cluster"]["faulty"]])(plan)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    assert main(["replay", str(path), "--store", str(tmp_path)]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.startswith('plan.json: expect.validity: cannot be "valid" with the checker quorum')
