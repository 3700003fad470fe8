"""The naive set mesh of docs/examples keeps the node contract, without the harness and without our code.

Nodes run as processes at direct addresses on free ports; each test stops its own, whatever becomes of it.
"""

import ast
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from harness.campaign import read_campaign
from harness.compiler import compile_campaign
from harness.execution import execute, lacking
from harness.local.ports import free_ports
from harness.store import RunDirectory
from harness.subject import read_subject

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "naive-gset"
PROGRAM = EXAMPLE / "naive_gset.py"
READY_S = 20.0
STOP_S = 10.0
SPREAD_S = 5.0
BODY_BYTES_MAX = 1 << 20
TOKEN = "a token of the test"


class Node:
    """One process of the naive mesh, and a client of its control API."""

    def __init__(self, folder, *, listen, control, peers):
        folder.mkdir()
        self.listen, self.control, self.process = listen, control, None
        self.config = folder / "node.toml"
        (folder / "node.token").write_text(TOKEN + "\n")
        tables = "".join(f'[[peers]]\nagent = "{port:064x}"\naddress = "127.0.0.1:{port}"\n' for port in peers)
        self.config.write_text(
            f'network = "test"\nagent = "{listen:064x}"\nkey = "node.key"\ntoken = "node.token"\ndata = "data"\n'
            f'transport = "tcp"\nlisten = "127.0.0.1:{listen}"\ncontrol = "127.0.0.1:{control}"\nfaulty = 0\n'
            f"[gossip]\nfanout = 2\n{tables}"
        )

    def start(self):
        self.process = subprocess.Popen([sys.executable, PROGRAM, self.config], stderr=subprocess.PIPE, text=True)
        wait_for(self.serves, READY_S)

    def serves(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with suppress(ConnectionError):
            return self.get("/status")["state"] == "serving"
        return False

    def end(self, number):
        self.process.send_signal(number)
        self.process.communicate(timeout=STOP_S)
        return self.process.returncode

    def ask(self, method, path, body=None, *, token=TOKEN, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=10)
        try:
            sent = {} if token is None else {"Authorization": f"Bearer {token}"}
            connection.request(method, path, body, sent | (headers or {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def add(self, *elements, name="numbers"):
        return self.ask("POST", "/operations", adds(*elements, name=name))

    def value(self, name="numbers"):
        return self.get(f"/objects/{name}?type=gset")["value"]


def adds(*elements, name="numbers"):
    operations = [{"object": name, "type": "gset", "action": "add", "value": element} for element in elements]
    return json.dumps({"level": "local", "operations": operations})


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def mesh(tmp_path):
    """Makes meshes of so many started nodes, and kills what is left of them in the end."""
    made = []

    def make(count):
        ports = free_ports(2 * count)
        listens, controls = ports[:count], ports[count:]
        for index in range(count):
            peers = [port for port in listens if port != listens[index]]
            made.append(Node(tmp_path / str(index), listen=listens[index], control=controls[index], peers=peers))
        for node in made:
            node.start()
        return made

    yield make
    for node in made:
        if node.process is not None:
            node.process.kill()
            node.process.communicate()


def test_it_shares_no_code_with_the_project():
    tree = ast.parse(PROGRAM.read_text())
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in named} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((EXAMPLE / "campaigns").glob("*.toml")), ids=lambda path: path.stem)
def test_its_campaigns_compile_and_ask_for_nothing_that_it_lacks(path):
    campaign = read_campaign(path)
    assert campaign.name == path.stem
    plan = compile_campaign(campaign, 1, source=path.name)
    assert {entry.type for entry in plan.objects} == {"gset"}


def test_adds_on_every_node_spread_to_all(mesh):
    nodes = mesh(3)
    for index, node in enumerate(nodes):
        assert node.add(index, str(index)) == (200, {"resolved": [{}, {}]})
        assert {index, str(index)} <= set(node.value())
    everything = {0, 1, 2, "0", "1", "2"}
    wait_for(lambda: all(set(node.value()) == everything for node in nodes), SPREAD_S)
    assert all(len(node.value()) == len(everything) for node in nodes)
    digests = [node.get("/digest") for node in nodes]
    assert digests[0] == digests[1] == digests[2]


def test_it_tells_of_each_peer_whether_it_took_the_last_add(mesh):
    teller, quick, gone = mesh(3)

    def took():
        return {peer["agent"]: peer["connected"] for peer in teller.get("/status")["peers"]}

    here, there = f"{quick.listen:064x}", f"{gone.listen:064x}"
    assert took() == {here: False, there: False}
    teller.add(1)
    wait_for(lambda: took() == {here: True, there: True}, SPREAD_S)
    assert all(0 < peer["round_trip_ns"] < 1e9 * SPREAD_S for peer in teller.get("/status")["peers"])
    gone.end(signal.SIGKILL)
    teller.add(2)
    wait_for(lambda: took() == {here: True, there: False}, SPREAD_S)


def test_objects_are_apart_and_one_that_nobody_has_written_is_empty(mesh):
    [node] = mesh(1)
    empty = node.get("/digest")
    assert node.value("unwritten") == []
    node.add(1, name="a/b c")
    assert node.value("a%2Fb%20c") == [1]
    assert node.value("numbers") == []
    assert node.get("/digest") != empty
    assert node.get("/status")["state"] == "serving"


def test_adding_again_changes_nothing(mesh):
    [node] = mesh(1)
    node.add(7, 7)
    once = node.get("/digest")
    node.add(7)
    assert node.value() == [7]
    assert node.get("/digest") == once


def test_no_acknowledged_add_is_lost_by_a_kill_in_the_middle_of_them(mesh):
    nodes = mesh(3)
    victim, acknowledged = nodes[0], []

    def add_until_it_dies():
        with suppress(OSError, http.client.HTTPException):
            for element in itertools.count():
                assert victim.add(element)[0] == 200
                acknowledged.append(element)

    client = threading.Thread(target=add_until_it_dies)
    client.start()
    wait_for(lambda: len(acknowledged) >= 20, SPREAD_S)
    assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    client.join(STOP_S)
    assert not client.is_alive()
    victim.start()
    assert set(acknowledged) <= set(victim.value()) <= {*acknowledged, len(acknowledged)}


def test_what_a_dead_peer_missed_it_never_gets(mesh):
    one, other = mesh(2)
    other.end(signal.SIGKILL)
    assert one.add("missed")[0] == 200
    time.sleep(0.2)  # refused at once, and never told again
    other.start()
    assert one.add("heard")[0] == 200
    wait_for(lambda: "heard" in other.value(), SPREAD_S)
    assert other.value() == ["heard"]
    assert one.get("/digest") != other.get("/digest")


def test_a_stopped_peer_delays_nobody_and_goes_on(mesh):
    one, other = mesh(2)
    other.process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert all(one.add(element)[0] == 200 for element in range(40))
    assert time.monotonic() - begun < READY_S
    other.process.send_signal(signal.SIGCONT)
    assert other.get("/status")["state"] == "serving"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "\xe9"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("POST", "/operations"), ("GET", "/nothing")])
