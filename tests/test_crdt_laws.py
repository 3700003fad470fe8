"""The laws of the replicated types: one suite for all of `crdt.TYPES`, then what each type means.

States come from a small mesh of three replicas that write and merge, so that removes name dots that somebody
really saw; forged operations are thrown in, which are well-formed but name dots as a liar would: another
operation's as their own, or those of an add of some other element.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.crdt import TYPES, CrdtType, Dot, GSet, InvalidOperation, ORSet, PNCounter
from knhk_mesh.crdt.dot import sorted_dots
from knhk_mesh.crdt.orset import DOTS_PER_REMOVE_MAX

REPLICAS = 3
every_type = pytest.mark.parametrize("name", TYPES)


@dataclass(frozen=True)
class Operation:
    action: str
    value: Any
    dot: Dot


def dot(number: int) -> Dot:
    """The dot of the operation with this number; ids are hashes, so their order tells nothing of time."""
    return blake2b(b"%d" % (number // 2), digest_size=32).digest(), number % 2


ELEMENTS = st.sampled_from([0, -7, 2**63 - 1, "", "a", "\u00e9", "\U0001f980"])
# So few that one element is added, seen and removed by several replicas in most runs: that is where sets go wrong.
FEW_ELEMENTS = st.just("a") | st.sampled_from([0, "a"])
AMOUNTS = st.integers(1, 3) | st.just(2**53)
DOTS = st.integers(0, 11).map(dot)
COUNTS = st.tuples(st.sampled_from(PNCounter.ACTIONS), AMOUNTS)

REQUESTS: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "gset": st.tuples(st.just("add"), ELEMENTS),
    "pncounter": COUNTS,
    "orset": st.tuples(st.sampled_from(ORSet.ACTIONS), FEW_ELEMENTS),
}
FORGED: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "gset": REQUESTS["gset"],
    "pncounter": COUNTS,
    "orset": st.tuples(st.just("add"), ELEMENTS)
    | st.tuples(st.just("remove"), st.tuples(ELEMENTS, st.sets(DOTS, max_size=4).map(sorted_dots)).map(list)),
}


def simulate(kind: type[CrdtType], steps: list[tuple[int, Any]]) -> list[Operation]:
    """The operations of a run: a step is a replica and either a client's request or the replica it merges."""
    replicas = [kind() for _ in range(REPLICAS)]
    operations = []
    for number, (at, step) in enumerate(steps):
        if isinstance(step, int):
            replicas[at].absorb(replicas[step])
            continue
        action, argument = step
        operation = Operation(action, replicas[at].prepare(action, argument), dot(number))
        replicas[at].apply(operation.action, operation.value, operation.dot)
        operations.append(operation)
    return operations


def operations_of(name: str) -> st.SearchStrategy[list[Operation]]:
    replica = st.integers(0, REPLICAS - 1)
    steps = st.lists(st.tuples(replica, REQUESTS[name] | replica), max_size=10)
    honest = steps.map(lambda drawn: simulate(TYPES[name], drawn))
    forged = st.lists(st.builds(lambda drawn, at: Operation(*drawn, at), FORGED[name], DOTS), max_size=3)
    return st.builds(lambda mine, theirs: mine + theirs, honest, forged)


OPERATIONS = {name: operations_of(name) for name in TYPES}
SUBSETS = st.integers(0, 2**15 - 1)  # one bit an operation: one draw is cheaper than a list of them


def delta_of(name: str, operation: Operation) -> CrdtType:
    return TYPES[name].delta(operation.action, operation.value, operation.dot)


def state_of(name: str, operations: list[Operation]) -> CrdtType:
    state = TYPES[name]()
    for operation in operations:
        state.apply(operation.action, operation.value, operation.dot)
    return state


def part_of(run: list[Operation], subset: int) -> list[Operation]:
    return [operation for place, operation in enumerate(run) if subset >> place & 1]


def draw_states(data: st.DataObject, name: str, count: int) -> list[CrdtType]:
    """States of one run, each knowing any part of it: also effects whose causes it has not seen."""
    run = data.draw(OPERATIONS[name], label="operations")
    return [state_of(name, part_of(run, data.draw(SUBSETS, label="known"))) for _ in range(count)]


