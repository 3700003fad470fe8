"""The load on each type of object: which operations its clients plan, on one page a type.

Load is open-loop: every operation has an intended start, drawn beforehand, and a slow answer delays nothing but
the next operation of the same client.  Each client draws from a stream of its own, so removing one client or
one workload leaves the others' operations as they were.  Elements are unique to the client that adds them; an
OR-Set client also adds again what it once added, because a set that forgets a re-add would otherwise go unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from checkers.history import Level
from faults.streams import stream
from harness.campaign import WorkloadSpec
from harness.plan import PlannedOperation

AGAIN = 0.1
"""Share of an OR-Set client's adds that repeat one of its own earlier elements."""
AMOUNT_MAX = 5

Draft = tuple[str, int | str | None, float | None]
"""(action, value, seen): a planned operation without its time and place."""


def gset_operations(spec: WorkloadSpec, random: Random, elements: Iterator[int]) -> Iterator[Draft]:
    """Adds of ever new elements, and reads."""
    while True:
        if random.random() < spec.reads:
            yield "read", None, None
        else:
            yield "add", next(elements), None


def orset_operations(spec: WorkloadSpec, random: Random, elements: Iterator[int]) -> Iterator[Draft]:
    """Adds, some of them again; removes of an element that the client has seen; reads."""
    added: list[int] = []
    while True:
        draw, choice = random.random(), random.random()
        if draw < spec.reads:
            yield "read", None, None
        elif draw < spec.reads + spec.removes:
            yield "remove", None, choice
        elif added and random.random() < AGAIN:
            yield "add", added[int(choice * len(added))], None
        else:
            added.append(next(elements))
            yield "add", added[-1], None


def pncounter_operations(spec: WorkloadSpec, random: Random, elements: Iterator[int]) -> Iterator[Draft]:
    """Increments and decrements by 1 to AMOUNT_MAX, and reads."""
    while True:
        draw, amount = random.random(), 1 + int(random.random() * AMOUNT_MAX)
        if draw < spec.reads:
            yield "read", None, None
        elif draw < spec.reads + spec.removes:
            yield "decrement", amount, None
        else:
            yield "increment", amount, None


GENERATORS: dict[str, Callable[[WorkloadSpec, Random, Iterator[int]], Iterator[Draft]]] = {
    "gset": gset_operations,
    "orset": orset_operations,
    "pncounter": pncounter_operations,
}

ACTIONS = {
    "gset": ("add", "read"),
    "orset": ("add", "remove", "read"),
    "pncounter": ("increment", "decrement", "read"),
}
"""What clients ask of an object, by its type."""


def plan_workload(
    spec: WorkloadSpec,
    *,
    index: int,
    name: str,
    nodes: tuple[int, ...],
    seed: int,
    load_ns: int,
    first_id: int,
) -> list[PlannedOperation]:
    """The operations of workload number `index` on the object `name`, clients spread over `nodes`, by time."""
    clients = spec.clients or len(nodes)
    gap_ns = 1e9 * clients / spec.rate
    drafts: list[tuple[int, int, int, Draft, Level]] = []
    for client in range(clients):
        random = stream(seed, "workload", index, client)
        levels = stream(seed, "levels", index, client)
        elements = iter(range(client, 1 << 62, clients))
        operations = GENERATORS[spec.type](spec, random, elements)
        at = random.random() * gap_ns
        while at < load_ns:
            draft = next(operations)
            drafts.append((int(at), client, len(drafts), draft, _level(spec, draft[0], levels)))
            at += gap_ns * (0.5 + random.random())
    drafts.sort(key=lambda draft: draft[:3])
    return [
        PlannedOperation(
            id=first_id + number,
            at_ns=at_ns,
            client=f"w{index}c{client}",
            node=nodes[client % len(nodes)],
            object=name,
            type=spec.type,
            action=action,
            value=value,
            seen=seen,
            level=level,
        )
        for number, (at_ns, client, _, (action, value, seen), level) in enumerate(drafts)
    ]


def _level(spec: WorkloadSpec, action: str, random: Random) -> Level:
    draw = random.random()
    if action == "read":
        return "quorum" if draw < spec.quorum else "local"
    return "stable" if draw < spec.stable else "local"


def plan_digests(*, nodes: Sequence[int], interval_ns: int, load_ns: int, first_id: int) -> list[PlannedOperation]:
    """An observer a node that asks for its root and value digest at `interval_ns`, staggered over the nodes."""
    times = [
        (at_ns, node)
        for place, node in enumerate(nodes)
        for at_ns in range(interval_ns * (place + 1) // len(nodes), load_ns, interval_ns)
    ]
    return [
        PlannedOperation(
            id=first_id + number,
            at_ns=at_ns,
            client=f"observer{node}",
            node=node,
            object="",
            type="",
            action="digest",
        )
        for number, (at_ns, node) in enumerate(sorted(times))
    ]
