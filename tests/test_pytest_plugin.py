"""`pytest harness/` as its user meets it: run in a process of its own, on a campaign directory of its own."""

import subprocess
import sys

import pytest

from harness.cli import CAMPAIGNS

HALVES = (CAMPAIGNS / "halves.toml").read_text()


@pytest.fixture
def run(tmp_path):
    """Write campaigns, run pytest on their directory, return (exit code, output)."""

    def call(campaigns, *options):
        directory = tmp_path / "campaigns"
        directory.mkdir()
        for name, text in campaigns.items():
            (directory / f"{name}.toml").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--rootdir", str(tmp_path)]
        command += ["-c", str(tmp_path / "none.ini"), "-p", "harness.pytest_plugin"]
        (tmp_path / "none.ini").write_text("[pytest]\n")
        command += [str(directory), "--knhk-store", str(tmp_path / "store"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return call


def test_a_campaign_that_goes_as_expected_passes(run):
    code, output = run({"halves": HALVES}, "--knhk-seeds", "2")
    assert code == 0 and "1 passed" in output


def test_a_verdict_that_was_not_expected_fails_with_its_explanation_and_is_kept(run, tmp_path):
    wrong = HALVES + '\n[expect]\nvalidity = "invalid"\nanomalies = ["diverged"]\n'
    code, output = run({"halves": wrong}, "--knhk-seeds", "1", "--knhk-seed", "3")
    assert code == 1 and "halves seed 3: valid (expected invalid)" in output
    assert "Traceback" not in output
    assert (tmp_path / "store" / "halves" / "latest" / "history.jsonl").exists()


def test_unknown_fails(run):
    nothing_bites = HALVES + '\n[[faults]]\nfault = "cut"\nlinks = [[0, 1]]\nstart_s = 1.0\nduration_s = 0.000000001\n'
    code, output = run({"halves": nothing_bites}, "--knhk-seeds", "1")
    assert code == 1 and "not seen to bite" in output


def test_what_the_backend_cannot_do_is_a_skip_with_its_reason(run):
    corrupt = HALVES + '\n[[faults]]\nfault = "link"\ncorrupt = 0.1\n'
    code, output = run({"halves": corrupt}, "--knhk-seeds", "1")
    assert code == 0 and "1 skipped" in output and "the backend cannot: corrupt" in output


@pytest.mark.parametrize(
    ("options", "code", "outcome"), [((), 1, "2 failed"), (("--knhk-allow-skips",), 0, "2 skipped")]
)
def test_a_backend_that_was_asked_for_and_is_not_there_fails_unless_skips_are_allowed(
    run, monkeypatch, options, code, outcome
):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    found, output = run({"halves": HALVES}, "--knhk-backend", "docker", *options)
    assert (found, outcome in output, "no Docker daemon answers" in output) == (code, True, True), output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("options", "code", "outcome"), [((), 1, "1 failed"), (("--knhk-allow-skips",), 0, "1 skipped")]
)
def test_another_mesh_in_the_simulator_is_no_green_gate(run, options, code, outcome):
    subject = CAMPAIGNS.parent.parent / "docs" / "examples" / "naive-gset" / "subject.toml"
    found, output = run({"halves": HALVES}, "--knhk-subject", str(subject), *options)
    assert (found, outcome in output) == (code, True), output
    assert "the reference mesh alone, and not naive-gset: add --knhk-backend local or docker" in output


def test_bad_input_is_one_line_that_names_the_place(run):
    code, output = run({"bad": HALVES.replace('shape = "halves"', 'shape = "halfs"')})
    assert code == 1 and 'bad.toml: faults[0].shape: unknown shape "halfs"' in output
    assert "Traceback" not in output


@pytest.mark.parametrize("options", [("--knhk-backend", "moon"), ("--knhk-seeds", "0"), ("--knhk-seed", "-1")])
def test_options_that_cannot_be_are_refused(run, options):
    code, output = run({"halves": HALVES}, *options)
    assert code != 0 and options[0] in output and "passed" not in output


def test_a_stored_plan_is_replayed(run, tmp_path):
    from harness.cli import main

    assert main(["run", str(CAMPAIGNS / "halves.toml"), "--seed", "5", "--store", str(tmp_path / "s")]) == 0
    code, output = run({"halves": HALVES}, "--knhk-replay", str(tmp_path / "s" / "halves" / "latest"))
    assert code == 0 and "1 passed" in output