# The lattice


@every_type
@given(data=st.data())
def test_join_is_commutative(name, data):
    a, b = draw_states(data, name, 2)
    assert a.join(b) == b.join(a)


@every_type
@given(data=st.data())
def test_join_is_associative(name, data):
    a, b, c = draw_states(data, name, 3)
    assert a.join(b).join(c) == a.join(b.join(c))


@every_type
@given(data=st.data())
def test_join_is_idempotent(name, data):
    (a,) = draw_states(data, name, 1)
    assert a.join(a) == a
    before = a.encode()
    a.absorb(a)
    assert a.encode() == before


@every_type
@given(data=st.data())
def test_the_order_is_that_of_join(name, data):
    a, b = draw_states(data, name, 2)
    assert (a <= b) == (a.join(b) == b)
    assert a <= a.join(b) and b <= a.join(b)


@every_type
@given(data=st.data())
def test_the_empty_state_is_least(name, data):
    (a,) = draw_states(data, name, 1)
    assert TYPES[name]() <= a
    assert TYPES[name]().join(a) == a


# Operations and deltas


@every_type
@given(data=st.data())
def test_an_operation_only_grows_the_state(name, data):
    state = TYPES[name]()
    for operation in data.draw(OPERATIONS[name]):
        before = TYPES[name].decode(state.encode())
        state.apply(operation.action, operation.value, operation.dot)
        assert before <= state


@every_type
@given(data=st.data())
def test_the_state_after_an_operation_is_the_join_with_its_delta(name, data):
    applied = TYPES[name]()
    for operation in data.draw(OPERATIONS[name]):
        delta = delta_of(name, operation)
        joined = applied.join(delta)
        absorbed = TYPES[name].decode(applied.encode())
        absorbed.absorb(delta)
        applied.apply(operation.action, operation.value, operation.dot)
        assert applied == joined == absorbed
        assert applied.value() == joined.value() == absorbed.value()


@every_type
@given(data=st.data())
def test_any_order_duplicates_and_snapshots_give_one_state(name, data):
    run = data.draw(OPERATIONS[name])
    expected = reduce(lambda state, operation: state.join(delta_of(name, operation)), run, TYPES[name]())
    snapshots = data.draw(st.lists(SUBSETS.map(lambda subset: state_of(name, part_of(run, subset))), max_size=3))
    deltas = [delta_of(name, operation) for operation in run + run[::2]]
    state = TYPES[name]()
    for delivery in data.draw(st.permutations(deltas + snapshots)):
        state.absorb(delivery)
    assert state == expected
    assert state.encode() == expected.encode()
    assert state.value() == expected.value()


# Bytes


@every_type
@given(data=st.data())
def test_encode_and_decode_are_inverse(name, data):
    (state,) = draw_states(data, name, 1)
    again = TYPES[name].decode(state.encode())
    assert again == state
    assert again.value() == state.value()
    assert again.encode() == state.encode()


@every_type
@given(data=st.data())
def test_states_are_equal_if_and_only_if_their_bytes_are(name, data):
    a, b = draw_states(data, name, 2)
    assert (a == b) == (a.encode() == b.encode())


