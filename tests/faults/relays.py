"""Servers that speak Toxiproxy's API, started for a test and stopped after it; and UDP endpoints on loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.toxiproxy import HOW_TO_GET, ToxiproxyError, ToxiproxyServer, find_server
from harness.local.ports import free_ports

START_S = 30.0
__all__ = ["HOW_TO_GET", "START_S", "Endpoint", "find_server", "real_server", "relay", "relay_process"]


@contextmanager
def stopped_after(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def relay_process(*options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The relay in a process of its own, and the port of its API."""
    command = [sys.executable, "-m", "faults.relay_udp", "--listen", "127.0.0.1:0", *options]
    with stopped_after(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "listening on" in said, said
        yield process, int(said.rpartition(":")[2])


@contextmanager
def relay(*options: str) -> Iterator[ToxiproxyServer]:
    with relay_process(*options) as (_, port):
        yield ToxiproxyServer("127.0.0.1", port)


@contextmanager
def real_server(binary: Path) -> Iterator[ToxiproxyServer]:
    (port,) = free_ports(1)
    command = [str(binary), "-host", "127.0.0.1", "-port", str(port)]
    quiet = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    with stopped_after(quiet):
        server = ToxiproxyServer("127.0.0.1", port)
        _until_it_answers(server)
        yield server


def _until_it_answers(server: ToxiproxyServer) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            server.version()
            return
        except ToxiproxyError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)


class Endpoint:
    """A UDP socket on loopback, with patience."""

    def __init__(self, connect_to: str | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        if connect_to is not None:
            host, _, port = connect_to.rpartition(":")
            self.socket.connect((host, int(port)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def receive(self, count: int) -> list[bytes]:
        return [self.socket.recv(65536) for _ in range(count)]

    def hear_anybody(self) -> None:
        """Take datagrams from every address again, not only from the one this socket was connected to."""
        address = self.socket.getsockname()
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(10)

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing arrives for a while."""
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
