"""The adapter over `toxiproxy-python`: its own errors, every change verified, two servers in one process."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import toxiproxy

from faults import toxiproxy as adapter
from faults.toxiproxy import ToxiproxyError, ToxiproxyServer
from harness.local.ports import free_ports
from tests.faults.relays import HOW_TO_GET, find_server, real_server, relay

ROOT = Path(__file__).resolve().parent.parent.parent
UP = "127.0.0.1:9"


@pytest.fixture(scope="module", params=["ours", "real"])
def server(request: pytest.FixtureRequest) -> Iterator[ToxiproxyServer]:
    if request.param == "ours":
        with relay() as found:
            yield found
        return
    binary = find_server()
    if binary is None:
        pytest.skip(HOW_TO_GET)
    with real_server(binary) as found:
        yield found


@pytest.fixture(autouse=True)
def the_library_is_left_alone() -> Iterator[None]:
    before = (toxiproxy.api.APIConsumer.host, toxiproxy.api.APIConsumer.port)
    yield
    assert (toxiproxy.api.APIConsumer.host, toxiproxy.api.APIConsumer.port) == before


def test_a_life_of_a_proxy_and_its_toxics(server: ToxiproxyServer) -> None:
    assert server.version() == adapter.VERSION
    made = server.create("a", "127.0.0.1:0", UP)
    assert (made["name"], made["upstream"], made["enabled"], made["toxics"]) == ("a", UP, True, [])
    assert server.proxies() == {"a": made}
    toxic = server.add_toxic("a", "slow", "latency", "upstream", {"latency": 5}, toxicity=0.3)
    assert toxic["attributes"] == {"latency": 5, "jitter": 0}
    assert server.toxics("a") == {"slow": toxic}
    server.remove_toxic("a", "slow")
    assert server.toxics("a") == {}
    server.add_toxic("a", "hole", "timeout")
    assert server.set_enabled("a", False)["enabled"] is False
    server.reset()
    assert server.proxies() == {"a": made}
    server.destroy("a")
    assert server.proxies() == {}


def test_many_proxies_in_one_call(server: ToxiproxyServer) -> None:
    wanted = [{"name": f"{a}->{b}", "listen": "127.0.0.1:0", "upstream": UP} for a in range(3) for b in range(3)]
    made = server.populate(wanted)
    assert [proxy["name"] for proxy in made] == [proxy["name"] for proxy in wanted]
    assert len({proxy["listen"] for proxy in made}) == 9
    for proxy in made:
        server.destroy(proxy["name"])
    assert server.populate([]) == []


def test_errors_are_ours_and_carry_status_and_message(server: ToxiproxyServer) -> None:
    def told(call: Any, *arguments: Any) -> tuple[int, str]:
        with pytest.raises(ToxiproxyError) as caught:
            call(*arguments)
        return caught.value.status, caught.value.message

    made = server.create("a", "127.0.0.1:0", UP)
    assert told(server.create, "a", "127.0.0.1:0", UP) == (409, "proxy already exists")
    assert told(server.create, "", "127.0.0.1:0", UP) == (400, "missing required field: name")
    status, message = told(server.create, "b", made["listen"], UP)
    assert (status, message.endswith("bind: address already in use")) == (500, True)
    assert told(server.destroy, "b") == (404, "proxy not found")
    assert told(server.toxics, "b") == (404, "proxy not found")
    assert told(server.remove_toxic, "a", "t") == (404, "toxic not found")
    assert told(server.add_toxic, "a", "t", "nonsense") == (400, "invalid toxic type")
    assert told(server.populate, [{"name": "c"}]) == (400, "missing required field: upstream at proxy 1")
    server.destroy("a")


def test_a_toxic_that_the_server_understood_otherwise_is_an_error(server: ToxiproxyServer) -> None:
    server.create("a", "127.0.0.1:0", UP)
    with pytest.raises(ToxiproxyError, match="toxic t of a is not as asked"):
        server.add_toxic("a", "t", "latency", "upstream", {"latncy": 5})
    server.destroy("a")


def test_two_servers_in_one_process_do_not_mix(server: ToxiproxyServer) -> None:
    with relay() as other, ThreadPoolExecutor(8) as threads:

        def live(number: int) -> None:
            one, name = (server, other)[number % 2], f"p{number}"
            one.create(name, "127.0.0.1:0", UP)
            for _ in range(5):
                one.add_toxic(name, "t", "latency", "upstream", {"latency": number})
                assert one.toxics(name)["t"]["attributes"]["latency"] == number
                one.remove_toxic(name, "t")

        list(threads.map(live, range(16)))
        assert sorted(server.proxies()) == sorted(f"p{number}" for number in range(0, 16, 2))
        assert sorted(other.proxies()) == sorted(f"p{number}" for number in range(1, 16, 2))
        for name in server.proxies():
            server.destroy(name)


def test_metrics_are_empty_for_a_server_that_has_none() -> None:
    binary = find_server()
    if binary is None:
        pytest.skip(HOW_TO_GET)
    with real_server(binary) as real:
        assert real.metrics() == {}
    with relay() as ours:
        ours.create("a", "127.0.0.1:0", UP)
        labels = (("direction", "upstream"), ("proxy", "a"))
        assert ours.metrics()["relay_udp_received_total", labels] == 0


# --- servers that misbehave ---------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes) -> Iterator[ToxiproxyServer]:
    """A server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield ToxiproxyServer("127.0.0.1", http.server_address[1])
        finally:
            http.shutdown()
            thread.join()


