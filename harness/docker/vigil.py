"""Whether the containers of one run live: which nodes have ended, and whether the harness's own are still there.

The engine tells of containers that end; to ask for each of them all the time would cost.  Three things make its silence
mean something.  A stream of events that breaks is told of: who is deaf cannot say that nothing has happened.  The relay
and the packet filters' containers are the harness's own: when one ends, what the nodes do without it is not theirs to
answer for, and the run says nothing of the mesh.  And at the end the engine is asked once more what each container's
life was (`life_of`): a restart by somebody else changes it, whether or not an event came.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

from docker.errors import DockerException

from harness.docker.engine import engine_errors, reason
from harness.docker.leftovers import RUN
from harness.docker.workshop import PART, last_words
from harness.errors import HostError

NODE = "node"
RELAY = "relay"
REMOVAL_SECONDS = 2.0
"""Between the end of a container that is removed and word of its removal."""


class Life(NamedTuple):
    """Of a container, as the engine has it: since when it runs, and how often the engine has restarted it."""

    started: str
    restarts: int

    def __str__(self) -> str:
        return f"started {self.started}, {self.restarts} restarts"


def life_of(container: Any) -> Life:
    """As it was when the container was last reloaded."""
    return Life(str(container.attrs["State"]["StartedAt"]), int(container.attrs.get("RestartCount", 0)))


class Vigil:
    """Over the containers that carry `run` as a label.  `begin` it before the first of them is started."""

    def __init__(self, client: Any, run: str) -> None:
        self._client = client
        self._run = run
        self._events: Any = None
        self._relay: Any = None
        self._died: dict[int, str] = {}
        self._companions: dict[str, tuple[float, str]] = {}  # id -> (when its end was heard of, how it ended)
        self._broken: str | None = None
        self._over = False

    def begin(self) -> None:
        """Listen from now on.  Raises HostError."""
        filters = {"label": f"{RUN}={self._run}", "type": "container", "event": ["die", "destroy"]}
        with engine_errors("docker events"):
            self._events = self._client.events(decode=True, filters=filters)
        threading.Thread(target=self.hear, args=(self._events,), name="docker-events", daemon=True).start()

    def over(self, relay: Any) -> None:
        """This container is the relay."""
        self._relay = relay

    def hear(self, events: Any) -> None:
        """Until the stream ends: closed by `end`, or broken."""
        why = "the stream ended"
        try:
            for event in events:
                self._note(event)
        except Exception as error:
            why = f"{type(error).__name__}: {reason(error)}"
        self._break(f"Docker tells of no more events: {why}")

    def _note(self, event: Any) -> None:
        actor = event["Actor"]
        told = actor["Attributes"]
        part, how = told.get(PART, ""), f"ended (exit {told.get('exitCode')})"
        if event["Action"] == "destroy":
            self._companions.pop(actor["ID"], None)  # the packet filter has removed it: its namespace was gone
        elif part.startswith(NODE):
            self._died[int(part.removeprefix(NODE))] = how
        elif part == RELAY:
            self._break(f"the relay {how}: {last_words(self._relay)}")
        elif not part:
            self._companions[actor["ID"]] = (time.monotonic(), f"the container of a packet filter {how}")

    def _break(self, what: str) -> None:
        if not self._over:
            self._broken = self._broken or what

    def ended(self, node: int) -> str | None:
        """How the node's container ended, by whomever, since `started`."""
        return self._died.get(node)

    def started(self, node: int) -> None:
        """The node is about to be started: what was heard of it belongs to its former life."""
        self._died.pop(node, None)

    def broken(self) -> str | None:
        """Why nothing can be said of the nodes, a line; None while all is well."""
        for since, how in list(self._companions.values()):
            if time.monotonic() - since > REMOVAL_SECONDS:
                self._break(how)
        return self._broken

    def end(self) -> None:
        """Look at the relay a last time; what ends from now on is ended by the harness."""
        if self._relay is not None:
            try:
                with engine_errors("the relay"):
                    self._relay.reload()
                if self._relay.status != "running":
                    self._break(f"the relay ended: {last_words(self._relay)}")
            except HostError as error:
                self._break(str(error))
        self._over = True

    def close(self) -> None:
        """Listen no more."""
        self._over = True
        if self._events is not None:
            with suppress(DockerException, OSError, AttributeError):
                self._events.close()