def test_without_the_token_there_is_only_401(lone_node, token, method, path):
    status, answer = lone_node.ask(method, path, adds(1) if method == "POST" else None, token=token)
    assert status == 401
    assert list(answer) == ["error"]
    assert lone_node.value() == []


@pytest.fixture(scope="module")
def lone_node(tmp_path_factory):
    """A node for requests that leave nothing behind."""
    listen, control = free_ports(2)
    node = Node(tmp_path_factory.mktemp("lone") / "node", listen=listen, control=control, peers=[])
    try:
        node.start()
        yield node
    finally:
        if node.process is not None:
            node.process.kill()
            node.process.communicate()


def changed(**fields):
    operation = {"object": "numbers", "type": "gset", "action": "add", "value": 1} | fields
    return json.dumps({"operations": [{key: value for key, value in operation.items() if value is not ...}]})


BAD = [
    ("GET", "/", None, 404),
    ("GET", "/events?after=0", None, 404),
    ("GET", "/operations", None, 404),
    ("POST", "/clock", '{"offset_ns": 1}', 404),
    ("GET", "/objects/numbers", None, 400),
    ("GET", "/objects/numbers?type=orset", None, 501),
    ("PUT", "/operations", "{}", 501),
    ("POST", "/operations", None, 400),
    ("POST", "/operations", "{", 400),
    ("POST", "/operations", b"\xff", 400),
    ("POST", "/operations", "[" * 100_000, 400),
    ("POST", "/operations", "[]", 400),
    ("POST", "/operations", "{}", 400),
    ("POST", "/operations", '{"operations": {"a": 1}}', 400),
    ("POST", "/operations", '{"operations": []}', 400),
    ("POST", "/operations", '{"operations": [1]}', 400),
    ("POST", "/operations", '{"level": "quorum", "operations": []}', 501),
    ("POST", "/operations", changed(type=...), 400),
    ("POST", "/operations", changed(type=["gset"]), 400),
    ("POST", "/operations", changed(type="pncounter", action="increment"), 501),
    ("POST", "/operations", changed(type="orset"), 501),
    ("POST", "/operations", changed(action="remove"), 400),
    ("POST", "/operations", changed(object=...), 400),
    ("POST", "/operations", changed(object=""), 400),
    ("POST", "/operations", changed(object=7), 400),
    ("POST", "/operations", changed(value=...), 400),
    ("POST", "/operations", changed(value=None), 400),
    ("POST", "/operations", changed(value=True), 400),
    ("POST", "/operations", changed(value=1.5), 400),
    ("POST", "/operations", changed(value=[1]), 400),
    ("POST", "/operations", "x" * (BODY_BYTES_MAX + 1), 413),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD, ids=[f"{i}-{bad[3]}" for i, bad in enumerate(BAD)])
