"""From the first network to the last volume: what is made is ended, whoever breaks off, and a broken run judges nobody.

What is decided without an engine is shown with one that only remembers what it is asked for; the rest needs a real one.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from harness import commands
from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.docker import vigil as vigil_module
from harness.docker.addresses import Subnet
from harness.docker.engine import NODE_IMAGE, connect
from harness.docker.hosts import DockerHosts
from harness.docker.leftovers import OWNER, remove_leftovers, remove_owned
from harness.docker.vigil import Life, Vigil, life_of
from harness.docker.workshop import PART, Workshop
from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, HostError
from harness.local.leftovers import Cleaned, is_leftover
from harness.local.processes import here, owner_mark, owner_of
from harness.subject import REFERENCE
from tests.backends.docker_here import needs_docker
from tests.backends.test_docker_leftovers import of_owner, start

ROOT = Path(__file__).resolve().parent.parent.parent
CAMPAIGN = b'name = "x"\nshows = "y"\n[cluster]\nnodes = 2\n[[workloads]]\ntype = "gset"\n'


class Thing:
    """A container, network or volume: what it was told to do, and what it says when that cannot be done."""

    def __init__(self, name: str, labels: dict[str, str], *, stuck: str = "", gone: bool = False) -> None:
        self.name, self.labels, self.attrs = name, labels, {"Labels": labels}
        self.removed = False
        self._stuck, self._gone = stuck, gone

    def remove(self, **options: Any) -> None:
        if self._gone:
            raise NotFound("404", explanation="No such container")
        if self._stuck:
            raise APIError("409", explanation=self._stuck)
        self.removed = True


class Engine:
    """Answers as docker-py's client does, from lists."""

    def __init__(self, *containers: Thing, networks: tuple[Thing, ...] = (), volumes: tuple[Thing, ...] = ()) -> None:
        self.containers = self.Collection(containers)
        self.networks = self.Collection(networks)
        self.volumes = self.Collection(volumes)

    class Collection:
        def __init__(self, things: tuple[Thing, ...]) -> None:
            self.things = list(things)
            self.made_meanwhile: Callable[[], None] = lambda: None

        def list(self, **_options: Any) -> list[Thing]:
            return self.things

        def create(self, name: str, labels: dict[str, str] | None = None, **_options: Any) -> Thing:
            made = Thing(name, labels or {})
            self.things.append(made)
            self.made_meanwhile()
            return made

    def close(self) -> None:
        pass


# Whose it is.

PID, STARTED, BOOT, NAMESPACE = owner_mark().split(":")


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        (owner_mark(), "alive"),
        (f"{PID}:1:{BOOT}:{NAMESPACE}", "gone"),
        (f"4194999:{STARTED}:{BOOT}:{NAMESPACE}", "gone"),
        (f"{PID}:{STARTED}:{BOOT}:1", "elsewhere"),
        (f"{PID}:1:{'0' * 32}:{NAMESPACE}", "elsewhere"),
        (f"{PID}:{STARTED}", "elsewhere"),
        ("", "elsewhere"),
        ("dog", "elsewhere"),
    ],
    ids=[
        "this one",
        "its id given anew",
        "no such id",
        "a container",
        "a machine",
        "before marks had places",
        "",
        "odd",
    ],
)
def test_an_owner_is_judged_only_where_its_process_id_means_something(mark: str, owner: str) -> None:
    assert owner_of(mark) == owner
    assert is_leftover(mark, everything=False) == (owner == "gone")
    assert is_leftover(mark, everything=True) == (owner != "alive")


