"""What a node is started with: its configuration file, key and token, as docs/node-contract.md has them."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from nacl.signing import SigningKey

from harness.bounds import EPOCH
from harness.plan import PlannedCluster

ROSTER_DOMAIN = b"knhk.roster.v1"
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
    authority: SigningKey,
    data: str = DATA,
) -> Path:
    """Write the files of node `number` into `directory`; returns the path of its configuration.

    `authority` signs the roster, where the campaign wants one.
    """
    own = nodes[number]
    write_secret(directory / "node.key", own.seed)
    write_secret(directory / "node.token", own.token)
    table: dict[str, Any] = {
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
    if cluster.observe:
        table["observe"] = list(cluster.observe)
    if cluster.roster or cluster.strategy != "random":
        table["probes"] = {"interval_ms": cluster.probe_interval_ns / 1e6, "misses": cluster.probe_misses}
    if cluster.roster:
        members = [files.agent for files in nodes]
        table["roster"] = {**signed_roster(authority, network, cluster.faulty, members)}
        table["roster"]["gate_local_writes"] = cluster.gate_local_writes
    path = directory / CONFIG
    path.write_bytes(_toml(table))
    return path


def signed_roster(authority: SigningKey, network: str, faulty: int, members: Sequence[str]) -> dict[str, Any]:
    """The roster of `members` (hex) as docs/node-contract.md has it, signed."""
    identity = blake2b(network.encode(), digest_size=32, person=b"knhk.network").digest()
    ordered = sorted(bytes.fromhex(member) for member in members)
    head = struct.pack(">16s32sQII", ROSTER_DOMAIN, identity, EPOCH, faulty, len(ordered))
    signature = authority.sign(head + b"".join(ordered)).signature
    return {"epoch": EPOCH, "authority": bytes(authority.verify_key).hex(), "signature": signature.hex()}


def write_secret(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")


def _toml(table: dict[str, object]) -> bytes:
    import tomli_w

    return tomli_w.dumps(table).encode()
