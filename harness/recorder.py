"""Writes the history while a run goes on: in memory for the checkers, and to a stream for whoever comes later.

Set reads become changes against the node's previous read, as `checkers.history` has it, before they are kept:
two thousand reads of fifty thousand elements would not fit otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from checkers.history import (
    Complete,
    Event,
    FaultEvent,
    Header,
    History,
    HistoryWriter,
    Invoke,
    NodeEvent,
    Phase,
    SetReadEncoder,
)

EVENTS_MAX = 20_000_000


class HistoryFull(Exception):
    """More events than a history may hold."""


class HistoryUnwritable(Exception):
    """The stream does not take any more; the message is the system's reason."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HistoryUnwritable(error.strerror or str(error)) from None


class Recorder:
    """Appends events to `history` and, if there is one, to `stream`."""

    def __init__(self, header: Header, stream: TextIO | None = None) -> None:
        self.history = History(header=header, events=[], torn=None)
        self._events: list[Event] = self.history.events
        self._writer = HistoryWriter(stream) if stream is not None else None
        if self._writer is not None:
            with _writing():
                self._writer.header(header)
        self._sets = SetReadEncoder()
        self._reads: dict[int, Invoke] = {}
        self._set_objects = {entry.name for entry in header.objects if entry.type in ("gset", "orset")}

    def record(self, event: Event) -> None:
        """Append `event`; a set read's value is a plain list here and is stored as a change."""
        if isinstance(event, Invoke):
            if event.action == "read" and event.object in self._set_objects:
                self._reads[event.op] = event
        elif isinstance(event, Complete):
            read = self._reads.pop(event.op, None)
            if read is not None and event.outcome == "ok" and isinstance(event.value, list):
                # Final reads stand whole, so that a person can read them, and doubt them, as they are.
                change = self._sets.encode(
                    node=read.node, object=read.object, op=event.op, value=event.value, whole=read.final
                )
                event = Complete(
                    op=event.op,
                    t=event.t,
                    outcome="ok",
                    value=change,
                    commit=event.commit,
                    visible=event.visible,
                )
        self._append(event)

    def fault(self, fault: str, stage: Any, t: int, evidence: dict[str, int | float | str], note: str = "") -> None:
        """Append what became of a fault."""
        self._append(FaultEvent(fault=fault, stage=stage, t=t, evidence=evidence, note=note))

    def phase(self, phase: Any, t: int, note: str = "") -> None:
        """Append the beginning of a phase."""
        self._append(Phase(phase=phase, t=t, note=note))

    def node(self, node: int, name: str, t: int, monotonic: int, wall: int, data: dict[str, Any]) -> None:
        """Append a node's own event."""
        self._append(NodeEvent(node=node, name=name, monotonic=monotonic, wall=wall, t=t, data=data))

    def flush(self) -> None:
        """See to it that what was recorded is in the stream."""
        if self._writer is not None:
            with _writing():
                self._writer.flush()

    def _append(self, event: Event) -> None:
        if len(self._events) >= EVENTS_MAX:
            raise HistoryFull(f"a history holds at most {EVENTS_MAX} events")
        self._events.append(event)
        if self._writer is not None:
            with _writing():
                self._writer.append(event)