def test_another_pid_namespace_is_elsewhere() -> None:
    ask = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harness.local.processes import here; print(here())"
    done = subprocess.run(
        ["unshare", "-pf", "--mount-proc", sys.executable, "-c", ask], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no namespace can be made here: {done.stderr.strip()}")
    boot, namespace = done.stdout.strip().split(":")
    assert (boot, namespace != NAMESPACE) == (BOOT, True) and here() == f"{BOOT}:{NAMESPACE}"


# What is removed, and what is said of the rest.


def test_a_thing_that_stays_is_told_and_keeps_no_other_from_being_removed() -> None:
    stuck, vanished = Thing("a", {OWNER: "x"}, stuck="in use"), Thing("b", {OWNER: "x"}, gone=True)
    free = Thing("c", {OWNER: "x"})
    other, volume = Thing("d", {OWNER: "y"}), Thing("e", {OWNER: "x"})
    done = remove_owned(Engine(stuck, vanished, free, other, volumes=(volume,)), OWNER, lambda mark: mark == "x")
    assert done == Cleaned(["container c", "volume e"], ["container a: in use"], [], [])
    assert (free.removed, other.removed, volume.removed) == (True, False, True)


@pytest.mark.parametrize("everything", [False, True])
def test_what_was_made_elsewhere_is_left_alone_unless_everything_is_meant(
    everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, running = (
        Thing(name, {OWNER: mark})
        for name, mark in [("gone", f"{PID}:1:{BOOT}:{NAMESPACE}"), ("far", f"1:1:{BOOT}:1"), ("alive", owner_mark())]
    )
    monkeypatch.setattr("harness.docker.leftovers.connect", lambda: Engine(ours, theirs, running))
    done = remove_leftovers(everything=everything)
    assert (ours.removed, theirs.removed, running.removed) == (True, everything, False)
    assert done.elsewhere == ([] if everything else ["container far"])


@pytest.mark.parametrize(
    ("found", "expected", "code", "says"),
    [
        (Cleaned([], [], [], []), True, EXIT_VALID, "nothing was left behind\n"),
        (Cleaned(["network n"], [], [], []), True, EXIT_VALID, "removed network n\n"),
        (Cleaned([], ["network n: in use"], [], []), True, EXIT_INVALID, "STAYS: network n: in use\n"),
        (Cleaned([], [], ["network n"], []), True, EXIT_VALID, "clean --all removes it): network n\n"),
        (Cleaned([], [], [], ["no daemon"]), True, EXIT_UNKNOWN, ""),
        (Cleaned([], [], [], ["no daemon"]), False, EXIT_VALID, "nothing was left behind\n"),
    ],
    ids=["nothing", "removed", "stays", "elsewhere", "an engine that should answer", "a machine without Docker"],
)
def test_clean_tells_apart_nothing_left_something_left_and_not_looked(
    found: Cleaned,
    expected: bool,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("harness.local.leftovers.remove_leftovers", lambda everything: Cleaned([], [], [], []))
    monkeypatch.setattr("harness.docker.leftovers.remove_leftovers", lambda everything: found)
    monkeypatch.setattr("harness.docker.engine.is_expected", lambda: expected)
    assert commands.clean() == code
    told = capsys.readouterr()
    assert told.out.endswith(says) and bool(told.out) == bool(says)
    assert told.err == "".join(f"could not look for containers: {one}\n" for one in found.unseen)


# What a thread makes after its run was given up.


def test_a_closed_workshop_makes_nothing() -> None:
    engine = Engine()
    shop = Workshop(engine)
    shop.close()
    shop.subnets = {"mesh": Subnet(30, 1), "control": Subnet(30, 2)}
    makes: list[Callable[[], object]] = [
        shop.make_networks,
        lambda: shop.make_volume("v"),
        lambda: shop.make_container("n", "i", None, lambda subnet: subnet.relay, "1m"),
    ]
    for make in makes:
        with pytest.raises(HostError, match="nothing more is made"):
            make()
    assert engine.networks.things == engine.volumes.things == engine.containers.things == []


@pytest.mark.parametrize("kind", ["networks", "volumes"])
def test_what_was_being_made_when_the_workshop_closed_is_taken_back(kind: str) -> None:
    engine = Engine()
    shop, collection = Workshop(engine), getattr(engine, kind)
    collection.made_meanwhile = shop.close
    with pytest.raises(HostError, match="nothing more is made"):
        shop.make_networks() if kind == "networks" else shop.make_volume("v")
    assert [one.removed for one in collection.things] == [True]


# Who has ended, and whether that can be told.


class Container:
    """A container as docker-py has it; `log` is what it last said."""

    def __init__(
        self, status: str = "running", started: str = "t0", restarts: int = 0, log: str = "dog ate it"
    ) -> None:
        self.status, self.stopped = status, False
        self.attrs = {"State": {"StartedAt": started, "ExitCode": 137}, "RestartCount": restarts}

    def reload(self) -> None:
        pass

    def stop(self, **_options: Any) -> None:
        self.stopped = True

    def wait(self, **_options: Any) -> dict[str, int]:
        return {"StatusCode": 0}

    def logs(self, **_options: Any) -> bytes:
        return b"dog ate it"


def told(action: str, part: str | None, identity: str = "id") -> dict[str, Any]:
    attributes = {"exitCode": "137", **({PART: part} if part is not None else {})}
    return {"Action": action, "Actor": {"ID": identity, "Attributes": attributes}}


def listening(*events: dict[str, Any]) -> Vigil:
    vigil = Vigil(None, "run")
    vigil.over(Container())
    done = threading.Event()

    def stream() -> Iterator[Any]:
        yield from events
        done.set()
        threading.Event().wait()

    threading.Thread(target=vigil.hear, args=(stream(),), daemon=True).start()
    assert done.wait(5)
    return vigil


def test_a_node_that_ends_is_heard_of_and_breaks_nothing() -> None:
    vigil = listening(told("die", "node3"))
    assert vigil.ended(3) == "ended (exit 137)" and vigil.ended(2) is None and vigil.broken() is None
    vigil.started(3)
    assert vigil.ended(3) is None


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([told("die", "relay")], "the relay ended (exit 137): dog ate it"),
        ([told("die", None, "a")], "the container of a packet filter ended (exit 137)"),
        ([told("die", None, "a"), told("destroy", None, "b")], "the container of a packet filter ended (exit 137)"),
        ([told("die", None, "a"), told("destroy", None, "a")], None),
        ([], None),
    ],
    ids=["relay", "filter", "filter, another removed", "filter removed by the harness", "nothing"],
)
def test_what_is_the_harnesss_own_must_live(
    events: list[dict[str, Any]], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil_module, "REMOVAL_SECONDS", -1.0)
    assert listening(*events).broken() == says


def test_a_filters_container_is_given_the_time_to_be_removed() -> None:
    assert listening(told("die", None)).broken() is None


@pytest.mark.parametrize("how", ["ends", "breaks"])
def test_a_stream_of_events_that_is_no_more_is_told_unless_the_run_is_over(how: str) -> None:
    def stream() -> Iterator[Any]:
        yield from []
        if how == "breaks":
            raise ConnectionResetError("reset by peer")

    deaf, over = Vigil(None, "run"), Vigil(None, "run")
    deaf.hear(stream())
    assert "Docker tells of no more events: " in (deaf.broken() or "") and "\n" not in str(deaf.broken())
    over.end()
    over.hear(stream())
    assert over.broken() is None


@pytest.mark.parametrize(("status", "broken"), [("running", None), ("exited", "the relay ended: dog ate it")])
def test_the_relay_is_looked_at_a_last_time_though_nothing_was_heard(status: str, broken: str | None) -> None:
    vigil = Vigil(None, "run")
    vigil.over(Container(status))
    vigil.end()
    assert vigil.broken() == broken
    vigil._note(told("die", "relay"))  # the end that the harness makes it
    assert vigil.broken() == broken


def hosts_with(container: Container, life: Life) -> DockerHosts:
    hosts = DockerHosts(compile_campaign(parse_campaign(CAMPAIGN, source="x"), 0, source="x"), REFERENCE)
    hosts._containers, hosts._lives, hosts._vigil = {0: container}, {0: life}, Vigil(None, "run")
    return hosts


@pytest.mark.parametrize(
    ("container", "how"),
    [
        (Container(), None),
        (Container(started="t1"), "ended and was started anew, not by the harness"),
        (Container(restarts=1), "ended and was started anew, not by the harness"),
        (Container("exited"), "had ended before (exit 137): dog ate it"),
    ],
    ids=["well", "started by somebody", "restarted by the engine", "dead"],
)
def test_a_nodes_life_is_compared_with_what_the_harness_started(container: Container, how: str | None) -> None:
    bad: dict[int, str] = {}
    hosts_with(container, Life("t0", 0))._end(0, bad)
    assert (bad.get(0) is None) == (how is None) and bad.get(0, "").startswith(how or "")
    assert container.stopped == (how is None)


def test_an_engine_that_cannot_be_asked_at_the_end_is_no_fault_of_the_node() -> None:
    class Unasked(Container):
        def reload(self) -> None:
            raise APIError("500", explanation="the engine is out to lunch")

    bad: dict[int, str] = {}
    hosts = hosts_with(Unasked(), Life("t0", 0))
    hosts._end(0, bad)
    assert bad == {} and hosts.broken() == "node 0: the engine is out to lunch"


def test_a_node_that_a_fault_holds_dead_has_not_ended_badly() -> None:
    bad: dict[int, str] = {}
    hosts = hosts_with(Container("exited"), Life("t0", 0))
    hosts._killed.add(0)
    hosts._end(0, bad)
    assert bad == {} and life_of(Container()) == Life("t0", 0)


# With a real engine.


@needs_docker
def test_a_relay_that_ends_leaves_the_run_unknown_and_says_so(tmp_path: Path) -> None:
    harness = start(tmp_path, 60)
    client = connect()
    try:
        relay = _wait_for(client, harness, "relay")
        _wait_for_load(tmp_path, harness)
        relay.kill()
        said, _ = harness.communicate(timeout=60)
        assert harness.returncode == EXIT_UNKNOWN and "the harness failed, not the mesh: the relay ended" in said, said
        assert of_owner(harness.pid) == []
    finally:
        client.close()
        harness.kill()
        harness.wait()
        remove_leftovers()


def _wait_for(client: Any, harness: subprocess.Popen, part: str) -> Any:
    """The running container of the harness that is its `part`."""
    until = time.monotonic() + 60
    while time.monotonic() < until and harness.poll() is None:
        for one in client.containers.list(filters={"label": f"{PART}={part}"}, ignore_removed=True):
            if one.labels[OWNER].startswith(f"{harness.pid}:"):
                return one
        time.sleep(0.05)
    raise AssertionError(f"no {part}")


def _wait_for_load(tmp_path: Path, harness: subprocess.Popen) -> None:
    history = tmp_path / "store" / "short" / "latest" / "history.jsonl"
    until = time.monotonic() + 60
    while not (history.exists() and b'"observed"' in history.read_bytes()):
        assert harness.poll() is None and time.monotonic() < until
        time.sleep(0.1)


WIPE = (
    CAMPAIGN.replace(b"nodes = 2", b"nodes = 4")
    + b"""
[load]
duration_s = 4.0
[[faults]]
fault = "kill"
nodes = [1]
disk = "wipe"
start_s = 2.0
duration_s = 0.5
"""
)


@needs_docker
def test_an_image_that_is_not_ours_needs_no_user_no_directory_and_leaves_no_volume(tmp_path: Path) -> None:
    name, client = "knhk-test-foreign", connect()
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NODE_IMAGE}\nUSER 0\nRUN rm -rf /node /data\nWORKDIR /\nVOLUME /var/x\nUSER 1234\n"
    )
    (tmp_path / "s.toml").write_text(
        f'name = "foreign"\nimage = "{name}"\n'
        'command = ["python3", "-m", "knhk_mesh", "run", "--config", "{config}"]\n'
    )
    (tmp_path / "wipe.toml").write_bytes(WIPE)
    try:
        client.images.build(path=str(tmp_path), tag=name, rm=True, forcerm=True)
        before = {one.name for one in client.volumes.list()}
        command = [sys.executable, "-m", "harness", "run", str(tmp_path / "wipe.toml"), "--backend", "docker"]
        options = ["--subject", str(tmp_path / "s.toml"), "--store", str(tmp_path / "store")]
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == EXIT_VALID, done.stdout + done.stderr
        anonymous = {one.name for one in client.volumes.list() if len(one.name) == 64}
        assert anonymous <= before, "the image's own volumes go with the container"
    finally:
        client.images.remove(name, force=True)
        client.close()
