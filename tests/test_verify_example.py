"""docs/examples/verify.py: thirty lines that know nothing of the mesh verify what a run leaves, and nothing else."""

import ast
import copy
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from checkers.history import HistoryWriter
from harness.campaign import Load, read_campaign
from harness.cli import CAMPAIGNS
from harness.compiler import compile_campaign
from harness.execution import execute

LIAR = 5
SCRIPT = Path(__file__).parent.parent / "docs" / "examples" / "verify.py"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A history with certificates and proofs, line by line."""
    campaign = read_campaign(CAMPAIGNS / "equivocators.toml")
    short = msgspec.structs.replace(campaign, load=Load(duration_s=2.0), faults=campaign.faults[:1])
    history = execute(compile_campaign(short, 7, source="short")).history
    file = tmp_path_factory.mktemp("history") / "history.jsonl"
    with file.open("w") as stream:
        writer = HistoryWriter(stream)
        writer.header(history.header)
        for event in history.events:
            writer.append(event)
    return [json.loads(line) for line in file.read_text().splitlines()]


def verify(lines, *flags):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return subprocess.run([sys.executable, *flags, SCRIPT], input=text, capture_output=True, text=True)


def test_it_is_thirty_lines_that_import_pynacl_and_the_standard_library():
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 30
    named = {node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    named |= {one.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for one in node.names}
    assert {name.partition(".")[0] for name in named} - sys.stdlib_module_names == {"nacl"}


def test_what_a_run_leaves_is_verified_and_counted(lines):
    certificates = sum(
        bool(line.get("certificate")) or (line.get("name") == "certified" and line["node"] != LIAR) for line in lines
    )
    proofs = sum(line.get("name") == "proven" and line["node"] != LIAR for line in lines)
    assert certificates and proofs
    done = verify(lines)
    assert (done.returncode, done.stdout) == (0, f"{certificates} certificates verified, {proofs} proofs verified\n")


def certificates(lines):
    """Every certificate that a client was given, or that a correct node kept."""
    given = [line["certificate"] for line in lines if line.get("certificate")]
    return given + [line["data"] for line in lines if line.get("name") == "certified" and line["node"] != LIAR]


def proven(lines):
    return [line["data"] for line in lines if line.get("name") == "proven" and line["node"] != LIAR]


def one_of_the_first_for_all(lines):
    given = [line for line in lines if line.get("certificate")]
    for line in given:
        line["certificate"] = given[0]["certificate"]


def one_voter_for_all(lines):
    for found in certificates(lines):
        found["votes"] = [found["votes"][0]] * len(found["votes"])


def too_few(lines):
    lines[0]["quorum"]["size"] = 1
    for found in certificates(lines):
        found["votes"] = found["votes"][:1]


def fewer_than_a_smaller_f_asks_for(lines):
    lines[0]["faulty"] = 0


def turned_signature(lines):
    certificates(lines)[-1]["votes"][-1][1] = "00" * 64


def turned_statement(lines):
    found = certificates(lines)[0]
    found["statement"] = found["statement"][:-2] + f"{int(found['statement'][-2:], 16) ^ 1:02x}"


def a_stranger(lines):
    lines[0]["nodes"] = [node for node in lines[0]["nodes"] if node["agent"] != certificates(lines)[0]["votes"][0][0]]


def another_epoch(lines):
    lines[0]["quorum"]["epoch"] += 1


def framed(lines):
    for found in proven(lines):
        found["agent"] = lines[0]["nodes"][0]["agent"]


def the_same_twice(lines):
    proof = proven(lines)[0]["proof"]
    proof["second"], proof["second_signature"] = proof["first"], proof["first_signature"]


def unsigned_proof(lines):
    proven(lines)[0]["proof"]["first_signature"] = "00" * 64


def no_certificate_at_all(lines):
    next(line for line in lines if line.get("certificate"))["certificate"] = {}


def kept_without_votes(lines):
    del next(line for line in lines if line.get("name") == "certified" and line["node"] != LIAR)["data"]["votes"]


def proven_without_proof(lines):
    del proven(lines)[0]["proof"]


def acknowledged_without_a_commit(lines):
    del next(line for line in lines if line.get("certificate"))["commit"]


def no_hex(lines):
    certificates(lines)[0]["votes"][0][1] = "so be it"


def nothing_at_all(lines):
    del lines[1:]


BAD = [
    one_of_the_first_for_all, one_voter_for_all, too_few, fewer_than_a_smaller_f_asks_for,
    turned_signature, turned_statement, a_stranger, another_epoch,
    framed, the_same_twice, unsigned_proof, nothing_at_all,
    no_certificate_at_all, kept_without_votes, proven_without_proof, acknowledged_without_a_commit, no_hex,
]  # fmt: skip


@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["plain", "optimised"])
@pytest.mark.parametrize("alter", BAD, ids=lambda alter: alter.__name__)
def test_what_is_not_so_is_not_verified(lines, alter, flags):
    altered = copy.deepcopy(lines)
    alter(altered)
    done = verify(altered, *flags)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.count("\n") == 1 and (done.stderr.startswith("line ") or alter is nothing_at_all), done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"quorum": null}'])
def test_what_is_no_history_of_a_mesh_with_a_roster_is_one_line(text):
    done = subprocess.run([sys.executable, SCRIPT], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


def test_what_a_liar_tells_is_passed_over(lines):
    altered = copy.deepcopy(lines)
    for line in altered:
        if line.get("node") == LIAR and line.get("name") in ("certified", "proven"):
            line["data"] = {}
    assert verify(altered).stdout == verify(lines).stdout != ""


def test_the_order_of_a_proof_s_fields_says_nothing(lines):
    altered = copy.deepcopy(lines)
    for found in proven(altered):
        found["proof"] = dict(sorted(found["proof"].items(), reverse=True))
    assert verify(altered).returncode == 0


def test_hex_in_capitals_is_the_same_hex(lines):
    altered = copy.deepcopy(lines)
    for found in certificates(altered):
        found["votes"] = [[voter.upper(), signature.upper()] for voter, signature in found["votes"]]
        found["statement"] = found["statement"].upper()
    for line in altered:
        for told in (line, line.get("data") or {}):
            told.update({key: told[key].upper() for key in ("commit", "id") if isinstance(told.get(key), str)})
    assert verify(altered).stdout == verify(lines).stdout


def test_a_line_that_is_none_is_named_by_its_number(lines):
    text = "".join(json.dumps(line) + "\n" for line in lines[:5]) + '{"kind"'
    done = subprocess.run([sys.executable, SCRIPT], input=text, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("line 6: JSONDecodeError")
