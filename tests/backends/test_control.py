"""What an HTTP answer of a node means: done, not done, nobody knows."""

import asyncio
import socket

import pytest
from aiohttp import web

from harness.backend import Answer, Ask
from harness.real.control import Control, NoAnswer

ADD = Ask("s", "gset", "add", 7)
READ = Ask("a/b %", "gset", "read")


def ask_a_node(handler, ask: Ask) -> Answer:
    """What the client makes of a node that answers every request by `handler`."""

    async def run() -> Answer:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        control = Control()
        try:
            return await control.ask(f"127.0.0.1:{port}", "secret", ask)
        finally:
            await control.close()
            await runner.cleanup()

    return asyncio.run(run())


def with_status(status: int, body: object = None):
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"error": "because"} if body is None else body, status=status)

    return handler


@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 413, 415, 501, 503])
def test_these_say_that_it_was_not_done(status: int) -> None:
    assert ask_a_node(with_status(status), ADD) == Answer("fail", error="because")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 418, 500, 502, 504])
def test_after_these_nobody_knows(status: int) -> None:
    assert ask_a_node(with_status(status), ADD).outcome == "info"


def test_a_refused_connection_is_definite() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and never listening

        async def run() -> Answer:
            control = Control()
            try:
                return await control.ask(f"127.0.0.1:{held.getsockname()[1]}", "t", ADD)
            finally:
                await control.close()

        assert asyncio.run(run()) == Answer("fail", error="connection refused")


def test_a_connection_that_breaks_after_the_request_is_not() -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert ask_a_node(handler, ADD).outcome == "info"


def test_a_write_goes_out_as_the_contract_has_it_and_comes_back() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.headers["Authorization"], await request.json()))
        return web.json_response({"commit": "ab", "resolved": [{"dots": 2}]})

    answer = ask_a_node(handler, ADD)
    operation = {"object": "s", "type": "gset", "action": "add", "value": 7}
    assert seen == [("POST", "/operations", "Bearer secret", {"operations": [operation]})]
    assert answer == Answer("ok", value={"dots": 2}, commit="ab")


def test_a_read_names_its_object_whatever_it_is_called() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.match_info["path"], dict(request.query)))
        return web.json_response({"value": [7], "visible": ["ab"]})

    answer = ask_a_node(handler, READ)
    assert seen == [("GET", "objects/a/b %", {"type": "gset"})]
    assert answer == Answer("ok", value=[7], visible=["ab"])


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (READ, {"value": 7}),
        (READ, {}),
        (READ, []),
        (Ask("n", "pncounter", "read"), {"value": [7]}),
        (Ask("", "", "digest"), {"root": "ab"}),
        (Ask("", "", "certificate", "ab"), {"votes": []}),
        (Ask("", "", "certificate", "ab"), ["votes", "statement"]),
        (ADD, "yes"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_nobody_knows_what(ask: Ask, body: object) -> None:
    answer = ask_a_node(with_status(200, body), ask)
    assert answer.outcome == "info" and "contract" in str(answer.error)


CERTIFICATE = Ask("", "", "certificate", "5d1e")


def test_a_certificate_is_asked_for_by_its_commit() -> None:
    seen, kept = [], {"statement": "6b6e", "votes": [["9c0f", "12"]]}

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path))
        return web.json_response(kept)

    assert ask_a_node(handler, CERTIFICATE) == Answer("ok", certificate=kept)
    assert seen == [("GET", "/certificates/5d1e")]


@pytest.mark.parametrize(("status", "outcome"), [(404, "ok"), (503, "fail"), (500, "info"), (501, "fail")])
def test_that_there_is_no_certificate_is_an_answer_and_that_nobody_can_say_is_none(status: int, outcome: str) -> None:
    answer = ask_a_node(with_status(status, {"error": "none"}), CERTIFICATE)
    assert (answer.outcome, answer.certificate) == (outcome, None)


def test_what_is_not_json_is_no_answer() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="<html>", status=500)

    assert ask_a_node(handler, READ).outcome == "info"


def test_a_clock_that_was_not_set_is_an_error() -> None:
    async def run() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        control = Control()
        try:
            with pytest.raises(NoAnswer, match="404"):
                await control.set_clock(f"127.0.0.1:{runner.addresses[0][1]}", "t", 5, 1.0)
        finally:
            await control.close()
            await runner.cleanup()

    asyncio.run(run())