@every_type
@given(data=st.data())
def test_bytes_that_decode_are_the_bytes_of_a_state(name, data):
    (state,) = draw_states(data, name, 1)
    damaged = bytearray(state.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        damaged = damaged or bytearray(b"\xc0")
    try:
        read = TYPES[name].decode(bytes(damaged))
    except InvalidOperation as error:
        assert "\n" not in str(error)
    else:
        assert read.encode() == damaged


ONE, TWO = list(dot(0)), list(dot(1))
NOT_STATES = [
    ("gset", [2, 1], "unsorted"),
    ("gset", [1, 1], "repeated"),
    ("gset", ["a", 1], "strings first"),
    ("gset", [True], "no element"),
    ("gset", [1.0], "no element"),
    ("gset", [2**63], "too wide"),
    ("gset", ["x" * 1025], "too long"),
    ("gset", None, "no list"),
    ("pncounter", [[*ONE, 1], [*ONE, 2]], "one dot with two amounts"),
    ("pncounter", [[*TWO, 1], [*ONE, 1]], "unsorted"),
    ("pncounter", [[*ONE, 0]], "no amount"),
    ("pncounter", [[*ONE, -(2**53) - 1]], "too large"),
    ("pncounter", [[b"short", 0, 1]], "no commit id"),
    ("pncounter", [[ONE[0], -1, 1]], "no index"),
    ("orset", [[["a", []]], []], "an element without dots"),
    ("orset", [[], [["a", []]]], "a removal without dots"),
    ("orset", [[["a", [ONE]]], [["a", [ONE]]]], "a dot both present and removed"),
    ("orset", [[["a", [TWO, ONE]]], []], "unsorted dots"),
    ("orset", [[["b", [ONE]], ["a", [ONE]]], []], "unsorted elements"),
    ("orset", [[["a", [ONE]], ["a", [TWO]]], []], "a repeated element"),
    ("orset", [[["a", [ONE]]]], "no removals"),
]


@pytest.mark.parametrize(("name", "plain", "why"), NOT_STATES, ids=[f"{n}-{why}" for n, _, why in NOT_STATES])
def test_what_is_no_state_is_not_decoded(name, plain, why):
    with pytest.raises(InvalidOperation):
        TYPES[name].decode(msgspec.msgpack.encode(plain))


def widened(data: bytes) -> bytes:
    """The same msgpack data with the integer 1, wherever it stands alone, in two bytes instead of one."""
    return data.replace(b"\x01", b"\xcc\x01")


@every_type
def test_an_integer_wider_than_needed_is_not_decoded(name):
    operation = {"gset": ("add", 1), "pncounter": ("increment", 1), "orset": ("add", 1)}[name]
    encoded = TYPES[name].delta(*operation, (bytes(32), 1)).encode()
    assert msgspec.msgpack.decode(widened(encoded)) == msgspec.msgpack.decode(encoded)
    with pytest.raises(InvalidOperation, match="canonical"):
        TYPES[name].decode(widened(encoded))


@every_type
@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91", b"\x91\xa1\xff", b"\x91\xd1\x00\x01"], ids=bytes.hex)
def test_garbage_is_not_decoded(name, data):
    with pytest.raises(InvalidOperation):
        TYPES[name].decode(data)
    with pytest.raises(InvalidOperation):
        TYPES[name].decode(TYPES[name]().encode() + data + b"\x00")


# Arguments


@every_type
@given(data=st.data())
def test_arguments_are_not_mutated_and_nothing_is_shared(name, data):
    a, b, later = draw_states(data, name, 3)
    run = data.draw(OPERATIONS[name])
    inputs = [(state, state.encode()) for state in (a, b, later)]
    joined, absorbing = a.join(b), TYPES[name]()
    absorbing.absorb(a)
    absorbing.absorb(b)
    for grown in (joined, absorbing):
        grown.absorb(later)
        for operation in run:
            grown.apply(operation.action, operation.value, operation.dot)
        if isinstance(value := grown.value(), list):
            value.append("a reader may do as it likes with its copy")
    assert joined == absorbing
    assert joined.value() == absorbing.value()
    for state, before in inputs:
        assert state.encode() == before
        assert state == TYPES[name].decode(before)


LONG = "\u00e9" * 513
TOO_MANY = [list(at) for at in sorted(dot(number) for number in range(DOTS_PER_REMOVE_MAX + 1))]
ILL_FORMED = [
    ("gset", "remove", 1, "unknown action 'remove'; one of add"),
    ("gset", "add", True, "got bool"),
    ("gset", "add", 1.0, "got float"),
    ("gset", "add", None, "got NoneType"),
    ("gset", "add", [1], "got list"),
    ("gset", "add", b"a", "got bytes"),
    ("gset", "add", 2**63, "64 bits"),
    ("gset", "add", -(2**63) - 1, "64 bits"),
    ("gset", "add", LONG, "1026 bytes"),
    ("gset", "add", "x" * 1025, "1025 bytes"),
    ("gset", "add", "\ud800", "lone surrogate"),
    ("pncounter", "add", 1, "unknown action 'add'; one of increment, decrement"),
    ("pncounter", "increment", 0, "from 1 to"),
    ("pncounter", "decrement", -1, "from 1 to"),
    ("pncounter", "increment", 2**53 + 1, "from 1 to"),
    ("pncounter", "increment", True, "got bool"),
    ("pncounter", "increment", 1.0, "got float"),
    ("pncounter", "increment", "1", "got str"),
    ("orset", "clear", None, "unknown action 'clear'; one of add, remove"),
    ("orset", "add", False, "got bool"),
    ("orset", "add", LONG, "1026 bytes"),
    ("orset", "remove", "a", "a pair [element, dots seen]"),
    ("orset", "remove", ["a"], "a pair [element, dots seen]"),
    ("orset", "remove", [None, []], "got NoneType"),
    ("orset", "remove", ["a", None], "expected a list"),
    ("orset", "remove", ["a", [ONE[0]]], "a pair [commit id, index]"),
    ("orset", "remove", ["a", [[b"short", 0]]], "32 bytes"),
    ("orset", "remove", ["a", [["x" * 32, 0]]], "32 bytes"),
    ("orset", "remove", ["a", [[ONE[0], -1]]], "index"),
    ("orset", "remove", ["a", [[ONE[0], 2**32]]], "index"),
    ("orset", "remove", ["a", [[ONE[0], True]]], "index"),
    ("orset", "remove", ["a", [TWO, ONE]], "strictly ascending"),
    ("orset", "remove", ["a", [ONE, ONE]], "strictly ascending"),
    ("orset", "remove", ["a", TOO_MANY], f"at most {DOTS_PER_REMOVE_MAX}"),
]


@pytest.mark.parametrize(("name", "action", "value", "says"), ILL_FORMED)
def test_an_ill_formed_operation_is_refused_in_one_line(name, action, value, says):
    kind, state = TYPES[name], TYPES[name]()
    attempts: list[Callable[[], object]] = [
        lambda: kind.check(action, value),
        lambda: kind.delta(action, value, dot(0)),
        lambda: state.apply(action, value, dot(0)),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidOperation) as caught:
            attempt()
        assert says in str(caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert state == kind()


@every_type
@given(data=st.data())
def test_well_formed_operations_pass_the_check_also_after_the_wire(name, data):
    for operation in data.draw(OPERATIONS[name]):
        TYPES[name].check(operation.action, operation.value)
        read = msgspec.msgpack.decode(msgspec.msgpack.encode(operation.value))
        assert TYPES[name].delta(operation.action, read, operation.dot) == delta_of(name, operation)


# What each type means: its value, from its operations alone


def gset_by_definition(run: list[Operation]) -> set[int | str]:
    return {operation.value for operation in run}


def pncounter_by_definition(run: list[Operation]) -> int:
    signed = [(at.dot, at.value if at.action == "increment" else -at.value) for at in run]
    return sum(max(amount for other, amount in signed if other == at) for at in {at for at, _ in signed})


def orset_by_definition(run: list[Operation]) -> set[int | str]:
    """The elements with an add that no remove of that element, anywhere in the run, has named."""
    named = [
        (operation.value[0], (commit, index))
        for operation in run
        if operation.action == "remove"
        for commit, index in operation.value[1]
    ]
    return {at.value for at in run if at.action == "add" and (at.value, at.dot) not in named}


DEFINITIONS = {"gset": gset_by_definition, "pncounter": pncounter_by_definition, "orset": orset_by_definition}


@every_type
@given(data=st.data())
def test_the_value_is_what_the_definition_says(name, data):
    run = data.draw(OPERATIONS[name])
    value = state_of(name, run).value()
    expected = DEFINITIONS[name](run)
    assert (set(value) if isinstance(value, list) else value) == expected
    assert not isinstance(value, list) or len(value) == len(expected)


@pytest.mark.parametrize("kind", [GSet, ORSet])
@given(elements=st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4)))
def test_a_set_lists_integers_then_strings_each_ascending(kind, elements):
    state = kind()
    for number, element in enumerate(elements):
        state.apply("add", element, dot(number))
    value = state.value()
    integers = [element for element in value if isinstance(element, int)]
    strings = [element for element in value if isinstance(element, str)]
    assert value == sorted(set(integers)) + sorted(set(strings))
    assert set(value) == set(elements)


