"""A node as a process: its command line, its exit codes, and every route of its control API, rightly and wrongly."""

import base64
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram

from tests.node_process import ROOT, Node

ADD = {"object": "s", "type": "gset", "action": "add", "value": 1}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    made = Node(tmp_path_factory.mktemp("node") / "home")
    made.start()
    yield made
    made.end()


@pytest.fixture
def own(tmp_path: Path):
    made = Node(tmp_path / "home")
    yield made
    made.end()


def add(node: Node, value, object: str = "s"):
    return node.call("POST", "/operations", {"operations": [{**ADD, "value": value, "object": object}]})


def raw(node: Node, method: str, path: str, body: bytes | None = None, token: str | None = None, **headers: str):
    connection = HTTPConnection("127.0.0.1", node.port, timeout=20)
    sent = {**headers, **({} if token == "" else {"Authorization": token or f"Bearer {node.token}"})}
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_a_write_is_read_and_seen_in_digest_status_and_events(node: Node) -> None:
    before = node.call("GET", "/digest")[1]
    status, told = add(node, 41)
    assert status == 200 and len(told["commit"]) == 64 and told["resolved"] == [{}]
    status, read = node.call("GET", "/objects/s?type=gset")
    assert status == 200 and 41 in read["value"] and told["commit"] in read["visible"]
    after = node.call("GET", "/digest")[1]
    assert after["root"] != before["root"] and after["digest"] != before["digest"] and told["commit"] in after["heads"]
    shown = node.call("GET", "/status")[1]
    assert shown["state"] == "serving" and shown["accepted"] >= 1 and shown["root"] == after["root"]
    events = node.call("GET", "/events?after=0")[1]
    assert any(one["name"] == "committed" and one["data"]["id"] == told["commit"] for one in events["events"])
    assert node.call("GET", f"/events?after={events['next']}")[1] == {"events": [], "next": events["next"], "lost": 0}


def test_every_type_has_its_operations(node: Node) -> None:
    def write(type: str, action: str, value):
        operation = {"object": "o", "type": type, "action": action, "value": value}
        return node.call("POST", "/operations", {"level": "local", "operations": [operation]})

    assert write("orset", "add", "x")[0] == write("orset", "add", "y")[0] == 200
    assert write("orset", "remove", "x")[1]["resolved"] == [{"dots": 1}]
    assert node.call("GET", "/objects/o?type=orset")[1]["value"] == ["y"]
    assert write("pncounter", "increment", 5)[0] == write("pncounter", "decrement", 2)[0] == 200
    assert node.call("GET", "/objects/o?type=pncounter")[1]["value"] == 3
    assert node.call("GET", "/objects/nobody-wrote-it?type=gset")[1]["value"] == []


@pytest.mark.parametrize("name", ["a/b", "50 %", "über", "a?b=c#d", "."])
def test_an_object_may_be_called_anything(node: Node, name: str) -> None:
    from urllib.parse import quote

    assert add(node, 1, name)[0] == 200
    assert raw(node, "GET", f"/objects/{quote(name, safe='')}?type=gset")[1]["value"] == [1]


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer ", "Basic abc", "Bearer \u00e9"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("POST", "/operations"), ("GET", "/nowhere")])
def test_without_the_token_nothing_is_told(node: Node, token: str, method: str, path: str) -> None:
    status, told = raw(node, method, path, b"{}" if method == "POST" else None, token=token)
    assert status == 401 and "token" in told["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("DELETE", "/status", None, 405, "Method Not Allowed"),
        ("POST", "/operations", b"", 400, "truncated"),
        ("POST", "/operations", b"[1, 2", 400, ""),
        ("POST", "/operations", b"\xff\xfe", 400, ""),
        ("POST", "/operations", b"[" * 50_000, 400, ""),
        ("POST", "/operations", b'{"operations": 7}', 400, "array"),
        ("POST", "/operations", b'{"operations": [], "wish": 1}', 400, "unknown field"),
        ("POST", "/operations", b'{"operations": []}', 409, "at least one"),
        ("POST", "/operations", json.dumps({"operations": [ADD], "level": "certain"}).encode(), 400, "certain"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "type": "queue"}]}).encode(), 409, "unknown type"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "action": "pop"}]}).encode(), 409, "pop"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": True}]}).encode(), 409, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": 1.5}]}).encode(), 409, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": None}]}).encode(), 409, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": 10**40}]}).encode(), 409, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "object": "x" * 10_000}]}).encode(), 409, ""),
        ("POST", "/operations", json.dumps({"operations": [ADD] * 9000}).encode(), 409, "more than a commit holds"),
        ("GET", "/objects/s", None, 400, "type"),
        ("GET", "/objects/s?type=queue", None, 409, "unknown type"),
        ("GET", "/events?after=x", None, 400, "after"),
        ("GET", "/events?after=-1", None, 400, "after"),
        ("GET", "/events?after=99999999999999999999", None, 400, "after"),
        ("POST", "/clock", b'{"offset_ns": "x"}', 400, "int"),
        ("POST", "/clock", b'{"offset_ns": 9999999999999999999999}', 400, ""),
        ("POST", "/clock", b"{}", 400, "offset_ns"),
    ],
)
def test_wrong_requests_get_their_status_and_one_line(
    node: Node, method: str, path: str, body: bytes | None, status: int, said: str
) -> None:
    seen, told = raw(node, method, path, body)
    assert seen == status and said in told["error"] and "\n" not in told["error"], told
    assert raw(node, "GET", "/status")[0] == 200


