"""HTTP: routes, replies and errors of Toxiproxy 2.12.0.

Two things more: a bearer token may be asked for, and a body has a limit.  Browsers are sent away as Toxiproxy does, by
their User-Agent, so that no page that somebody looks at can reach a relay on the same machine.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from faults.relay_udp.metrics import CONTENT_TYPE, exposition
from faults.relay_udp.registry import Registry
from faults.relay_udp.wire import ApiError

VERSION = "2.12.0"
BODY_BYTES_MAX = 1024 * 1024

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(registry: Registry, *, token: str | None = None) -> web.Application:
    """The API over `registry`; with a `token`, every request must carry it."""
    app = web.Application(middlewares=[_gate(token)], client_max_size=BODY_BYTES_MAX)
    _add_proxy_routes(app.router, registry)
    _add_toxic_routes(app.router, registry)

    async def reset(_: web.Request) -> web.Response:
        await registry.reset()
        return web.Response(status=204)

    async def version(_: web.Request) -> web.Response:
        body = f'{{"version": "{VERSION}"}}\n'.encode()
        return web.Response(body=body, headers={"Content-Type": "application/json;charset=utf-8"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(registry), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_post("/reset", reset)
    app.router.add_get("/version", version, allow_head=False)
    app.router.add_route("*", "/metrics", metrics)
    return app


def _add_proxy_routes(router: web.UrlDispatcher, registry: Registry) -> None:
    async def index(_: web.Request) -> web.Response:
        return _json({name: proxy.to_json() for name, proxy in sorted(registry.proxies.items())})

    async def create(request: web.Request) -> web.Response:
        return _json((await registry.create(await request.read())).to_json(), 201)

    async def populate(request: web.Request) -> web.Response:
        made, error = await registry.populate(await request.read())
        told = {} if error is None else {"error": error.message, "status": error.status}
        proxies = [proxy.to_json() for proxy in made] or None  # Go's empty slice
        return _json({**told, "proxies": proxies}, 201 if error is None else error.status)

    async def show(request: web.Request) -> web.Response:
        return _json(registry.get(request.match_info["proxy"]).to_json())

    async def update(request: web.Request) -> web.Response:
        return _json((await registry.update(request.match_info["proxy"], await request.read())).to_json())

    async def delete(request: web.Request) -> web.Response:
        registry.remove(request.match_info["proxy"])
        return web.Response(status=204)

    router.add_get("/proxies", index, allow_head=False)
    router.add_post("/proxies", create)
    router.add_post("/populate", populate)
    router.add_get("/proxies/{proxy:[^/]+}", show, allow_head=False)
    router.add_post("/proxies/{proxy:[^/]+}", update)
    router.add_patch("/proxies/{proxy:[^/]+}", update)
    router.add_delete("/proxies/{proxy:[^/]+}", delete)


def _add_toxic_routes(router: web.UrlDispatcher, registry: Registry) -> None:
    async def index(request: web.Request) -> web.Response:
        toxics = registry.get(request.match_info["proxy"]).toxics()
        return _json([toxic.to_json() for toxic in toxics.values()])

    async def create(request: web.Request) -> web.Response:
        return _json(registry.add_toxic(request.match_info["proxy"], await request.read()).to_json())

    async def show(request: web.Request) -> web.Response:
        return _json(registry.get_toxic(*_both(request)).to_json())

    async def update(request: web.Request) -> web.Response:
        return _json(registry.update_toxic(*_both(request), await request.read()).to_json())

    async def delete(request: web.Request) -> web.Response:
        registry.remove_toxic(*_both(request))
        return web.Response(status=204)

    router.add_get("/proxies/{proxy:[^/]+}/toxics", index, allow_head=False)
    router.add_post("/proxies/{proxy:[^/]+}/toxics", create)
    router.add_get("/proxies/{proxy:[^/]+}/toxics/{toxic:[^/]+}", show, allow_head=False)
    router.add_post("/proxies/{proxy:[^/]+}/toxics/{toxic:[^/]+}", update)
    router.add_patch("/proxies/{proxy:[^/]+}/toxics/{toxic:[^/]+}", update)
    router.add_delete("/proxies/{proxy:[^/]+}/toxics/{toxic:[^/]+}", delete)


def _both(request: web.Request) -> tuple[str, str]:
    return request.match_info["proxy"], request.match_info["toxic"]


def _json(value: Any, status: int = 200) -> web.Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")


def _error(message: str, status: int) -> web.Response:
    return _json({"error": message, "status": status}, status)


def _gate(token: str | None) -> Any:
    """Who may pass, and the errors of all handlers as Toxiproxy words them."""

    @web.middleware
    async def gate(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.headers.get("User-Agent", "").startswith("Mozilla/"):
            return web.Response(text="User agent not allowed\n", status=403)
        if token is not None and not _admits(request, token):
            reply = _error("a bearer token is needed", 401)
            reply.headers["WWW-Authenticate"] = "Bearer"
            return reply
        try:
            return await handler(request)
        except ApiError as error:
            return _error(error.message, error.status)
        except web.HTTPRequestEntityTooLarge:
            return _error(f"bad request body: above {BODY_BYTES_MAX} bytes", 413)
        except web.HTTPNotFound:
            return web.Response(text="404 page not found\n", status=404)
        except web.HTTPMethodNotAllowed:
            return web.Response(status=405)

    return gate


def _admits(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # In constant time: how long it takes must not tell how much of a guess was right.
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return scheme.lower() == "bearer" and same