def replicas_of_orset(*, adds: list[tuple[str, Dot]]) -> tuple[ORSet, ORSet]:
    pair = ORSet(), ORSet()
    for replica in pair:
        for element, at in adds:
            replica.apply("add", element, at)
    return pair


def test_an_add_wins_over_a_concurrent_remove():
    left, right = replicas_of_orset(adds=[("x", dot(0))])
    left.apply("remove", left.prepare("remove", "x"), dot(1))
    right.apply("add", "x", dot(2))
    assert left.value() == []
    assert left.join(right).value() == ["x"]


def test_a_remove_takes_away_only_the_dots_that_it_saw():
    left, right = replicas_of_orset(adds=[("x", dot(0)), ("x", dot(1))])
    right.apply("add", "x", dot(2))
    seen = left.prepare("remove", "x")
    assert seen == ["x", sorted_dots([dot(0), dot(1)])]
    right.apply("remove", seen, dot(3))
    assert right.prepare("remove", "x") == ["x", [list(dot(2))]]


def test_an_element_that_both_sides_hold_does_not_survive_its_removal():
    left, right = replicas_of_orset(adds=[("x", dot(0))])
    left.apply("remove", left.prepare("remove", "x"), dot(1))
    assert left.join(right).value() == right.join(left).value() == []