def test_an_oversized_body_is_413_and_the_node_lives_on(node: Node) -> None:
    padding = "x" * (1024 * 1024)
    assert raw(node, "POST", "/operations", json.dumps({"operations": [], "padding": padding}).encode())[0] == 413
    assert raw(node, "GET", "/status")[0] == 200


def test_the_clock_is_put_off_and_the_monotonic_one_never(node: Node) -> None:
    hour = 3600 * 10**9
    try:
        status, told = node.call("POST", "/clock", {"offset_ns": -hour})
        assert status == 200 and told["offset_ns"] == -hour
        shown = node.call("GET", "/status")[1]
        assert abs(shown["wall"] - (time.time_ns() - hour)) < 10 * 10**9
        assert abs(shown["monotonic"] - time.monotonic_ns()) < 10 * 10**9
    finally:
        node.call("POST", "/clock", {"offset_ns": 0})


def test_ticks_are_histograms(node: Node) -> None:
    time.sleep(0.3)  # a few rounds
    told = node.call("GET", "/ticks")[1]
    assert told["tick_ns"] == 250
    select = told["phases"]["select"]
    histogram = HdrHistogram.decode(select["histogram"].encode())
    assert histogram.get_total_count() == select["count"] > 0
    assert 0 < select["p50_ns"] <= select["p99_ns"] <= select["max_ns"]
    base64.b64decode(select["histogram"], validate=True)


def test_slow_and_idle_clients_hinder_nobody_and_are_sent_away(node: Node) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", node.port), timeout=30)

    half_head, half_body, idle = connect(), connect(), [connect() for _ in range(100)]
    try:
        half_head.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nAuthor")
        half_body.sendall(
            b"POST /operations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + node.token.encode()
            + b"\r\nContent-Length: 100\r\n\r\n{"
        )
        begun = time.monotonic()
        assert node.call("GET", "/status")[0] == 200 and time.monotonic() - begun < 5
        assert b" 408 " in half_body.recv(1000)
        assert half_head.recv(1000) == b"" or b" 408 " in half_head.recv(1000)
        assert node.call("GET", "/status")[0] == 200
    finally:
        for one in (half_head, half_body, *idle):
            one.close()


def test_garbage_on_the_control_port_is_sent_away(node: Node) -> None:
    with closing(socket.create_connection(("127.0.0.1", node.port), timeout=20)) as wild:
        wild.sendall(bytes(range(256)) * 100)
        while wild.recv(65536):
            pass
    assert node.call("GET", "/status")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_and_exits_0_and_everything_is_there_afterwards(own: Node, number: signal.Signals) -> None:
    own.start()
    acknowledged: set[int] = set()

    def write() -> None:
        for value in range(100_000):
            try:
                if add(own, value)[0] != 200:
                    return
            except OSError:
                return
            acknowledged.add(value)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.3)
    assert own.stop(number) == 0 and own.said == ""
    writer.join()
    assert acknowledged
    own.start()
    assert acknowledged <= own.elements()
    told = own.call("GET", "/events?after=0")[1]["events"]
    assert len([one for one in told if one["name"] == "committed"]) >= len(acknowledged)  # told again


