"""kill -9 in the midst of writing, two hundred times: whatever was acknowledged is there.

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
WRITING_S = (0.005, 0.05)


def write(node: Node, elements: range, acknowledged: set[int], broken: list[int]) -> None:
    """Write until the node is gone; what was on its way then may be there or not."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=10)
    try:
        for element in elements:
            operation = {"object": "s", "type": "gset", "action": "add", "value": element}
            try:
                status, _ = node.call("POST", "/operations", {"operations": [operation]}, connection)
            except (OSError, HTTPException, json.JSONDecodeError):
                broken.append(element)
                return
            assert status == 200
            acknowledged.add(element)
    finally:
        connection.close()


def test_two_hundred_kills_lose_no_acknowledged_write(tmp_path: Path) -> None:
    node, chance = Node(tmp_path / "node"), random.Random(9)
    acknowledged: set[int] = set()
    in_flight = with_writes = 0
    try:
        for life in range(LIVES):
            node.start()
            if life % CHECK_EVERY == 0:
                assert acknowledged <= node.elements()
            before, broken = len(acknowledged), []
            first = life * CLIENTS * 100_000
            clients = [
                threading.Thread(
                    target=write,
                    args=(node, range(first + number * 100_000, first + (number + 1) * 100_000), acknowledged, broken),
                )
                for number in range(CLIENTS)
            ]
            for client in clients:
                client.start()
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
    assert acknowledged <= found, sorted(acknowledged - found)[:10]
    # The test has tested something: writes were on their way at nearly every kill, and acknowledged before most.
    assert in_flight > 0.9 * LIVES and with_writes > 0.5 * LIVES, (in_flight, with_writes, len(acknowledged))