def test_a_bad_request_gets_its_status_and_one_line(lone_node, method, path, body, status):
    got, answer = lone_node.ask(method, path, body)
    assert got == status
    assert list(answer) == ["error"] and "\n" not in answer["error"]
    assert lone_node.value() == []


@pytest.mark.parametrize("length", ["-1", "many", "9" * 400])
def test_a_length_that_is_none_is_malformed(lone_node, length):
    assert lone_node.ask("POST", "/operations", headers={"Content-Length": length})[0] == 400


def test_a_request_is_carried_out_whole_or_not_at_all(lone_node):
    operations = json.loads(adds(1, 2))["operations"] + json.loads(changed(value=None))["operations"]
    assert lone_node.ask("POST", "/operations", json.dumps({"operations": operations}))[0] == 400
    assert lone_node.value() == []


def test_many_clients_at_once_are_all_answered(lone_node):
    with ExitStack() as held:
        for _ in range(20):  # connected, and saying nothing
            held.enter_context(socket.create_connection(("127.0.0.1", lone_node.control)))
        assert lone_node.get("/status")["state"] == "serving"


def test_after_sigterm_it_exits_0_with_everything_kept(mesh):
    [node] = mesh(1)
    node.add("kept")
    assert node.end(signal.SIGTERM) == 0
    node.start()
    assert node.value() == ["kept"]


def test_sigterm_waits_for_nobody_for_long(mesh):
    one, other = mesh(2)
    other.process.send_signal(signal.SIGSTOP)
    one.add(*range(10))
    with socket.create_connection(("127.0.0.1", one.control)):
        assert one.end(signal.SIGTERM) == 0


def run(*arguments):
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, timeout=READY_S)


def assert_exit(done, code):
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("naive-gset: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('network = "test"\n', ""),
        ('transport = "tcp"', 'transport = "quic"'),
        ('token = "node.token"', 'token = "no.token"'),
        ('listen = "127.0.0.1:', 'listen = "127.0.0.1:x'),
        ("faulty = 0", "faulty = "),
        ("faulty = 0", "faulty = 0\npeers = 3"),
    ],
)
def test_a_configuration_that_cannot_be_is_64(tmp_path, old, new):
    listen, control = free_ports(2)
    config = Node(tmp_path / "node", listen=listen, control=control, peers=[]).config
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    assert_exit(run(config), 64)


def test_wrong_usage_is_64(tmp_path):
    assert_exit(run(), 64)
    assert_exit(run(tmp_path / "no-such-file"), 64)


@pytest.mark.parametrize("held", ["listen", "control"])
def test_an_address_in_use_is_69(tmp_path, held):
    listen, control = free_ports(2)
    node = Node(tmp_path / "node", listen=listen, control=control, peers=[])
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(node, held)))
        other.listen()
        assert_exit(run(node.config), 69)


def test_a_database_that_is_none_is_65(tmp_path):
    listen, control = free_ports(2)
    node = Node(tmp_path / "node", listen=listen, control=control, peers=[])
    data = node.config.parent / "data"
    data.mkdir()
    (data / "gset.db").write_bytes(os.urandom(8192))
    assert_exit(run(node.config), 65)


def test_two_processes_do_not_share_a_database(mesh, tmp_path):
    [node] = mesh(1)
    listen, control = free_ports(2)
    second = Node(tmp_path / "second", listen=listen, control=control, peers=[])
    text = second.config.read_text().replace('data = "data"', f'data = "{node.config.parent / "data"}"')
    second.config.write_text(text)
    assert_exit(run(second.config), 65)


@pytest.mark.parametrize(("campaign", "validity"), [("healthy", "valid"), ("partition", "invalid")])
def test_the_harness_judges_it_by_its_command_line_alone(campaign: str, validity: str, tmp_path: Path) -> None:
    subject = read_subject(EXAMPLE / "subject.toml")
    source = EXAMPLE / "campaigns" / f"{campaign}.toml"
    plan = compile_campaign(read_campaign(source), 3, source=source.name)
    lacks, _ = lacking(plan, "local", subject)
    if lacks:
        pytest.skip(", ".join(lacks))
    outcome = execute(plan, backend="local", subject=subject, directory=RunDirectory(tmp_path, campaign, 3))
    assert outcome.verdict.validity == validity and outcome.as_expected, outcome.verdict
    assert outcome.verdict.notes == ["visibility was not checked: naive-gset does not offer visibility"]
