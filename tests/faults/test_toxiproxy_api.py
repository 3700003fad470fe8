"""Toxiproxy's HTTP API: what the real server answers, ours answers too.

One suite, run against both.  Replies are compared as status and JSON; of a message that quotes the decoder or the
operating system, the part that is Toxiproxy's.
"""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from faults.toxiproxy import ToxiproxyServer
from tests.faults.relays import HOW_TO_GET, find_server, real_server, relay

Json = dict[str, Any]
NOT_JSON = [b"", b"{", b"nonsense", b'{"name": }', b"[1, 2", b'"text"', b"12", b"[]", b"NaN"]
"""Bodies that are no object: of any request that takes one, 400."""
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


class Api:
    """Plain HTTP, so that nothing but the server is tested."""

    def __init__(self, server: ToxiproxyServer) -> None:
        self.base = f"http://{server.host}:{server.port}"

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        raw = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        return requests.request(method, self.base + path, timeout=10, **raw, **options)

    def proxy(self, name: str = "p", **fields: Any) -> Json:
        made = self("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": UP, **fields})
        assert made.status_code == 201, made.text
        return made.json()  # type: ignore[no-any-return]

    def toxic(self, proxy: str = "p", **fields: Any) -> Json:
        made = self("POST", f"/proxies/{proxy}/toxics", fields)
        assert made.status_code == 200, made.text
        return made.json()  # type: ignore[no-any-return]


@pytest.fixture
def api(server: ToxiproxyServer) -> Iterator[Api]:
    api = Api(server)
    yield api
    for name in api("GET", "/proxies").json():
        assert api("DELETE", f"/proxies/{name}").status_code == 204


def refused(reply: requests.Response, status: int, message: str) -> None:
    """An error: exactly `message`, or one that begins with it if it ends with a colon."""
    said = reply.json()
    assert (reply.status_code, said["status"]) == (status, status), reply.text
    assert set(said) == {"error", "status"}
    assert said["error"] == message or (message.endswith(":") and said["error"].startswith(message)), said


# --- proxies -----------------------------------------------------------------------------------


def test_no_proxies_is_an_empty_object(api: Api) -> None:
    reply = api("GET", "/proxies")
    assert (reply.status_code, reply.json()) == (200, {})
    assert reply.headers["Content-Type"].startswith("application/json")


def test_a_proxy_is_created_enabled_and_tells_the_port_it_got(api: Api) -> None:
    made = api.proxy()
    host, _, port = made.pop("listen").rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    made.pop("Logger", None)  # the real server's, and empty: it slipped out
    assert made == {"name": "p", "upstream": UP, "enabled": True, "toxics": []}
    shown = api("GET", "/proxies/p")
    assert shown.status_code == 200
    assert api("GET", "/proxies").json() == {"p": shown.json()}
    assert shown.json()["listen"] == f"127.0.0.1:{port}"


def test_a_proxy_may_be_created_disabled_and_keeps_its_listen_as_it_was_sent(api: Api) -> None:
    made = api.proxy(enabled=False, listen="localhost:0")
    assert (made["enabled"], made["listen"]) == (False, "localhost:0")


def test_without_listen_every_interface_and_any_port(api: Api) -> None:
    made = api("POST", "/proxies", {"name": "p", "upstream": UP}).json()
    assert made["enabled"] is True
    assert int(made["listen"].rpartition(":")[2]) > 0


def test_an_upstream_is_not_looked_at_before_it_is_needed(api: Api) -> None:
    assert api.proxy(upstream="nonsense")["enabled"] is True
    assert api.proxy("q", upstream="256.1.1.1.:x")["enabled"] is True


@pytest.mark.parametrize("body", NOT_JSON)
def test_create_refuses_what_is_no_object(api: Api, body: bytes) -> None:
    refused(api("POST", "/proxies", body), 400, "bad request body:")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing required field: name"),
        ({"upstream": UP}, "missing required field: name"),
        ({"name": "", "upstream": UP}, "missing required field: name"),
        ({"name": None, "upstream": UP}, "missing required field: name"),
        ({"name": "p"}, "missing required field: upstream"),
        ({"name": "p", "upstream": ""}, "missing required field: upstream"),
        ({"name": 1, "upstream": UP}, "bad request body:"),
        ({"name": "p", "upstream": []}, "bad request body:"),
        ({"name": "p", "upstream": UP, "enabled": "yes"}, "bad request body:"),
        ({"name": "p", "upstream": UP, "listen": 1}, "bad request body:"),
        (b"null", "missing required field: name"),
    ],
)
def test_create_names_what_is_missing_or_wrong(api: Api, body: Any, message: str) -> None:
    refused(api("POST", "/proxies", body), 400, message)
    assert api("GET", "/proxies").json() == {}