CALLS = {
    "create": ("a", "127.0.0.1:0", UP),
    "populate": ([{"name": "a", "listen": "127.0.0.1:0", "upstream": UP}],),
    "proxies": (),
    "set_enabled": ("a", True),
    "destroy": ("a",),
    "toxics": ("a",),
    "add_toxic": ("a", "t", "latency"),
    "remove_toxic": ("a", "t"),
    "reset": (),
    "version": (),
    "metrics": (),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, json.dumps({"error": "it broke", "status": 500}).encode(), "it broke"),
        (500, b"", "Internal Server Error"),
        (403, b"User agent not allowed\n", "User agent not allowed"),
        (404, b"404 page not found\n", "404 page not found"),
    ],
)
def test_every_call_tells_what_the_server_told(call: str, status: int, body: bytes, message: str) -> None:
    if (call, status) == ("metrics", 404):
        return
    with answering(status, body) as server, pytest.raises(ToxiproxyError) as caught:
        getattr(server, call)(*CALLS[call])
    assert (caught.value.status, caught.value.message) == (status, message)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"", b"nonsense", b"[1]", b'{"x": 1}', b'"text"', b"null", b"3"])
def test_a_reply_that_makes_no_sense_is_an_error_of_ours(call: str, body: bytes) -> None:
    with answering(200, body) as server:
        try:
            getattr(server, call)(*CALLS[call])
        except ToxiproxyError as error:
            assert error.status == 0


def test_a_server_that_says_yes_and_does_nothing_is_found_out() -> None:
    with answering(200, b"[]") as server, pytest.raises(ToxiproxyError, match="is not there after it was added"):
        server.add_toxic("a", "t", "latency")
    toxic = {"name": "t", "type": "noop", "stream": "upstream", "toxicity": 1, "attributes": {}}
    lies = json.dumps([toxic]).encode()
    with answering(200, lies) as server, pytest.raises(ToxiproxyError, match="is still there"):
        server.remove_toxic("a", "t")


def test_nobody_there_is_an_error() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ToxiproxyError, match="cannot connect") as caught:
        ToxiproxyServer("127.0.0.1", port).version()
    assert caught.value.status == 0


def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(ToxiproxyError, match="no reply in time"):
            ToxiproxyServer("127.0.0.1", silent.getsockname()[1], timeout_s=0.2).version()
        assert time.monotonic() - begin < 10


def test_a_proxy_of_the_environment_does_not_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(200, b'{"version": "2.12.0"}') as server:
        assert server.version() == "2.12.0"


# --- the binary ---------------------------------------------------------------------------------


def fake_binary(path: Path, said: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("toxiproxy-server version 2.12.0", True),
        ("toxiproxy-server version git", False),
        ("", False),
        ("2.12.01", False),
    ],
)
def test_a_binary_is_taken_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: bool
) -> None:
    binary = fake_binary(tmp_path / "toxiproxy-server", said)
    monkeypatch.setattr(adapter.sys, "executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_server() == (binary if found else None)
    monkeypatch.setattr(adapter.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    assert find_server() == (binary if found else None)


def install(target: Path, path: str) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/bash", str(ROOT / "faults" / "install-toxiproxy"), str(target)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, timeout=60, check=False)


def test_the_installer_leaves_a_binary_of_the_version_alone(tmp_path: Path) -> None:
    binary = fake_binary(tmp_path / "server", "toxiproxy-server version 2.12.0")
    before = binary.stat()
    assert install(binary, "/usr/bin:/bin").returncode == 0
    assert binary.stat() == before


def test_the_installer_says_in_one_line_how_to_get_it_without_go(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("dirname", "mktemp", "rm", "mkdir", "mv"):
        (tools / tool).symlink_to(Path("/usr/bin") / tool)
    done = install(tmp_path / "server", str(tools))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Go" in done.stderr
    assert not (tmp_path / "server").exists()
