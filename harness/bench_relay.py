"""What the datagram relay carries, what it adds, and whether its faults are what was asked for.

The relay is a process of its own; load and sink are this one.  Beside its injected delays stand those of the real
Toxiproxy on TCP, measured in the same run, if it is there.
"""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from faults.toxiproxy import HOW_TO_GET, ToxiproxyError, ToxiproxyServer, find_server
from harness.local.ports import free_ports

SIZE = 1200
"""Bytes of a datagram: what QUIC fills a packet with."""
WINDOW = 512
"""Datagrams in flight while throughput is measured: enough to keep the relay busy, too few to overflow a buffer."""
SECONDS = 1.5
REPEATS = 3
PINGS = 4000
DELAYS_MS = (5, 20, 50)
DELAYED = 1000
EVERY_S = 0.002
"""Between two datagrams that are delayed."""
COUNTED = 100_000
QUANTILE_999 = 3.2905
"""Of the standard normal, two-sided."""
_UDP_SEGMENT = 103
_GIVE_UP_S = 5.0


def bench() -> list[str]:
    """Lines for people: throughput, added latency, injected delays, rates, reproducibility."""
    with ExitStack() as stack:
        relay = stack.enter_context(_relay(seed=1))
        lines = [_throughput(relay), _throughput(relay, latency_ms=1), *_added_latency(relay)]
        lines += [_injected("relay, UDP      ", delay, _delays_over_udp(relay, delay)) for delay in DELAYS_MS]
        binary = find_server()
        if binary is None:
            return [*lines, HOW_TO_GET, *_rates(), _same_decisions()]
        real = stack.enter_context(_real(binary))
        lines += [_injected("Toxiproxy, TCP  ", delay, _delays_over_tcp(real, delay)) for delay in DELAYS_MS]
        return [*lines, *_rates(), _same_decisions()]


# --- servers and sockets ------------------------------------------------------------------------


@contextmanager
def _relay(*, seed: int) -> Iterator[ToxiproxyServer]:
    command = [sys.executable, "-m", "faults.relay_udp", "--listen", "127.0.0.1:0", "--seed", str(seed)]
    with _stopped(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        yield ToxiproxyServer("127.0.0.1", int(said.rpartition(":")[2]))


@contextmanager
def _real(binary: Path) -> Iterator[ToxiproxyServer]:
    (port,) = free_ports(1)
    command = [str(binary), "-host", "127.0.0.1", "-port", str(port)]
    with _stopped(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)):
        server = ToxiproxyServer("127.0.0.1", port)
        give_up = time.monotonic() + _GIVE_UP_S
        while True:
            try:
                server.version()
                break
            except ToxiproxyError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
        yield server


@contextmanager
def _stopped(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.terminate()


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 4 * 1024 * 1024)
    made.bind(("127.0.0.1", 0))
    made.settimeout(_GIVE_UP_S)
    return made


