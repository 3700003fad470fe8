"""A node as a process: its command line, its exit codes, and every route of its control API, rightly and wrongly."""

import base64
import gzip
import hashlib
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
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.events import EventLog
from knhk_mesh.identity import Signer
from tests.node_process import ROOT, Node
from tests.test_storage import journalled

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


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "50 %", "über", "日本", "a?b=c#d", ".", "..", "a\0b"])
def test_an_object_may_be_called_anything(node: Node, name: str) -> None:
    from urllib.parse import quote

    assert add(node, 1, name)[0] == 200
    assert raw(node, "GET", f"/objects/{quote(name, safe='')}?type=gset")[1]["value"] == [1]
    assert raw(node, "GET", f"/objects/{quote(name + '!', safe='')}?type=gset")[1]["value"] == []


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer ", "Basic abc", "Bearer \u00e9"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("POST", "/operations"), ("GET", "/nowhere")])
def test_without_the_token_nothing_is_told(node: Node, token: str, method: str, path: str) -> None:
    status, told = raw(node, method, path, b"{}" if method == "POST" else None, token=token)
    assert status == 401 and "token" in told["error"]


def test_a_token_of_another_length_or_scheme_is_none(node: Node) -> None:
    for token in (node.token[:-1], node.token + "x", node.token.swapcase(), ""):
        assert raw(node, "GET", "/status", token=f"Bearer {token}")[0] == 401
    for header in (node.token, f"Basic {node.token}", f"bearer  {node.token}"):
        assert raw(node, "GET", "/status", token=header)[0] == 401
    assert raw(node, "GET", "/status")[0] == 200


@pytest.mark.parametrize(
    "element", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), "", "0", "\0", "\n", "ü" * 512, "\U0001f600"]
)
def test_an_element_comes_back_as_it_went_in(node: Node, element) -> None:
    name = f"just-{hashlib.sha256(repr(element).encode()).hexdigest()}"
    assert add(node, element, name)[0] == 200
    assert raw(node, "GET", f"/objects/{name}?type=gset")[1]["value"] == [element]


DEEP = b'{"operations": [{"object": "s", "type": "gset", "action": "add", "value": ' + b"[" * 100_000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("GET", "/objects/a/b?type=gset", None, 404, "Not Found"),
        ("GET", "/objects/?type=gset", None, 404, "Not Found"),
        ("GET", "/operations", None, 405, "Method Not Allowed"),
        ("PUT", "/clock", b"{}", 405, "Method Not Allowed"),
        ("POST", "/objects/s?type=gset", b"{}", 405, "Method Not Allowed"),
        ("POST", "/operations", DEEP, 400, "recursion"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": float("nan")}]}).encode(), 400, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": "\ud800"}]}).encode(), 400, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "object": "\ud800"}]}).encode(), 400, ""),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": 2**63}]}).encode(), 409, "64 bits"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": -(2**63) - 1}]}).encode(), 409, "64 bits"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": "x" * 1025}]}).encode(), 409, "1024"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": {}}]}).encode(), 409, "got dict"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "value": []}]}).encode(), 409, "got list"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "object": ""}]}).encode(), 409, "name"),
        ("POST", "/operations", json.dumps({"operations": [{**ADD, "type": "a\nb"}]}).encode(), 409, "unknown type"),
        ("POST", "/operations", b'{"operations": [{"object": "s", "type": "gset", "action": "add"}]}', 400, "value"),
        ("GET", "/objects/s?type=", None, 409, "unknown type"),
        ("GET", "/events?after=", None, 400, "after"),
        ("GET", "/events?after=1_0", None, 400, "after"),
        ("GET", "/events?after=%D9%A3", None, 400, "after"),
        ("GET", "/events?after=" + "9" * 5000, None, 400, "after"),
        ("POST", "/clock", b'{"offset_ns": true}', 400, "bool"),
        ("POST", "/clock", b'{"offset_ns": 1.5}', 400, "float"),
        ("POST", "/clock", b'{"offset_ns": 0, "for": 1}', 400, "unknown field"),
        ("POST", "/clock", b'{"offset_ns": 1000000000000000001}', 400, "within"),
        ("POST", "/clock", b"\xff", 400, ""),
        ("POST", "/clock", b"[" * 100_000, 400, ""),
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
        ("GET", f"/certificates/{'0a' * 32}", None, 404, "none is kept"),
        ("GET", "/certificates/0", None, 400, "hexadecimal"),
        ("GET", "/certificates/", None, 404, "Not Found"),
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


