"""The format: what was written is read again, what is torn is passed over, what is broken is named."""

from io import StringIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.elements import SetState
from checkers.history import (
    Complete,
    HistoryError,
    HistoryWriter,
    Invoke,
    NetworkEntry,
    NodeEvent,
    SetRead,
    SetReadEncoder,
    as_set_read,
    read_history,
)
from checkers.pairing import Operation
from tests.checkers.histories import Book, header


@pytest.fixture
def written(tmp_path):
    """A function that writes a history, or plain bytes, to a file."""

    def write(what):
        path = tmp_path / "history.jsonl"
        if not isinstance(what, bytes):
            what = text_of(what).encode()
        path.write_bytes(what)
        return path

    return write


def text_of(history):
    stream = StringIO()
    writer = HistoryWriter(stream)
    writer.header(history.header)
    for event in history.events:
        writer.append(event)
    writer.flush()
    return stream.getvalue()


def small():
    book = Book(header(s="gset", c="pncounter", checks=["set_full"], faults=["f0"]))
    book.phase("load", 'a note, ünïcode and "quotes"\nand lines')
    book.add(0, 1)
    book.add(1, "1", "info")
    book.count(0, 3)
    book.read(0, [1, "1"])
    book.read(0, ["1"], final=True)
    book.digest(2, "aa", "bb")
    book.wipe(1)
    book.events.append(NodeEvent(node=1, name="accepted", monotonic=1, wall=2, t=3, data={"ids": ["aa"]}))
    book.phase("done")
    return book.history


def plain(history):
    """Its lines as read, with set reads decoded."""
    return [
        (type(one), as_set_read(one.value) if isinstance(one, Complete) and one.op in (4, 5) else one)
        for one in history.events
    ]


def test_what_was_written_is_read_again(written):
    history = small()
    again = read_history(written(history))
    assert again.header == history.header
    assert plain(again) == plain(history)
    assert again.torn is None


def test_every_event_is_one_line():
    history = small()
    assert text_of(history).count("\n") == 1 + len(history.events)


def test_a_history_cut_anywhere_in_its_last_line_loses_that_line_only(written):
    history = small()
    data = text_of(history).encode()
    start = data.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(start + 1, len(data) - 1):
        again = read_history(written(data[:cut]))
        assert len(again.events) == len(history.events) - 1
        assert again.torn == f"history.jsonl: line {len(history.events) + 1} is torn and was passed over"


def test_a_line_torn_within_a_character_is_torn(written):
    data = text_of(small()).encode() + '{"kind":"phase","note":"ü'.encode()[:-1]
    assert read_history(written(data)).torn is not None


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"kind":"invoke"}',
        b'{"kind":"nonsense","t":1}',
        b'{"t":1}',
        b'{"kind":"phase","phase":"lunch","t":1}',
        b'{"kind":"complete","op":1,"t":1,"outcome":"maybe"}',
        b'{"kind":"phase","phase":"done","t":"now"}',
        b"[" * 100_000,
    ],
    ids=lambda line: line[:20].decode(errors="replace"),
)
@pytest.mark.parametrize("place", ["middle", "end"])
def test_a_whole_line_that_cannot_be_read_is_an_error_with_file_and_line(written, line, place):
    lines = text_of(small()).encode().splitlines()
    at = 3 if place == "middle" else len(lines)
    lines.insert(at, line)
    with pytest.raises(HistoryError, match=rf"^history\.jsonl: line {at + 1}: "):
        read_history(written(b"\n".join(lines) + b"\n"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"kind":"fault","fault":"f9","stage":"injected","t":1}', "fault: f9 is none of the header's"),
        (b'{"kind":"complete","op":1,"t":9,"outcome":"ok"}', "op: 1 is not in flight"),
        (b'{"kind":"complete","op":77,"t":9,"outcome":"ok"}', "op: 77 is not in flight"),
        (
            b'{"kind":"invoke","op":1,"process":"p","node":0,"t":9,"intended":9,"object":"s","action":"add"}',
            "op: 1 was invoked before",
        ),
        (
            b'{"kind":"invoke","op":77,"process":"p","node":9,"t":9,"intended":9,"object":"s","action":"add"}',
            "node: no node 9",
        ),
        (b'{"kind":"node","node":9,"name":"crashed","monotonic":1,"wall":1,"t":1}', "node: no node 9"),
    ],
)
def test_a_line_too_many_or_about_what_is_not_there_is_an_error_with_its_place(written, line, said):
    lines = text_of(small()).encode().splitlines()
    lines.append(line)
    with pytest.raises(HistoryError, match=rf"^history\.jsonl: line {len(lines)}: {said}$"):
        read_history(written(b"\n".join(lines) + b"\n"))


def test_a_line_too_few_is_an_error(written):
    lines = text_of(small()).splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"kind":"invoke"' in line)
    with pytest.raises(HistoryError, match="is not in flight"):
        read_history(written("".join(lines[:first] + lines[first + 1 :]).encode()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no header"),
        (b"\n", "is no header"),
        (b"{", "is no header"),
        (b'{"kind":"phase","phase":"done","t":1}\n', "is no header"),
        (text_of(small()).replace('"format":1', '"format":2').encode(), "format 2, this reader knows 1"),
    ],
    ids=["empty", "blank", "torn", "an event", "another format"],
)
def test_without_a_header_of_this_format_there_is_no_history(written, data, said):
    with pytest.raises(HistoryError, match=rf"^history\.jsonl: line 1: .*{said}"):
        read_history(written(data))


