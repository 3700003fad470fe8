"""What a node is started with: its configuration file, key and token, as docs/node-contract.md has them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from harness.plan import PlannedCluster

CONFIG = "node.toml"
DATA = "data"


class NodeFiles(msgspec.Struct, frozen=True):
    """The secrets of one node, made anew for each run."""

    agent: str
    seed: str
    token: str


def make_node_files() -> NodeFiles:
    """A fresh key and token."""
    key = SigningKey.generate()
    return NodeFiles(agent=bytes(key.verify_key).hex(), seed=bytes(key).hex(), token=secrets.token_urlsafe(32))


def write_configuration(
    directory: Path,
    cluster: PlannedCluster,
    number: int,
    nodes: Sequence[NodeFiles],
    *,
    network: str,
    listen: str,
    control: str,
    peer_addresses: dict[int, str],
    data: str = DATA,
) -> Path:
    """Write the files of node `number` into `directory`; returns the path of its configuration."""
    own = nodes[number]
    write_secret(directory / "node.key", own.seed)
    write_secret(directory / "node.token", own.token)
    table = {
        "network": network,
        "agent": own.agent,
        "key": "node.key",
        "token": "node.token",
        "data": data,
        "transport": cluster.transport,
        "listen": listen,
        "control": control,
        "faulty": cluster.faulty,
        "region": cluster.regions[number],
        "gossip": {
            "fanout": cluster.fanout,
            "interval_ms": cluster.gossip_interval_ns / 1e6,
            "strategy": cluster.strategy,
            "frame_bytes_max": cluster.frame_bytes_max,
        },
        "peers": [
            {"agent": nodes[peer].agent, "address": address, "region": cluster.regions[peer]}
            for peer, address in sorted(peer_addresses.items())
        ],
    }
    path = directory / CONFIG
    path.write_bytes(_toml(table))
    return path


def write_secret(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")


def _toml(table: dict[str, object]) -> bytes:
    import tomli_w

    return tomli_w.dumps(table).encode()
