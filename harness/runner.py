"""Runs a plan on a backend and records what happened.  The phases, each an event in the history:

    load     operations at their intended starts, faults at theirs
             then the clients stop, and what is in flight comes to an end, still under faults
    heal     every fault is lifted
    quiesce  the core's digests are asked for, until all roots are equal or the deadline has passed
    final    every core node is read once more, and asked for some of the certificates that it has given
    done     the run came to its end: without this event, the history says that it did not

Safety is judged throughout, liveness only after the heal: two phases, as in TigerBeetle's simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from checkers.history import Complete, Invoke
from faults.vocabulary import At, Kill, PlannedFault, Trigger
from harness.acknowledged import Acknowledged
from harness.backend import Answer, Ask, Backend, Evidence
from harness.clients import READ_ONLY, Client, Survey
from harness.header import deadline_on
from harness.plan import Plan
from harness.recorder import Recorder

QUIESCE_POLLS_AN_INTERVAL = 4
DEADLINE_GRACE = 2
"""Waiting goes on beyond the deadline by this factor, so that the verdict can tell late from never."""

OBSERVER = "observer"
SECOND = 1_000_000_000

_Step = tuple[Sequence[int], Ask]


def _one_root(answers: dict[int, Answer]) -> bool:
    """Whether all of them gave their root, and it is one."""
    roots = {answer.value["root"] if answer.outcome == "ok" else None for answer in answers.values()}
    return len(roots) == 1 and None not in roots


class Runner:
    """One run.  Call `run` once; the recorder has the history afterwards."""

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        recorder: Recorder,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._recorder = recorder
        self._progress = progress
        self._clients: dict[str, Client] = {}
        self._acknowledged = Acknowledged()
        self._in_force: dict[str, PlannedFault] = {}
        self._healed = False
        self._lifting = 0
        self._abandoned = ""
        self._next_op = max((operation.id for operation in plan.operations), default=-1) + 1
        self._quiesce_by = 0

    def run(self) -> None:
        """Run every phase.  Whatever happens, the backend is told to stop."""
        backend, plan = self._backend, self._plan
        for planned in plan.faults:
            if isinstance(planned.start, Trigger):
                backend.when(planned.start, partial(self._inject, planned))
        try:
            backend.start(self._observe)
            self._recorder.phase("load", backend.now())
            for planned in plan.faults:
                if isinstance(planned.start, At):
                    backend.call_at(planned.start.at_ns, partial(self._inject, planned))
            for operation in plan.operations:
                client = self._clients.get(operation.client)
                if client is None:
                    client = self._clients[operation.client] = Client(
                        operation.client, backend, self._record, timeout_ns=plan.operation_timeout_ns
                    )
                backend.call_at(operation.at_ns, partial(client.offer, operation))
            backend.call_at(plan.load_ns, self._end_load)
            if self._progress is not None:
                self._tell_progress()
            backend.run()
        finally:
            backend.stop()

    def _tell_progress(self) -> None:
        now, load_ns = self._backend.now(), self._plan.load_ns
        if self._progress is not None and now <= load_ns:
            self._progress(now / load_ns)
            self._backend.call_at(now + SECOND, self._tell_progress)

    def _record(self, event: Invoke | Complete) -> None:
        self._acknowledged.take(event)
        self._recorder.record(event)

    def _observe(self, node: int, name: str, monotonic: int, wall: int, data: dict[str, Any]) -> None:
        self._recorder.node(node, name, self._backend.now(), monotonic, wall, data)

    def _inject(self, planned: PlannedFault) -> None:
        if self._healed or planned.id in self._in_force:
            return
        self._in_force[planned.id] = planned
        if isinstance(planned.fault, Kill):
            self._acknowledged.killed(planned.fault.nodes)
        # Told before it is done: what a checker may blame on a fault cannot have come earlier than this.
        self._recorder.fault(planned.id, "injected", self._backend.now(), {}, planned.what)
        self._backend.inject(planned, partial(self._injected, planned))

    def _injected(self, planned: PlannedFault, evidence: Evidence, problem: str | None) -> None:
        now = self._backend.now()
        if problem is not None:
            self._in_force.pop(planned.id, None)
            self._recorder.fault(planned.id, "skipped", now, evidence, f"could not be put in force: {problem}")
            return
        if evidence:
            self._recorder.fault(planned.id, "observed", now, evidence)
        if planned.duration_ns is not None:
            self._backend.call_at(now + planned.duration_ns, partial(self._lift, planned))

    def _lift(self, planned: PlannedFault) -> None:
        if self._in_force.pop(planned.id, None) is not None:
            self._lifting += 1
            self._backend.lift(planned, partial(self._lifted, planned))

    def _lifted(self, planned: PlannedFault, evidence: Evidence, problem: str | None) -> None:
        stage = "lifted" if problem is None else "observed"  # never confirmed lifted: then the verdict is unknown
        self._recorder.fault(planned.id, stage, self._backend.now(), evidence, problem or "")
        self._lifting -= 1
        self._heal_when_lifted()

    def _end_load(self) -> None:
        abandoned = sum(client.close() for client in self._clients.values())
        self._settle(self._backend.now() + self._plan.operation_timeout_ns, abandoned)

    def _settle(self, latest: int, abandoned: int) -> None:
        """Wait until no client has an operation in flight; each has a time-out, so this ends."""
        now = self._backend.now()
        if now < latest and any(client.busy for client in self._clients.values()):
            self._backend.call_at(now + self._poll_ns(), partial(self._settle, latest, abandoned))
            return
        self._healed = True
        self._abandoned = f"{abandoned} queued operations were never begun" if abandoned else ""
        self._lifting += 1  # this loop itself, so that the heal comes once, after the last of them
        for planned in list(self._in_force.values()):
            self._lift(planned)
        self._lifting -= 1
        self._heal_when_lifted()

    def _heal_when_lifted(self) -> None:
        if not self._healed or self._lifting:
            return
        now = self._backend.now()
        self._recorder.phase("heal", now, self._abandoned)
        self._recorder.phase("quiesce", now)
        self._quiesce_by = now + DEADLINE_GRACE * deadline_on(self._plan, self._backend.allowance).total_ns
        self._poll()

    def _poll_ns(self) -> int:
        return self._plan.cluster.gossip_interval_ns // QUIESCE_POLLS_AN_INTERVAL

    def _poll(self) -> None:
        self._survey(self._plan.core, Ask("", "", "digest"), final=False, done=self._polled)

    def _polled(self, answers: dict[int, Answer]) -> None:
        now = self._backend.now()
        if _one_root(answers):
            self._final("")
        elif now >= self._quiesce_by:
            self._explain()
        else:
            self._backend.call_at(now + self._poll_ns(), self._poll)

    def _explain(self) -> None:
        """Convergence did not come: ask each node how it sees things, so that the verdict can say why."""

        def told(answers: dict[int, Answer]) -> None:
            lines = [f"node {node}: {answer.value or answer.error}" for node, answer in sorted(answers.items())]
            self._final("not converged; " + "; ".join(lines))

        Survey(
            self._backend,
            self._plan.core,
            Ask("", "", "status"),
            timeout_ns=self._plan.operation_timeout_ns,
            started=lambda node: None,
            answered=lambda node, answer: None,
            done=told,
        )

    def _final(self, note: str) -> None:
        self._recorder.phase("final", self._backend.now(), note)
        core = self._plan.core
        reads: list[_Step] = [(core, Ask(entry.name, entry.type, "read")) for entry in self._plan.objects]
        self._final_steps(reads, self._final_digest)

    def _final_digest(self) -> None:
        self._survey(self._plan.core, Ask("", "", "digest"), final=True, done=self._digested)

    def _digested(self, answers: dict[int, Answer]) -> None:
        """Ask again where the roots are not one any more: what a liar has kept back comes whenever it pleases, and may
        have reached some of the core since the poll that had found them equal."""
        now = self._backend.now()
        if now < self._quiesce_by and not _one_root(answers):
            self._backend.call_at(now + self._poll_ns(), self._final_digest)
            return
        kept: list[_Step] = []
        for node in self._plan.core:
            kept += [([node], Ask("", "", "certificate", one)) for one in self._acknowledged.some_of(node)]
        self._final_steps(kept, lambda: self._backend.hear(self._done))

    def _final_steps(self, steps: list[_Step], then: Callable[[], None]) -> None:
        if not steps:
            then()
            return
        nodes, ask = steps[0]
        self._survey(nodes, ask, final=True, done=lambda _answers: self._final_steps(steps[1:], then))

    def _done(self) -> None:
        self._recorder.phase("done", self._backend.now())
        self._backend.stop()

    def _survey(
        self, nodes: Sequence[int], ask: Ask, *, final: bool, done: Callable[[dict[int, Answer]], None]
    ) -> None:
        """Ask these nodes at once, with each question and answer in the history."""
        operations: dict[int, int] = {}

        def started(node: int) -> None:
            operations[node] = self._next_op
            self._next_op += 1
            now = self._backend.now()
            self._recorder.record(
                Invoke(
                    op=operations[node],
                    process=f"{OBSERVER}{node}.{'final' if final else 'quiesce'}",
                    node=node,
                    t=now,
                    intended=now,
                    object=ask.object,
                    action=ask.action,
                    value=ask.value,
                    final=final,
                )
            )

        def answered(node: int, answer: Answer) -> None:
            unknown = answer.outcome == "info" and ask.action in READ_ONLY
            self._recorder.record(
                Complete(
                    op=operations[node],
                    t=self._backend.now(),
                    outcome="fail" if unknown else answer.outcome,  # type: ignore[arg-type]
                    value=answer.value,
                    error=answer.error,
                    commit=ask.value if answer.certificate is not None else None,
                    visible=answer.visible,
                    certificate=answer.certificate,
                )
            )

        Survey(
            self._backend,
            nodes,
            ask,
            timeout_ns=self._plan.operation_timeout_ns,
            started=started,
            answered=answered,
            done=done,
        )
