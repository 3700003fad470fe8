"""What can be wrong with the engine: one clear line each, and nothing left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from docker.errors import APIError, DockerException, ImageNotFound

from harness.docker.engine import NODE_IMAGE, connect, problem_here, reason, remedy
from harness.docker.sources import digest_of_sources
from harness.errors import HostError
from tests.backends.docker_here import needs_docker
from tests.backends.test_docker_leftovers import of_owner

FETCHING = "Error while fetching server API version:"
"""How docker-py begins what it says when no daemon has answered."""
DENIED = "('Connection aborted.', PermissionError(13, 'Permission denied'))"
NOBODY = 65534
ROOT = Path(__file__).resolve().parent.parent.parent
CAMPAIGN = 'name = "x"\nshows = "y"\n[cluster]\nnodes = 2\n[load]\nduration_s = 0.5\n[[workloads]]\ntype = "gset"\n'


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DockerException(f"{FETCHING} {DENIED}"), "group docker"),
        (DockerException(f"{FETCHING} ('Connection aborted.', FileNotFoundError(2, 'No such file'))"), "start dockerd"),
        (DockerException(f"{FETCHING} ('Connection aborted.', ConnectionRefusedError(111, 'x'))"), "start dockerd"),
        (DockerException(f"{FETCHING} UnixHTTPConnectionPool: Read timed out. (read timeout=60)"), "in time"),
        (ImageNotFound("404", explanation="No such image: knhk-node:latest"), "compose/build-images"),
        (ImageNotFound("404", explanation="No such image: theirs:latest"), "docker pull"),
        (APIError("409", explanation="cannot start: dial tcp 10.0.0.1: connection refused"), "cannot start: dial"),
        (APIError("500", explanation="write /var/lib: no space left on device"), "the disk is full"),
        (APIError("409", explanation='The container name "/x" is already in use by container "ab"'), "harness clean"),
        (APIError("500", explanation="something\n  odd"), "something odd"),
    ],
)  # fmt: skip
def test_it_is_one_line_with_the_way_out(error: DockerException, said: str) -> None:
    assert said in reason(error) and "\n" not in reason(error)


@pytest.mark.parametrize("text", ["stat /x: no such file or directory", "connection refused", "permission denied"])
def test_a_daemon_that_refuses_something_is_not_taken_for_one_that_is_silent(text: str) -> None:
    assert reason(APIError("400", explanation=f"OCI runtime: {text}")) == f"OCI runtime: {text}"


ADDRESSES = ["tcp://127.0.0.1:abc", "tcp://[::1", "foo://x", "unix:///nonexistent", "tcp://127.0.0.1:1"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_cannot_be_used_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(HostError) as told:
        connect()
    assert str(told.value).startswith("docker: ") and "\n" not in str(told.value)
    assert address in remedy(str(told.value)) and "apt install" not in remedy(str(told.value))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_one_who_may_not_use_the_engine_is_told_the_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "s"))
        engine.listen()
        (tmp_path / "s").chmod(0o600)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        os.seteuid(NOBODY)
        try:
            with pytest.raises(HostError, match="join the group docker"):
                connect()
        finally:
            os.seteuid(0)


def test_an_image_of_other_sources_is_not_taken_for_one_of_these(tmp_path: Path) -> None:
    for part in ("knhk_mesh", "faults", "compose"):
        (tmp_path / part).mkdir()
    assert digest_of_sources(tmp_path) is None, "an installed package has no sources to compare with"
    (tmp_path / "compose" / "Dockerfile").write_text("FROM x")
    (tmp_path / "knhk_mesh" / "node.py").write_text("a = 1")
    former = digest_of_sources(tmp_path)
    (tmp_path / "compose" / "README.md").write_text("no part of an image")
    assert digest_of_sources(tmp_path) == former
    (tmp_path / "knhk_mesh" / "node.py").write_text("a = 2")
    assert digest_of_sources(tmp_path) not in (former, None)


@needs_docker
def test_stale_images_are_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.docker.engine.digest_of_sources", lambda: "0" * 64)
    problem_here.cache_clear()
    assert "image knhk-node is of other sources than these" in (problem_here((NODE_IMAGE,)) or "")
    problem_here.cache_clear()


@pytest.mark.parametrize("command", ["clean", "doctor"])
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:abc", "unix:///nonexistent"])
def test_no_command_takes_an_engine_that_was_named_and_is_not_there_for_all_well(command: str, address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DOCKER_HOST": address},
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nothing was left behind" not in done.stdout
    assert "DOCKER_HOST" in done.stdout + done.stderr


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
        ('image = "knhk-no-such-image"\n', 64, "no image knhk-no-such-image: build it"),
        ('image = "Bad Name!!"\n', 64, "Bad Name!!"),
        ('image = "knhk-node"\ncommand = ["sh", "-c", "echo dog ate it; exit 3", "{config}"]\n', 64, "dog ate it"),
        ('image = "knhk-node"\ncommand = ["/no/such/program", "{config}"]\n', 64, "stat /no/such/program"),
        ("", 2, "names no image"),
    ],
)  # fmt: skip
def test_a_subject_that_cannot_start_is_one_line(tmp_path: Path, subject: str, code: int, said: str) -> None:
    command = "" if "command" in subject else 'command = ["{config}"]\n'
    (tmp_path / "s.toml").write_text(f'name = "wrong"\n{command}{subject}')
    done = run(tmp_path, "--subject", str(tmp_path / "s.toml"))
    told = done.stdout if code == 2 else done.stderr
    assert done.returncode == code and said in told and len(told.strip().splitlines()) == 1, (told, done)
    assert "start dockerd" not in told and "build-images" not in told


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
