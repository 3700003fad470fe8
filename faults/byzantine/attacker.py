"""What every strategy has at hand: the liar's node and key, and the tools to make what a correct node never would."""

from __future__ import annotations

from collections.abc import Sequence

from knhk_mesh.commits import INCARNATION_BYTES, NO_COMMIT, Commit, Operation, Proof, WireCommit, make_commit
from knhk_mesh.effects import Effect, Event, Instant, RandomSource, Send
from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.messages import Delta, Echo, Frame, Probe
from knhk_mesh.node import Node
from knhk_mesh.replica import committed

LIARS = "liars"
"""The gset that attackers write to, and nobody else."""


class Attacker:
    """One liar's means.  `lies` counts what left that no correct node would have sent, or what was kept back."""

    def __init__(self, node: Node, signer: Signer, *, random: RandomSource) -> None:
        self.node = node
        self.signer = signer
        self.random = random
        self.network = node.replica.network
        self.peers: list[AgentId] = [peer.agent_id for peer in node.config.peers]
        self.lies = 0
        self.told: list[Event] = []
        self._written = 0

    def some(self, count: int) -> list[AgentId]:
        """`count` different peers, drawn anew."""
        left = list(self.peers)
        return [left.pop(int(self.random.random() * len(left))) for _ in range(min(count, len(left)))]

    def halves(self) -> tuple[list[AgentId], list[AgentId]]:
        """All peers, in two parts that are as equal as can be."""
        mixed = self.some(len(self.peers))
        return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]

    def frame(self, peer: AgentId, kind: type, *fields: object) -> Send:
        """A frame of `kind` to `peer`, with this life's session and the next number, of the row that the node uses.

        A number of the other row would be a lie that silences the liar: what its node says next would be a replay.
        """
        outbox, free = self.node.outbox, kind in (Probe, Echo)
        made: Frame = kind(outbox.session, outbox.next(peer, free=free), *fields)
        return outbox.send(peer, made, free=free)

    def deltas(self, peers: Sequence[AgentId], wires: Sequence[WireCommit]) -> list[Effect]:
        """These commits to these peers, each a frame, so that none is too large."""
        return [self.frame(peer, Delta, [wire]) for peer in peers for wire in wires]

    def together(self, peers: Sequence[AgentId], wires: Sequence[WireCommit]) -> list[Effect]:
        """These commits to these peers, as many in a frame as fit."""
        limit = self.node.config.frame_bytes_max - 512
        batches: list[list[WireCommit]] = [[]]
        for wire in wires:
            if sum(one.size for one in batches[-1]) + wire.size > limit:
                batches.append([])
            batches[-1].append(wire)
        return [self.frame(peer, Delta, batch) for peer in peers for batch in batches]

    def write(self) -> Operation:
        """An operation that nobody else makes."""
        self._written += 1
        return Operation(LIARS, "gset", "add", f"{self.node.agent_id.hex()[:8]}/{self._written}")

    def tell(self, *commits: Commit) -> None:
        """Let the harness know of commits that were signed and may be accepted."""
        self.told.extend(committed(commit) for commit in commits)


class Chain:
    """A chain of the attacker's own, beside the one that its node writes: an incarnation for which no disk was lost."""

    def __init__(self, attacker: Attacker) -> None:
        self._attacker = attacker
        self._incarnation = attacker.random.getrandbits(8 * INCARNATION_BYTES).to_bytes(INCARNATION_BYTES, "big")
        self._tip: Commit | None = None

    def next(
        self,
        now: Instant,
        *,
        deps: Sequence[bytes] | None = None,
        beside: Sequence[Commit] = (),
        clock_ahead: int = 1,
        proof: Proof | None = None,
    ) -> Commit:
        """A commit for the next slot, valid unless the arguments make it otherwise; `advance` goes on from it.

        `deps` by default are some of what the node has accepted last; `beside` are dependencies that it need not hold;
        `clock_ahead` is above the greatest clock known.
        """
        attacker, tip = self._attacker, self._tip
        log = attacker.node.replica.log
        if deps is None:
            deps = [one for one in list(log.frontier)[:8] if tip is None or one != tip.id]
        known = [log.held[one].clock for one in deps if one in log.held] + [one.clock for one in beside]
        floor = max([log.clock_of([]), *known, *([tip.clock] if tip else [])])
        deps = [*deps, *(one.id for one in beside)]
        return make_commit(
            attacker.signer,
            network=attacker.network,
            incarnation=self._incarnation,
            seq=tip.seq + 1 if tip else 0,
            prev=tip.id if tip else NO_COMMIT,
            deps=[one for one in deps if tip is None or one != tip.id],
            clock=max(0, floor + clock_ahead),
            operations=[attacker.write()],
            proof=proof,
        )

    def advance(self, commit: Commit) -> None:
        """Go on from `commit`."""
        self._tip = commit


class Strategy:
    """Does nothing: a strategy overrides what it lies with."""

    def __init__(self, attacker: Attacker) -> None:
        self.attacker = attacker

    def begins(self) -> None:
        """It is in force, from now on or once more."""

    def hears(self, now: Instant, peer: AgentId, frame: bytes) -> tuple[bool, list[Effect]]:
        """A frame has come: whether the node is to see it, and what is sent beside."""
        return True, []

    def sends(self, now: Instant, effect: Send) -> list[Effect]:
        """The node sends this: what leaves in its place."""
        return [effect]

    def round(self, now: Instant) -> list[Effect]:
        """A gossip round begins: what is sent beside."""
        return []
