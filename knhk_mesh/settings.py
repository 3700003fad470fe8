"""The configuration file of a node: TOML as docs/node-contract.md has it, read into what the parts of a node need.

Everything that is wrong with it is one ConfigError that names the file and the place.  Files that hold a secret must
be readable by their owner alone: a private key that others can read is no key.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from knhk_mesh.commits import network_id
from knhk_mesh.config import MILLISECOND, NodeConfig, PeerConfig
from knhk_mesh.errors import ConfigError, one_line
from knhk_mesh.identity import AGENT_ID_BYTES, SEED_BYTES, Signer
from knhk_mesh.quorum import Roster

TOKEN_CHARACTERS_MIN = 16
SECRET_BYTES_MAX = 4096
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")

Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Address = Annotated[str, msgspec.Meta(pattern=r"^.+:[0-9]{1,5}\Z")]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table: its keys are its fields, and no others."""


class GossipTable(_Table, frozen=True):
    """[gossip]: each key is optional."""

    fanout: int = 5
    interval_ms: float = 100.0
    strategy: str = "random"
    frame_bytes_max: int = 64 * 1024


class RosterTable(_Table, frozen=True):
    """[roster]: who signed that this node and its peers are the members, of which `faulty` may be.

    With it the node certifies; with `gate_local_writes` it takes no write at all while it cannot reach a quorum.
    """

    epoch: int
    authority: Hex32
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
    gate_local_writes: bool = False


class ProbesTable(_Table, frozen=True):
    """[probes]: each key is optional."""

    interval_ms: float = 100.0
    misses: int = 7


class PeerTable(_Table, frozen=True):
    """[[peers]]: one other member, and the address to use for it."""

    agent: Hex32
    address: Address
    region: str = ""


class NodeFile(_Table, frozen=True):
    """The whole file, as decoded."""

    network: str
    agent: Hex32
    key: str
    token: str
    data: str
    listen: Address
    control: Address
    transport: Literal["quic", "tcp"] = "quic"
    faulty: int = 0
    region: str = ""
    observe: tuple[str, ...] = ()
    gossip: GossipTable = GossipTable()
    probes: ProbesTable = ProbesTable()
    roster: RosterTable | None = None
    peers: tuple[PeerTable, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """What a node process is started with.  `seed` is the private key's 32 bytes; `data` a directory."""

    config: NodeConfig
    seed: bytes
    token: str
    data: Path
    transport: Literal["quic", "tcp"]
    listen: str
    control: str


def read_settings(path: Path) -> Settings:
    """The settings in the file at `path`.  Raises ConfigError, one line that names file and place."""
    try:
        return _settings(_decoded(path), path.parent)
    except ConfigError as error:
        raise ConfigError(one_line(f"{path}: {error}")) from None


def _decoded(path: Path) -> NodeFile:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=NodeFile)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        message = one_line(str(error))
        found = _PLACE.search(message)
        place, problem = (f"{found.group(1)}: ", message[: found.start()]) if found else ("", message)
        raise ConfigError(f"{place}{problem}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or too many digits
        raise ConfigError(f"is not TOML: {error}") from None


def _settings(file: NodeFile, base: Path) -> Settings:
    for place, name in [("key", file.key), ("token", file.token), ("data", file.data)]:
        if "\0" in name:
            raise ConfigError(f"{place}: no path has a NUL in it")
    seed = read_seed(base / file.key)
    if Signer(seed).agent_id.hex() != file.agent:
        raise ConfigError(f"agent: is not the public key of {base / file.key}")
    if any(peer.agent == file.agent for peer in file.peers):
        raise ConfigError("peers: name this node itself")
    for place, address in [("listen", file.listen), ("control", file.control)]:
        check_address(place, address)
    for number, peer in enumerate(file.peers):
        check_address(f"peers[{number}].address", peer.address, port_min=1)
    gossip = file.gossip
    if not 1 <= gossip.interval_ms <= 60_000:
        raise ConfigError("gossip.interval_ms: is not in 1 .. 60000")
    if not 1 <= file.probes.interval_ms <= 60_000:
        raise ConfigError("probes.interval_ms: is not in 1 .. 60000")
    config = NodeConfig(
        network=file.network,
        peers=tuple(PeerConfig(bytes.fromhex(peer.agent), peer.address, peer.region) for peer in file.peers),
        faulty=file.faulty,
        region=file.region,
        fanout=gossip.fanout,
        strategy=gossip.strategy,
        gossip_interval_ns=int(gossip.interval_ms * MILLISECOND),
        frame_bytes_max=gossip.frame_bytes_max,
        probe_interval_ns=int(file.probes.interval_ms * MILLISECOND),
        probe_misses=file.probes.misses,
        observe=file.observe,
        roster=_roster(file),
        gate_local_writes=file.roster is not None and file.roster.gate_local_writes,
    )
    return Settings(
        config=config,
        seed=seed,
        token=read_token(base / file.token),
        data=base / file.data,
        transport=file.transport,
        listen=file.listen,
        control=file.control,
    )


def _roster(file: NodeFile) -> Roster | None:
    """The roster of this node and its peers, as its authority has signed it; NodeConfig checks the signature."""
    table = file.roster
    if table is None:
        return None
    if not 0 <= table.epoch < 1 << 64:
        raise ConfigError("roster.epoch: is not in 0 .. 2^64 - 1")
    members = sorted(bytes.fromhex(agent) for agent in (file.agent, *(peer.agent for peer in file.peers)))
    return Roster(
        network=network_id(file.network),
        epoch=table.epoch,
        faulty=file.faulty,
        members=tuple(members),
        authority=bytes.fromhex(table.authority),
        signature=bytes.fromhex(table.signature),
    )


def check_address(place: str, address: str, *, port_min: int = 0) -> None:
    """Raise ConfigError unless `address` is "host:port", of a host that a name server could be asked for."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not port_min <= int(port) <= 65535:
        raise ConfigError(f"{place}: {address} has no port of {port_min} to 65535")
    try:
        asked = host.encode("idna")
    except UnicodeError:
        asked = b""
    if not asked or not host.isprintable():
        raise ConfigError(f"{place}: {address} is not host:port: no host has such a name")


def read_seed(path: Path) -> bytes:
    """The 32-byte seed of a private key, kept as hex in a file that only its owner may read.  Raises ConfigError."""
    try:
        seed = bytes.fromhex(_read_secret(path, "key"))
    except ValueError:
        raise ConfigError(f"key: {path} does not hold hexadecimal digits") from None
    if len(seed) != SEED_BYTES:
        raise ConfigError(f"key: {path} holds {len(seed)} bytes, a seed has {SEED_BYTES}")
    return seed


def read_token(path: Path) -> str:
    """The bearer token of the control API, from a file that only its owner may read.  Raises ConfigError."""
    token = _read_secret(path, "token")
    if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"token: {path} does not hold {TOKEN_CHARACTERS_MIN} printable characters or more")
    return token


def _read_secret(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                raise ConfigError(f"{what}: {path} may be read by others (mode {mode:03o}); chmod 600 it")
            secret = file.read(SECRET_BYTES_MAX + 1)
            if len(secret) > SECRET_BYTES_MAX:
                raise ConfigError(f"{what}: {path} has more than {SECRET_BYTES_MAX} bytes")
            return secret.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{what}: {path} is not text") from None
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error.strerror}") from None


assert AGENT_ID_BYTES == 32  # what Hex32 says