def test_no_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_history(tmp_path / "absent")


def test_unknown_fields_are_ignored(written):
    data = text_of(small()).replace('{"kind":', '{"tomorrow":[1],"kind":').encode()
    assert read_history(written(data)).events[0] == small().events[0]


elements = st.one_of(st.integers(-3, 6), st.integers(-3, 6).map(str), st.integers())


@given(
    reads=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from("st"), st.booleans(), st.lists(elements, max_size=12)), max_size=12
    )
)
def test_changes_lead_back_to_the_sets(reads):
    """Whatever nodes show, in lists of any order with anything twice, `SetState` follows what the encoder wrote."""
    encoder, states = SetReadEncoder(), {}
    for op, (node, object, whole, shown) in enumerate(reads):
        change = encoder.encode(node=node, object=object, op=op, value=shown, whole=whole)
        state = states.setdefault((node, object), SetState())
        before = set(state.members)
        followed = state.follow(operation(op, node, object, change))
        assert set(state.members) == set(shown)
        assert set(followed.add) == set(shown) - before and len(followed.add) == len(set(followed.add))
        assert set(followed.drop) == before - set(shown)
        assert set(followed.twice) == {one for one in shown if shown.count(one) > 1}


def operation(op, node, object, value):
    invoke = Invoke(op=op, process="c", node=node, t=op, intended=op, object=object, action="read")
    return Operation(0, invoke, 1, Complete(op=op, t=op, outcome="ok", value=value))


def test_a_read_is_the_change_against_the_read_before_it():
    encoder = SetReadEncoder()
    first = encoder.encode(node=0, object="s", op=7, value=[3, 1, 2])
    assert first == SetRead(base=None, add=[3, 1, 2])
    assert encoder.encode(node=0, object="s", op=8, value=[1, 4, 3, 4]) == SetRead(base=7, add=[4], drop=[2], twice=[4])
    assert encoder.encode(node=1, object="s", op=9, value=[1]).base is None, "another node"
    assert encoder.encode(node=0, object="t", op=10, value=[1]).base is None, "another object"


def test_a_whole_read_stands_as_it_was_and_others_may_build_on_it():
    encoder = SetReadEncoder()
    encoder.encode(node=0, object="s", op=1, value=[1, 2])
    assert encoder.encode(node=0, object="s", op=2, value=[2, 3], whole=True) == SetRead(base=None, add=[2, 3])
    assert encoder.encode(node=0, object="s", op=3, value=[3]) == SetRead(base=2, add=[], drop=[2])


def test_one_and_the_string_one_are_two_elements():
    change = SetReadEncoder().encode(node=0, object="s", op=1, value=[1, "1"])
    assert change.add == [1, "1"] and change.twice == []


@pytest.mark.parametrize("value", [None, 3, {}, {"base": None, "add": [True]}, {"base": "x", "add": []}, {"add": [1]}])
def test_what_is_no_set_read_is_an_error(value):
    with pytest.raises(HistoryError, match="a set read's value"):
        as_set_read(value)


def test_a_read_that_drops_what_was_not_shown_is_an_error_that_names_it():
    state = SetState()
    state.follow(operation(1, 0, "s", SetRead(base=None, add=[1])))
    with pytest.raises(HistoryError, match="op 2 drops '1', which this node's last read did not show"):
        state.follow(operation(2, 0, "s", SetRead(base=1, add=[], drop=["1"])))


def test_a_change_against_another_read_than_the_last_is_an_error():
    state = SetState()
    state.follow(operation(1, 0, "s", SetRead(base=None, add=[1])))
    with pytest.raises(HistoryError, match="op 2 is a change against op 0, not this node's last read"):
        state.follow(operation(2, 0, "s", SetRead(base=0, add=[2])))


@pytest.mark.parametrize(
    ("network", "read"),
    [
        ({"latency_ms": 1e9, "loss": 1.0}, True),
        ({"latency_ms": 1e308}, False),
        ({"latency_ms": -1.0}, False),
        ({"loss": 1.1}, False),
        ({"loss": -0.1}, False),
    ],
)
def test_a_network_that_is_none_is_bad_input(network, read, written):
    """Bounds of time are computed from it."""
    made = msgspec.structs.replace(header(s="gset"), network=NetworkEntry(**network))
    path = written(Book(made).history)
    if read:
        assert read_history(path).header.network == made.network
        return
    with pytest.raises(
        HistoryError, match=rf"^history\.jsonl: line 1: is no header: .*\$\.network\.{next(iter(network))}"
    ):
        read_history(path)


@pytest.mark.parametrize("core", [[], [7]])
def test_a_core_that_is_none_is_bad_input(core, written):
    path = written(Book(header(s="gset", core=core)).history)
    with pytest.raises(HistoryError, match="line 1: core: is to name some of the nodes"):
        read_history(path)