@contextmanager
def _through(relay: ToxiproxyServer) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the sink behind a new proxy, `bench`."""
    with closing(_udp()) as sink, closing(_udp()) as client:
        listen = relay.create("bench", "127.0.0.1:0", f"127.0.0.1:{sink.getsockname()[1]}")["listen"]
        client.connect(("127.0.0.1", int(listen.rpartition(":")[2])))
        try:
            client.send(b"open the session")
            sink.recv(SIZE)
            yield client, sink
        finally:
            relay.destroy("bench")


# --- throughput and latency ---------------------------------------------------------------------


def _throughput(relay: ToxiproxyServer, *, latency_ms: int = 0) -> str:
    with _through(relay) as (client, sink):
        if latency_ms:
            relay.add_toxic("bench", "delay", "latency", "upstream", {"latency": latency_ms})
        runs = [_pump(client, sink) for _ in range(REPEATS)]
    rates = [rate for rate, _, _ in runs]
    sent, arrived = sum(run[1] for run in runs), sum(run[2] for run in runs)
    return (
        f"throughput{f' under {latency_ms} ms of latency' if latency_ms else ''}: "
        f"{statistics.median(rates):,.0f} datagrams/s of {SIZE} B "
        f"({min(rates):,.0f} .. {max(rates):,.0f}), {WINDOW} in flight; "
        f"{arrived:,} of {sent:,} delivered ({arrived / sent:.4%})"
    )


def _pump(client: socket.socket, sink: socket.socket) -> tuple[float, int, int]:
    """Datagrams a second, sent, arrived: as many as the relay takes, with WINDOW in flight.

    Load and sink share a core with nobody but each other if there are two, so both must cost less than the relay:
    the kernel cuts one long send into a batch of datagrams (UDP_SEGMENT).
    """
    batch = 32
    segments = True
    try:
        client.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, SIZE)
    except OSError:
        segments = False
    load = bytes(SIZE * batch) if segments else bytes(SIZE)
    buffer = bytearray(SIZE)
    sent = arrived = 0
    begin = time.perf_counter()
    last = begin
    sink.settimeout(0.25)
    while last - begin < SECONDS:
        while sent - arrived < WINDOW:
            for _ in range(1 if segments else batch):
                client.send(load)
            sent += batch
        try:
            for _ in range(batch):
                sink.recv_into(buffer)
                arrived += 1
        except TimeoutError:
            break
        last = time.perf_counter()
    seconds, counted = last - begin, arrived
    with contextlib.suppress(TimeoutError):
        while arrived < sent:
            sink.recv_into(buffer)
            arrived += 1
    client.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
    return counted / seconds, sent, arrived


def _added_latency(relay: ToxiproxyServer) -> list[str]:
    """One datagram at a time, there only; direct and through the relay in turns, so that noise meets both."""
    with _through(relay) as (client, sink), closing(_udp()) as direct:
        direct.connect(sink.getsockname())
        plain: list[float] = []
        relayed: list[float] = []
        for _ in range(PINGS):
            plain.append(_one_way(direct, sink))
            relayed.append(_one_way(client, sink))
    base = statistics.median(plain)
    added = [one - base for one in relayed]
    return [
        f"one way, direct loopback: p50 {base * 1e6:.0f} us, p99 {_quantile(plain, 0.99) * 1e6:.0f} us",
        f"one way, added by the relay: p50 {_quantile(added, 0.5) * 1e6:.0f} us, "
        f"p99 {_quantile(added, 0.99) * 1e6:.0f} us",
    ]


def _one_way(sender: socket.socket, sink: socket.socket) -> float:
    begin = time.perf_counter()
    sender.send(b"x" * SIZE)
    sink.recv(SIZE)
    return time.perf_counter() - begin


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


# --- injected delays ----------------------------------------------------------------------------


def _injected(who: str, delay_ms: int, seconds: Sequence[float]) -> str:
    errors = [one * 1e3 - delay_ms for one in seconds]
    return (
        f"{who} {delay_ms:2} ms injected: error p50 {_quantile(errors, 0.5):+.3f} ms, "
        f"p99 {_quantile(errors, 0.99):+.3f} ms, least {min(errors):+.3f} ms ({len(errors)} datagrams)"
    )


def _delays_over_udp(relay: ToxiproxyServer, delay_ms: int) -> list[float]:
    with _through(relay) as (client, sink):
        relay.add_toxic("bench", "delay", "latency", "upstream", {"latency": delay_ms})
        return _one_every(client, sink)


def _delays_over_tcp(real: ToxiproxyServer, delay_ms: int) -> list[float]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(_GIVE_UP_S)
        listen = real.create("bench", "127.0.0.1:0", f"127.0.0.1:{listener.getsockname()[1]}")["listen"]
        real.add_toxic("bench", "delay", "latency", "upstream", {"latency": delay_ms})
        try:
            with closing(socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])), _GIVE_UP_S)) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with closing(listener.accept()[0]) as sink:
                    return _one_every(client, sink)
        finally:
            real.destroy("bench")


def _one_every(sender: socket.socket, sink: socket.socket) -> list[float]:
    """How long each of DELAYED messages of SIZE bytes took, sent EVERY_S apart, whether or not one is under way.

    Messages arrive in order, so on a stream the n-th is there with its last byte.
    """
    sent: list[float] = []
    taken: list[float] = []
    received = 0
    message = b"x" * SIZE
    begin = time.perf_counter()
    while len(taken) < DELAYED:
        now = time.perf_counter()
        next_send = begin + len(sent) * EVERY_S if len(sent) < DELAYED else now + _GIVE_UP_S
        if now >= next_send:
            sent.append(now)
            sender.sendall(message)
            continue
        if not select.select([sink], [], [], next_send - now)[0]:
            if len(sent) == DELAYED:
                break
            continue
        received += len(sink.recv(SIZE))
        arrived = time.perf_counter()
        while len(taken) < received // SIZE:
            taken.append(arrived - sent[len(taken)])
    return taken


# --- rates and reproducibility ------------------------------------------------------------------


def _rates() -> list[str]:
    """Each toxic alone on COUNTED datagrams, as the sink saw it."""
    lines = []
    asked: tuple[tuple[str, float, Callable[[list[int]], int]], ...] = (
        ("loss", 0.02, lambda seen: COUNTED - len(seen)),
        ("duplicate", 0.05, lambda seen: len(seen) - COUNTED),
        ("reorder", 0.1, _moved_back),
    )
    with _relay(seed=7) as relay:
        for toxic, probability, count in asked:
            seen = _numbers_seen(relay, toxic, probability, COUNTED)
            expected = COUNTED * probability
            margin = QUANTILE_999 * (expected * (1 - probability)) ** 0.5
            found = count(seen)
            lines.append(
                f"{toxic} {probability:g}: {found:,} of {COUNTED:,}, 99.9 % interval "
                f"{expected - margin:,.0f} .. {expected + margin:,.0f}: "
                f"{'inside' if abs(found - expected) <= margin else 'OUTSIDE'}"
            )
    return lines


def _moved_back(seen: list[int]) -> int:
    """Datagrams that came after one that was sent later than they were."""
    greatest, found = -1, 0
    for number in seen:
        found += number < greatest
        greatest = max(greatest, number)
    return found


def _same_decisions() -> str:
    """Two relays of one seed, one of another, the same datagrams."""
    runs = []
    for seed in (3, 3, 4):
        with _relay(seed=seed) as relay:
            runs.append(_numbers_seen(relay, "loss", 0.5, 10_000))
    return (
        f"same seed, same 10,000 datagrams: {'the same' if runs[0] == runs[1] else 'OTHER'} decisions; "
        f"another seed: {'THE SAME' if runs[0] == runs[2] else 'others'}"
    )


def _numbers_seen(relay: ToxiproxyServer, toxic: str, probability: float, count: int) -> list[int]:
    """The datagrams 0 .. count - 1 in the order in which they arrived.

    Sent in bursts that no buffer is too small for, half a millisecond apart: what is moved back, by a millisecond at
    the least, then has something to come behind.
    """
    with _through(relay) as (client, sink):
        relay.add_toxic("bench", toxic, toxic, "upstream", {"probability": probability})
        seen: list[int] = []
        sink.settimeout(0.0)
        for number in range(count):
            client.send(number.to_bytes(4, "big"))
            if number % 32 == 31:
                _take(sink, seen)
                time.sleep(0.0005)
        quiet_at = time.monotonic() + 0.5
        while time.monotonic() < quiet_at:
            if _take(sink, seen):
                quiet_at = time.monotonic() + 0.5
            time.sleep(0.002)
        return seen


def _take(sink: socket.socket, seen: list[int]) -> bool:
    before = len(seen)
    with contextlib.suppress(BlockingIOError):
        while True:
            seen.append(int.from_bytes(sink.recv(SIZE), "big"))
    return len(seen) > before


if __name__ == "__main__":
    print(*bench(), sep="\n")
