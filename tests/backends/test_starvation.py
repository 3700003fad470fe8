"""When no processor was idle: what a reader of /proc/stat says, look after look."""

import pytest

from harness.real.starvation import TELL_NS, Span, Starvation, Ticks, processor_ticks

MS = 1_000_000
BUSY, CALM = (0, 20), (2, 18)
"""(idle, busy) ticks of a tenth of a second on two processors."""


def looks(*slices):
    """What is told at each of `slices`, (idle, busy) ticks or None where nothing can be read, 100 ms each."""
    readings = [Ticks(0, 0)]
    last = readings[0]
    for one in slices:
        last = last if one is None else Ticks(last.idle + one[0], last.total + sum(one))
        readings.append(None if one is None else last)
    source = iter(readings)
    starvation = Starvation(0, lambda: next(source))
    return [starvation.look((number + 1) * 100 * MS) for number in range(len(slices))]


@pytest.mark.parametrize(
    ("slices", "told"),
    [
        ([CALM, CALM], [None, None]),
        ([CALM, BUSY, CALM], [None, None, Span(200 * MS, 100 * MS)]),
        ([BUSY, BUSY, CALM, CALM], [None, None, Span(200 * MS, 200 * MS), None]),
        ([BUSY] * 6, [None] * 4 + [Span(500 * MS, TELL_NS), None]),
        ([BUSY] * 5 + [CALM], [None] * 4 + [Span(500 * MS, TELL_NS), None]),
        ([(1, 18)], [None]),
        ([(1, 20), CALM], [None, Span(100 * MS, 100 * MS)]),
        ([BUSY, None, BUSY, CALM], [None, Span(100 * MS, 100 * MS), None, None]),
        ([(0, 0), CALM], [None, None]),
    ],
    ids=["calm", "once", "twice", "long", "long, and then calm", "a little", "too little", "unreadable", "no time"],
)
def test_what_is_told(slices, told):
    assert looks(*slices) == told


def test_the_file_of_the_kernel(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 400 5 6 7 8 90 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert processor_ticks(stat) == Ticks(idle=405, total=576)
    for wrong in ("", "cpu  1 2\n", "cpu  a b c d e\n"):
        stat.write_text(wrong)
        assert processor_ticks(stat) is None
    assert processor_ticks(tmp_path / "none") is None


def test_this_machine_can_be_read():
    seen = processor_ticks()
    if seen is None:
        pytest.skip("this system tells of no processors' time in /proc/stat")
    assert 0 <= seen.idle < seen.total
