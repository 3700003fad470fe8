"""What this machine can run, and how to get what is missing: a line each, for the three backends.

Everything is tried, not guessed: the relay is started, the engine asked, a packet filter's rule set and taken off.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

PYTHON_MIN = (3, 11)
PACKAGES = ("aioquic", "aiohttp", "cryptography", "docker", "hdrh", "msgspec", "nacl", "toxiproxy")
TIMER_LATE_MS_MAX = 5.0


class Finding(NamedTuple):
    """`ok`, what was looked at, what was seen, and how to get it where it is missing."""

    ok: bool
    what: str
    seen: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Every finding, each as soon as it is made."""
    yield _python()
    yield _packages()
    yield _time()
    yield _relay()
    yield _toxiproxy()
    yield from _docker()
    yield _compose()


def lines(findings: Iterator[Finding], seen: dict[str, bool]) -> Iterator[str]:
    """For people: the findings, then which campaigns that makes possible; `seen` gets whether each was as it should."""
    for finding in findings:
        seen[finding.what] = finding.ok
        yield f"{'ok  ' if finding.ok else 'NO  '}{finding.what:14} {finding.seen}"
        if not finding.ok and finding.remedy:
            yield f"    {'':14} {finding.remedy}"
    base = seen["python"] and seen["packages"]
    ready = {
        "sim": base,
        "local over QUIC": base and seen["UDP relay"],
        "local over TCP": base and seen["Toxiproxy"],
        "docker": base and seen["Docker"] and seen["images"],
    }
    for backend, ok in ready.items():
        yield f"campaigns on {backend}: {'yes' if ok else 'no'}"


def _python() -> Finding:
    version = platform.python_version()
    ok = sys.version_info >= PYTHON_MIN
    return Finding(ok, "python", f"{version}, {os.cpu_count()} cores", "needs Python 3.11 or newer")


def _packages() -> Finding:
    missing = [one for one in PACKAGES if importlib.util.find_spec(one) is None]
    return Finding(not missing, "packages", "missing: " + ", ".join(missing) if missing else "all there", "make setup")


def _time() -> Finding:
    """How late this machine wakes a sleeper, which is what a plan's timing drifts by."""
    late: list[float] = []
    for _ in range(50):
        due = time.perf_counter() + 0.005
        time.sleep(0.005)
        late.append((time.perf_counter() - due) * 1000)
    worst = max(late)
    seen = f"a sleep of 5 ms is {statistics.median(late):.2f} ms late at the median, {worst:.2f} ms at worst"
    return Finding(worst <= TIMER_LATE_MS_MAX, "time", seen, "timings will drift: look for what else uses the cores")


def _relay() -> Finding:
    try:
        version = asyncio.run(_start_relay())
    except Exception as error:
        return Finding(
            False, "UDP relay", f"does not start: {type(error).__name__} {error}", "python -m faults.relay_udp"
        )
    return Finding(True, "UDP relay", f"starts, speaks version {version} of Toxiproxy's API")


async def _start_relay() -> str:
    import tempfile
    from pathlib import Path

    from faults.toxiproxy import ToxiproxyError, ToxiproxyServer
    from harness.local.ports import free_ports
    from harness.local.processes import Process

    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "faults.relay_udp", "--listen", f"127.0.0.1:{port}"]
        root = Path(__file__).resolve().parent.parent
        process = Process(command, log=Path(directory) / "log", directory=root)
        try:
            until = time.monotonic() + 10
            while True:
                try:
                    return ToxiproxyServer("127.0.0.1", port).version()
                except ToxiproxyError:
                    if process.exit_code() is not None or time.monotonic() > until:
                        raise
                    await asyncio.sleep(0.05)
        finally:
            process.terminate(5)


def _toxiproxy() -> Finding:
    from faults.toxiproxy import VERSION, find_server

    found = find_server()
    go = "" if shutil.which("go") else " (and that needs Go, which is not here)"
    remedy = f"faults/install-toxiproxy builds it{go}"
    return Finding(found is not None, "Toxiproxy", f"{VERSION} at {found}" if found else "not there", remedy)


def _docker() -> Iterator[Finding]:
    from harness.docker.engine import OWN_IMAGES, connect, engine_errors, problem_here, remedy
    from harness.docker.filter import try_filter
    from harness.errors import HostError

    try:
        client = connect()
        with engine_errors("docker"):
            version = client.version()["Version"]
    except HostError as error:
        yield Finding(False, "Docker", str(error), remedy(str(error)))
        yield Finding(False, "images", "needs Docker")
        yield Finding(False, "packet filter", "needs Docker")
        return
    yield Finding(True, "Docker", f"engine {version}")
    lacking = problem_here(OWN_IMAGES)
    yield Finding(lacking is None, "images", lacking or "there")
    problem = "needs the images" if lacking else try_filter(client)
    yield Finding(problem is None, "packet filter", problem or "rules can be set in a container's namespace",
                  "campaigns that cut by packet filter are skipped")  # fmt: skip
    client.close()


def _compose() -> Finding:
    try:
        done = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, "compose", type(error).__name__, "compose/install-compose (only for compose/ by hand)")
    ok = done.returncode == 0
    seen = done.stdout.strip() if ok else "no plugin"
    return Finding(ok, "compose", seen, "compose/install-compose (only for compose/ by hand)")
