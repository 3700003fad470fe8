"""Progress: a bar on a terminal; in a pipe or a nightly log a line a minute, so that short work says nothing there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

LINE_EVERY_S = 60.0


def progress(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items`, and show on stderr how many of `total` are done."""
    if not sys.stderr.isatty():
        yield from _in_lines(items, total, what)
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, total=total, description=what, console=Console(stderr=True), transient=True)


def _in_lines(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    begun = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        now = time.monotonic()
        if now - said >= LINE_EVERY_S and done < total:
            print(f"{what}: {done} of {total} after {(now - begun) / 60:.0f} min", file=sys.stderr, flush=True)
            said = now
        yield item


@contextmanager
def share_of(what: str) -> Iterator[Callable[[float], None] | None]:
    """Gives a function to be told the share that is done, 0 to 1; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)
