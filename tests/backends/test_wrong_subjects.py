"""A subject that does not start: one line that says why, and nothing left behind."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from harness.cli import main
from harness.local.leftovers import PREFIX

CAMPAIGN = 'name = "x"\nshows = "y"\n[cluster]\nnodes = 2\n[load]\nduration_s = 0.5\n[[workloads]]\ntype = "gset"\n'


def run(tmp_path: Path, subject: str, *more: str) -> int:
    (tmp_path / "c.toml").write_text(CAMPAIGN)
    (tmp_path / "s.toml").write_text(subject)
    options = ["--backend", "local", "--subject", str(tmp_path / "s.toml"), "--store", str(tmp_path / "store")]
    return main(["run", str(tmp_path / "c.toml"), *options, *more])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-program-anywhere", "{config}"], "no-such-program-anywhere cannot be started: No such file"),
        (["/", "{config}"], "/ cannot be started: Permission denied"),
        ([sys.executable, "-c", "import sys; sys.exit('the dog ate it')", "{config}"], "the dog ate it"),
        ([sys.executable, "-c", "import os; os.abort()", "{config}"], "ended while starting (exit -6)"),
    ],
)
def test_it_is_one_line_and_nothing_is_left(tmp_path: Path, capsys, command: list[str], said: str) -> None:
    subject = 'name = "wrong"\ncommand = [{}]\n'.format(", ".join(f'"{one}"' for one in command))
    assert run(tmp_path, subject) == 64
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*"))


def test_what_a_subject_has_not_is_a_skip_by_name(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, 'name = "odd"\ncommand = ["{config}"]\ntypes = ["orset"]\n') == 2
    assert "gset (odd)" in capsys.readouterr().out
    assert run(tmp_path, 'name = "odd"\ncommand = ["{config}"]\ntransports = ["tcp"]\n') == 2
    assert "quic (odd)" in capsys.readouterr().out


def test_an_unknown_backend_and_a_subject_that_is_not_there(tmp_path: Path, capsys) -> None:
    (tmp_path / "c.toml").write_text(CAMPAIGN)
    assert main(["run", str(tmp_path / "c.toml"), "--backend", "moon"]) == 64
    assert 'unknown backend "moon"' in capsys.readouterr().err
    assert main(["run", str(tmp_path / "c.toml"), "--backend", "local", "--subject", str(tmp_path / "no")]) == 64
    assert "cannot be read" in capsys.readouterr().err