@pytest.mark.parametrize(("path", "begun"), [("/operations", '{"operations":[]}'), ("/clock", '{"offset_ns":0}')])
def test_a_body_of_just_a_mebibyte_is_read(node: Node, path: str, begun: str) -> None:
    limit = 1024 * 1024
    assert raw(node, "POST", path, begun.ljust(limit).encode())[0] in (200, 409)
    assert raw(node, "POST", path, begun.ljust(limit + 1).encode())[0] == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "lzma"])
def test_a_compressed_body_is_never_unpacked(node: Node, coding: str) -> None:
    bomb = gzip.compress(bytes(30_000_000))
    for body in (bomb, b"garbage", gzip.compress(json.dumps({"operations": [ADD]}).encode())):
        status, told = raw(node, "POST", "/operations", body, **{"Content-Encoding": coding})
        assert status == 415 and "Content-Encoding" in told["error"]
        assert raw(node, "POST", "/operations", body, token="Bearer no", **{"Content-Encoding": coding})[0] == 401
    body = json.dumps({"operations": [ADD]}).encode()
    assert raw(node, "POST", "/operations", body, **{"Content-Encoding": "identity"})[0] == 200


def test_the_clock_is_put_off_and_the_monotonic_one_never(node: Node) -> None:
    hour = 3600 * 10**9
    try:
        status, told = node.call("POST", "/clock", {"offset_ns": -hour})
        assert status == 200 and told["offset_ns"] == -hour
        shown = node.call("GET", "/status")[1]
        assert abs(shown["wall"] - (time.time_ns() - hour)) < 10 * 10**9
        assert abs(shown["monotonic"] - time.monotonic_ns()) < 10 * 10**9
        assert raw(node, "POST", "/clock", b'{"offset_ns": "x"}')[0] == 400
        assert node.call("GET", "/status")[1]["wall"] < time.time_ns() - hour // 2  # as it was before the refusal
        for offset in (10**18, -(10**18)):  # 2058 and 1995: a node lives on, and writes, at any time
            assert node.call("POST", "/clock", {"offset_ns": offset})[0] == 200
            assert add(node, f"at {offset}")[0] == 200
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
        assert b" 408 " in half_body.recv(1000) and time.monotonic() - begun < 10
        assert node.call("GET", "/status")[0] == 200
        told = half_head.recv(1000)
        assert told == b"" or b" 408 " in told
        assert all(one.recv(1000) == b"" for one in idle) and time.monotonic() - begun < 20
        assert node.call("GET", "/status")[0] == 200
    finally:
        for one in (half_head, half_body, *idle):
            one.close()


