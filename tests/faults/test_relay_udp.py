"""The datagram relay: what its toxics do to real datagrams, what it counts of that, and what it refuses."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import toxiproxy
from hypothesis import given
from hypothesis import strategies as st

import faults.relay_udp.direction
import faults.relay_udp.timers
from faults.link import Delivery, LinkPolicy
from faults.relay_udp.direction import OTHERS, Direction
from faults.relay_udp.proxy import SESSIONS_MAX
from faults.relay_udp.timers import Timers
from faults.relay_udp.toxics import NAME_CHARACTERS_MAX, parse, update
from faults.relay_udp.wire import ApiError, decode
from faults.toxiproxy import ToxiproxyError, ToxiproxyServer
from faults.vocabulary import Cut, Link
from harness.local.ports import free_ports
from tests.faults.relays import Endpoint, relay, relay_process

QUANTILE_999 = 3.2905
COUNT = 4000


@pytest.fixture(scope="module")
def server() -> Iterator[ToxiproxyServer]:
    with relay("--seed", "7") as found:
        yield found


@contextmanager
def link(server: ToxiproxyServer, name: str = "link") -> Iterator[tuple[Endpoint, Endpoint]]:
    """A client and the upstream endpoint behind a new proxy; the session is open, one datagram has passed each way."""
    with Endpoint() as upstream:
        listen = server.create(name, "127.0.0.1:0", upstream.address)["listen"]
        try:
            with Endpoint(connect_to=listen) as client:
                client.socket.send(b"hello")
                greeting, address = upstream.socket.recvfrom(100)
                assert greeting == b"hello"
                upstream.socket.connect(address)
                upstream.socket.send(b"welcome")
                assert client.receive(1) == [b"welcome"]
                yield client, upstream
        finally:
            server.destroy(name)


def send_numbered(client: Endpoint, count: int = COUNT) -> None:
    """Datagrams of four bytes, in bursts that no buffer is too small for."""
    for number in range(count):
        client.socket.send(number.to_bytes(4, "big"))
        if number % 50 == 49:
            time.sleep(0.001)


def numbers_until(upstream: Endpoint, end: bytes = b"end") -> list[int]:
    seen: list[int] = []
    while True:
        data = upstream.socket.recv(100)
        if data == end:
            return seen
        seen.append(int.from_bytes(data, "big"))


def exchange(server: ToxiproxyServer, client: Endpoint, upstream: Endpoint, *, name: str = "link") -> list[int]:
    """Send all, wait until the relay has forwarded all that it holds, lift the toxics, and mark the end.

    What arrives is read meanwhile: not every machine's buffers hold it all.
    """
    with ThreadPoolExecutor(1) as reader:
        arrived = reader.submit(numbers_until, upstream)
        send_numbered(client)
        wait_until_idle(server, name)
        for toxic in server.toxics(name):
            server.remove_toxic(name, toxic)
        client.socket.send(b"end")
        return arrived.result()


def wait_until_idle(server: ToxiproxyServer, name: str = "link", received: int = COUNT + 1) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if count(server, "relay_udp_received_total", proxy=name, direction="upstream") >= received and not count(
            server, "relay_udp_waiting", proxy=name
        ):
            return
        time.sleep(0.02)
    raise AssertionError("the relay still holds datagrams, or did not receive them all")


def count(server: ToxiproxyServer, metric: str, **labels: str) -> float:
    """The sum of a metric over all samples that have these labels."""
    return sum(
        value
        for (name, found), value in server.metrics().items()
        if name == metric and labels.items() <= dict(found).items()
    )


def effect(server: ToxiproxyServer, toxic: str, kind: str, direction: str = "upstream") -> float:
    return count(server, "relay_udp_effects_total", proxy="link", direction=direction, toxic=toxic, effect=kind)


# --- what toxics do -----------------------------------------------------------------------------


def test_the_unmodified_client_drives_it(server: ToxiproxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxiproxy.api.APIConsumer, "host", "127.0.0.1")
    monkeypatch.setattr(toxiproxy.api.APIConsumer, "port", server.port)
    library = toxiproxy.Toxiproxy()
    assert library.running()
    assert library.version() == b'{"version": "2.12.0"}\n'
    with Endpoint() as upstream:
        proxy = library.create(name="plain", upstream=upstream.address)
        try:
            proxy.add_toxic(type="timeout", name="cut", stream="upstream", attributes={"timeout": 0})
            proxy.add_toxic(type="latency", attributes={"latency": 10})
            assert sorted(proxy.toxics()) == ["cut", "latency_downstream"]
            with Endpoint(connect_to=proxy.listen) as client:
                client.socket.send(b"lost")
                assert upstream.silent()
                proxy.destroy_toxic("cut")
                client.socket.send(b"found")
                assert upstream.receive(1) == [b"found"]
                with proxy.down():
                    assert library.get_proxy("plain").enabled is False
                library.reset()
                assert proxy.toxics() == {}
            with pytest.raises(toxiproxy.exceptions.ProxyExists):
                library.create(name="plain", upstream=upstream.address)
            with pytest.raises(toxiproxy.exceptions.InvalidToxic):
                proxy.add_toxic(type="slicer")
        finally:
            library.destroy(proxy)
        assert library.get_proxy("plain") is None


@pytest.mark.parametrize("kind", ["blackhole", "timeout"])
@pytest.mark.parametrize("cut", ["upstream", "downstream"])
def test_a_blackhole_swallows_one_direction_until_it_is_removed(server: ToxiproxyServer, kind: str, cut: str) -> None:
    with link(server) as (client, upstream):
        attributes = {"timeout": 5} if kind == "timeout" else {}
        server.add_toxic("link", "hole", kind, cut, attributes)
        deaf, hearing = (upstream, client) if cut == "upstream" else (client, upstream)
        deaf.socket.send(b"heard")
        assert hearing.receive(1) == [b"heard"]
        hearing.socket.send(b"swallowed")
        assert deaf.silent()
        assert effect(server, "hole", "dropped", cut) == 1
        server.remove_toxic("link", "hole")
        hearing.socket.send(b"heard again")
        assert deaf.receive(1) == [b"heard again"]
        assert effect(server, "hole", "dropped", cut) == 1, "a toxic that has gone keeps its counts"


def test_latency_delays_one_direction(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "slow", "latency", "upstream", {"latency": 3000})
        begin = time.monotonic()
        client.socket.send(b"late")
        upstream.socket.send(b"early")
        assert client.receive(1) == [b"early"]
        assert upstream.silent()
        assert upstream.receive(1) == [b"late"]
        assert 3 <= time.monotonic() - begin < 10
        assert effect(server, "slow", "delayed") == 1
        assert effect(server, "slow", "delayed", "downstream") == 0


def test_a_link_heals_at_once_however_long_the_latency_was(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "slow", "latency", "upstream", {"latency": 600_000})
        client.socket.send(b"first")
        assert upstream.silent()
        server.remove_toxic("link", "slow")
        client.socket.send(b"second")
        assert upstream.receive(2) == [b"first", b"second"]


def test_jitter_keeps_the_order(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "jitter", "latency", "upstream", {"latency": 20, "jitter": 20})
        assert exchange(server, client, upstream) == list(range(COUNT))
        assert effect(server, "jitter", "delayed") > COUNT / 2


def test_unordered_latency_lets_datagrams_overtake_each_other(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "wild", "latency", "upstream", {"latency": 20, "jitter": 20, "unordered": 1})
        seen = exchange(server, client, upstream)
        assert sorted(seen) == list(range(COUNT)) and seen != sorted(seen)
        assert effect(server, "wild", "reordered") > 0
        with pytest.raises(ToxiproxyError, match="unordered: is 0 or 1"):
            server.add_toxic("link", "wilder", "latency", "upstream", {"unordered": 2})


def within(found: int, probability: float, of: int = COUNT) -> bool:
    return abs(found - of * probability) <= QUANTILE_999 * (of * probability * (1 - probability)) ** 0.5


def test_loss_is_as_asked_and_counted(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "loss", "loss", "upstream", {"probability": 0.3})
        seen = exchange(server, client, upstream)
        assert seen == sorted(seen)
        assert within(COUNT - len(seen), 0.3)
        assert effect(server, "loss", "dropped") == COUNT - len(seen)


def test_duplication_is_as_asked_and_counted(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "twice", "duplicate", "upstream", {"probability": 0.3})
        seen = exchange(server, client, upstream)
        assert sorted(set(seen)) == list(range(COUNT))
        assert within(len(seen) - COUNT, 0.3)
        assert effect(server, "twice", "duplicated") == len(seen) - COUNT


def test_corruption_turns_one_bit_and_is_counted(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "bad", "corrupt", "upstream", {"probability": 0.3})
        seen = exchange(server, client, upstream)
        turned = [(got ^ number).bit_count() for number, got in enumerate(seen)]
        assert set(turned) == {0, 1}
        assert within(sum(turned), 0.3)
        assert effect(server, "bad", "corrupted") == sum(turned)


def test_reordering_moves_back_and_composes_with_latency(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "order", "reorder", "upstream", {"probability": 0.2})
        server.add_toxic("link", "slow", "latency", "upstream", {"latency": 10})
        seen = exchange(server, client, upstream)
        assert sorted(seen) == list(range(COUNT))
        late = sum(number < max(seen[:place], default=-1) for place, number in enumerate(seen[:1500]))
        assert late > 100
        # Fewer than were drawn are overtaken, none more; and at least those whose every successor passed them.
        assert effect(server, "order", "reordered") <= 0.2 * COUNT + 4 * (COUNT * 0.16) ** 0.5
        assert effect(server, "order", "reordered") > 0.1 * COUNT


def test_a_gap_keeps_moved_datagrams_apart(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "order", "reorder", "upstream", {"probability": 1.0, "gap": 9})
        assert sorted(exchange(server, client, upstream)) == list(range(COUNT))
        assert effect(server, "order", "reordered") <= COUNT / 10


def test_bandwidth_spaces_datagrams_and_drops_what_would_wait_too_long(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "narrow", "bandwidth", "upstream", {"rate": 10})
        begin = time.monotonic()
        for _ in range(5):
            client.socket.send(bytes(1000))
        assert [len(data) for data in upstream.receive(5)] == [1000] * 5
        assert 0.45 <= time.monotonic() - begin < 10
        for _ in range(60):
            client.socket.send(bytes(1000))
        wait_for(lambda: effect(server, "narrow", "dropped") > 30)
        assert effect(server, "narrow", "throttled") > 20


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_limit_data_passes_so_many_bytes_and_then_nothing(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "quota", "limit_data", "upstream", {"bytes": 250})
        for size in (100, 100, 100, 1):
            client.socket.send(bytes(size))
        assert [len(data) for data in upstream.receive(2)] == [100, 100]
        assert upstream.silent(), "a datagram is never cut, and what would still fit does not pass"
        assert effect(server, "quota", "dropped") == 2


def test_toxicity_is_drawn_for_each_datagram(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "some", "blackhole", "upstream", toxicity=0.4)
        seen = exchange(server, client, upstream)
        assert within(COUNT - len(seen), 0.4)
        assert effect(server, "some", "dropped") == COUNT - len(seen)


def test_noop_does_nothing(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "nothing", "noop", "upstream")
        assert exchange(server, client, upstream) == list(range(COUNT))


def test_a_seed_and_the_same_traffic_give_the_same_decisions() -> None:
    def run(seed: int) -> list[int]:
        with relay("--seed", str(seed)) as server, link(server) as (client, upstream):
            server.add_toxic("link", "loss", "loss", "upstream", {"probability": 0.3}, toxicity=0.9)
            server.add_toxic("link", "twice", "duplicate", "upstream", {"probability": 0.3})
            server.add_toxic("link", "bad", "corrupt", "upstream", {"probability": 0.3})
            return exchange(server, client, upstream)

    assert run(3) == run(3) != run(4)


def test_an_update_changes_what_is_under_way_too(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        server.add_toxic("link", "slow", "latency", "upstream", {"latency": 600_000})
        client.socket.send(b"held")
        assert upstream.silent()
        url = f"http://127.0.0.1:{server.port}/proxies/link/toxics/slow"
        assert requests.patch(url, json={"attributes": {"latency": 1}}, timeout=10).status_code == 200
        assert upstream.receive(1) == [b"held"]
        assert effect(server, "slow", "delayed") == 1


# --- sockets and sessions -----------------------------------------------------------------------


def test_a_disabled_proxy_is_gone_and_comes_back_on_its_port(server: ToxiproxyServer) -> None:
    with link(server) as (client, upstream):
        listen = server.proxies()["link"]["listen"]
        server.add_toxic("link", "slow", "latency", "upstream", {"latency": 600_000})
        client.socket.send(b"under way when the sockets close")
        wait_for(lambda: count(server, "relay_udp_waiting", proxy="link") == 1)
        server.set_enabled("link", False)
        assert count(server, "relay_udp_waiting", proxy="link") == 0
        with pytest.raises(ConnectionRefusedError):
            for _ in range(100):
                client.socket.send(b"nobody listens")
                time.sleep(0.01)
        server.remove_toxic("link", "slow")
        assert server.set_enabled("link", True)["listen"] == listen
        upstream.hear_anybody()
        client.socket.send(b"back again")
        assert upstream.receive(1) == [b"back again"]


def test_each_client_has_a_session_of_its_own(server: ToxiproxyServer) -> None:
    with Endpoint() as upstream, ExitStack() as stack:
        listen = server.create("many", "127.0.0.1:0", upstream.address)["listen"]
        clients = [stack.enter_context(Endpoint(connect_to=listen)) for _ in range(5)]
        for number, client in enumerate(clients):
            client.socket.send(bytes([number]))
        seen = dict(upstream.socket.recvfrom(10) for _ in clients)
        assert len(set(seen.values())) == 5
        for data, address in seen.items():
            upstream.socket.sendto(data, address)
        assert [client.receive(1) for client in clients] == [[bytes([number])] for number in range(5)]
        assert count(server, "relay_udp_sessions", proxy="many") == 5
        server.destroy("many")


def test_beyond_the_maximum_the_least_recent_session_goes(server: ToxiproxyServer) -> None:
    with Endpoint() as upstream, ExitStack() as stack:
        listen = server.create("many", "127.0.0.1:0", upstream.address)["listen"]
        clients = [stack.enter_context(Endpoint(connect_to=listen)) for _ in range(SESSIONS_MAX)]

        def ask(client: Endpoint) -> Any:
            client.socket.send(b"?")
            return upstream.socket.recvfrom(10)[1]

        first, second = ask(clients[0]), ask(clients[1])
        for client in clients[2:]:
            ask(client)
        assert ask(clients[0]) == first, "which is the most recent now"
        with Endpoint(connect_to=listen) as one_more:
            ask(one_more)
            assert ask(clients[0]) == first
            assert count(server, "relay_udp_sessions", proxy="many") == SESSIONS_MAX
            assert count(server, "relay_udp_sessions_evicted_total", proxy="many") == 1
            ask(clients[1])
            assert count(server, "relay_udp_sessions_evicted_total", proxy="many") == 2, second
        server.destroy("many")


def test_an_upstream_that_is_not_there_kills_nothing(server: ToxiproxyServer) -> None:
    (port,) = free_ports(1)
    listen = server.create("gone", "127.0.0.1:0", f"127.0.0.1:{port}")["listen"]
    with Endpoint(connect_to=listen) as client:
        for _ in range(20):
            client.socket.send(b"?")
            time.sleep(0.001)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as born:
            born.bind(("127.0.0.1", port))
            born.settimeout(10)
            client.socket.send(b"here now")
            assert born.recv(100) == b"here now"
    server.destroy("gone")


def test_an_upstream_without_an_address_is_counted(server: ToxiproxyServer) -> None:
    listen = server.create("nowhere", "127.0.0.1:0", "nonsense")["listen"]
    with Endpoint(connect_to=listen) as client:
        client.socket.send(b"?")
        wait_for(lambda: count(server, "relay_udp_lost_total", proxy="nowhere", reason="unreachable") == 1)
    server.destroy("nowhere")


@pytest.mark.parametrize("size", [0, 1, 1200, 9000, 65507])
def test_datagrams_of_any_size_pass_whole(server: ToxiproxyServer, size: int) -> None:
    with link(server) as (client, upstream):
        data = bytes(number % 251 for number in range(size))
        client.socket.send(data)
        assert upstream.receive(1) == [data]
        upstream.socket.send(data)
        assert client.receive(1) == [data]
        got = count(server, "toxiproxy_proxy_received_bytes_total", proxy="link", direction="upstream")
        sent = count(server, "toxiproxy_proxy_sent_bytes_total", proxy="link", direction="upstream")
        assert got == sent == len("hello") + size


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("slow_close", {}, "invalid toxic type: slow_close acts on connections, and datagrams have none"),
        ("reset_peer", {}, "invalid toxic type: reset_peer acts on connections, and datagrams have none"),
        ("slicer", {}, "invalid toxic type: slicer acts on connections, and datagrams have none"),
        ("loss", {"probability": 1.1}, "bad request body: loss: a probability, 0 to 1"),
        ("loss", {"probability": -0.1}, "bad request body: probability: below 0"),
        ("loss", {"rate": 0.1}, "bad request body: loss has no attribute 'rate'; it has probability"),
        ("reorder", {"corr": 1}, "bad request body: reorder has no attribute 'corr'; it has probability, gap"),
        ("blackhole", {"timeout": 1}, "bad request body: blackhole has no attribute 'timeout'; it has none"),
        ("corrupt", {"probability": "x"}, "bad request body: probability: a number, not a string"),
        ("latency", {"latency": -1}, "bad request body: latency: below 0"),
        ("latency", {"latency": 10**9}, "bad request body: latency_ms: not in 0 .. 600000"),
        ("bandwidth", {"rate": 10**9}, "bad request body: rate_kb_s: neither 0 nor in 1e-06 .. 1e+09"),
    ],
)
def test_a_toxic_that_means_nothing_is_refused(
    server: ToxiproxyServer, kind: str, attributes: dict[str, Any], message: str
) -> None:
    server.create("refusing", "127.0.0.1:0", "127.0.0.1:9")
    with pytest.raises(ToxiproxyError) as caught:
        server.add_toxic("refusing", "t", kind, "upstream", attributes)
    assert (caught.value.status, caught.value.message) == (400, message)
    assert server.toxics("refusing") == {}
    server.destroy("refusing")


def test_names_are_limited_and_may_be_anything_else(server: ToxiproxyServer) -> None:
    with pytest.raises(ToxiproxyError, match=f"at most {NAME_CHARACTERS_MAX}"):
        server.create("x" * (NAME_CHARACTERS_MAX + 1), "127.0.0.1:0", "127.0.0.1:9")
    for name in ('a "b" \\ \n é ⇄', "0->1", "%2e {}", "?#&="):
        server.create(name, "127.0.0.1:0", "127.0.0.1:9")
        server.add_toxic(name, name, "noop")
        assert count(server, "relay_udp_sessions", proxy=name) == 0
        assert ("relay_udp_sessions", (("proxy", name),)) in server.metrics()
        server.remove_toxic(name, name)
        server.destroy(name)
    half = b'{"name": "\\ud800", "upstream": "a:1", "enabled": false}'
    made = requests.post(f"http://127.0.0.1:{server.port}/proxies", data=half, timeout=10).json()
    assert made["name"] == "�"
    assert server.metrics()
    server.destroy(made["name"])


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}", b"\xff\xfe\x00", b'{"a": Infinity}', b'"' + b"x" * 10]
)
def test_garbage_is_400(server: ToxiproxyServer, body: bytes) -> None:
    reply = requests.post(f"http://127.0.0.1:{server.port}/proxies", data=body, timeout=10)
    assert (reply.status_code, reply.json()["status"]) == (400, 400)
    assert len(reply.text) < 300
    assert server.version() == "2.12.0"


def test_a_body_has_a_limit(server: ToxiproxyServer) -> None:
    url = f"http://127.0.0.1:{server.port}/populate"
    reply = requests.post(url, data=b" " * 1_100_000, timeout=10)
    assert (reply.status_code, reply.json()["status"]) == (413, 413)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["name", "type", "stream", "toxicity", "attributes"])
KINDS = st.sampled_from(["latency", "bandwidth", "timeout", "limit_data", "noop", "loss", "reorder", "corrupt"])
NAMES = st.sampled_from(["latency", "jitter", "rate", "bytes", "probability", "gap", "timeout"])
ATTRIBUTES = st.dictionaries(NAMES, st.integers(-5, 10**7) | st.floats(-1, 2) | JSON, max_size=3)
TOXICS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={"attributes": ATTRIBUTES, "stream": st.sampled_from(["upstream", "Downstream"]), "toxicity": JSON},
)


@given(
    body=JSON | st.dictionaries(FIELDS, JSON) | TOXICS, change=JSON | st.fixed_dictionaries({"attributes": ATTRIBUTES})
)
def test_any_toxic_is_taken_whole_or_refused_with_an_error_of_the_api(body: Any, change: Any) -> None:
    try:
        toxic = parse(body, taken=frozenset())
        toxic = update(toxic, change)
    except ApiError as error:
        assert error.status == 400
        assert error.message
        return
    again = parse(toxic.to_json(), taken=frozenset())
    assert again == toxic


@given(st.binary(max_size=64))
def test_any_body_is_json_or_400(body: bytes) -> None:
    try:
        decode(body)
    except ApiError as error:
        assert error.status == 400


# --- the link policy, with what toxics ask of it ------------------------------------------------

HERE = ((0, 1),)
MS = 1_000_000


def policy(**faults: tuple[Link | Cut, float]) -> LinkPolicy:
    made = LinkPolicy("proxy", "upstream", seed=7, base=Link(links=HERE))
    for name, (what, toxicity) in faults.items():
        made.apply(name, what, toxicity)
    return made


def drive(made: LinkPolicy, frames: int = COUNT, *, gap: int = 50 * MS, size: int = 100) -> list[tuple[Delivery, ...]]:
    return [made.decide(number * gap, size) for number in range(frames)]


@pytest.mark.parametrize("what", [Cut(links=HERE), Link(links=HERE, loss=1.0)])
@pytest.mark.parametrize("toxicity", [0.0, 0.3, 1.0])
def test_toxicity_is_the_share_that_a_fault_touches(what: Link | Cut, toxicity: float) -> None:
    made = policy(x=(what, toxicity))
    lost = sum(not fate for fate in drive(made))
    assert within(lost, toxicity)
    assert made.counts("x") == ({"dropped": lost} if lost else {})


def test_toxicity_has_a_stream_of_its_own() -> None:
    loss = Link(links=HERE, loss=0.5)
    whole = [bool(fate) for fate in drive(policy(x=(loss, 1.0)))]
    part = [bool(fate) for fate in drive(policy(x=(loss, 0.5)))]
    assert all(there or not here for here, there in zip(whole, part, strict=True)), "who was spared is still spared"
    assert within(part.count(False), 0.25)


def test_beyond_its_toxicity_a_fault_does_nothing_at_all() -> None:
    everything = Link(links=HERE, latency_ms=5, duplicate=1.0, corrupt=1.0, reorder=1.0, rate_kb_s=1, limit_bytes=0)
    made = policy(x=(everything, 0.0))
    assert drive(made, 100) == [(Delivery(number * 50 * MS),) for number in range(100)]
    assert made.counts("x") == {}


@pytest.mark.parametrize("order", ["latency first", "reorder first"])
def test_one_fault_delays_and_another_reorders_within_that_delay(order: str) -> None:
    faults = {"slow": (Link(links=HERE, latency_ms=10), 1.0), "order": (Link(links=HERE, reorder=0.3), 1.0)}
    names = list(faults) if order == "latency first" else list(faults)[::-1]
    moved = [
        fate[0].at - number * 50 * MS for number, fate in enumerate(drive(policy(**{n: faults[n] for n in names})))
    ]
    back = [delay - 10 * MS for delay in moved if delay > 10 * MS]
    assert within(len(back), 0.3)
    assert MS <= min(back) < 1.1 * MS
    assert 20 * MS < max(back) <= 21 * MS


def test_a_gap_lies_between_two_that_are_moved() -> None:
    moved = [
        number
        for number, fate in enumerate(drive(policy(x=(Link(links=HERE, reorder=0.5, reorder_gap=4), 1.0))))
        if fate[0].at > number * 50 * MS
    ]
    apart = {after - before for before, after in pairwise(moved)}
    assert min(apart) == 5
    assert len(apart) > 3, "and it is still drawn"


def test_a_limit_passes_whole_frames_until_one_does_not_fit() -> None:
    made = policy(x=(Link(links=HERE, limit_bytes=250), 1.0))
    assert [bool(made.decide(number, size)) for number, size in enumerate((100, 100, 100, 50, 0))] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert made.counts("x") == {"dropped": 3}


def test_a_policy_that_has_settled_holds_nothing_back() -> None:
    made = policy(slow=(Link(links=HERE, latency_ms=60_000), 1.0), less=(Link(links=HERE, latency_ms=5), 1.0))
    assert made.decide(0, 1) == (Delivery(60_005 * MS),)
    assert made.forget("slow") == {"delayed": 1}
    assert made.counts("slow") == {}
    assert made.settle(MS) == 6 * MS
    assert made.decide(2 * MS, 1) == (Delivery(7 * MS),)


def test_a_policy_that_settles_keeps_what_a_narrow_link_still_has_to_send() -> None:
    made = policy(slow=(Link(links=HERE, latency_ms=60_000), 1.0), narrow=(Link(links=HERE, rate_kb_s=1), 1.0))
    for _ in range(2):
        made.decide(0, 1000)
    made.lift("slow")
    assert made.settle(0) == 2000 * MS


# --- limits -------------------------------------------------------------------------------------


@pytest.fixture
def timers() -> Iterator[Timers]:
    loop = asyncio.new_event_loop()
    made = Timers(loop)
    yield made
    made.close()
    loop.close()


@pytest.mark.parametrize("limit", ["WAITING_MAX", "WAITING_BYTES_MAX"])
@pytest.mark.parametrize("module", [faults.relay_udp.direction, faults.relay_udp.timers])
def test_what_waits_has_a_limit_and_beyond_it_is_counted(
    timers: Timers, monkeypatch: pytest.MonkeyPatch, module: Any, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 3 if limit == "WAITING_MAX" else 300)
    one, sent = Direction("p", "upstream", seed=0, timers=timers), []
    for _ in range(5):
        one.carry_out((Delivery(100),), memoryview(bytes(100)), 0, sent.append)
    assert (one.waiting, one.queue_full, sent) == (3, 2, [])
    timers.fire(100)
    assert (one.waiting, len(sent)) == (0, 3)
    one.carry_out((Delivery(200),), memoryview(bytes(100)), 100, sent.append)
    assert (one.waiting, one.queue_full) == (1, 2), "there is room again"
    one.discard()
    timers.fire(1000)
    assert (one.waiting, len(sent)) == (0, 3)


def test_what_is_due_at_one_time_leaves_in_order_and_nothing_overtakes_it(timers: Timers) -> None:
    one, sent = Direction("p", "upstream", seed=0, timers=timers), []
    for number in range(20):
        one.carry_out((Delivery(100),), memoryview(bytes([number])), 0, sent.append)
    one.carry_out((Delivery(100),), memoryview(bytes([20])), 100, sent.append)
    assert sent == [bytes([number]) for number in range(21)]


def test_what_is_hastened_leaves_in_the_order_in_which_it_would_have(timers: Timers) -> None:
    """The one that was sent first had been moved back behind the others; what another direction holds stays."""
    one, other = (Direction(name, "upstream", seed=0, timers=timers) for name in "pq")
    sent: list[bytes] = []
    other.carry_out((Delivery(300),), memoryview(b"elsewhere"), 0, sent.append)
    for at, data in ((500, b"moved back"), (200, b"first"), (300, b"second"), (100, b"due anyhow")):
        one.carry_out((Delivery(at),), memoryview(data), 0, sent.append)
    timers.hasten(one, 200)
    timers.fire(200)
    assert sent == [b"due anyhow", b"first", b"second", b"moved back"]
    timers.fire(300)
    assert sent[4:] == [b"elsewhere"]


def test_metrics_tell_so_many_toxics_apart_and_no_more(timers: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults.relay_udp.direction, "NAMES_MAX", 3)
    one = Direction("p", "upstream", seed=0, timers=timers)
    for number in range(6):
        toxic = parse({"name": f"t{number}", "type": "blackhole", "stream": "upstream"}, taken=frozenset())
        one.add(toxic)
        one.policy.decide(0, 1)
        one.remove(toxic.name)
    told = {("t0", "blackhole", "dropped"): 1, ("t1", "blackhole", "dropped"): 1, ("t2", "blackhole", "dropped"): 1}
    assert one.effects() == {**told, (OTHERS, "blackhole", "dropped"): 3}


# --- the process --------------------------------------------------------------------------------


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    secret = "0123456789abcdef0123"
    (tmp_path / "token").write_text(secret + "\n")
    with relay_process("--token-file", str(tmp_path / "token")) as (_, port):
        for wrong in (None, "0123456789abcdef012", secret + "0", "é"):
            with pytest.raises(ToxiproxyError) as caught:
                ToxiproxyServer("127.0.0.1", port, token=wrong and wrong.encode().decode("latin-1")).version()
            assert caught.value.status == 401
        server = ToxiproxyServer("127.0.0.1", port, token=secret)
        assert server.version() == "2.12.0"
        assert server.metrics() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    with relay_process() as (process, port):
        server = ToxiproxyServer("127.0.0.1", port)
        server.create("a", "127.0.0.1:0", "127.0.0.1:9")
        process.send_signal(number)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--listen", "nonsense"], 64, "--listen: address nonsense: missing port in address"),
        (["--listen", "127.0.0.1:70000"], 64, "--listen: address 70000: invalid port"),
        (["--seed", "x"], 64, "argument --seed: invalid int value: 'x'"),
        (["--token-file", "no-such-file"], 64, "--token-file no-such-file: No such file or directory"),
        (["--what"], 64, "unrecognized arguments: --what"),
    ],
)
def test_wrong_usage_is_one_line_and_64(options: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-m", "faults.relay_udp", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"relay_udp: {message}\n")


def test_an_address_in_use_is_69() -> None:
    with relay_process() as (_, port):
        command = [sys.executable, "-m", "faults.relay_udp", "--listen", f"127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (
            69,
            f"relay_udp: --listen 127.0.0.1:{port}: the address is in use\n",
        )


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short")
    command = [sys.executable, "-m", "faults.relay_udp", "--token-file", str(tmp_path / "token")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (64, 1)
