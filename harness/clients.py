"""Clients: each is sequential, queues from the intended start, and never knows more than it was told.

A client whose operation ends without a definite answer goes on as a new process, because the old one may still
have an operation in flight (Jepsen's rule).  Reads change nothing, so a read without an answer has failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from checkers.history import Complete, Invoke
from harness.backend import Answer, Ask, Backend
from harness.plan import PlannedOperation

READ_ONLY = ("read", "digest", "status", "certificate")
QUEUE_MAX = 100_000

Element = int | str
Record = Callable[[Invoke | Complete], None]


class Client:
    """One client of one node.  `record` takes its invocations and completions."""

    def __init__(self, name: str, backend: Backend, record: Record, *, timeout_ns: int) -> None:
        self.busy = False
        self._name = name
        self._backend = backend
        self._record = record
        self._timeout_ns = timeout_ns
        self._processes = 0
        self._queue: deque[PlannedOperation] = deque()
        self._closed = False
        self._seen: dict[str, list[Element]] = {}
        self._current = -1

    def offer(self, operation: PlannedOperation) -> None:
        """The intended start of `operation` has come."""
        if self._closed:
            return
        if self.busy:
            assert len(self._queue) < QUEUE_MAX
            self._queue.append(operation)
        else:
            self._invoke(operation)

    def close(self) -> int:
        """Begin nothing more; returns how many operations were still queued and are abandoned."""
        self._closed = True
        abandoned = len(self._queue)
        self._queue.clear()
        return abandoned

    def _invoke(self, operation: PlannedOperation) -> None:
        value, symbol = operation.value, None
        if operation.seen is not None:
            seen = self._seen.get(operation.object)
            if not seen:
                self._next()  # nothing was seen yet, so there is nothing to name: the operation says nothing
                return
            value = seen[int(operation.seen * len(seen))]
            symbol = {"seen": operation.seen}
        self.busy = True
        self._current = operation.id
        backend = self._backend
        self._record(
            Invoke(
                op=operation.id,
                process=f"{self._name}.{self._processes}",
                node=operation.node,
                t=backend.now(),
                intended=operation.at_ns,
                object=operation.object,
                action=operation.action,
                value=value,
                symbol=symbol,
                level=operation.level,
            )
        )
        ask = Ask(operation.object, operation.type, operation.action, value, operation.level)
        backend.call_at(backend.now() + self._timeout_ns, lambda: self._time_out(operation))
        backend.invoke(operation.node, ask, lambda answer: self._complete(operation, answer))

    def _time_out(self, operation: PlannedOperation) -> None:
        self._complete(operation, Answer("info", error="time-out"))

    def _complete(self, operation: PlannedOperation, answer: Answer) -> None:
        if self._current != operation.id:
            return  # it was given up before, or has timed out after its answer
        self._current = -1
        outcome = answer.outcome
        if outcome == "info":
            self._processes += 1
            if operation.action in READ_ONLY:
                outcome = "fail"
        if outcome == "ok" and operation.action == "read" and isinstance(answer.value, list):
            self._seen[operation.object] = answer.value
        self._record(
            Complete(
                op=operation.id,
                t=self._backend.now(),
                outcome=outcome,  # type: ignore[arg-type]
                value=answer.value,
                error=answer.error,
                commit=answer.commit,
                visible=answer.visible,
                certificate=answer.certificate,
            )
        )
        self.busy = False
        self._next()

    def _next(self) -> None:
        if self._queue and not self._closed and not self.busy:
            self._invoke(self._queue.popleft())


class Survey:
    """One question to several nodes at once; `done` gets the answers by node when all have come or time is up."""

    def __init__(
        self,
        backend: Backend,
        nodes: Sequence[int],
        ask: Ask,
        *,
        timeout_ns: int,
        started: Callable[[int], None],
        answered: Callable[[int, Answer], None],
        done: Callable[[dict[int, Answer]], None],
    ) -> None:
        self._answers: dict[int, Answer] = {}
        self._missing = len(nodes)
        self._answered = answered
        self._done = done
        for node in nodes:
            started(node)
            backend.invoke(node, ask, lambda answer, node=node: self._take(node, answer))  # type: ignore[misc]
        backend.call_at(backend.now() + timeout_ns, lambda: self._give_up(nodes))

    def _take(self, node: int, answer: Answer) -> None:
        if node in self._answers or not self._missing:
            return
        self._answers[node] = answer
        self._answered(node, answer)
        self._missing -= 1
        if not self._missing:
            self._done(self._answers)

    def _give_up(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._take(node, Answer("info", error="time-out"))