def test_a_body_is_read_as_go_reads_it(api: Api) -> None:
    made = api("POST", "/proxies", b' {"NAME": "p", "Upstream": "u:1", "enabled": null, "other": [1]} trailing')
    assert made.status_code == 201, made.text
    assert (made.json()["name"], made.json()["upstream"], made.json()["enabled"]) == ("p", "u:1", True)


def test_a_name_is_taken_once(api: Api) -> None:
    api.proxy()
    refused(api("POST", "/proxies", {"name": "p", "upstream": UP}), 409, "proxy already exists")


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("nonsense", ": address nonsense: missing port in address"),
        ("127.0.0.1", ": address 127.0.0.1: missing port in address"),
        ("::1:5", ": address ::1:5: too many colons in address"),
        ("127.0.0.1:99999", ": address 99999: invalid port"),
        ("127.0.0.1:-1", ": address -1: invalid port"),
        ("192.0.2.1:1", " 192.0.2.1:1: bind: cannot assign requested address"),
    ],
)
def test_an_address_to_listen_on_that_is_none_is_500(api: Api, listen: str, why: str) -> None:
    reply = api("POST", "/proxies", {"name": "p", "listen": listen, "upstream": UP})
    assert (reply.status_code, reply.json()["status"]) == (500, 500)
    assert reply.json()["error"] in (f"listen tcp{why}", f"listen udp{why}")
    assert api("GET", "/proxies").json() == {}


def test_a_port_in_use_is_500_and_creates_nothing(api: Api) -> None:
    taken = api.proxy()["listen"]
    reply = api("POST", "/proxies", {"name": "q", "listen": taken, "upstream": UP})
    assert reply.status_code == reply.json()["status"] == 500
    assert reply.json()["error"].endswith(f"{taken}: bind: address already in use")
    assert list(api("GET", "/proxies").json()) == ["p"]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_an_unknown_proxy_is_404(api: Api, method: str) -> None:
    refused(api(method, "/proxies/none", b"nonsense"), 404, "proxy not found")


def test_delete_says_nothing_and_frees_the_port(api: Api) -> None:
    listen = api.proxy()["listen"]
    reply = api("DELETE", "/proxies/p")
    assert (reply.status_code, reply.content) == (204, b"")
    refused(api("GET", "/proxies/p"), 404, "proxy not found")
    assert api.proxy("q", listen=listen)["listen"] == listen


# --- update ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_an_update_is_partial_and_disabling_keeps_port_and_toxics(api: Api, method: str) -> None:
    before = api.proxy()
    toxic = api.toxic(type="latency", attributes={"latency": 5})
    off = api(method, "/proxies/p", {"enabled": False})
    assert (off.status_code, off.json()) == (200, {**before, "enabled": False, "toxics": [toxic]})
    on = api(method, "/proxies/p", {"enabled": True})
    assert (on.status_code, on.json()) == (200, {**before, "toxics": [toxic]})


def test_update_moves_a_proxy_and_ignores_its_name(api: Api) -> None:
    before = api.proxy()
    moved = api("PATCH", "/proxies/p", {"upstream": "127.0.0.1:10", "name": "q"}).json()
    assert moved == {**before, "upstream": "127.0.0.1:10"}
    elsewhere = api("PATCH", "/proxies/p", {"listen": "127.0.0.1:0"}).json()
    assert elsewhere["enabled"] is True
    assert not elsewhere["listen"].endswith(":0")


def test_an_update_of_a_disabled_proxy_leaves_it_so(api: Api) -> None:
    api.proxy(enabled=False)
    changed = api("PATCH", "/proxies/p", {"listen": "127.0.0.1:0", "upstream": "a:1"}).json()
    assert (changed["enabled"], changed["upstream"]) == (False, "a:1")