def test_a_removal_that_arrives_before_its_add_wins_over_it():
    late, early = ORSet(), ORSet.delta("remove", ["x", [list(dot(0))]], dot(1))
    late.apply("add", "x", dot(0))
    early.apply("add", "x", dot(0))
    assert early.value() == early.join(late).value() == []


def test_an_element_can_be_added_again_after_its_removal():
    state, _ = replicas_of_orset(adds=[("x", dot(0))])
    state.apply("remove", state.prepare("remove", "x"), dot(1))
    state.apply("add", "x", dot(2))
    assert state.value() == ["x"]


def test_removing_what_is_absent_is_well_formed_and_does_nothing():
    state, untouched = replicas_of_orset(adds=[("x", dot(0))])
    absent = state.prepare("remove", "y")
    ORSet.check("remove", absent)
    state.apply("remove", absent, dot(1))
    assert state == untouched


def test_a_removal_that_names_the_dot_of_another_element_strikes_nothing():
    state, _ = replicas_of_orset(adds=[("x", dot(0)), ("y", dot(1))])
    state.apply("remove", ["x", [list(dot(1))]], dot(2))
    assert state.value() == ["x", "y"]


@pytest.mark.parametrize("element", [None, ["unhashable"], True])
def test_preparing_to_remove_what_is_no_element_is_refused(element):
    with pytest.raises(InvalidOperation):
        ORSet().prepare("remove", element)


def test_a_counter_counts_both_branches_of_a_fork_and_each_of_them_once():
    left = PNCounter.delta("increment", 5, dot(0))
    right = PNCounter.delta("decrement", 3, dot(2))
    merged = left.join(right).join(left)
    merged.absorb(right)
    assert merged.value() == 2


def test_a_counter_joins_though_a_forged_snapshot_gives_one_dot_two_amounts():
    small, large = (PNCounter.delta("increment", amount, dot(0)) for amount in (1, 9))
    assert small.join(large).value() == large.join(small).value() == 9
    assert small <= large and not large <= small


def test_an_orset_element_that_both_sides_show_keeps_no_dot_that_one_of_them_removed():
    both = ORSet.delta("add", "a", dot(0)).join(ORSet.delta("add", "a", dot(1)))
    one_removed = both.join(ORSet.delta("remove", ["a", sorted_dots([dot(0)])], dot(2)))
    assert both.value() == one_removed.value() == ["a"]
    for joined in (both.join(one_removed), one_removed.join(both)):
        last = joined.join(ORSet.delta("remove", ["a", sorted_dots([dot(1)])], dot(3)))
        assert last.value() == []


def test_a_pncounter_snapshot_that_is_joined_twice_counts_once():
    snapshot = PNCounter.delta("increment", 2, dot(0)).join(PNCounter.delta("decrement", 5, dot(1)))
    state = PNCounter()
    for _ in range(2):
        state.absorb(snapshot)
        assert state.value() == -3 and state.join(snapshot).value() == -3