def test_what_strangers_send_or_leave_unfinished_is_sent_away_without_a_word(own: Node) -> None:
    own.start()

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", own.port), timeout=20)

    post = b"POST /operations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + own.token.encode() + b"\r\n"
    for sent in (
        bytes(range(256)) * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,  # as TLS begins
        b"GET /status HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        post + b"Content-Length: -1\r\n\r\n{}",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ):
        with closing(connect()) as wild:
            told = b""
            try:
                wild.sendall(sent)
                while got := wild.recv(65536):
                    told += got
            except ConnectionError:  # sent away before all was said
                pass
            assert told == b"" or b" 400 " in told.partition(b"\r\n")[0], told
        assert own.call("GET", "/status")[0] == 200
    with closing(connect()) as gone:  # a client that dies in the middle of its body
        gone.sendall(post + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.2)
    stuck = [connect() for _ in range(50)]
    stuck[0].sendall(post + b"Content-Length: 100\r\n\r\n{")
    stuck[1].sendall(post)
    try:
        assert own.call("GET", "/status")[0] == 200
        begun = time.monotonic()
        assert own.stop() == 0 and time.monotonic() - begun < 8  # of the contract's 10 s, whoever is stuck
    finally:
        for one in stuck:
            one.close()
    assert own.said == ""


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
    until = time.monotonic() + 10
    while len(acknowledged) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    begun = time.monotonic()
    assert own.stop(number) == 0 and own.said == "" and time.monotonic() - begun < 10
    writer.join()
    assert len(acknowledged) >= 5
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


@pytest.mark.parametrize(("transport", "kind"), [("quic", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
def test_a_port_for_peers_in_use_is_exit_69(tmp_path: Path, transport: str, kind: int) -> None:
    one, other = Node(tmp_path / "a", "--transport", transport), Node(tmp_path / "b")
    one.meet(other)
    with closing(socket.socket(socket.AF_INET, kind)) as taken:
        taken.bind(("127.0.0.1", one.listen))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        code, said = one.run()
    assert code == 69 and f"127.0.0.1:{one.listen} cannot be had" in said and len(said.splitlines()) == 1


PEER = f'\n[[peers]]\nagent = "{Signer(bytes(32)).agent_id.hex()}"\naddress = "127.0.0.1:9"\n'


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("faulty = 0", "faulty = 1", 64, "node.toml: faulty"),
        ("faulty = 0", "colour = 0", 64, "node.toml: Object contains unknown field `colour`"),
        ("faulty = 0", '"a\\nb" = 0', 64, "node.toml: Object contains unknown field `a b`"),
        ("node.key", "a\\nb", 64, "node.toml: key: "),
        ("node.token", "a\\u0000b", 64, "node.toml: token: no path has a NUL in it"),
        ('"data"', '"a\\u0000b"', 64, "node.toml: data: no path has a NUL in it"),
        ("control = ", 'control = "a..b:1" # ', 64, "node.toml: control: a..b:1 is not host:port"),
        ("faulty = 0", f"[gossip]\nframe_bytes_max = 1000000000\n{PEER}", 64, "node.toml: window_bytes holds"),
        ("faulty = 0", PEER.replace(":9", ":65536"), 64, "node.toml: peers[0].address: 127.0.0.1:65536 has no port"),
        ("control = ", 'control = "192.0.2.1:1" # ', 69, "192.0.2.1:1 cannot be had"),
        ('"data"', '"/dev/null/a\\nb"', 65, "/dev/null/a b: cannot be made"),
        ('"data"', '"node.key"', 65, "node.key: cannot be made: File exists"),
        ('"data"', '"/proc/self/fdinfo"', 65, "/proc/self/fdinfo/journal.sqlite: cannot be opened"),
    ],
)
def test_what_a_node_cannot_start_with_is_one_line(own: Node, old: str, new: str, code: int, said: str) -> None:
    text = own.config.read_text()
    assert old in text
    own.config.write_text(text.replace(old, new))
    seen, told = own.run()
    assert seen == code and said in told and len(told.splitlines()) == 1, (seen, told)


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


def test_a_disk_without_any_room_is_exit_74_and_the_next_start_works(own: Node) -> None:
    command = own.command
    for kilobytes in (0, 4, 8, 16):
        own.command = ["sh", "-c", f'ulimit -f {kilobytes * 2}; exec "$@"', "sh", *command]
        code, said = own.run()
        assert code == 74 and "cannot be written" in said and len(said.splitlines()) == 1, (code, said)
    own.command = command
    own.start()
    assert add(own, 1)[0] == 200


def test_events_are_told_again_in_pages(own: Node) -> None:
    journalled(own.data, Signer(bytes.fromhex((own.config.parent / "node.key").read_text())), 3000, network="knhk")
    own.start()
    seen: list[dict] = []
    after, pages = 0, []
    while True:
        status, told = own.call("GET", f"/events?after={after}")
        assert status == 200 and told["lost"] == 0
        if not told["events"]:
            break
        assert told["next"] == told["events"][-1]["number"]
        seen += told["events"]
        after, pages = told["next"], [*pages, len(told["events"])]
    assert told["next"] == after and len(pages) >= 2 and max(pages) <= 2048
    assert [one["number"] for one in seen] == list(range(1, after + 1))
    commits = [one["data"] for one in seen if one["name"] == "committed"]
    assert [one["operations"][0]["value"] for one in commits] == list(range(3000))
    assert [one["prev"] for one in commits] == [None, *(one["id"] for one in commits[:-1])]
    beyond = own.call("GET", f"/events?after={after + 1000}")[1]
    assert beyond == {"events": [], "next": after + 1000, "lost": 0}
    assert len(own.elements()) == 3000


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 40), st.integers(1, 8))
def test_the_event_log_keeps_the_last_and_counts_the_lost(told: int, kept: int, after: int, limit: int) -> None:
    log = EventLog(events_max=kept)
    for number in range(1, told + 1):
        log.tell("e", number, number, {})
    held = list(range(max(1, told - kept + 1), told + 1))
    found, lost = log.after(after, limit)
    assert [one.number for one in found] == [number for number in held if number > after][:limit]
    assert lost == len([number for number in range(1, told + 1) if number > after and number not in held])