@pytest.mark.parametrize("body", [*NOT_JSON, b'{"enabled": 1}', b'{"upstream": false}'])
def test_update_refuses_what_is_no_object_of_its_fields(api: Api, body: bytes) -> None:
    before = api.proxy()
    refused(api("PATCH", "/proxies/p", body), 400, "bad request body:")
    assert api("GET", "/proxies/p").json() == before


def test_an_update_to_a_taken_port_is_500_and_leaves_the_proxy_disabled(api: Api) -> None:
    taken = api.proxy("q")["listen"]
    api.proxy()
    assert api("PATCH", "/proxies/p", {"listen": taken}).status_code == 500
    assert api("GET", "/proxies/p").json()["enabled"] is False


# --- populate ----------------------------------------------------------------------------------


def test_populate_creates_all_and_leaves_the_same_untouched(api: Api) -> None:
    entries = [{"name": name, "listen": "127.0.0.1:0", "upstream": UP} for name in "ab"]
    made = api("POST", "/populate", entries)
    assert made.status_code == 201
    assert set(made.json()) == {"proxies"}
    first, second = made.json()["proxies"]
    assert (first["name"], second["name"]) == ("a", "b")
    toxic = api.toxic("a", type="noop")
    again = api("POST", "/populate", [{**first, "toxics": None, "enabled": False}, {**second, "upstream": "u:1"}])
    assert again.json() == {"proxies": [{**first, "toxics": [toxic]}, {**second, "upstream": "u:1"}]}
    replaced = api("POST", "/populate", [{**first, "upstream": "u:2", "enabled": False}]).json()["proxies"]
    assert replaced == [{**first, "upstream": "u:2", "enabled": False, "toxics": []}]
    api.toxic("b", type="noop")
    moved = api("POST", "/populate", [{**second, "upstream": "u:1", "listen": "127.0.0.1:0"}]).json()["proxies"]
    assert moved[0]["toxics"] == [], "another address to listen on is another proxy"


@pytest.mark.parametrize("body", [b"[]", b"null"])
def test_populate_with_nothing(api: Api, body: bytes) -> None:
    reply = api("POST", "/populate", body)
    assert (reply.status_code, reply.json()) == (201, {"proxies": None})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"name": "a", "upstream": UP}, {"upstream": UP}], "missing required field: name at proxy 2"),
        ([{"name": "a"}], "missing required field: upstream at proxy 1"),
        ([{"name": "a", "upstream": UP}, 1], "bad request body:"),
        ([{"name": "a", "upstream": UP, "enabled": 1}], "bad request body:"),
        ({"name": "a", "upstream": UP}, "bad request body:"),
        (b"", "bad request body:"),
        (b"[{]", "bad request body:"),
    ],
)
def test_populate_checks_all_before_it_creates_any(api: Api, body: Any, message: str) -> None:
    reply = api("POST", "/populate", body)
    said = reply.json()
    assert (reply.status_code, said["status"], said["proxies"]) == (400, 400, None)
    assert said["error"] == message or (message.endswith(":") and said["error"].startswith(message))
    assert api("GET", "/proxies").json() == {}


def test_populate_that_cannot_listen_keeps_what_it_has_made(api: Api) -> None:
    good, bad = (
        {"name": name, "listen": listen, "upstream": UP} for name, listen in (("a", "127.0.0.1:0"), ("b", "x"))
    )
    reply = api("POST", "/populate", [good, bad])
    assert (reply.status_code, reply.json()["status"]) == (500, 500)
    assert [proxy["name"] for proxy in reply.json()["proxies"]] == ["a"]
    assert list(api("GET", "/proxies").json()) == ["a"]


# --- toxics ------------------------------------------------------------------------------------

STANDARD = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "timeout": {"timeout": 0},
    "limit_data": {"bytes": 0},
    "noop": {},
}


@pytest.mark.parametrize("kind", STANDARD)
def test_a_toxic_s_defaults(api: Api, kind: str) -> None:
    api.proxy()
    assert api("GET", "/proxies/p/toxics").json() == []
    made = api.toxic(type=kind)
    expected = {"name": f"{kind}_downstream", "type": kind, "stream": "downstream", "toxicity": 1}
    assert made == {**expected, "attributes": STANDARD[kind]}
    for attributes in (None, {}, dict.fromkeys(STANDARD[kind], 7), {"unknown": 1}):
        made = api.toxic(type=kind, name="other", stream="upstream", attributes=attributes)
        api("DELETE", "/proxies/p/toxics/other")
        known = {key: value for key, value in (attributes or {}).items() if key in STANDARD[kind]}
        assert made["attributes"] == {**STANDARD[kind], **known}


