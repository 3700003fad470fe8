"""What a connection between two nodes carries over QUIC and over TCP, beside the bare libraries in the same run.

Two processes send each other frames of 1 KiB as fast as they can, a connection for each direction; what one of them
receives is one connection's rate while both ends are busy.  The ends are the mesh's (`knhk_mesh.transport.bench_ends`),
run as processes, since the harness does not reach into the mesh.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from harness.local.ports import free_ports

ENDS = "knhk_mesh.transport.bench_ends"
KINDS = {
    "quic": "QUIC, ours",
    "bare-quic": "QUIC, bare aioquic on asyncio",
    "tcp": "TCP, ours",
    "bare-tcp": "TCP, bare TLS streams of asyncio",
}
REPEATS = 3
SECONDS = 2.0
GIVE_UP_S = 60.0


def bench() -> list[str]:
    """Lines for people: messages a second on one connection, and processor time a message, for each kind."""
    readings: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(REPEATS):  # in turns, so that noise meets all of them
        for kind in KINDS:
            readings[kind] += run(kind)
    lines = ["1 KiB frames, both directions busy, two processes; a connection's median (least to greatest):"]
    return lines + [_line(KINDS[kind], readings[kind]) for kind in KINDS]


def run(kind: str, seconds: float = SECONDS) -> list[tuple[float, float]]:
    """(messages a second, processor microseconds a message sent and received) at each of the two ends."""
    ports = [str(port) for port in free_ports(2)]
    with ExitStack() as stack:
        ends = [
            stack.enter_context(_end([sys.executable, "-m", ENDS, kind, end, *ports, "--seconds", str(seconds)]))
            for end in ("0", "1")
        ]
        told = [json.loads(end.communicate(timeout=GIVE_UP_S)[0]) for end in ends]
    return [(one["frames"] / one["seconds"], one["processor_seconds"] / one["frames"] * 1e6) for one in told]


@contextmanager
def _end(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when the block ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(name: str, readings: Sequence[tuple[float, float]]) -> str:
    rates = sorted(rate for rate, _ in readings)
    cost = statistics.median(cost for _, cost in readings)
    return (
        f"{name:32} {statistics.median(rates):9,.0f} messages/s ({rates[0]:,.0f} to {rates[-1]:,.0f}), "
        f"{cost:.0f} us of processor for one sent and one received"
    )


if __name__ == "__main__":
    print("\n".join(bench()))
