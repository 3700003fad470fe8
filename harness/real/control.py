"""The client's side of the node contract: a question to a node over HTTP, and what its answer means.

Definite and indefinite failures are told apart as docs/node-contract.md has it: "fail" is said only where the operation
was certainly not carried out.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from harness.backend import Answer, Ask

TIMEOUT_S = 20.0
CONNECTIONS_A_NODE_MAX = 64
DEFINITE = (400, 401, 404, 405, 408, 409, 413, 415, 501, 503)


class NoAnswer(Exception):
    """A node did not answer, or not as the contract has it; the message is one line."""


class Control:
    """Speaks to every node of one run.  Made inside the running event loop; `close` it."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_A_NODE_MAX),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            trust_env=False,
        )

    async def close(self) -> None:
        """End every connection."""
        await self._session.close()

    async def ask(self, node: str, token: str, ask: Ask) -> Answer:
        """The outcome of one request to the node whose control API is at `node` ("host:port")."""
        method, path, query, body = _request(ask)
        try:
            status, told = await self._exchange(method, f"http://{node}{path}", token, query, body)
        except aiohttp.ClientConnectorError:
            return Answer("fail", error="connection refused")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer("info", error=f"no answer: {type(error).__name__}")
        if status == 200:
            return _answer(ask, told)
        if status == 404 and ask.action == "certificate":
            return Answer("ok")  # an answer like any other: it keeps none
        said = told.get("error") if isinstance(told, dict) else None
        return Answer("fail" if status in DEFINITE else "info", error=str(said or f"status {status}")[:500])

    async def get(self, node: str, token: str, path: str, timeout_s: float, **query: str) -> Any:
        """The JSON behind a route.  Raises NoAnswer."""
        try:
            status, told = await self._exchange("GET", f"http://{node}{path}", token, query, None, timeout_s)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(f"{node}{path}: {type(error).__name__} {error}".strip()) from None
        if status != 200:
            raise NoAnswer(f"{node}{path}: status {status}")
        return told

    async def set_clock(self, node: str, token: str, offset_ns: int, timeout_s: float) -> int:
        """Put a node's wall clock off; returns what that clock shows now (ns).  Raises NoAnswer."""
        body = msgspec.json.encode({"offset_ns": offset_ns})
        try:
            status, told = await self._exchange("POST", f"http://{node}/clock", token, {}, body, timeout_s)
            if status == 200 and told["offset_ns"] == offset_ns:
                return int(told["wall"])
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, TypeError, ValueError) as error:
            raise NoAnswer(f"{node}/clock: {type(error).__name__} {error}".strip()) from None
        raise NoAnswer(f"{node}/clock: status {status}, {told}")

    async def lie(self, node: str, token: str, fault: str, strategy: str | None, timeout_s: float) -> int:
        """Have a Byzantine seat follow a strategy for `fault`, or none more; how often it lied.  Raises NoAnswer."""
        body = msgspec.json.encode({"fault": fault, "strategy": strategy})
        try:
            status, told = await self._exchange("POST", f"http://{node}/byzantine", token, {}, body, timeout_s)
            if status == 200:
                return int(told["lies"])
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, TypeError, ValueError) as error:
            raise NoAnswer(f"{node}/byzantine: {type(error).__name__} {error}".strip()) from None
        raise NoAnswer(f"{node}/byzantine: status {status}, {told}")

    async def _exchange(
        self,
        method: str,
        url: str,
        token: str,
        query: dict[str, str],
        body: bytes | None,
        timeout_s: float = TIMEOUT_S,
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(
            method, url, params=query, data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            raw = await response.read()
            try:
                return response.status, msgspec.json.decode(raw)
            except msgspec.DecodeError:
                return response.status, None


def _request(ask: Ask) -> tuple[str, str, dict[str, str], bytes | None]:
    if ask.action in ("digest", "status"):
        return "GET", f"/{ask.action}", {}, None
    if ask.action == "certificate":
        return "GET", f"/certificates/{quote(str(ask.value), safe='')}", {}, None
    if ask.action == "read":
        query = {"type": ask.type, "level": "quorum"} if ask.level == "quorum" else {"type": ask.type}
        return "GET", f"/objects/{quote(ask.object, safe='')}", query, None
    operation = {"object": ask.object, "type": ask.type, "action": ask.action, "value": ask.value}
    asked: dict[str, Any] = {"operations": [operation]}
    if ask.level == "stable":
        asked["level"] = ask.level
    return "POST", "/operations", {}, msgspec.json.encode(asked)


def _answer(ask: Ask, told: Any) -> Answer:
    """A 200 as the contract has it; one that breaks the contract is nobody knows what, and says so."""
    try:
        if ask.action == "digest":
            return Answer("ok", value={"root": str(told["root"]), "digest": str(told["digest"])})
        if ask.action == "status":
            wanted = ("state", "accepted", "pending", "active", "rounds")
            return Answer("ok", value={name: told[name] for name in wanted if name in told})
        if ask.action == "certificate":
            return Answer("ok", certificate={"statement": told["statement"], "votes": told["votes"]})
        if ask.action == "read":
            value = told["value"]
            shape = int if ask.type == "pncounter" else list
            elements = value if isinstance(value, list) else []
            if type(value) is not shape or any(type(one) not in (int, str) for one in elements):
                raise TypeError(f"a value of a {ask.type} is not {str(value)[:80]}")
            return Answer("ok", value=value, visible=msgspec.convert(told.get("visible"), list[str] | None))
        resolved = told.get("resolved") or [None]
        return Answer(
            "ok",
            value=resolved[0] or None,
            commit=msgspec.convert(told.get("commit"), str | None),
            certificate=msgspec.convert(told.get("certificate"), dict[str, Any] | None),
        )
    except (KeyError, TypeError, AttributeError, IndexError, msgspec.ValidationError) as error:
        return Answer("info", error=f"an answer that breaks the contract: {type(error).__name__} {error}")
