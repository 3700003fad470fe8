"""The node contract over HTTP: docs/node-contract.md, as routes.

Whatever is answered with 4xx, 501 or 503 was definitely not done; 500 and 504 say that nobody knows.  Every request
needs the bearer token, which is compared in constant time; bodies and their time are bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from knhk_mesh.errors import MeshError
from knhk_mesh.histograms import histogram_of
from knhk_mesh.quorum import Certificate
from knhk_mesh.requests import (
    CertificateOf,
    ClientOperation,
    Digest,
    Digests,
    Indefinite,
    Kept,
    Read,
    Refusal,
    Value,
    Write,
    Written,
)
from knhk_mesh.server import NodeServer
from knhk_mesh.telemetry import TICK_NS

BODY_BYTES_MAX = 1024 * 1024
BODY_SECONDS_MAX = 5.0
IDLE_SECONDS_MAX = 15.0
ANSWER_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 256
EVENTS_AT_ONCE = 2048
OFFSET_NS_MAX = 10**18

SERVER: web.AppKey[NodeServer] = web.AppKey("server", NodeServer)


class OperationsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /operations."""

    operations: list[ClientOperation]
    level: Literal["local", "stable"] = "local"


class ClockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /clock."""

    offset_ns: int


class ControlApi:
    """Serves `server` on `address` ("host:port") to whoever knows `token`."""

    def __init__(self, server: NodeServer, *, address: str, token: str, routes: Iterable[web.RouteDef] = ()) -> None:
        logging.getLogger("aiohttp.server").addFilter(_worth_a_line)
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        application = web.Application(middlewares=[_errors, _authorise(token)], client_max_size=BODY_BYTES_MAX)
        application[SERVER] = server
        application.add_routes(
            [
                web.post("/operations", post_operations),
                web.get("/objects/{name}", get_object),
                web.get("/certificates/{commit}", get_certificate),
                web.get("/digest", get_digest),
                web.get("/status", get_status),
                web.get("/events", get_events),
                web.get("/ticks", get_ticks),
                web.post("/clock", post_clock),
                *routes,
            ]
        )
        # A few hundred compressed kilobytes of blanks would hold the node up for seconds, whoever sends them.
        self._runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS_MAX,
            shutdown_timeout=1.0,
        )

    async def start(self) -> None:
        """Listen.  Raises MeshError, one line, if the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=CONNECTIONS_MAX)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise MeshError(f"control: {self._host}:{self._port} cannot be had: {error.strerror}") from None

    async def stop(self) -> None:
        """End what is being answered, and listen no more."""
        await self._runner.cleanup()


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Not what a stranger sent that is no HTTP: it is answered with 400, and must not fill our standard error."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def answer(body: Any, status: int = 200) -> web.Response:
    """`body` as JSON."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def refuse(status: int, why: str) -> web.Response:
    """An error as the contract has it: one line."""
    return answer({"error": " ".join(why.split())}, status)


def _authorise(token: str) -> Middleware:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, expected):
            return refuse(401, "the bearer token is missing or wrong")
        return await handler(request)

    return authorise


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as one line of JSON, whoever noticed it."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return refuse(error.status, error.text or error.reason)
    except TimeoutError:
        return refuse(504, "no answer in time: whether it was carried out, nobody knows")
    except asyncio.CancelledError:
        if request.app[SERVER].finished.done():  # the node ended under the request
            return refuse(500, "this node has ended: whether it was carried out, nobody knows")
        raise


async def _body(request: web.Request) -> bytes:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType(text="a body is sent as it is, without Content-Encoding")
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body took more than {BODY_SECONDS_MAX:g} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise web.HTTPBadRequest(text="the body broke off") from None


async def post_operations(request: web.Request) -> web.Response:
    """Write; answered when it is durable."""
    try:
        asked = msgspec.json.decode(await _body(request), type=OperationsBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refuse(400, str(error))
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        result = await request.app[SERVER].submit(Write(tuple(asked.operations), asked.level))
    if isinstance(result, Refusal | Indefinite):
        return _refused(result)
    assert isinstance(result, Written)
    told: dict[str, Any] = {"commit": result.commit.hex(), "resolved": result.resolved}
    if result.certificate is not None:
        told["certificate"] = _certificate(result.certificate)
    return answer(told)


def _certificate(certificate: Certificate) -> dict[str, Any]:
    """Everything in hex, as docs/node-contract.md has it."""
    votes = [[voter.hex(), signature.hex()] for voter, signature in certificate.votes]
    return {"statement": certificate.statement.hex(), "votes": votes}


async def get_certificate(request: web.Request) -> web.Response:
    """The certificate that this node keeps of a commit."""
    try:
        commit = bytes.fromhex(request.match_info["commit"])
    except ValueError:
        return refuse(400, "the id of a commit is hexadecimal")
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        result = await request.app[SERVER].submit(CertificateOf(commit))
    if isinstance(result, Refusal):
        return _refused(result)
    assert isinstance(result, Kept)
    if result.certificate is None:
        return refuse(404, "certificate: none is kept here for this commit")
    return answer(_certificate(result.certificate))


def _refused(refusal: Refusal | Indefinite) -> web.Response:
    if isinstance(refusal, Indefinite):
        return refuse(504, refusal.reason)
    return refuse(503 if refusal.reason.startswith("overloaded") else 409, refusal.reason)


async def get_object(request: web.Request) -> web.Response:
    """Read one object."""
    kind = request.query.get("type")
    if kind is None:
        return refuse(400, "type: which type of object, e.g. ?type=gset")
    level = request.query.get("level", "local")
    if level not in ("local", "quorum"):
        return refuse(400, "level: is local or quorum")
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        result = await request.app[SERVER].submit(
            Read(request.match_info["name"], kind, "quorum" if level == "quorum" else "local")
        )
    if isinstance(result, Refusal):
        return _refused(result)
    assert isinstance(result, Value)
    return answer({"value": result.value, "visible": [head.hex() for head in result.visible]})


async def get_digest(request: web.Request) -> web.Response:
    """Root, heads and value digest."""
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        result = await request.app[SERVER].submit(Digest())
    if isinstance(result, Refusal):
        return _refused(result)
    assert isinstance(result, Digests)
    return answer(
        {"root": result.root.hex(), "digest": result.digest.hex(), "heads": [head.hex() for head in result.heads]}
    )


async def get_status(request: web.Request) -> web.Response:
    """How the node sees itself and its peers."""
    server = request.app[SERVER]
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        report, links = await server.status()
    if isinstance(report, Refusal):
        return _refused(report)
    told = {
        "agent": server.node.agent_id.hex(),
        "state": "draining" if server.draining else "serving",
        "root": report.root.hex(),
        "monotonic": report.monotonic,
        "wall": report.wall,
        "rounds": report.rounds,
        "members": report.peers + 1,
        "active": report.active,
        "accepted": report.accepted,
        "pending": report.pending,
        "proven": [agent.hex() for agent in report.proven],
        "suspected": [agent.hex() for agent in report.suspected],
        "partition": report.partition,
        "voting": report.voting,
        "used": report.used,
        "rejected": report.rejected,
        "sent": report.sent,
        "transport": server.transport_counters(),
        "round_trips": {agent.hex(): figures for agent, figures in report.round_trips.items()},
        "peers": [{**msgspec.structs.asdict(link), "agent": link.agent.hex()} for link in links],
    }
    return answer(told)


async def get_events(request: web.Request) -> web.Response:
    """What happened after a number."""
    asked = request.query.get("after", "0")
    after = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 20 else -1
    if not 0 <= after < 1 << 63:
        return refuse(400, "after: is not a whole number from 0 on")
    events, lost = request.app[SERVER].events.after(after, EVENTS_AT_ONCE)
    return answer({"events": events, "next": events[-1].number if events else after + lost, "lost": lost})


async def get_ticks(request: web.Request) -> web.Response:
    """How long each phase of the node's own work took."""
    phases: dict[str, Any] = {}
    for phase, times in request.app[SERVER].node.phases.times.items():
        histogram = histogram_of(times)
        phases[phase] = {
            "count": histogram.get_total_count(),
            "p50_ns": histogram.get_value_at_percentile(50),
            "p99_ns": histogram.get_value_at_percentile(99),
            "max_ns": histogram.get_max_value(),
            "histogram": histogram.encode().decode("ascii"),
        }
    return answer({"tick_ns": TICK_NS, "phases": phases})


async def post_clock(request: web.Request) -> web.Response:
    """Put the wall clock off."""
    try:
        asked = msgspec.json.decode(await _body(request), type=ClockBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return refuse(400, str(error))
    if abs(asked.offset_ns) > OFFSET_NS_MAX:
        return refuse(400, f"offset_ns: is not within {OFFSET_NS_MAX}")
    server = request.app[SERVER]
    server.wall_offset_ns = asked.offset_ns
    return answer({"offset_ns": server.wall_offset_ns, "wall": server.instant().wall})
