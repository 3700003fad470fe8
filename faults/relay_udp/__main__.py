"""`python -m faults.relay_udp [--listen HOST:PORT] [--seed N] [--token-file FILE]`: the relay, until SIGTERM or SIGINT.

Prints one line, `relay_udp: listening on HOST:PORT`, once it can be asked; with port 0, the port it got.
Exit codes: 0 after a signal, 64 wrong usage or bad input, 69 the address is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from faults.relay_udp.addresses import Address, AddressError, resolve
from faults.relay_udp.api import application
from faults.relay_udp.registry import Registry
from faults.relay_udp.timers import Timers

OK, USAGE, UNAVAILABLE = 0, 64, 69
TOKEN_CHARACTERS_MIN = 16


class _Failure(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Failure(message, USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the relay; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        token = None if options.token_file is None else _token(options.token_file)
        _raise_file_limit()
        asyncio.run(_serve(options.listen, seed=options.seed, token=token))
    except _Failure as failure:
        print(f"relay_udp: {failure}", file=sys.stderr)
        return failure.code
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m faults.relay_udp", description="Toxiproxy's API for datagrams")
    parser.add_argument("--listen", default="127.0.0.1:8474", metavar="HOST:PORT", help="of the API (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every decision (%(default)s)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a bearer token that every request must carry")
    return parser


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise _Failure(f"--token-file {path}: {reason}", USAGE) from None
    if len(token) < TOKEN_CHARACTERS_MIN or not token.isprintable() or " " in token:
        raise _Failure(f"--token-file {path}: one token of at least {TOKEN_CHARACTERS_MIN} characters", USAGE)
    return token


def _raise_file_limit() -> None:
    """Each session is a socket, and 1024 files are soon used up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(listen: str, *, seed: int, token: str | None) -> None:
    try:
        address = await resolve(listen, nowhere="127.0.0.1")
    except AddressError as error:
        raise _Failure(f"--listen: {error}", USAGE) from None
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    timers = Timers(loop)
    registry = Registry(seed=seed, timers=timers)
    runner = web.AppRunner(application(registry, token=token), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, address)
        print(f"relay_udp: listening on {Address(address.family, runner.addresses[0])}", flush=True)
        await stopped.wait()
    finally:
        await runner.cleanup()
        registry.close()
        timers.close()


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.TCPSite(runner, address.sockaddr[0], address.sockaddr[1]).start()
    except OSError as error:
        reason = "the address is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise _Failure(f"--listen {address}: {reason}", UNAVAILABLE) from None


if __name__ == "__main__":
    sys.exit(main())
