"""One client for the real Toxiproxy server and for our relay: `toxiproxy-python`, kept from doing harm.

The library keeps host and port as attributes of a class, so that a process has one server; never times out; takes a
reply for granted (a 500 becomes `KeyError: 'name'`); and says nothing about whether a toxic was added.  Here

- each server has a subclass of the library's consumer for itself, so that two never mix, and neither waits for the
  other; nothing of the library's own state is touched;
- every request has a timeout, and every status but success is a ToxiproxyError with the server's own words;
- what was changed is read back, and is an error if it is not so.

It is synchronous: asyncio callers use threads.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote

import msgspec
import requests
from prometheus_client.parser import text_string_to_metric_families
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

VERSION = "2.12.0"
TIMEOUT_S = 10.0
HOW_TO_GET = "no toxiproxy-server 2.12.0: faults/install-toxiproxy builds it"


class Toxic(TypedDict):
    """A toxic as the API shows it."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int | float]


class Proxy(TypedDict):
    """A proxy as the API shows it; what else a server tells of one is left out."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: list[Toxic]


class _Populated(TypedDict):
    proxies: list[Proxy] | None


class _Version(TypedDict):
    version: str


Sample = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its labels, sorted."""

T = TypeVar("T")

_STATUS = {InvalidToxic: 400, NotFound: 404, ProxyExists: 409}


