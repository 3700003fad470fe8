"""The smallest shell that can run nodes in a test: frames in a list, disks that are durable when told to be.

With `roster=True` the nodes are the members of a signed roster, and `pulse` and `settle_down` let their probes run.
"""

from __future__ import annotations

import random

from knhk_mesh.commits import network_id
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Event, Instant, Persist, Reply, Send, SetTimer
from knhk_mesh.node import PROBE_TIMER, Node
from knhk_mesh.quorum import sign_roster
from knhk_mesh.requests import ClientOperation, Digest, Read, Write
from tests.commit_graphs import signer

WALL = 1_767_225_600_000_000_000
MS = 1_000_000
NEVER = 1 << 62


class Shell:
    """`count` nodes on one clock.  Frames wait in `frames` as (source, target, bytes) until `deliver`.

    `journals` is what the disks hold; `unsaved` what they were asked to hold, by token, and a crash forgets.
    """

    def __init__(self, count: int, *, auto_durable: bool = True, seed: int = 0, roster: bool = False, **config) -> None:
        self.now = 0
        self.auto_durable = auto_durable
        self.ids = [signer(f"n{number}").agent_id for number in range(count)]
        self.lives = [0] * count
        self.dead: set[int] = set()
        self.frames: list[tuple[int, int, bytes]] = []
        self.journals: list[list] = [[] for _ in range(count)]
        self.unsaved: list[list] = [[] for _ in range(count)]
        self.tokens: list[list[int]] = [[] for _ in range(count)]
        self.replies: list[list[Reply]] = [[] for _ in range(count)]
        self.events: list[list[Event]] = [[] for _ in range(count)]
        self.timers: list[int] = [0] * count
        self.probes: list[int] = [NEVER] * count
        self.config = {"faulty": (count - 1) // 3 if roster else 0, "fanout": max(1, count - 1)} | config
        if roster:
            network, faulty = network_id("shell"), self.config["faulty"]
            self.config["roster"] = sign_roster(
                signer("authority"), network=network, epoch=1, faulty=faulty, members=self.ids
            )
        self.nodes = [self.boot(number, seed) for number in range(count)]
        for number, node in enumerate(self.nodes):
            self.take(number, node.start(self.instant()))

    def boot(self, number: int, seed: int = 0) -> Node:
        peers = tuple(PeerConfig(one, f"n{at}") for at, one in enumerate(self.ids) if at != number)
        config = NodeConfig(network="shell", peers=peers, **self.config)
        records = list(self.journals[number])
        return Node(config, signer(f"n{number}"), random=random.Random(f"{seed}/{number}"), records=records)

    def instant(self) -> Instant:
        return Instant(self.now, WALL + self.now)

    def take(self, number: int, effects) -> list:
        """Carry effects out; returns them."""
        for effect in effects:
            if isinstance(effect, Send):
                self.frames.append((number, self.ids.index(effect.peer), effect.frame))
            elif isinstance(effect, SetTimer):
                (self.probes if effect.timer == PROBE_TIMER else self.timers)[number] = effect.at
            elif isinstance(effect, Reply):
                self.replies[number].append(effect)
            elif isinstance(effect, Event):
                self.events[number].append(effect)
            elif isinstance(effect, Persist):
                self.unsaved[number].append(effect.records)
                self.tokens[number].append(effect.token)
        if self.auto_durable:
            self.durable(number)
        return list(effects)

    def durable(self, number: int) -> list:
        """Everything that this node has asked to persist is durable now."""
        done = []
        while self.tokens[number]:
            self.journals[number].extend(self.unsaved[number].pop(0))
            done += self.take(number, self.nodes[number].persisted(self.instant(), self.tokens[number].pop(0)))
        return done

    def submit(self, number: int, what, request: int = 0):
        """Ask, and return the answer if it has come already."""
        before = len(self.replies[number])
        self.take(number, self.nodes[number].submit(self.instant(), request, what))
        return self.replies[number][before].result if len(self.replies[number]) > before else None

    def add(self, number: int, element, kind: str = "gset", level: str = "local", request: int = 0):
        return self.submit(number, Write((ClientOperation("o", kind, "add", element),), level), request)

    def read(self, number: int, kind: str = "gset"):
        return self.submit(number, Read("o", kind)).value

    def kill(self, number: int) -> None:
        """The node is gone with what its disk had not got; what is on its way to it is lost."""
        self.dead.add(number)
        self.unsaved[number].clear()
        self.tokens[number].clear()
        self.timers[number] = self.probes[number] = NEVER

    def restart(self, number: int, *, wipe: bool = False) -> None:
        """Kill the node and start it again, on its disk as it is or on an empty one."""
        self.kill(number)
        if wipe:
            self.journals[number].clear()
        self.lives[number] += 1
        self.nodes[number] = self.boot(number, seed=1000 + self.lives[number])
        self.dead.discard(number)
        self.take(number, self.nodes[number].start(self.instant()))

    def digest(self, number: int):
        return self.submit(number, Digest())

    def deliver(self, *, lose=lambda source, target: False) -> int:
        """Deliver every frame that waits, and those that come of it; returns how many arrived."""
        arrived = 0
        while self.frames:
            source, target, frame = self.frames.pop(0)
            if not lose(source, target) and target not in self.dead:
                arrived += 1
                self.take(target, self.nodes[target].receive(self.instant(), self.ids[source], frame))
        return arrived

    def round(self, *, lose=lambda source, target: False) -> None:
        """Let 100 ms go by, run every node's gossip timer that is due, and deliver."""
        self.now += 100 * MS
        for number, node in enumerate(self.nodes):
            if self.timers[number] <= self.now:
                self.take(number, node.timer(self.instant(), "gossip"))
        self.deliver(lose=lose)

    def pulse(self, *, lose=lambda source, target: False) -> None:
        """Let 100 ms go by, run every node's probe timer that is due, and deliver; gossip stands still."""
        self.now += 100 * MS
        for number in range(len(self.nodes)):
            self.probe(number)
        self.deliver(lose=lose)

    def probe(self, number: int) -> None:
        """Run this node's probe timer if it is due."""
        if self.probes[number] <= self.now:
            self.take(number, self.nodes[number].timer(self.instant(), PROBE_TIMER))

    def settle_down(self) -> Shell:
        """Let probes run until everybody alive is healthy and knows whether it votes; returns the shell."""
        alive = [number for number in range(len(self.nodes)) if number not in self.dead]
        for _ in range(50):
            if all(self.state(one) == "healthy" and self.voting(one) != "enrolling" for one in alive):
                return self
            self.pulse()
        raise AssertionError([(self.state(number), self.voting(number)) for number in alive])

    def voting(self, number: int) -> str:
        """Whether the node votes: votes, enrolling, abstains, no roster."""
        return self.nodes[number].member.voting

    def state(self, number: int) -> str:
        """What the node takes itself for: healthy, partitioned, recovering."""
        return self.nodes[number].member.detector.state

    def told(self, number: int, name: str) -> list[dict]:
        """The data of the events of this name that the node has told of."""
        return [event.data for event in self.events[number] if event.name == name]
