"""What a person writes: a campaign, in TOML.

A campaign is a claim and the means to test it: a cluster, its network, the load, the faults, the checks, and
what verdict is expected.  It holds no seed.  Every field has a default but `name` and `shows`; unknown keys, wrong
types and values that cannot be are refused with the file and the place (`halves.toml: faults[0].shape: ...`).

Times carry their unit in the name.  Nodes are numbered from 0.  docs/campaigns.md lists the fields with examples.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from faults.schedule import FAULTS, FaultSpec
from harness.errors import BadInput

NODES_MAX = 1000
LOAD_S = (0.001, 3600.0)
OPERATIONS_MAX = 1_000_000
NAME_BYTES_MAX = 256
CAMPAIGN_NAME_BYTES_MAX = 200  # it is a directory in the store
FRAME_BYTES_MIN = 52_000
"""The reference mesh's largest commit fits a frame whole, with room to spare."""
FRAME_BYTES_MAX = 16 * 1024 * 1024
GOSSIP_INTERVAL_MS = (1, 60_000)
PROBE_INTERVAL_MS = (10, 60_000)
PROBE_MISSES = (2, 1000)
DISK_SYNC_MS = (0.3, 1000)
DELAY_MS = (0, 60_000)
OPERATION_TIMEOUT_MS = (1, 60_000)
Transport = Literal["quic", "tcp"]
Observed = Literal["selections", "resources"]
Wiring = Literal["relayed", "direct"]
Strategy = Literal["random", "nearest", "hybrid", "region"]
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table: its keys are its fields, and no others."""


class Cluster(_Table, frozen=True):
    """The nodes and how they gossip.  `faulty` is f, by default (n - 1) // 3; `regions` names one a node.

    With a `roster`, nodes certify stable writes and detect partitions: every `probe_interval_ms` each peer is probed,
    and an echo counts for `probe_misses` intervals; with `gate_local_writes` a node that is cut off refuses local
    writes, too.  `observe` names what nodes tell of themselves at intervals.  `disk_sync_ms_max` is for simulated
    disks: a sync takes from 0.3 ms to so long.  `transports` are what real nodes run it over, once each; on `wiring`
    "direct" their links go through no relay.
    """

    nodes: int = 4
    transports: tuple[Transport, ...] = ("quic",)
    wiring: Wiring = "relayed"
    faulty: int | None = None
    fanout: int | None = None
    strategy: Strategy = "random"
    roster: bool = False
    gate_local_writes: bool = False
    probe_interval_ms: float = 100.0
    probe_misses: int = 7
    observe: tuple[Observed, ...] = ()
    gossip_interval_ms: float = 100.0
    frame_bytes_max: int = 65536
    disk_sync_ms_max: float = 2.0
    regions: tuple[str, ...] = ()


class Between(_Table, frozen=True):
    """The ordinary network from one region to another, in that direction only."""

    source: str
    target: str
    latency_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0


class Network(_Table, frozen=True):
    """The network while no fault is in force: one way latency and jitter (uniform), loss as a probability."""

    latency_ms: float = 1.0
    jitter_ms: float = 0.2
    loss: float = 0.0
    between: tuple[Between, ...] = ()


class Load(_Table, frozen=True):
    """How long operations are offered, and how long a client waits for an answer."""

    duration_s: float = 14.0
    operation_timeout_ms: float = 1000.0
    digest_interval_ms: float = 500.0


class WorkloadSpec(_Table, frozen=True):
    """One object under load.  `rate` is operations a second over all clients; `reads` and `removes` are shares.

    `stable` is the share of the writes that want a certificate, `quorum` that of the reads which reconcile first.
    `clients` clients are spread over `nodes` (all but the liars' by default: say who may write where only some can).
    """

    type: Literal["gset", "pncounter", "orset"]
    object: str = ""
    rate: float = 20.0
    reads: float = 0.2
    removes: float = 0.0
    stable: float = 0.0
    quorum: float = 0.0
    clients: int | None = None
    nodes: tuple[int, ...] | None = None


class CheckSpec(_Table, frozen=True):
    """A checker by name, and its options."""

    name: str
    options: dict[str, Any] = {}


class Expect(_Table, frozen=True):
    """The claim: the verdict, and for an invalid one the anomalies by which it must show, all of them and no other."""

    validity: Literal["valid", "invalid"] = "valid"
    anomalies: tuple[str, ...] = ()


class Assumes(_Table, frozen=True):
    """What the claim rests on.  At most `byzantine_and_wiped_max` nodes lie or lose their disk; default f."""

    byzantine_and_wiped_max: int | None = None


class Requires(_Table, frozen=True):
    """Capabilities that a backend must have for the campaign to mean anything, beyond those of its faults."""

    capabilities: tuple[str, ...] = ()


class Campaign(_Table, frozen=True):
    """A campaign, as decoded; `compiler.compile_campaign` checks what concerns several fields at once."""

    name: str
    shows: str
    cluster: Cluster = Cluster()
    network: Network = Network()
    load: Load = Load()
    workloads: tuple[WorkloadSpec, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    core: tuple[int, ...] | None = None
    expect: Expect = Expect()
    assumes: Assumes = Assumes()
    requires: Requires = Requires()


def read_campaign(path: Path) -> Campaign:
    """The campaign in a TOML file.  Raises BadInput."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(str(path), "", f"cannot be read: {error.strerror}") from None
    return parse_campaign(text, source=path.name)


def parse_campaign(text: bytes, *, source: str) -> Campaign:
    """The campaign in `text`; `source` names it in errors.  Raises BadInput."""
    try:
        return msgspec.toml.decode(text, type=Campaign)
    except msgspec.ValidationError as error:
        place, problem = split_place(str(error))
        if problem.startswith("Invalid value") and place.endswith(".fault"):
            problem += f"; one of {', '.join(FAULTS)}"
        raise BadInput(source, place, problem) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(source, "", f"is not TOML: {error}") from None


def split_place(message: str) -> tuple[str, str]:
    """msgspec's "problem - at `$.a.b[0]`" as ("a.b[0]", "problem")."""
    found = _PLACE.search(message)
    if found is None:
        return "", message
    return found.group(1), message[: found.start()]
