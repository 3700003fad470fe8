"""The history: what a run leaves behind, and all that a checker ever sees.  This module owns the format.

JSON lines in UTF-8.  The first line is the header, each further line one event; `kind` says which.  Events are only
ever appended, and refer to each other by operation, not by line.  A last line that is torn, because the writer was
killed, is passed over and reported; any other line that cannot be read is an error.  Unknown fields are ignored, so
an older reader can read a newer history of the same `format`.

header    format      1
          campaign    its name            seed, backend     which run this is
          nodes       [{index, agent (hex), region, byzantine}]
          faulty      f, as the cluster was told
          objects     [{name, type}]      type: gset, pncounter, orset
          core        indexes of the correct nodes that must converge after the heal
          deadline    {total_ns, rounds, interval_ns, reconnect_ns, transfer_ns, exchange_ns,
                       specification_rounds, inputs}: how long convergence may take, and from what it was computed
          quorum      {epoch, network, size, detection_ns, recovery_ns, gated}, or null where there is no roster:
                       the members are `nodes`, `size` of them make a certificate (n - f), `network` is the mesh's name;
                       how long a node may take to see that it is cut off, and to be healthy again after the heal;
                       `gated`: whether a node that is not healthy refuses local writes, too
          checks      [{name, options}]   left_out          checks that could not be made: {name: why}
          network     {latency_ms, loss}   one way at the most, with jitter, while no fault is in force
          faults      [{id, fault, required, what, links, nodes, strategy, latency_ms, loss, rate_kb_s}]   links and
                       nodes that it is about; of a Byzantine seat the strategy; of a link how slow, lossy and narrow
          capabilities, versions, plan    what the backend can do; who made this; the plan, verbatim

invoke    op          a number of its own for each invocation
          process     the logical client: sequential, and new after an indefinite outcome
          node        whom it asked       t, intended       when it did, and when it meant to (ns)
          object      "" for a digest     action            add, remove, read, increment, decrement, digest,
                                                    certificate
          level       local; stable: a write that is acknowledged with a certificate; quorum: a read after reconciling
          value       the argument; of "certificate" a commit's id
          symbol      how the plan named it, where it depended on a read
          final       whether this is one of the last reads, after the heal
complete  op          of the invocation   t                 when the answer came (ns)
          outcome     ok; fail: definitely not done; info: nobody knows
          value       what came back      error             one line, where there is one
          commit      id (hex) of the commit that a write made, or that the certificate shown is said to be of
          visible     ids (hex) of the branch heads that a read was computed from
          certificate {statement, votes: [[voter, signature], ...]}, all in hex: of a stable write, or the one that was
                      asked for, and null if the node keeps none
fault     fault       its id              stage             injected, observed, lifted, skipped
          t, note     when, and a line    evidence          how it was seen to bite; "bites" counts
phase     phase       load, heal, quiesce, final, done      t, note
node      node        whose event it is   name              started, accepted, committed, proven, ...
          monotonic, wall   that node's own clocks (ns)     t   when it was recorded, for people only
          data        committed  {id, author, incarnation, seq, prev, deps, operations, accuses}; a Byzantine seat tells
                                 of every commit that it signs, so of two for one slot when it forks
                      accepted   {ids}          in the order in which this node took them into its accepted set
                      state      {from, to, reachable, quorum}: healthy, partitioned, recovering; on every change
                      certified  {id, statement, votes}: this node verified and kept a certificate
                      voted      {statement, voter, signature}: a Byzantine seat tells of a vote that it was given
                      proven     {agent, proof}: proof is {first, first_signature, second, second_signature}, in hex
                      suspected, cleared        {agent, score}: this node does not talk to a peer; it does again
                      selected   {rounds, available, k}: of each of the last gossip rounds the peers that were picked
                                 (the first 16 digits of each agent id), of how many, and how many were wanted
                      resources  {used, limits}: how much of each bounded thing is in use, by name
                      starved    {for_ns}: its machine had no idle processor for that long, up to this event
                      clock      {}: `t` and `monotonic` are of one instant, so the node's other events can be placed
                                 on the harness's clock; without one, `t` is exact (simulator)

A statement has 144 bytes, integers big-endian, and a vote is an Ed25519 signature of exactly those: domain
b"knhk.vote.v1" and zeros (16), network (32: BLAKE2b-256 of the mesh's name, personalised "knhk.network"), epoch (8),
author (32), incarnation (16), seq (8), commit id (32).  A proof is two commit headers of 208 bytes for one slot, each
with its author's signature: b"knhk.commit.v1", zeros (16), network (32), author (32), incarnation (16), seq (8), prev
(32), dependencies (32), body (32), clock (8); a commit's id is BLAKE2b-256 of its header, personalised "knhk.commit".

Only `t` of invoke, complete, fault and phase are on one clock.  Elements are integers or strings, never booleans;
1 and "1" are two elements.  Values: a digest's is {root, digest}, both hex; a counter's is an integer; a set's is

          {base, add, drop, twice}

the change against an earlier read `base` (its op) of the same object on the same node, or against the empty set if
base is null; `twice` lists the elements that stood in the reply more than once.  Two thousand reads of fifty thousand
elements are a hundred million; their changes are what was added.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import msgspec
from msgspec import Meta

HISTORY_FORMAT = 1
LATENCY_MS_MAX = 1e9
"""Of a network: eleven days one way.  A bound that is computed from it is a number."""

Element = int | str
ObjectType = Literal["gset", "pncounter", "orset"]
Outcome = Literal["ok", "fail", "info"]
Level = Literal["local", "stable", "quorum"]


class HistoryError(Exception):
    """A history that cannot be read: file, line, and what is wrong there."""


class NodeEntry(msgspec.Struct, frozen=True):
    """A node: its number, its agent id in hex, its region, and whether it has a Byzantine seat."""

    index: int
    agent: str
    region: str = ""
    byzantine: bool = False


class ObjectEntry(msgspec.Struct, frozen=True):
    """An object and its type."""

    name: str
    type: ObjectType


class Deadline(msgspec.Struct, frozen=True):
    """How long convergence may take after the heal, in nanoseconds, and what that was computed from."""

    total_ns: int
    rounds: int
    interval_ns: int
    reconnect_ns: int
    transfer_ns: int
    exchange_ns: int
    specification_rounds: float
    inputs: dict[str, Any] = {}


class CheckEntry(msgspec.Struct, frozen=True):
    """A checker by name, with its options."""

    name: str
    options: dict[str, Any] = {}


class FaultEntry(msgspec.Struct, frozen=True):
    """A fault that the plan holds, with what it is about where that matters to a checker."""

    id: str
    fault: str
    required: bool
    what: str = ""
    links: tuple[tuple[int, int], ...] = ()
    nodes: tuple[int, ...] = ()
    strategy: str = ""
    latency_ms: float = 0.0
    loss: float = 0.0
    rate_kb_s: float = 0.0


class NetworkEntry(msgspec.Struct, frozen=True):
    """The network while no fault is in force: its longest one-way latency, with jitter, and its greatest loss."""

    latency_ms: Annotated[float, Meta(ge=0, le=LATENCY_MS_MAX)] = 0.0
    loss: Annotated[float, Meta(ge=0, le=1)] = 0.0


class QuorumEntry(msgspec.Struct, frozen=True):
    """The roster and the bounds that follow from it, in nanoseconds; the module's docstring explains them."""

    epoch: int
    network: str
    size: int
    detection_ns: int
    recovery_ns: int
    gated: bool = False


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", tag_field="kind"):
    """The first line; the module's docstring explains every field."""

    format: int = HISTORY_FORMAT
    campaign: str
    seed: int
    backend: str
    nodes: list[NodeEntry]
    faulty: int
    objects: list[ObjectEntry]
    core: list[int]
    deadline: Deadline
    quorum: QuorumEntry | None = None
    checks: list[CheckEntry]
    left_out: dict[str, str] = {}
    network: NetworkEntry = NetworkEntry()
    faults: list[FaultEntry] = []
    capabilities: list[str] = []
    versions: dict[str, str] = {}
    plan: dict[str, Any] = {}


