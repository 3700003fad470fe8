"""Subjects: a TOML file in, one line that names the place out if it is wrong."""

import sys
from pathlib import Path

import msgspec
import pytest

from harness.campaign import read_campaign
from harness.cli import CAMPAIGNS
from harness.compiler import compile_campaign
from harness.errors import BadInput
from harness.real.capabilities import subject_lacks
from harness.subject import REFERENCE, read_subject

GOOD = 'name = "x"\ncommand = ["./mesh", "--config={config}"]\ntypes = ["gset"]\n'


def test_a_subject_is_read_with_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "subject.toml"
    file.write_text(GOOD)
    subject = read_subject(file)
    assert subject.types == ("gset",) and subject.transports == ("quic", "tcp") and subject.offers == ()
    assert subject.directory == tmp_path
    assert subject.command_for(Path("/run/node.toml")) == ["./mesh", "--config=/run/node.toml"]


def test_without_a_file_it_is_the_reference_mesh() -> None:
    assert read_subject(None) is REFERENCE
    assert REFERENCE.command_for(Path("c"))[0] == sys.executable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "colour = 1\n", "unknown field `colour`"),
        (GOOD.replace("[", '"', 1).replace('"]', '"', 1), "subject.toml"),
        (GOOD.replace("{config}", "node.toml"), "command: does not say where {config} goes"),
        (GOOD.replace('["gset"]', "[]"), "types: names none"),
        (GOOD.replace("gset", "gsett"), "types"),
        ('name = "x"\n', "missing required field `command`"),
        (GOOD + 'offers = ["coffee"]\n', "offers"),
        ("= =", "is not TOML"),
    ],
)
def test_a_wrong_subject_is_one_line_that_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "subject.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_subject(file)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_subject_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_subject(tmp_path / "nothing.toml")


@pytest.mark.parametrize("campaign", ["minority-readonly", "halves"])
@pytest.mark.parametrize(
    ("offer", "said"), [("stable", "stable writes"), ("events", "events"), ("visibility", "visibility")]
)
def test_with_a_roster_a_subject_must_offer_what_its_promises_are_judged_by(campaign, offer, said) -> None:
    plan = compile_campaign(read_campaign(CAMPAIGNS / f"{campaign}.toml"), 1, source="test")
    offers = tuple(one for one in REFERENCE.offers if one != offer)
    lacks = subject_lacks(plan, msgspec.structs.replace(REFERENCE, name="other", offers=offers))
    assert lacks == ([f"{said} (other)"] if plan.cluster.roster else [])
    assert not subject_lacks(plan, REFERENCE)
