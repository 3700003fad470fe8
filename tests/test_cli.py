"""The command line as a user meets it: what it prints, what it leaves, and one clear line for what is wrong."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import CAMPAIGNS, main
from harness.errors import EXIT_BAD_INPUT, EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID

HALVES = CAMPAIGNS / "halves.toml"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One run of halves under seed 7: (its directory, what was printed)."""
    store = tmp_path_factory.mktemp("store")
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", str(HALVES), "--seed", "7", "--store", str(store)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == EXIT_VALID, done.stderr
    assert done.stderr == "", "no progress in a pipe"
    return store / "halves" / "latest", done.stdout


def trace_hash(printed):
    return re.search(r"^trace hash: ([0-9a-f]{32})$", printed, re.M).group(1)


def verdict_part(printed):
    return [line for line in printed.splitlines() if line.startswith(("verdict", "  "))]


def test_a_run_prints_its_verdict_and_leaves_plan_history_and_verdict(kept):
    directory, printed = kept
    assert "halves seed 7: valid (as expected)" in printed
    assert sorted(path.name for path in directory.iterdir()) == ["history.jsonl", "plan.json", "verdict.json"]
    assert json.loads((directory / "verdict.json").read_text())["validity"] == "valid"


def test_replaying_the_plan_gives_the_same_hash(kept, tmp_path, capsys):
    directory, printed = kept
    assert main(["replay", str(directory), "--store", str(tmp_path)]) == EXIT_VALID
    assert trace_hash(capsys.readouterr().out) == trace_hash(printed)


def test_checking_the_history_gives_the_same_verdict(kept, capsys):
    directory, printed = kept
    assert main(["check", str(directory)]) == EXIT_VALID
    assert verdict_part(capsys.readouterr().out) == verdict_part(printed)


def test_check_ends_as_run_does_where_the_campaign_expects_otherwise(kept, tmp_path, capsys):
    header, _, events = (kept[0] / "history.jsonl").read_text().partition("\n")
    claims = json.loads(header)
    claims["plan"]["expect"] = {"validity": "invalid", "anomalies": ["diverged"]}
    hopeful = tmp_path / "history.jsonl"
    hopeful.write_text(json.dumps(claims) + "\n" + events)
    assert main(["check", str(hopeful)]) == EXIT_INVALID
    assert "\nexpected invalid: diverged\n" in capsys.readouterr().out
    assert main(["check", str(hopeful), "--checker", "convergence"]) == EXIT_VALID
    assert "expected" not in capsys.readouterr().out
    claims["plan"]["expect"] = {"validity": "perhaps"}
    hopeful.write_text(json.dumps(claims) + "\n" + events)
    assert main(["check", str(hopeful)]) == EXIT_BAD_INPUT
    assert "header: plan: Invalid enum value 'perhaps'" in capsys.readouterr().err


