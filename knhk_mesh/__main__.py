"""`python -m knhk_mesh`: run a node, or make what one needs.

    python -m knhk_mesh run --config node.toml
    python -m knhk_mesh keygen node.key
    python -m knhk_mesh init DIRECTORY --listen HOST:PORT --control HOST:PORT
    python -m knhk_mesh roster --authority authority.key --network knhk --faulty 1 AGENT AGENT AGENT AGENT

Exit codes: 0; 64 wrong usage or configuration; 65 the database is refused; 69 an address cannot be had; 74 the disk
fails; 70 a bug of ours.  Each but the last comes with one line on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from knhk_mesh.errors import ConfigError, MeshError, StorageError, one_line
from knhk_mesh.identity import SEED_BYTES, Signer

EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_UNAVAILABLE = 69
EXIT_BUG = 70
EXIT_DISK = 74


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="knhk_mesh", description="A node of the mesh.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="run a node until SIGTERM")
    run.add_argument("--config", type=Path, required=True)
    keygen = commands.add_parser("keygen", help="make a private key and print the agent id")
    keygen.add_argument("key", type=Path)
    init = commands.add_parser("init", help="make a directory with key, token and configuration for a new node")
    init.add_argument("directory", type=Path)
    init.add_argument("--network", default="knhk")
    init.add_argument("--listen", default="127.0.0.1:7000")
    init.add_argument("--control", default="127.0.0.1:7001")
    init.add_argument("--transport", choices=("quic", "tcp"), default="quic")
    roster = commands.add_parser(
        "roster", help="sign who the members are, and print what goes into their configuration"
    )
    roster.add_argument("--authority", type=Path, required=True, help="the private key (keygen) of whoever may say so")
    roster.add_argument("--network", default="knhk")
    roster.add_argument("--epoch", type=int, default=1)
    roster.add_argument("--faulty", type=int, required=True)
    roster.add_argument("members", nargs="+", metavar="AGENT", help="the ids of all members")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    try:
        if options.command == "keygen":
            print(_keygen(options.key))
            return 0
        if options.command == "init":
            print(_init(options))
            return 0
        if options.command == "roster":
            print(_roster(options), end="")
            return 0
        return run(options.config)
    except ConfigError as error:
        return _say(error, EXIT_USAGE)


def _say(error: Exception, code: int) -> int:
    print(f"knhk_mesh: {one_line(str(error))}", file=sys.stderr)
    return code


def run(path: Path, **beside: Any) -> int:
    """Run the node that the file at `path` configures, until SIGTERM; its exit code.  `beside` is for `serve`."""
    from knhk_mesh.settings import read_settings

    settings = read_settings(path)
    from knhk_mesh.serve import serve

    try:
        asyncio.run(serve(settings, **beside))
    except StorageError as error:
        return _say(error, EXIT_DISK if "cannot be written" in str(error) else EXIT_DATA)
    except ConfigError as error:  # of the transport, which has limits of its own
        return _say(ConfigError(f"{path}: {error}"), EXIT_USAGE)
    except MeshError as error:
        return _say(error, EXIT_UNAVAILABLE)
    except Exception:
        traceback.print_exc()
        return _say(Exception("a bug: this node ended because its state is in doubt"), EXIT_BUG)
    return 0


def _keygen(path: Path) -> str:
    """Make a key file and return the agent id; an existing file is never touched."""
    seed = secrets.token_bytes(SEED_BYTES)
    _write_secret(path, seed.hex() + "\n")
    return Signer(seed).agent_id.hex()


def _roster(options: argparse.Namespace) -> str:
    """The [roster] table of these members' configuration files."""
    from knhk_mesh.commits import network_id
    from knhk_mesh.quorum import sign_roster
    from knhk_mesh.settings import read_seed

    try:
        members = [bytes.fromhex(member) for member in options.members]
    except ValueError:
        raise ConfigError("AGENT: an id is hexadecimal") from None
    signed = sign_roster(
        Signer(read_seed(options.authority)),
        network=network_id(options.network),
        epoch=options.epoch,
        faulty=options.faulty,
        members=members,
    )
    return (
        f'[roster]\nepoch = {signed.epoch}\nauthority = "{signed.authority.hex()}"\n'
        f'signature = "{signed.signature.hex()}"\n'
    )


def _init(options: argparse.Namespace) -> str:
    directory: Path = options.directory
    _check_init(options)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made: {error.strerror}") from None
    agent = _keygen(directory / "node.key")
    _write_secret(directory / "node.token", secrets.token_urlsafe(32) + "\n")
    _write_secret(
        directory / "node.toml",
        f'network = {json.dumps(options.network, ensure_ascii=False)}\nagent = "{agent}"\n'
        'key = "node.key"\ntoken = "node.token"\ndata = "data"\n'
        f'transport = "{options.transport}"\nlisten = {json.dumps(options.listen, ensure_ascii=False)}\n'
        f"control = {json.dumps(options.control, ensure_ascii=False)}\nfaulty = 0\n"
        '\n# One table for every other member:\n# [[peers]]\n# agent = "<64 hexadecimal digits>"\n'
        '# address = "host:port"\n',
    )
    return agent


def _check_init(options: argparse.Namespace) -> None:
    """What would make a file that `run` refuses is refused here."""
    from knhk_mesh.settings import check_address

    if not 0 < len(options.network) <= 128 or not options.network.isprintable():
        raise ConfigError("--network: has 1 to 128 printable characters")
    for name in ("listen", "control"):
        check_address(f"--{name}", getattr(options, name))


def _write_secret(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: is there already, and is left as it is") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