class ToxiproxyError(Exception):
    """A call that did not do what it should.  `status` is HTTP's, 0 if there was no reply or not the one expected."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message if not status else f"{status}: {message}")
        self.message = message
        self.status = status


class ToxiproxyServer:
    """A server at `host:port`; `token` is for a relay that asks for one.  Every method raises ToxiproxyError."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 8474, *, token: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.host = host
        self.port = port
        self._consumer: Any = type("Consumer", (APIConsumer,), {"host": host, "port": port})
        self._options: dict[str, Any] = {
            "timeout": timeout_s,
            "headers": {} if token is None else {"Authorization": f"Bearer {token}"},
            "proxies": {"http": ""},  # the environment's would come between
        }

    def _call(self, method: str, path: str, body: Any = None) -> requests.Response:
        """The reply, whose status is one of success; `method` is the library's: get, post or delete."""
        options = self._options if body is None else {**self._options, "json": body}
        try:
            reply: requests.Response = getattr(self._consumer, method)(path, **options)
        except (InvalidToxic, NotFound, ProxyExists) as error:
            raise ToxiproxyError(_words(error.args[0]), status=_STATUS[type(error)]) from None
        except requests.RequestException as error:
            raise ToxiproxyError(f"{self.host}:{self.port}: {_reason(error)}") from None
        if not reply.ok:
            raise ToxiproxyError(_words(reply.content) or reply.reason, status=reply.status_code)
        return reply

    def _object(self, kind: type[T], method: str, path: str, body: Any = None) -> T:
        """The reply as what it should be."""
        reply = self._call(method, path, body)
        try:
            return msgspec.json.decode(reply.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ToxiproxyError(f"{path}: not the reply expected: {error}: {reply.text[:80]!r}") from None

    def create(self, name: str, listen: str, upstream: str) -> Proxy:
        """A new proxy that listens; `listen` of the one returned has the real port."""
        # Not the library's `create`, which asks for all proxies first: n(n-1) links would pay for that n(n-1) times.
        made = self._object(Proxy, "post", "/proxies", {"name": name, "listen": listen, "upstream": upstream})
        _expect(made["name"] == name and made["enabled"], f"proxy {name} does not listen: {made}")
        return made

    def populate(self, proxies: Sequence[Mapping[str, str]]) -> list[Proxy]:
        """Many proxies in one call, each of `name`, `listen`, `upstream`; one that is there already stays."""
        made = self._object(_Populated, "post", "/populate", list(proxies))["proxies"] or []
        names = [proxy["name"] for proxy in proxies]
        _expect([proxy["name"] for proxy in made] == names, f"asked for proxies {names}, got {made}")
        return made

    def proxies(self) -> dict[str, Proxy]:
        """All proxies by name."""
        return self._object(dict[str, Proxy], "get", "/proxies")

    def set_enabled(self, name: str, enabled: bool) -> Proxy:
        """Have a proxy listen, or close its sockets."""
        seen = self._object(Proxy, "post", _path(name), {"enabled": enabled})
        _expect(seen["enabled"] is enabled, f"proxy {name} is not as asked: {seen}")
        return seen

    def destroy(self, name: str) -> None:
        """Delete a proxy."""
        self._call("delete", _path(name))
        _expect(name not in self.proxies(), f"proxy {name} is still there")

    def toxics(self, proxy: str) -> dict[str, Toxic]:
        """The toxics of a proxy by name."""
        return {toxic["name"]: toxic for toxic in self._object(list[Toxic], "get", _path(proxy, "toxics"))}

    def add_toxic(
        self,
        proxy: str,
        name: str,
        type: str,
        stream: str = "downstream",
        attributes: Mapping[str, float] | None = None,
        toxicity: float = 1.0,
    ) -> Toxic:
        """Put a toxic in force, and read it back: what was asked for is what is there."""
        wanted = Toxic(name=name, type=type, stream=stream, toxicity=toxicity, attributes=dict(attributes or {}))
        self._call("post", _path(proxy, "toxics"), wanted)
        seen = self.toxics(proxy).get(name)
        if seen is None:
            raise ToxiproxyError(f"toxic {name} of {proxy} is not there after it was added")
        _expect(_is_as_asked(seen, wanted), f"toxic {name} of {proxy} is not as asked: {seen}")
        return seen

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic off, and see that it has gone."""
        self._call("delete", _path(proxy, "toxics", name))
        _expect(name not in self.toxics(proxy), f"toxic {name} of {proxy} is still there")

    def reset(self) -> None:
        """Every proxy enabled, no toxic left."""
        self._call("post", "/reset")
        for name, proxy in self.proxies().items():
            _expect(proxy["enabled"] and not proxy["toxics"], f"proxy {name} is not reset: {proxy}")

    def version(self) -> str:
        """The server's version."""
        return self._object(_Version, "get", "/version")["version"]

    def metrics(self) -> dict[Sample, float]:
        """All samples; empty for a server that has none."""
        try:
            text = self._call("get", "/metrics").text
        except ToxiproxyError as error:
            if error.status == 404:
                return {}
            raise
        try:
            return {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        except (ValueError, KeyError, IndexError) as error:
            raise ToxiproxyError(f"/metrics: not Prometheus text: {error}") from None


def _is_as_asked(seen: Toxic, wanted: Toxic) -> bool:
    same = (seen["type"], seen["stream"]) == (wanted["type"], wanted["stream"])
    attributes = all(seen["attributes"].get(key) == value for key, value in wanted["attributes"].items())
    return same and attributes and abs(seen["toxicity"] - wanted["toxicity"]) < 1e-6  # it is a 32-bit float there


def _path(proxy: str, *more: str) -> str:
    return "/proxies/" + "/".join(quote(part, safe="") for part in (proxy, *more))


def _words(content: bytes) -> str:
    """The error that a reply's body tells, or the beginning of the body."""
    text = content.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no reply in time"
    return "cannot connect" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ToxiproxyError(otherwise)


def find_server() -> Path | None:
    """The real server's binary: beside this Python, else on PATH; None if neither reports VERSION."""
    on_path = shutil.which("toxiproxy-server")
    places = [Path(sys.executable).parent / "toxiproxy-server", *([Path(on_path)] if on_path else [])]
    return next((place for place in places if _reports_version(place)), None)


def _reports_version(binary: Path) -> bool:
    try:
        done = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.split()[-1:] == [VERSION]