def test_a_port_in_use_is_exit_69(own: Node) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", own.port))
        taken.listen()
        code, said = own.run()
    assert code == 69 and f"127.0.0.1:{own.port} cannot be had" in said and len(said.splitlines()) == 1


def test_two_processes_never_share_a_database(own: Node) -> None:
    own.start()
    code, said = own.run()
    assert code == 65 and "another process has it open" in said and len(said.splitlines()) == 1
    assert own.call("GET", "/status")[0] == 200


def home_of(node: Node) -> Path:
    return Path(node.command[-1]).parent


def test_a_damaged_database_is_exit_65_and_kept(own: Node) -> None:
    own.start()
    add(own, 1)
    assert own.stop() == 0
    file = home_of(own) / "data" / "journal.sqlite"
    file.write_bytes(b"not any more" * 1000)
    code, said = own.run()
    assert code == 65 and "is damaged" in said and "kept as it is" in said and len(said.splitlines()) == 1
    assert file.read_bytes() == b"not any more" * 1000


def test_a_record_that_is_no_commit_is_exit_65(own: Node) -> None:
    own.start()
    add(own, 1)
    assert own.stop() == 0
    with closing(sqlite3.connect(home_of(own) / "data" / "journal.sqlite")) as database:
        database.execute("UPDATE records SET data = zeroblob(300) WHERE kind = 'commit'")
        database.commit()
    code, said = own.run()
    assert code == 65 and "no commit of this network" in said and len(said.splitlines()) == 1


def test_the_database_of_another_agent_is_exit_65(own: Node, tmp_path: Path) -> None:
    own.start()
    assert own.stop() == 0
    other = Node(tmp_path / "other")
    (home_of(own) / "data").rename(home_of(other) / "data")
    code, said = other.run()
    assert code == 65 and "belongs to agent" in said and len(said.splitlines()) == 1


def test_a_disk_that_is_full_ends_the_node_and_loses_nothing(own: Node) -> None:
    command, acknowledged = own.command, []
    own.command = ["sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *command]
    own.start()
    try:
        for value in range(100_000):
            if add(own, f"{value} " + "x" * 200)[0] != 200:
                break
            acknowledged.append(f"{value} " + "x" * 200)
    except (OSError, json.JSONDecodeError):
        pass
    code = own.process.wait(15)
    said = own.process.stderr.read()
    own.process.stderr.close()
    assert acknowledged and code == 74 and "cannot be written" in said and len(said.splitlines()) == 1, (code, said)
    own.command = command
    own.start()
    assert set(acknowledged) <= own.elements()


def mesh(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "knhk_mesh", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def test_keygen_makes_a_key_that_only_its_owner_may_read_and_never_touches_one(tmp_path: Path) -> None:
    done = mesh("keygen", str(tmp_path / "k"))
    assert done.returncode == 0 and len(bytes.fromhex(done.stdout.strip())) == 32
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    key = (tmp_path / "k").read_bytes()
    again = mesh("keygen", str(tmp_path / "k"))
    assert again.returncode == 64 and "is there already" in again.stderr and (tmp_path / "k").read_bytes() == key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["fly"], "invalid choice"),
        (["run"], "--config"),
        (["run", "--config", "/no/such.toml"], "cannot be read"),
        (["keygen", "/no/such/directory/key"], "cannot be written"),
        (["init", "/dev/null/x"], "cannot be made"),
        (["init", "{tmp}", "--listen", "nonsense"], "--listen: nonsense is not host:port"),
        (["init", "{tmp}", "--network", ""], "--network"),
    ],
)
def test_wrong_usage_is_exit_64(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = mesh(*(one.replace("{tmp}", str(tmp_path / "x")) for one in arguments))
    assert done.returncode == 64 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x" / "node.toml").exists()


def test_init_makes_a_node_that_runs_whatever_its_network_is_called(tmp_path: Path) -> None:
    done = mesh("init", str(tmp_path / "n"), "--network", 'a "quoted" name')
    assert done.returncode == 0
    again = mesh("init", str(tmp_path / "n"))
    assert again.returncode == 64 and "is there already" in again.stderr
    from knhk_mesh.settings import read_settings

    assert read_settings(tmp_path / "n" / "node.toml").config.network == 'a "quoted" name'