def test_toxics_are_listed_upstream_first_in_the_order_they_were_added(api: Api) -> None:
    api.proxy()
    for number, stream in enumerate(("downstream", "upstream", "downstream", "upstream")):
        api.toxic(type="noop", name=f"t{number}", stream=stream)
    listed = api("GET", "/proxies/p/toxics")
    assert (listed.status_code, [toxic["name"] for toxic in listed.json()]) == (200, ["t1", "t3", "t0", "t2"])
    assert api("GET", "/proxies/p").json()["toxics"] == listed.json()
    assert api("GET", "/proxies").json()["p"]["toxics"] == listed.json()


def test_a_stream_is_known_in_any_case_and_kept_as_it_was_sent(api: Api) -> None:
    api.proxy()
    made = api.toxic(type="noop", stream="UpStream")
    assert (made["stream"], made["name"]) == ("UpStream", "noop_UpStream")


@pytest.mark.parametrize("body", NOT_JSON)
def test_a_toxic_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    api.proxy()
    refused(api("POST", "/proxies/p/toxics", body), 400, "bad request body:")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"stream": 1, "type": "x"}, 400, "bad request body:"),
        ({"toxicity": "1", "stream": "x", "type": "x"}, 400, "bad request body:"),
        ({"attributes": [], "stream": "x", "type": "x"}, 400, "bad request body:"),
        ({"attributes": "none", "type": "noop"}, 400, "bad request body:"),
        ({"stream": "sideways", "type": "x"}, 400, "stream was invalid, can be either upstream or downstream"),
        ({"stream": "", "type": "noop"}, 400, "stream was invalid, can be either upstream or downstream"),
        ({}, 400, "invalid toxic type"),
        ({"type": "x", "name": "there"}, 400, "invalid toxic type"),
        ({"type": "latency", "name": "there", "attributes": {"latency": "x"}}, 409, "toxic already exists"),
        ({"type": "latency", "name": "there", "stream": "upstream"}, 409, "toxic already exists"),
        ({"type": "latency", "attributes": {"latency": "x"}}, 400, "bad request body:"),
        ({"type": "latency", "attributes": {"jitter": 1.5}}, 400, "bad request body:"),
        ({"type": "bandwidth", "attributes": {"rate": 2**63}}, 400, "bad request body:"),
        ({"type": "timeout", "attributes": {"timeout": True}}, 400, "bad request body:"),
        ({"type": "limit_data", "attributes": {"bytes": []}}, 400, "bad request body:"),
    ],
)
def test_a_toxic_is_checked_in_this_order(api: Api, fields: Json, status: int, message: str) -> None:
    api.proxy()
    api.toxic(type="noop", name="there")
    refused(api("POST", "/proxies/p/toxics", fields), status, message)
    assert [toxic["name"] for toxic in api("GET", "/proxies/p/toxics").json()] == ["there"]


def test_toxics_of_an_unknown_proxy_are_404_whatever_the_body(api: Api) -> None:
    refused(api("GET", "/proxies/none/toxics"), 404, "proxy not found")
    refused(api("POST", "/proxies/none/toxics", b"nonsense"), 404, "proxy not found")
    for method in ("GET", "PATCH", "POST", "DELETE"):
        refused(api(method, "/proxies/none/toxics/t", b"nonsense"), 404, "proxy not found")


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST", "DELETE"])
def test_an_unknown_toxic_is_404(api: Api, method: str) -> None:
    api.proxy()
    refused(api(method, "/proxies/p/toxics/none", b"nonsense"), 404, "toxic not found")


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_an_update_of_a_toxic_merges_attributes(api: Api, method: str) -> None:
    api.proxy()
    made = api.toxic(type="latency", name="t", attributes={"latency": 10, "jitter": 2}, toxicity=0.5)
    assert made["toxicity"] == 0.5
    path = "/proxies/p/toxics/t"
    changed = api(method, path, {"attributes": {"latency": 20}, "type": "noop", "stream": "upstream", "name": "u"})
    assert changed.status_code == 200
    assert changed.json() == {**made, "attributes": {"latency": 20, "jitter": 2}}
    changed = api(method, path, {"toxicity": 0.25})
    assert changed.json() == {**made, "attributes": {"latency": 20, "jitter": 2}, "toxicity": 0.25}
    assert api("GET", path).json() == changed.json()


