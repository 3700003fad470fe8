"""How long `set_full` takes over a big history, and how much memory.

The history is that of the backlog: a hundred thousand adds to a gset on five nodes and two thousand reads, the
greatest of them a hundred thousand elements.  It is judged in a process of its own, whose peak memory is then that of
the history and the checker, and nobody else's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from checkers.compose import check
from checkers.history import (
    CheckEntry,
    Complete,
    Deadline,
    Event,
    Header,
    History,
    Invoke,
    NodeEntry,
    ObjectEntry,
    Phase,
    SetReadEncoder,
)

ADDS = 100_000
READS = 2_000
NODES = 5
LAG_ADDS = 400
"""A node shows what was added up to (its number times this many adds) ago."""
_GAP_NS = 200_000
_CODE = "import json; from harness.bench_set_full import _measure; print(json.dumps(_measure()))"


def bench() -> dict[str, float]:
    """`seconds` that the check took, `peak_mb` of the process, `adds`, `reads`, `largest_read` (elements)."""
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def build() -> tuple[History, int]:
    """The history, and the number of elements in its greatest read.

    Half of the adds come before the first read, so that every read shows about 50,000 to 100,000 elements.
    """
    events: list[Event] = [Phase(phase="load", t=0)]
    encoder = SetReadEncoder()
    added: list[int | str] = []
    largest = 0
    adds_a_read = ADDS // 2 // (READS - NODES)
    for _ in range(ADDS // 2):
        _add(events, added)
    for number in range(READS - NODES):
        for _ in range(adds_a_read):
            _add(events, added)
        node = number % NODES
        shown = added[: len(added) - node * LAG_ADDS]
        largest = max(largest, len(shown))
        _read(events, encoder, node=node, shown=shown, final=False)
    while len(added) < ADDS:
        _add(events, added)
    for node in range(NODES):
        _read(events, encoder, node=node, shown=added, final=True)
    events.append(Phase(phase="done", t=len(events) * _GAP_NS))
    return History(header=_header(), events=events), max(largest, len(added))


def _add(events: list[Event], added: list[int | str]) -> None:
    op = len(events)
    element = len(added)
    node = element % NODES
    t = op * _GAP_NS
    events.append(
        Invoke(op=op, process=f"w{node}", node=node, t=t, intended=t, object="s", action="add", value=element)
    )
    events.append(Complete(op=op, t=t + _GAP_NS, outcome="ok"))
    added.append(element)


def _read(events: list[Event], encoder: SetReadEncoder, *, node: int, shown: list[int | str], final: bool) -> None:
    op = len(events)
    t = op * _GAP_NS
    change = encoder.encode(node=node, object="s", op=op, value=shown, whole=final)
    events.append(Invoke(op=op, process=f"r{node}", node=node, t=t, intended=t, object="s", action="read", final=final))
    events.append(Complete(op=op, t=t + _GAP_NS, outcome="ok", value=change))


def _header() -> Header:
    return Header(
        campaign="bench-set-full",
        seed=0,
        backend="none",
        nodes=[NodeEntry(index=node, agent=f"{node:02x}") for node in range(NODES)],
        faulty=0,
        objects=[ObjectEntry("s", "gset")],
        core=list(range(NODES)),
        deadline=Deadline(
            total_ns=1,
            rounds=1,
            interval_ns=1,
            reconnect_ns=0,
            transfer_ns=0,
            exchange_ns=0,
            specification_rounds=1.0,
        ),
        checks=[CheckEntry("set_full")],
    )


def _measure() -> dict[str, float]:
    """Build, judge, and tell; raises AssertionError if the verdict is not "valid"."""
    history, largest = build()
    started = time.perf_counter()
    verdict = check(history)
    seconds = time.perf_counter() - started
    assert verdict.validity == "valid", verdict
    operations = [event for event in history.events if isinstance(event, Invoke)]
    return {
        "seconds": round(seconds, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "adds": sum(one.action == "add" for one in operations),
        "reads": sum(one.action == "read" for one in operations),
        "largest_read": largest,
    }
