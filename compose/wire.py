"""What a mesh by hand needs before its nodes start; the one-shot services of compose.yaml run it.

    wire.py keys     keys, tokens and configurations of all nodes, into /node/node0 ... ; what is there stays
    wire.py links    a proxy for every directed link on the relay, by its API

Addresses are NETWORK.2 for the relay and NETWORK.10 on for the nodes; TRANSPORT is quic or tcp.
"""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from knhk_mesh.identity import Signer

NODES = int(os.environ.get("NODES", "4"))
NETWORK = os.environ["NETWORK"]
TRANSPORT = os.environ["TRANSPORT"]
HOME = Path("/node")
MESH_PORT, CONTROL_PORT, API_PORT, FIRST_PROXY_PORT = 7000, 7001, 8474, 20_000
RELAY = f"{NETWORK}.2"


def links() -> list[tuple[int, int]]:
    """Every directed link."""
    return [(source, target) for source in range(NODES) for target in range(NODES) if source != target]


def proxy_port(source: int, target: int) -> int:
    """Where the relay listens for what `source` sends to `target`."""
    return FIRST_PROXY_PORT + 100 * source + target


def write_secret(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


def make_keys() -> None:
    """Everything a node is started with."""
    homes = [HOME / f"node{number}" for number in range(NODES)]
    for home in homes:
        home.mkdir(exist_ok=True)
        for name in ("node.key", "node.token"):
            if not (home / name).exists():
                write_secret(home / name, os.urandom(32).hex())
    agents = [Signer(bytes.fromhex((home / "node.key").read_text().strip())).agent_id.hex() for home in homes]
    for number, home in enumerate(homes):
        (home / "node.toml").write_text(configuration(number, agents))


def configuration(number: int, agents: list[str]) -> str:
    """node.toml, as docs/node-contract.md has it."""
    own = {
        "network": "compose",
        "agent": agents[number],
        "key": "node.key",
        "token": "node.token",
        "data": "/data",
        "transport": TRANSPORT,
        "listen": f"0.0.0.0:{MESH_PORT}",
        "control": f"0.0.0.0:{CONTROL_PORT}",
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in own.items()]
    lines.append(f"faulty = {(NODES - 1) // 3}")
    for peer, agent in enumerate(agents):
        if peer != number:
            address = f"{RELAY}:{proxy_port(number, peer)}"
            lines += ["", "[[peers]]", f'agent = "{agent}"', f'address = "{address}"']
    return "\n".join(lines) + "\n"


def make_links() -> None:
    """Populate the relay; it may still be starting."""
    proxies = [
        {
            "name": f"{source}-{target}",
            "listen": f"{RELAY}:{proxy_port(source, target)}",
            "upstream": f"{NETWORK}.{10 + target}:{MESH_PORT}",
        }
        for source, target in links()
    ]
    request = urllib.request.Request(
        f"http://{RELAY}:{API_PORT}/populate",
        data=json.dumps(proxies).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 30
    while True:
        try:
            with opener.open(request, timeout=5) as answer:
                made = json.load(answer)["proxies"]
            assert len(made) == len(proxies), made
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    {"keys": make_keys, "links": make_links}[sys.argv[1]]()
