"""What long work says of itself where nobody looks at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import progress as progress_module
from harness.progress import LINE_EVERY_S, progress


class _Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress_module.time, "monotonic", lambda: self.now)

    def work(self, seconds_each: float, count: int) -> Iterator[int]:
        for number in range(count):
            self.now += seconds_each
            yield number


def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    items = _Clock(monkeypatch).work(LINE_EVERY_S / 2, 7)
    assert list(progress(items, total=7, what="planted bugs")) == list(range(7))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "planted bugs: 2 of 7 after 1 min",
        "planted bugs: 4 of 7 after 2 min",
        "planted bugs: 6 of 7 after 3 min",
    ]


def test_short_work_says_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    items = _Clock(monkeypatch).work(LINE_EVERY_S / 10, 9)
    assert len(list(progress(items, total=9, what="seeds"))) == 9
    assert capfd.readouterr().err == ""