@pytest.mark.parametrize(
    "body", [*NOT_JSON, b'{"toxicity": "1"}', b'{"attributes": 1}', b'{"attributes": {"rate": "1"}}']
)
def test_an_update_of_a_toxic_refuses_what_is_wrong(api: Api, body: bytes) -> None:
    api.proxy()
    made = api.toxic(type="bandwidth", name="t", attributes={"rate": 10})
    refused(api("PATCH", "/proxies/p/toxics/t", body), 400, "bad request body:")
    assert api("GET", "/proxies/p/toxics/t").json() == made


def test_a_toxic_is_deleted_and_its_name_is_free(api: Api) -> None:
    api.proxy()
    made = api.toxic(type="noop", name="t")
    reply = api("DELETE", "/proxies/p/toxics/t")
    assert (reply.status_code, reply.content) == (204, b"")
    refused(api("GET", "/proxies/p/toxics/t"), 404, "toxic not found")
    assert api.toxic(type="noop", name="t") == made


# --- the rest ----------------------------------------------------------------------------------


def test_reset_enables_every_proxy_and_removes_every_toxic(api: Api) -> None:
    for name in "ab":
        api.proxy(name)
        api.toxic(name, type="latency", stream="upstream", attributes={"latency": 1})
        api.toxic(name, type="noop")
    api("PATCH", "/proxies/a", {"enabled": False})
    reply = api("POST", "/reset")
    assert (reply.status_code, reply.content) == (204, b"")
    assert [(proxy["enabled"], proxy["toxics"]) for proxy in api("GET", "/proxies").json().values()] == [(True, [])] * 2


def test_version(api: Api) -> None:
    reply = api("GET", "/version")
    assert (reply.status_code, reply.json()) == (200, {"version": "2.12.0"})
    assert reply.text == '{"version": "2.12.0"}\n'
    assert reply.headers["Content-Type"] == "application/json;charset=utf-8"


@pytest.mark.parametrize(("method", "path"), [("GET", "/proxies"), ("POST", "/reset"), ("GET", "/version")])
def test_browsers_are_sent_away(api: Api, method: str, path: str) -> None:
    reply = api(method, path, headers={"User-Agent": "Mozilla/5.0 (X11)"})
    assert (reply.status_code, reply.text) == (403, "User agent not allowed\n")
    assert api(method, path, headers={"User-Agent": "not Mozilla/5.0"}).ok


@pytest.mark.parametrize("path", ["/", "/nothing", "/proxies/p/nothing", "/proxies/p/toxics/t/x"])
def test_what_has_no_route_is_404(api: Api, path: str) -> None:
    reply = api("GET", path)
    assert (reply.status_code, reply.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/proxies"),
        ("DELETE", "/proxies"),
        ("HEAD", "/proxies"),
        ("GET", "/reset"),
        ("GET", "/populate"),
        ("POST", "/version"),
        ("PUT", "/proxies/p"),
        ("DELETE", "/proxies/p/toxics"),
        ("PUT", "/proxies/p/toxics/t"),
    ],
)
def test_a_method_that_a_route_has_not_is_405(api: Api, method: str, path: str) -> None:
    reply = api(method, path)
    assert (reply.status_code, reply.text) == (405, "")


def test_a_port_is_really_open_and_really_closed(api: Api, request: pytest.FixtureRequest) -> None:
    """By binding it as the server does: a TCP connection of anybody's, in TIME_WAIT, may have a UDP port's number."""
    kind = {"ours": socket.SOCK_DGRAM, "real": socket.SOCK_STREAM}[request.node.callspec.params["server"]]
    host, _, port = api.proxy()["listen"].rpartition(":")

    def free() -> bool:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, int(port)))
            except OSError:
                return False
            return True

    assert not free()
    api("PATCH", "/proxies/p", {"enabled": False})
    assert free()
