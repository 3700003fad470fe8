"""kill -9 in the midst of writing, two hundred times: whatever was acknowledged is there, and nothing else.

One node, one data directory, two hundred lives.  In each, clients write elements of their own as fast as they are
answered, and the node is killed after a few milliseconds of that.  A kill proves the order of things (durable, then
acknowledged), not an fsync; the planted bug `missing_fsync` is caught in the simulator.
"""

import json
import random
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.node_process import Node

LIVES = 200
CLIENTS = 3
CHECK_EVERY = 20
STARTS = 15
WRITING_S = (0.005, 0.05)


def write(node: Node, elements: range, sent: set[int], acknowledged: set[int], broken: list[int]) -> None:
    """Write until the node is gone; what was on its way then may be there or not."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=10)
    try:
        for element in elements:
            operation = {"object": "s", "type": "gset", "action": "add", "value": element}
            sent.add(element)
            try:
                status, _ = node.call("POST", "/operations", {"operations": [operation]}, connection)
            except (OSError, HTTPException, json.JSONDecodeError):
                broken.append(element)
                return
            if status == 200:
                acknowledged.add(element)
            elif status in (409, 503):
                sent.discard(element)  # definitely refused, so never to be seen
    finally:
        connection.close()


def test_two_hundred_kills_lose_no_acknowledged_write(tmp_path: Path) -> None:
    node, chance = Node(tmp_path / "node"), random.Random(9)
    acknowledged: set[int] = set()
    sent: set[int] = set()
    in_flight = with_writes = 0
    try:
        for life in range(LIVES):
            node.start()
            if life % CHECK_EVERY == 0:
                assert acknowledged <= node.elements() <= sent
            before, broken = len(acknowledged), []
            first = life * CLIENTS * 100_000
            clients = [
                threading.Thread(
                    target=write,
                    args=(node, range(start, start + 100_000), sent, acknowledged, broken),
                )
                for start in range(first, first + CLIENTS * 100_000, 100_000)
            ]
            for client in clients:
                client.start()
            # Every fifth life may end before its first answer; the others have one, however slow the machine is.
            until = time.monotonic() + 5 * bool(life % 5)
            while len(acknowledged) == before and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(chance.uniform(*WRITING_S))
            node.kill()
            for client in clients:
                client.join()
            in_flight += bool(broken)
            with_writes += len(acknowledged) > before
        node.start()
        found = node.elements()
    finally:
        node.end()
    assert acknowledged <= found <= sent, (sorted(acknowledged - found)[:10], sorted(found - sent)[:10])
    # The test has tested something: writes were on their way at nearly every kill, and acknowledged before most.
    assert in_flight > 0.9 * LIVES and with_writes >= 0.8 * LIVES, (in_flight, with_writes, len(acknowledged))


def test_kills_while_it_starts_lose_nothing_either(tmp_path: Path) -> None:
    """Most of them hit the imports; those that hit the recovery of the last life's journal are what this is for."""
    node, chance = Node(tmp_path / "node"), random.Random(3)
    sent: set[int] = set()
    acknowledged: set[int] = set()
    cut_short = 0
    try:
        for life in range(STARTS):
            begun = time.monotonic()
            node.start()
            took = time.monotonic() - begun
            broken: list[int] = []
            first = life * 100_000
            client = threading.Thread(
                target=write, args=(node, range(first, first + 100_000), sent, acknowledged, broken)
            )
            client.start()
            time.sleep(0.03)
            node.kill()
            client.join()
            node.launch()
            time.sleep(chance.uniform(0.5, 1.1) * took)
            cut_short += node.process.poll() is None
            node.kill()
        node.start()
        found = node.elements()
    finally:
        node.end()
    assert acknowledged <= found <= sent, (sorted(acknowledged - found)[:10], sorted(found - sent)[:10])
    assert acknowledged and cut_short == STARTS