def test_an_acknowledged_element_that_is_edited_out_is_named_with_its_nodes(kept, tmp_path, capsys):
    edited = tmp_path / "history.jsonl"
    lines = (kept[0] / "history.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    finals = {e["op"]: e["node"] for e in events if e["kind"] == "invoke" and e.get("final") and e["action"] == "read"}
    victim = next(e for e in events if e["kind"] == "complete" and e["op"] in finals and finals[e["op"]] == 2)
    element = victim["value"]["add"].pop(17)
    edited.write_text("\n".join(json.dumps(event) for event in events) + "\n")
    assert main(["check", str(edited)]) == EXIT_INVALID
    printed = capsys.readouterr().out
    assert f"lost-write: numbers: element {element}," in printed
    assert "nodes [2]" in printed


def test_a_torn_last_line_is_said_and_the_verdict_is_unknown(kept, tmp_path, capsys):
    torn = tmp_path / "history.jsonl"
    torn.write_bytes((kept[0] / "history.jsonl").read_bytes()[:-20])
    assert main(["check", str(torn)]) == EXIT_UNKNOWN
    printed = capsys.readouterr().out
    assert "is torn" in printed and 'no event of phase "done"' in printed


CAMPAIGN = """
name = "x"
shows = "y"
{cluster}
[[workloads]]
type = "gset"
{rest}
"""


@pytest.mark.parametrize(
    ("cluster", "rest", "says"),
    [
        ("[cluster]\nnods = 4", "", "cluster: Object contains unknown field `nods`"),
        ("[cluster]\nnodes = 'four'", "", "cluster.nodes: Expected `int`, got `str`"),
        ("[cluster]\nnodes = 0", "", "cluster.nodes: 0 is not in 1 .. 1000"),
        ("[cluster]\nnodes = 4\nfaulty = 5", "", "cluster.faulty: 5 of 4 nodes"),
        ("[cluster]\nnodes = 6\nfaulty = 2", "", "cluster.faulty: 2 of 6 nodes"),
        ("[cluster]\nfanout = 9", "", "cluster.fanout: 9 is not in 1 .. 3"),
        ("[cluster]\nstrategy = 'best'", "", "cluster.strategy: Invalid enum value 'best'"),
        ("[cluster]\nregions = ['a']", "", "cluster.regions: names 1 of 4 nodes"),
        ("[cluster]\nstrategy = 'region'", "", 'cluster.strategy: "region" needs regions'),
        ("[cluster]\nstrategy = 'nearest'\nfanout = 1", "", 'cluster.fanout: under "nearest" is at least 2'),
        ("[cluster]\nregions = ['eu', ' ', 'us', 'us']", "", "cluster.regions[1]: is empty"),
        ("[cluster]\nframe_bytes_max = 100", "", "cluster.frame_bytes_max: is not in 52000"),
        ("[cluster]\ngossip_interval_ms = inf", "", "cluster.gossip_interval_ms: is not in 1"),
        ("", f"object = '{'x' * 300}'", "workloads[0].object: a name has 1 to 256 bytes"),
        ("[network]\nlatency_ms = -1.0", "", "network.latency_ms: is not in"),
        ("[network]\nloss = 1.5", "", "network.loss: is not in"),
        ("[network]\nbetween = [{source='a', target='b', latency_ms=1.0}]", "", "network.between[0].source"),
        ("[load]\nduration_s = -3.0", "", "load.duration_s: is not in"),
        ("[load]\nduration_s = nan", "", "load.duration_s: is not in"),
        ("[load]\nduration_s = 1e-12", "", "load.duration_s: is not in 0.001"),
        ("[load]\noperation_timeout_ms = 1e-12", "", "load.operation_timeout_ms: is not in 1"),
        ("[load]\noperation_timeout_ms = nan", "", "load.operation_timeout_ms: is not in 1"),
        ("", "rate = 0.0", "workloads[0].rate: is not in"),
        ("", "rate = inf", "workloads[0].rate: is not in"),
        ("", "removes = 0.5", "workloads[0].removes: a gset only grows"),
        ("", "nodes = [7]", "workloads[0].nodes: no node 7; nodes are 0 to 3"),
        ("", "nodes = [1, 1]", "workloads[0].nodes: names each node at most once"),
        (
            "core = [0, 1]",
            "[[faults]]\nfault='byzantine'\nstrategy='forge'\npick=1",
            "core: cannot be named where the seed draws who lies",
        ),
        (
            "[assumes]\nbyzantine_and_wiped_max = 2\n[cluster]\nroster = true",
            "[[faults]]\nfault='byzantine'\nstrategy='silent'\npick=2",
            'expect.validity: cannot be "valid" with the checker quorum: 2 nodes lie or lose their disks, more than f',
        ),
        (
            "[assumes]\nbyzantine_and_wiped_max = 2\n[cluster]\nroster = true",
            "[[faults]]\nfault='byzantine'\nstrategy='silent'\nnodes=[0]\n"
            "[[faults]]\nfault='kill'\ndisk='wipe'\nnodes=[1]",
            'expect.validity: cannot be "valid" with the checker quorum: 2 nodes',
        ),
        ("core = [9]", "", "core: no node 9"),
        ("core = [0, 0, 1]", "", "core: names each node at most once"),
        (
            "",
            "nodes = [3]\n[[faults]]\nfault='byzantine'\nstrategy='forge'\nnodes=[3]",
            "workloads[0].nodes: node 3 lies: it takes no clients",
        ),
        ("[cluster]\nobserve = ['resources', 'resources']", "", "cluster.observe: names each at most once"),
        ("", "[[faults]]\nfault='cut'\nshape='halfs'", 'faults[0].shape: unknown shape "halfs"; one of bridge, halves'),
        ("", "[[faults]]\nfault='cut'\nshape='halves'\nstart_s=-1.0", "faults[0].start_s: is not in 0 .. "),
        ("", "[[faults]]\nfault='cut'\nshape='halves'\nstart_s=99.0", "faults[0].start_s: begins after the load"),
        ("", "[[faults]]\nfault='cut'\nshape='halves'\nduration_s=-1.0", "faults[0].duration_s"),
        ("", "[[faults]]\nfault='pause'\nnodes=[4]", "faults[0].nodes: no node 4; nodes are 0 to 3"),
        ("", "[[faults]]\nfault='kill'\nnodes=[0]\ndisk='melted'", "faults[0].disk: Invalid enum value 'melted'"),
        ("[cluster]\nnodes = 1", "[[faults]]\nfault='disconnect'\nnodes=[0]", "faults: disconnect-0 disconnects"),
        ("", "[[faults]]\nfault='meteor'", "faults[0].fault: Invalid value 'meteor'; one of cut, link, pause, "),
        ("", "[[faults]]\nfault='byzantine'\nstrategy='lie'\nnodes=[0]", 'unknown strategy "lie"; one of'),
        (
            "",
            "[[faults]]\nfault='kill'\npick=2\ndisk='wipe'",
            "assumes.byzantine_and_wiped_max: the faults wipe 2 nodes",
        ),
        (
            "",
            "[expect]\nvalidity='invalid'\nanomalies=['vibes']",
            "expect.anomalies[0]: no check of this campaign finds",
        ),
        (
            "",
            "[expect]\nvalidity='invalid'\nanomalies=['over-quota']",
            "expect.anomalies[0]: no check of this campaign",
        ),
        ("", "[expect]\nvalidity='invalid'", "expect.anomalies: is empty"),
        ("", "[expect]\nanomalies=['diverged']", 'expect.anomalies: needs validity = "invalid"'),
        ("", "[requires]\ncapabilities=['cut', 'luck']", 'requires.capabilities[1]: unknown capability "luck"'),
        ("[cluster]\nprobe_misses = 1", "", "cluster.probe_misses: is not in 2"),
        ("", "[[faults]]\nfault='byzantine'\nstrategy=[]\nnodes=[0]", "faults[0].strategy: names none"),
        (
            "",
            "[[faults]]\nfault='byzantine'\nstrategy=['forge', 'forge']\nnodes=[0]",
            "faults[0].strategy: names each at most once",
        ),
        ("", "[[faults]]\nfault='byzantine'\nstrategy=['forge', 'lie']\nnodes=[0]", 'unknown strategy "lie"; one of'),
        ("", "[[checks]]\nname='vibes'", 'checks[0].name: unknown checker "vibes"; one of accountability'),
        ("", "[[checks]]\nname='set_full'\noptions={object='a'}", "checks[0].options"),
    ],
)
def test_a_bad_campaign_is_one_line_that_names_the_place(tmp_path, capsys, cluster, rest, says):
    path = tmp_path / "bad.toml"
    path.write_text(CAMPAIGN.format(cluster=cluster, rest=rest))
    assert main(["run", str(path), "--store", str(tmp_path / "store")]) == EXIT_BAD_INPUT
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("bad.toml: ") and says in output.err
    assert output.err.count("\n") == 1 and "Traceback" not in output.err
    assert not (tmp_path / "store").exists(), "nothing is written half"


def test_a_name_that_no_directory_can_have_is_one_line(tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(CAMPAIGN.format(cluster="", rest="").replace('"x"', f'"{"x" * 300}"', 1))
    assert main(["run", str(path), "--store", str(tmp_path / "store")]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err == "bad.toml: name: has more than 200 bytes\n"


@pytest.mark.parametrize("campaign", ["healthy", "partition"])
def test_another_mesh_is_never_judged_by_a_simulation_of_ours(tmp_path, capsys, campaign):
    example = CAMPAIGNS.parent.parent / "docs" / "examples" / "naive-gset"
    subject, path = str(example / "subject.toml"), str(example / "campaigns" / f"{campaign}.toml")
    assert main(["run", path, "--subject", subject, "--store", str(tmp_path / "store")]) == EXIT_UNKNOWN
    said = capsys.readouterr().out
    assert said == "skipped: the sim backend cannot: naive-gset in the simulator, which has the reference mesh alone\n"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", ["replay", "check", "run"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"kind":"header"}\n', b"[[[[" * 4000])
def test_an_unreadable_file_is_one_line(tmp_path, capsys, command, content):
    path = tmp_path / "input"
    if content is not None:
        path.write_bytes(content)
    store = [] if command == "check" else ["--store", str(tmp_path / "store")]
    assert main([command, str(path), *store]) == EXIT_BAD_INPUT
    output = capsys.readouterr()
    assert "input" in output.err and output.err.count("\n") == 1 and "Traceback" not in output.err


def test_a_store_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(HALVES), "--store", str(tmp_path / "file")]) == EXIT_BAD_INPUT
    assert "the store cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", str(HALVES), "--seed", "-1"],
        ["run", str(HALVES), "--seed", "many"],
        ["run", str(HALVES), "--backend", "moon"],
        ["sweep", "--seeds", "9-3"],
        ["sweep", str(HALVES), "--seeds", "x"],
        ["sweep", str(HALVES), "--jobs", "0"],
        ["mutants", "no-such-bug"],
        ["bench", "no-such-bench"],
        ["check", str(HALVES.parent)],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_and_exits_64(arguments, capsys):
    assert main(arguments) == EXIT_BAD_INPUT
    output = capsys.readouterr()
    assert output.err.strip() or output.out.strip()
    assert "Traceback" not in output.err


def test_a_sweep_tells_what_was_not_expected_and_keeps_it(tmp_path, capsys):
    campaign = tmp_path / "hopeful.toml"
    text = HALVES.read_text().replace('name = "halves"', 'name = "hopeful"')
    campaign.write_text(text + '\n[expect]\nvalidity = "invalid"\nanomalies = ["diverged"]\n')
    assert main(["sweep", str(campaign), "--seeds", "1-2", "--store", str(tmp_path / "s")]) == EXIT_INVALID
    printed = capsys.readouterr().out
    assert "hopeful: 2 seeds, 2 not as expected" in printed
    assert len([p for p in (tmp_path / "s" / "hopeful").iterdir() if not p.is_symlink()]) == 2


def test_a_capability_that_the_backend_lacks_is_a_skip_and_never_valid(tmp_path, capsys):
    campaign = tmp_path / "corrupt.toml"
    campaign.write_text(CAMPAIGN.format(cluster="", rest="[[faults]]\nfault='link'\ncorrupt=0.1"))
    assert main(["run", str(campaign), "--store", str(tmp_path / "s")]) == EXIT_UNKNOWN
    assert capsys.readouterr().out == "skipped: the sim backend cannot: corrupt\n"
    assert main(["sweep", str(campaign), "--seeds", "0-1"]) == EXIT_UNKNOWN
    assert "skipped, the backend cannot: corrupt" in capsys.readouterr().out
    assert main(["sweep", str(campaign), str(HALVES), "--seeds", "0-0"]) == EXIT_VALID
    assert "skipped, the backend cannot: corrupt" in capsys.readouterr().out
    campaign.write_text(CAMPAIGN.format(cluster="", rest="[[faults]]\nfault='link'\ncorrupt=0.1\nrequired=false"))
    assert main(["run", str(campaign), "--store", str(tmp_path / "s")]) == EXIT_VALID
    assert "opportunistic fault link-0" in capsys.readouterr().out


HARMLESS = '"""A bug that is none."""\n\nSHOWS = "campaign halves.toml"\n\n\ndef plant():\n    pass\n'


PLANTED = Path(__file__).parent / "planted_bugs"


@pytest.fixture
def launcher(tmp_path):
    """A directory of planted bugs with none in it yet."""
    text = (PLANTED / "launch.py").read_text()
    (tmp_path / "launch.py").write_text(text.replace("HERE.parent.parent", f"Path({str(PLANTED.parent.parent)!r})"))
    return tmp_path


STALE = """\"\"\"A bug whose code was changed under it.\"\"\"

SHOWS = "{shows}"


def plant():
    from knhk_mesh.replica import Replica
    from knhk_mesh.crdt.gset import GSet

    Replica.merge = lambda self, now: None
    GSet.join = lambda self: None
"""


@pytest.mark.parametrize("shows", ["campaign halves.toml", "property tests/test_crdt_laws.py -k idempotent"])
def test_a_bug_that_only_makes_the_code_raise_is_stale_and_not_caught(shows, launcher, capsys):
    (launcher / "stale.py").write_text(STALE.format(shows=shows))
    command = ["mutants", "--bugs", str(launcher), "--seeds", "2", "--false-alarm-seeds", "1", "stale"]
    assert main(command) == EXIT_INVALID
    printed = " ".join(capsys.readouterr().out.split())
    assert "it has gone stale" in printed and "TypeError" in printed and "0 of 1 planted bugs caught" in printed


def _running(mark):
    """Processes that name `mark` on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [entry.parent.name] if mark.encode() in entry.read_bytes() else []
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="without /proc nobody can tell who is left")
@pytest.mark.parametrize(
    ("number", "ignoring"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_mutants_that_are_interrupted_leave_nobody_behind(number, ignoring, launcher):
    """A job that a script has in the background ignores SIGINT, and so does all that it starts."""
    (launcher / "harmless.py").write_text(HARMLESS)
    command = [sys.executable, "-m", "harness", "mutants", "--bugs", str(launcher), "--jobs", "2"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignoring else signal.default_int_handler)
    process = subprocess.Popen(command, cwd=PLANTED.parent.parent, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, before)
    try:
        until = time.monotonic() + 20
        while len(_running(str(launcher / "launch.py"))) < 1 and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(number)
        assert process.wait(30) == 130
        assert _running(str(launcher)) == []
    finally:
        process.kill()
        process.wait()
        for left in _running(str(launcher)):
            os.kill(int(left), signal.SIGKILL)


def test_mutants_names_what_catches_a_bug_and_what_escapes(launcher, capsys):
    tmp_path = launcher
    shutil.copy(PLANTED / "never_dialled_again.py", tmp_path)
    (tmp_path / "harmless.py").write_text(HARMLESS)
    command = ["mutants", "--bugs", str(tmp_path), "--seeds", "2", "--false-alarm-seeds", "1"]
    assert main([*command, "never_dialled_again"]) == EXIT_VALID
    assert "1 of 1 planted bugs caught" in capsys.readouterr().out
    assert main([*command, "harmless"]) == EXIT_INVALID
    printed = capsys.readouterr().out
    assert "NOT CAUGHT" in printed and "0 of 1 planted bugs caught" in printed


@pytest.mark.parametrize("field", ["name", "shows"])
def test_a_campaign_says_who_it_is_and_what_it_shows(field, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(CAMPAIGN.format(cluster="", rest="").replace(f'{field} = "', f'{field} = " "  # "'))
    assert main(["run", str(path), "--store", str(tmp_path / "store")]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.startswith(f"bad.toml: {field}: is empty")