def eventually(holds, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_two_nodes_agree_again_after_a_kill_and_after_a_stop(tmp_path: Path, transport: str) -> None:
    nodes = one, other = [Node(tmp_path / name, "--transport", transport) for name in "ab"]
    one.meet(other)
    other.meet(one)
    try:
        for node in nodes:
            node.start()
        eventually(lambda: all(node.call("GET", "/status")[1]["peers"][0]["connected"] for node in nodes))
        assert add(one, 1)[0] == add(other, 2)[0] == 200
        eventually(lambda: one.elements() == other.elements() == {1, 2})
        other.kill()
        assert add(one, 3)[0] == 200  # alone, and yet done: the level is local
        other.start()
        assert other.elements() >= {1, 2}
        eventually(lambda: other.elements() == {1, 2, 3})
        other.process.send_signal(signal.SIGSTOP)
        assert add(one, 4)[0] == 200
        time.sleep(2)  # longer than a connection may be silent
        other.process.send_signal(signal.SIGCONT)
        eventually(lambda: other.elements() == {1, 2, 3, 4})
        assert add(other, 5)[0] == 200
        eventually(lambda: one.elements() == {1, 2, 3, 4, 5})
        assert one.call("GET", "/digest")[1] == other.call("GET", "/digest")[1]
        assert [node.stop() for node in nodes] == [0, 0] and one.said == other.said == ""
    finally:
        for node in nodes:
            node.end()


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
        (["init", "{tmp}", "--listen", "nonsense"], "--listen: nonsense has no port"),
        (["init", "{tmp}", "--network", ""], "--network"),
        (["init", "{tmp}", "--control", "h:000080"], "--control: h:000080 has no port"),
        (["init", "{tmp}", "--control", "h:٣"], "--control: h:٣ has no port"),
        (["init", "{tmp}", "--control", "a..b:1"], "--control: a..b:1 is not host:port"),
    ],
)
def test_wrong_usage_is_exit_64(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = mesh(*(one.replace("{tmp}", str(tmp_path / "x")) for one in arguments))
    assert done.returncode == 64 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x" / "node.toml").exists()


@pytest.mark.parametrize("name", ['a "quoted" name', "a\\b", "ü", "日本", "\U0001f98a"])
def test_init_makes_a_node_that_runs_whatever_its_network_is_called(tmp_path: Path, name: str) -> None:
    done = mesh("init", str(tmp_path / "n"), "--network", name)
    assert done.returncode == 0
    for file in ("node.key", "node.token", "node.toml"):
        assert stat.S_IMODE((tmp_path / "n" / file).stat().st_mode) == 0o600
    again = mesh("init", str(tmp_path / "n"))
    assert again.returncode == 64 and "is there already" in again.stderr
    from knhk_mesh.settings import read_settings

    assert read_settings(tmp_path / "n" / "node.toml").config.network == name
