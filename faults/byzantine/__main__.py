"""`python -m faults.byzantine run --config node.toml`: a member that lies when it is told to.

It is the reference mesh's node with `Liar` between node and shell, so it takes the same configuration, ends with the
same exit codes and offers the same control API, and one route more:

    POST /byzantine {"fault": "byzantine-0", "strategy": "equivocate"}    lie so, until it is stopped
    POST /byzantine {"fault": "byzantine-0", "strategy": null}            stop it
    both answer     {"fault": "byzantine-0", "lies": 12}                  how often it has lied for this fault
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
from aiohttp import web

from faults.byzantine import STRATEGIES, Liar
from knhk_mesh.__main__ import EXIT_USAGE, run
from knhk_mesh.errors import ConfigError, one_line
from knhk_mesh.identity import Signer
from knhk_mesh.node import Node


class ByzantineBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /byzantine."""

    fault: str
    strategy: str | None


class Seat:
    """The liar of this process, and the route that drives it."""

    def __init__(self) -> None:
        self._liar: Liar | None = None
        self._active: set[str] = set()

    def wrap(self, node: Node, signer: Signer, random: Random) -> Liar:
        """Put the liar between node and shell."""
        self._liar = Liar(node, signer, random=random)
        return self._liar

    async def post(self, request: web.Request) -> web.Response:
        """Begin or stop to lie."""
        assert self._liar is not None
        try:
            asked = msgspec.json.decode(await request.read(), type=ByzantineBody)
        except msgspec.DecodeError as error:
            return _answer(400, {"error": one_line(str(error))})
        if asked.strategy is None:
            if asked.fault not in self._active:
                return _answer(409, {"error": f"no fault {asked.fault} is in force"})
            self._active.discard(asked.fault)
            return _answer(200, {"fault": asked.fault, "lies": self._liar.stop(asked.fault)})
        if asked.strategy not in STRATEGIES:
            return _answer(400, {"error": f"unknown strategy; one of {', '.join(STRATEGIES)}"})
        if asked.fault in self._active:
            return _answer(409, {"error": f"{asked.fault} is in force already"})
        self._active.add(asked.fault)
        self._liar.lie(asked.fault, asked.strategy)
        return _answer(200, {"fault": asked.fault, "lies": 0})


def _answer(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(
        prog="faults.byzantine",
        description="A member of the mesh that lies when it is told to.",
        epilog="".join(str(__doc__).partition("\n\n")[2:]) + f"\nstrategies: {', '.join(STRATEGIES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run until SIGTERM").add_argument("--config", type=Path, required=True)
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:
        return EXIT_USAGE if stop.code else 0
    seat = Seat()
    try:
        return run(options.config, wrap=seat.wrap, routes=[web.post("/byzantine", seat.post)])
    except ConfigError as error:
        print(f"faults.byzantine: {one_line(str(error))}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
