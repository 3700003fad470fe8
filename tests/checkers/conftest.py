"""A checker that crashes is unknown, and must not pass for one that says so by itself."""

from collections.abc import Iterator

import pytest

from checkers.compose import Judge


@pytest.fixture(autouse=True)
def no_checker_crashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test in which one is to crash is marked `crashes`."""
    crashed: list[str] = []
    final = Judge.final

    def watched(self: Judge):
        verdict = final(self)
        crashed.extend(self._crashed.values())
        return verdict

    monkeypatch.setattr(Judge, "final", watched)
    yield
    if request.node.get_closest_marker("crashes") is None:
        assert not crashed