class Invoke(msgspec.Struct, frozen=True, kw_only=True, tag="invoke", tag_field="kind"):
    """An operation begins."""

    op: int
    process: str
    node: int
    t: int
    intended: int
    object: str
    action: str
    value: Any = None
    symbol: Any = None
    final: bool = False
    level: Level = "local"


class Complete(msgspec.Struct, frozen=True, kw_only=True, tag="complete", tag_field="kind"):
    """An operation ends, or is given up."""

    op: int
    t: int
    outcome: Outcome
    value: Any = None
    error: str | None = None
    commit: str | None = None
    visible: list[str] | None = None
    certificate: dict[str, Any] | None = None


class FaultEvent(msgspec.Struct, frozen=True, kw_only=True, tag="fault", tag_field="kind"):
    """Something became of a fault."""

    fault: str
    stage: Literal["injected", "observed", "lifted", "skipped"]
    t: int
    evidence: dict[str, int | float | str] = {}
    note: str = ""


class Phase(msgspec.Struct, frozen=True, kw_only=True, tag="phase", tag_field="kind"):
    """A phase begins."""

    phase: Literal["load", "heal", "quiesce", "final", "done"]
    t: int
    note: str = ""


class NodeEvent(msgspec.Struct, frozen=True, kw_only=True, tag="node", tag_field="kind"):
    """A node's own event."""

    node: int
    name: str
    monotonic: int
    wall: int
    t: int
    data: dict[str, Any] = {}


