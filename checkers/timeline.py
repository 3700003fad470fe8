"""Places what nodes tell on the harness's clock, and says up to when what they tell has been heard.

A node's event carries that node's own monotonic clock.  A `clock` event says that its `t` and its `monotonic` are of
one instant: events of that node lie at monotonic - (monotonic - t of that event).  A node without one, as in the
simulator, tells at once, and `t` is exact.

A node that is asked for its events is asked now and then, and not any more when the run is over.  So what such a node
did in the last UNHEARD_NS may be missing, and nobody is blamed for what he may have told then.
"""

from __future__ import annotations

from checkers.history import Event, NodeEvent, Phase
from checkers.reach import Span

UNHEARD_NS = 1_000_000_000


class Timeline:
    """Feed it every event; the `clock` event of a node comes before what is to be placed."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}
        self._end = 0
        self._done: int | None = None

    def on_event(self, event: Event) -> None:
        """Learn clocks, and how long the run lasts."""
        if type(event) is NodeEvent:
            if event.name == "clock":
                self._offsets[event.node] = event.monotonic - event.t
            return
        self._end = max(self._end, event.t)
        if type(event) is Phase and event.phase == "done":
            self._done = event.t

    def place(self, event: NodeEvent) -> int:
        """When it happened, in nanoseconds on the harness's clock."""
        offset = self._offsets.get(event.node)
        return event.t if offset is None else event.monotonic - offset

    def starving(self, event: NodeEvent) -> Span:
        """The time of which a `starved` event tells, likewise."""
        end = self.place(event)
        return Span(end - event.data["for_ns"], end)

    @property
    def end(self) -> int:
        """When the run was done; of a run that was not, the last that is known of it."""
        return self._end if self._done is None else self._done

    def heard_until(self, node: int) -> int:
        """Up to when all that `node` did has been heard."""
        return self.end - UNHEARD_NS if node in self._offsets else self.end
