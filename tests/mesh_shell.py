"""The smallest shell that can run nodes in a test: frames in a list, disks that are durable when told to be."""

from __future__ import annotations

import random

from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Event, Instant, Persist, Reply, Send, SetTimer
from knhk_mesh.node import Node
from knhk_mesh.requests import ClientOperation, Digest, Read, Write
from tests.commit_graphs import signer

WALL = 1_767_225_600_000_000_000
MS = 1_000_000


class Shell:
    """`count` nodes on one clock.  Frames wait in `frames` as (source, target, bytes) until `deliver`."""

    def __init__(self, count: int, *, auto_durable: bool = True, seed: int = 0, **config) -> None:
        self.now = 0
        self.auto_durable = auto_durable
        self.ids = [signer(f"n{number}").agent_id for number in range(count)]
        self.frames: list[tuple[int, int, bytes]] = []
        self.journals: list[list] = [[] for _ in range(count)]
        self.tokens: list[list[int]] = [[] for _ in range(count)]
        self.replies: list[list[Reply]] = [[] for _ in range(count)]
        self.events: list[list[Event]] = [[] for _ in range(count)]
        self.timers: list[int] = [0] * count
        self.config = {"faulty": 0, "fanout": max(1, count - 1)} | config
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
                self.timers[number] = effect.at
            elif isinstance(effect, Reply):
                self.replies[number].append(effect)
            elif isinstance(effect, Event):
                self.events[number].append(effect)
            elif isinstance(effect, Persist):
                self.journals[number].extend(effect.records)
                self.tokens[number].append(effect.token)
        if self.auto_durable:
            self.durable(number)
        return list(effects)

    def durable(self, number: int) -> list:
        """Everything that this node has asked to persist is durable now."""
        done = []
        while self.tokens[number]:
            done += self.take(number, self.nodes[number].persisted(self.instant(), self.tokens[number].pop(0)))
        return done

    def submit(self, number: int, what, request: int = 0):
        """Ask, and return the answer if it has come already."""
        before = len(self.replies[number])
        self.take(number, self.nodes[number].submit(self.instant(), request, what))
        return self.replies[number][before].result if len(self.replies[number]) > before else None

    def add(self, number: int, element, kind: str = "gset"):
        return self.submit(number, Write((ClientOperation("o", kind, "add", element),)))

    def read(self, number: int, kind: str = "gset"):
        return self.submit(number, Read("o", kind)).value

    def digest(self, number: int):
        return self.submit(number, Digest())

    def deliver(self, *, lose=lambda source, target: False) -> int:
        """Deliver every frame that waits, and those that come of it; returns how many arrived."""
        arrived = 0
        while self.frames:
            source, target, frame = self.frames.pop(0)
            if not lose(source, target):
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