Event = Invoke | Complete | FaultEvent | Phase | NodeEvent


class SetRead(msgspec.Struct, frozen=True):
    """A set read as the change against an earlier one; elements stand in the order of the reply."""

    base: int | None
    add: list[Element]
    drop: list[Element] = []
    twice: list[Element] = []


class History(msgspec.Struct):
    """A header and its events.  `torn` says that the file ended in the middle of a line."""

    header: Header
    events: list[Event]
    torn: str | None = None


_encoder = msgspec.json.Encoder()
_decode_header = msgspec.json.Decoder(Header).decode
_decode_event = msgspec.json.Decoder(Event).decode


class HistoryWriter:
    """Writes a history to a text stream, a line an event; `flush` when what was written must be seen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def header(self, header: Header) -> None:
        """The first line."""
        self._line(header)

    def append(self, event: Event) -> None:
        """One more line."""
        self._line(event)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._stream.flush()

    def _line(self, value: Header | Event) -> None:
        self._stream.write(_encoder.encode(value).decode() + "\n")


class SetReadEncoder:
    """Turns the plain lists of set reads into changes.  Remembers one set for each (node, object)."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], tuple[int, set[Element]]] = {}

    def encode(self, *, node: int, object: str, op: int, value: list[Element], whole: bool = False) -> SetRead:
        """The change of `value`, read by `op`, against this node's last read; against nothing if `whole`."""
        current = set(value)
        twice: list[Element] = []
        if len(current) != len(value):
            seen: set[Element] = set()
            twice = [one for one in value if one in seen or seen.add(one)]  # type: ignore[func-returns-value]
        base, before = (None, set()) if whole else self._last.get((node, object), (None, set()))
        self._last[node, object] = (op, current)
        fresh = current - before
        gone = before - current
        add = [one for one in value if one in fresh] if fresh else []
        drop = sorted(gone, key=lambda one: (isinstance(one, str), one)) if gone else []
        return SetRead(base=base, add=list(dict.fromkeys(add)), drop=drop, twice=twice)


def as_set_read(value: Any) -> SetRead:
    """The SetRead in an ok read's value, as recorded or as decoded from a file.  Raises HistoryError."""
    if isinstance(value, SetRead):
        return value
    try:
        return msgspec.convert(value, SetRead)
    except msgspec.ValidationError as error:
        raise HistoryError(f"a set read's value: {error}") from None


def read_history(path: Path) -> History:
    """The history in a file.  Raises HistoryError for what cannot be read, OSError where there is no file."""
    with path.open("rb") as stream:
        lines = _numbered(stream.read())
    number, first, _ = next(lines, (1, b"", True))
    try:
        header = _decode_header(first)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HistoryError(f"{path.name}: line {number}: is no header: {error}") from None
    if header.format != HISTORY_FORMAT:
        raise HistoryError(f"{path.name}: line {number}: format {header.format}, this reader knows {HISTORY_FORMAT}")
    known = {entry.index for entry in header.nodes}
    if not header.core or not known.issuperset(header.core):
        raise HistoryError(f"{path.name}: line {number}: core: is to name some of the nodes, and names {header.core}")
    events: list[Event] = []
    torn = None
    references = _References(header)
    for number, line, whole in lines:
        try:
            events.append(_decode_event(line))
            problem = references.problem(events[-1])
            if problem is not None:
                raise HistoryError(f"{path.name}: line {number}: {problem}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if whole:
                raise HistoryError(f"{path.name}: line {number}: {error}") from None
            torn = f"{path.name}: line {number} is torn and was passed over"
    return History(header=header, events=events, torn=torn)


class _References:
    """What events refer to must be there, and no operation begins or ends twice.  Of a line that nothing refers to,
    nobody knows whether it is missing, or stands there twice."""

    def __init__(self, header: Header) -> None:
        self._faults = {entry.id for entry in header.faults}
        self._nodes = {entry.index for entry in header.nodes}
        self._open: set[int] = set()
        self._begun: set[int] = set()

    def problem(self, event: Event) -> str | None:
        """What is wrong with `event`, coming next."""
        if isinstance(event, Invoke):
            if event.op in self._begun:
                return f"op: {event.op} was invoked before"
            self._begun.add(event.op)
            self._open.add(event.op)
        elif isinstance(event, Complete):
            if event.op not in self._open:
                return f"op: {event.op} is not in flight"
            self._open.discard(event.op)
        elif isinstance(event, FaultEvent) and event.fault not in self._faults:
            return f"fault: {event.fault} is none of the header's"
        if isinstance(event, Invoke | NodeEvent) and event.node not in self._nodes:
            return f"node: no node {event.node}"
        return None


def _numbered(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """(number from 1, line, whether it ends in a newline) of each line."""
    lines = data.split(b"\n")
    last = lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line, True
    if last:
        yield len(lines) + 1, last, False
