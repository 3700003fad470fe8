"""compose/compose.yaml by the real Docker Compose: up, written here, read there, one link cut and healed, down."""

import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from harness.local.ports import free_ports
from tests.backends.docker_here import needs_docker

COMPOSE = Path(__file__).resolve().parent.parent / "compose"
WAIT_S = 30.0


def no_compose() -> str | None:
    if shutil.which("docker") is None:
        return "no docker client"
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return None if done.returncode == 0 else "no Docker Compose v2: compose/install-compose builds it"


needs_compose = pytest.mark.skipif(no_compose() is not None, reason=str(no_compose()))


class Mesh:
    """One project, on ports and in a network of its own."""

    def __init__(self, transport: str) -> None:
        ports = free_ports(5)
        self.controls, self.api = ports[:4], f"http://127.0.0.1:{ports[4]}"
        self.project = f"knhk-test-{secrets.token_hex(4)}"
        self.environment = {
            **os.environ,
            "TRANSPORT": transport,
            "NETWORK": f"172.29.{secrets.randbelow(256)}",
            "RELAY_API": str(ports[4]),
            **{f"CONTROL{node}": str(port) for node, port in enumerate(self.controls)},
        }

    def compose(self, *arguments: str) -> str:
        command = ["docker", "compose", "-p", self.project, "-f", str(COMPOSE / "compose.yaml"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, node: int, path: str, body: object = None):
        token = self.compose("exec", "-T", f"node{node}", "cat", f"/node/node{node}/node.token").strip()
        return self.fetch(f"http://127.0.0.1:{self.controls[node]}{path}", body, Authorization=f"Bearer {token}")

    def fetch(self, url: str, body: object = None, method: str | None = None, **headers: str):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def connected(self, node: int) -> dict[str, bool]:
        return {peer["agent"]: peer["connected"] for peer in self.call(node, "/status")["peers"]}

    def left(self) -> str:
        label = f"label=com.docker.compose.project={self.project}"
        kinds = [["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]]
        return "".join(
            subprocess.run(["docker", *kind, "--filter", label], capture_output=True, text=True, check=True).stdout
            for kind in kinds
        )


def until(holds) -> None:
    give_up = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)


@needs_docker
@needs_compose
@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_a_mesh_by_hand(transport: str) -> None:
    mesh = Mesh(transport)
    try:
        mesh.compose("up", "-d", "--wait", "--no-build")
        agents = [mesh.call(node, "/status")["agent"] for node in range(4)]
        until(lambda: all(all(mesh.connected(node).values()) for node in range(4)))

        operation = {"object": "s", "type": "gset", "action": "add", "value": 7}
        mesh.call(0, "/operations", {"operations": [operation]})
        until(lambda: mesh.call(3, "/objects/s?type=gset")["value"] == [7])

        toxics = f"{mesh.api}/proxies/0-1/toxics"
        for stream in ("upstream", "downstream"):
            toxic = {"name": f"cut-{stream}", "type": "timeout", "stream": stream, "attributes": {"timeout": 0}}
            mesh.fetch(toxics, toxic)
        until(lambda: not mesh.connected(0)[agents[1]])
        assert [mesh.connected(0)[agents[2]], mesh.connected(0)[agents[3]], mesh.connected(1)[agents[0]]] == [True] * 3

        for stream in ("upstream", "downstream"):
            mesh.fetch(f"{toxics}/cut-{stream}", method="DELETE")
        until(lambda: mesh.connected(0)[agents[1]])
    finally:
        mesh.compose("down", "-v", "--timeout", "5")
    assert mesh.left() == ""


@pytest.mark.parametrize("script", ["build-images", "install-compose", "make-base"])
def test_a_script_is_one(script: str) -> None:
    assert os.access(COMPOSE / script, os.X_OK)
    subprocess.run(["bash", "-n", str(COMPOSE / script)], check=True)


@needs_compose
def test_the_file_is_one_that_compose_takes() -> None:
    told = Mesh("quic").compose("config", "--format", "json")
    services = json.loads(told)["services"]
    assert set(services) == {"keys", "links", "relay", "node0", "node1", "node2", "node3"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and service["read_only"] and service["mem_limit"], name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
