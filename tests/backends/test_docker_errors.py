"""What can be wrong with the engine: one clear line each, and nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docker.errors import APIError, DockerException, ImageNotFound

from harness.docker.engine import reason
from tests.backends.docker_here import needs_docker
from tests.backends.test_docker_leftovers import of_owner

ROOT = Path(__file__).resolve().parent.parent.parent
CAMPAIGN = 'name = "x"\nshows = "y"\n[cluster]\nnodes = 2\n[load]\nduration_s = 0.5\n[[workloads]]\ntype = "gset"\n'


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DockerException("PermissionError(13, 'Permission denied') /run/docker.sock"), "group docker"),
        (DockerException("('Connection aborted.', FileNotFoundError(2, 'No such file'))"), "start dockerd"),
        (DockerException("ConnectionRefusedError(111, 'Connection refused')"), "start dockerd"),
        (ImageNotFound("404", explanation="No such image: knhk-node:latest"), "compose/build-images"),
        (APIError("500", explanation="write /var/lib: no space left on device"), "the disk is full"),
        (APIError("409", explanation='The container name "/x" is already in use by container "ab"'), "harness clean"),
        (APIError("500", explanation="something\n  odd"), "something odd"),
    ],
)  # fmt: skip
def test_it_is_one_line_with_the_way_out(error: DockerException, said: str) -> None:
    assert said in reason(error) and "\n" not in reason(error)


def run(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    (tmp_path / "c.toml").write_text(CAMPAIGN)
    command = [sys.executable, "-m", "harness", "run", str(tmp_path / "c.toml"), "--backend", "docker"]
    return subprocess.run(
        [*command, "--store", str(tmp_path / "store"), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_without_a_daemon_it_is_a_skip_that_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert done.returncode == 2 and "start dockerd" in done.stdout and "Traceback" not in done.stderr


@needs_docker
@pytest.mark.parametrize(
    ("subject", "code", "said"),
    [
        ('image = "knhk-no-such-image"\n', 2, "no image knhk-no-such-image"),
        ('image = "knhk-node"\ncommand = ["sh", "-c", "echo dog ate it; exit 3", "{config}"]\n', 64, "dog ate it"),
        ('image = "knhk-node"\ncommand = ["/no/such/program", "{config}"]\n', 64, "/no/such/program"),
        ("", 2, "names no image"),
    ],
)  # fmt: skip
def test_a_subject_that_cannot_start_is_one_line(tmp_path: Path, subject: str, code: int, said: str) -> None:
    command = "" if "command" in subject else 'command = ["{config}"]\n'
    (tmp_path / "s.toml").write_text(f'name = "wrong"\n{command}{subject}')
    done = run(tmp_path, "--subject", str(tmp_path / "s.toml"))
    told = done.stdout if code == 2 else done.stderr
    assert done.returncode == code and said in told and len(told.strip().splitlines()) == 1, (told, done)


@needs_docker
def test_a_subnet_or_a_name_that_is_taken_is_got_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.docker import workshop
    from harness.docker.addresses import Subnet
    from harness.docker.engine import connect

    taken, free = Subnet(31, 250), iter([Subnet(31, 250), Subnet(31, 251), Subnet(31, 252)])
    client = connect()
    from docker.types import IPAMConfig, IPAMPool

    ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(taken))])
    network = client.networks.create("knhk-test-taken", ipam=ipam)
    try:
        monkeypatch.setattr(workshop, "random_subnet", lambda: next(free))
        from harness.campaign import parse_campaign
        from harness.compiler import compile_campaign
        from harness.execution import execute

        plan = compile_campaign(parse_campaign(CAMPAIGN.encode(), source="x"), 0, source="x")
        assert execute(plan, backend="docker").verdict.validity == "valid"
        assert next(free, None) is None
    finally:
        network.remove()
        client.close()
    assert of_owner(os.getpid()) == []
