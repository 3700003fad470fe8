"""A node of the reference mesh as a process, and a client of its control API."""

import json
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from harness.local.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
# aiohttp reads the machine's certificates when it is imported, a fifth of a node's start, and a node uses none.
ENVIRONMENT = {**os.environ, "SSL_CERT_FILE": os.devnull}


class Node:
    """A node in a directory of its own; without peers, unless `meet` names some."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.listen, self.port = free_ports(2)
        address = ["--listen", f"127.0.0.1:{self.listen}", "--control", f"127.0.0.1:{self.port}"]
        command = [sys.executable, "-m", "knhk_mesh"]
        made = [*command, "init", str(home), *address, *arguments]
        self.agent = subprocess.run(made, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        self.config = home / "node.toml"
        self.data = home / "data"
        self.token = (home / "node.token").read_text().strip()
        self.command = [*command, "run", "--config", str(self.config)]
        self.process: subprocess.Popen | None = None

    def meet(self, *others: "Node") -> None:
        """Make `others` its peers, from the next start on."""
        with self.config.open("a") as file:
            for one in others:
                file.write(f'\n[[peers]]\nagent = "{one.agent}"\naddress = "127.0.0.1:{one.listen}"\n')

    def launch(self) -> None:
        """Begin to start it, and wait for nothing."""
        self.process = subprocess.Popen(self.command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        until = time.monotonic() + 20
        while True:
            try:
                if self.call("GET", "/status")[0] == 200:
                    return
            except (OSError, HTTPException):
                assert self.process.poll() is None, self.process.stderr.read()
                assert time.monotonic() < until
            time.sleep(0.005)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()

    def call(self, method: str, path: str, body=None, connection: HTTPConnection | None = None):
        made = connection or HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = None if body is None else json.dumps(body)
            made.request(method, path, sent, {"Authorization": f"Bearer {self.token}"})
            answer = made.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            if connection is None:
                made.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(15)
        self.said = self.process.stderr.read()
        self.process.stderr.close()
        return code

    def run(self) -> tuple[int, str]:
        """Start it, expecting it to end by itself: (exit code, what it said)."""
        done = subprocess.run(self.command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stderr

    def end(self) -> None:
        """Whatever the state, no process and no pipe stays."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.process is not None:
            self.process.stderr.close()

    def elements(self) -> set[int]:
        status, told = self.call("GET", "/objects/s?type=gset")
        assert status == 200
        assert len(told["value"]) == len(set(told["value"]))
        return set(told["value"])
