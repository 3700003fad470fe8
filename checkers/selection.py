"""Selection: whom gossip rounds pick is distinct, uniform where it should be, and not the liars' to decide.

Decides, from the `selected` events of the correct nodes:

`selected-twice`    a round picked a peer twice
`too-few`           a round picked fewer than min(k, available) peers; before the last round of a telling, fewer than
                    min(k, correct peers that nothing kept from it, if no fewer were available then and before), or
                    nobody at all though no fault was in force and some were available then and before: on a network
                    without loss, an exchange after the start or a fault's end, and where no machine starved then or
                    within an exchange before, for else silence may do; not in the last second of real nodes, whose
                    starving may not have been heard
`selected-itself`, `selected-stranger`   a round picked the node itself, or somebody who is no member
`not-uniform`       under the strategy "random", while no fault was in force and all peers were available, a node's
                    picks are so uneven that chance explains it less than once in 10^6 (Pearson's chi-square, 1900)
`byzantine-share`   of all picks of a correct node, liars have more than their bound

**The bound** is that of the mesh's design, computed here once more from the header.  Of k places among N peers, m are
near: m draws without replacement from a near set of s peers, g of them liars, which is m g / s liars on average.  The
others are drawn from the N - m that are left, L liars in all: (k - m) (L - m g / s) / (N - m).  The sum is greatest
for as many liars in as small a near set as there can be, g = min(L, s) and s = 2f + 1; under "region", s is the number
of peers in the node's region.  Where only some peers were available, N is their number, and those that were missing
are taken to be correct ones of the near set: no mesh can do better.  To the bound come DEVIATIONS standard deviations
of as many independent picks, which vary more than draws without replacement.  The option `share_max` puts a share in
the place of all that.  What this is to resist, eclipse by flooding and by claims of nearness, is from Basalt (arXiv
2102.04063).

**Evenness.**  Picks of one round are distinct, so counts vary less than Pearson assumes, by (N - k) / (N - 1); the
statistic is divided by that, and is then chi-square with N - 1 degrees (chi_square_tail).  Judged from EXPECTED_MIN
expected picks a peer on.

How many were available is told at the end of some rounds, so of the earlier ones the lesser of two tellings counts,
and a node's first telling, of its start, says nothing of evenness.  While no fault is in force, correct peers are
available unless the node suspects them, holds them to be proven, or they have crashed; where it mostly tells of fewer,
its bound would rest on its own word: unknown.  Unknown, too, where most of a node's rounds before the last of a
telling, while no fault kept anybody from anybody, picked too few and are excused by loss or starving, and where k is
not the plan's fanout.  Where, under "random", nobody's evenness could be judged, a note says so.

Figures: the worst share of any correct node, the bound of that node's own rounds, without what chance adds, and the
least chance of any node's picks.

Complexity: O(1) a pick.  Cannot see: what a node picked and did not tell of; peers that were missing only between two
tellings; unevenness in time; for strategies other than "random", whether picks are uniform where they should be.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.reach import HARMLESS, Span
from checkers.timeline import Timeline
from checkers.verdict import Anomaly, CheckResult, result

NAME = "selection"
PREFIX = 16
CHANCE_MIN = 1e-6
EXPECTED_MIN = 20
DEVIATIONS = 5.0
ROUNDING = 1e-9


class _Telling(NamedTuple):
    """Rounds from `span.begin` to `span.end` while no fault kept anybody from anybody."""

    span: Span
    unexplained: bool  # fewer peers were available than there must have been
    early: int  # rounds before the last
    short: list[Anomaly]  # of these, those that picked too few, unless frames were lost or a machine starved


class _Told:
    """What one node has told: rounds, picks, and what liars may have had of them."""

    def __init__(self) -> None:
        self.rounds = 0
        self.available: int | None = None  # at the last telling
        self.picks = 0
        self.liars = 0
        self.allowed = 0.0  # picks of liars that the bound allows, on average
        self.variance = 0.0
        self.until = 0  # the time of the last telling
        self.tellings: list[_Telling] = []
        self.gone: set[str] = set()  # whom it has suspected or holds to be proven
        self.calm: Counter[str] = Counter()  # picks while all peers were there and no fault was in force

    @property
    def share(self) -> float:
        return self.liars / self.picks if self.picks else 0.0

    @property
    def bound(self) -> float:
        return self.allowed / self.picks if self.picks else 0.0


class Selection:
    """Options: `rounds_min` (default 20, of each correct node; fewer are unknown), `share_max` (default: the bound)."""

    def __init__(self, header: Header, *, rounds_min: int = 20, share_max: float | None = None) -> None:
        self._header = header
        self._entries = {entry.index: entry for entry in header.nodes}
        self._names = {entry.agent[:PREFIX] for entry in header.nodes}
        self._liars = {entry.agent[:PREFIX] for entry in header.nodes if entry.byzantine}
        self._told = {entry.index: _Told() for entry in header.nodes if not entry.byzantine}
        self._peers = len(header.nodes) - 1
        cluster = header.plan.get("cluster")
        cluster = cluster if isinstance(cluster, dict) else {}
        self._strategy = str(cluster.get("strategy", "random"))
        self._fanout = cluster.get("fanout")
        self._others_k: set[int] = set()  # nodes that told of another k
        self._crashed: set[str] = set()
        if share_max is not None and share_max > 1.0:
            raise ValueError(f"checker {NAME}: share_max: {share_max} is no share, 0 to 1")
        self._rounds_min = rounds_min
        self._share_max = share_max
        self._kinds = {entry.id: entry.fault for entry in header.faults}
        self._in_force: set[str] = set()
        self._keeping: set[str] = set()  # of those, what may keep peers from each other
        self._apart = set(self._told)  # as `_disturbed`, by those
        self._disturbed = set(
            self._told
        )  # nodes whose next telling is of rounds that a fault, or the start, was part of
        self._lifted = 0  # when the last fault was
        self._k = 0
        self._timeline = Timeline()
        self._starved: list[Span] = []
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """What a round may not pick is certain at once; whether it picked too few may be known in the end only."""
        self._timeline.on_event(event)
        if type(event) is FaultEvent:
            harmless = self._kinds.get(event.fault) in HARMLESS
            if event.stage == "injected":
                self._in_force.add(event.fault)
                self._disturbed.update(self._told)
                if not harmless:
                    self._keeping.add(event.fault)
                    self._apart.update(self._told)
            elif event.stage in ("lifted", "skipped"):
                self._in_force.discard(event.fault)
                self._keeping.discard(event.fault)
                self._lifted = event.t
        if type(event) is NodeEvent and event.name == "crashed" and event.node in self._entries:
            self._crashed.add(self._entries[event.node].agent)
        if type(event) is NodeEvent and event.name == "starved":
            self._on_starved(event)
        if type(event) is not NodeEvent or event.node not in self._told:
            return None
        if event.name in ("suspected", "proven"):
            self._told[event.node].gone.add(str(event.data.get("agent")))
        return self._on_selected(index, event) if event.name == "selected" else None

    def _on_starved(self, event: NodeEvent) -> None:
        """Who waits for a processor is silent, and may be held to be for an exchange more."""
        begin, end = self._timeline.starving(event)
        self._starved.append(Span(begin, end + self._header.deadline.exchange_ns))

    def _on_selected(self, index: int, event: NodeEvent) -> Anomaly | None:
        told = self._told[event.node]
        k, available, rounds = int(event.data["k"]), int(event.data["available"]), event.data["rounds"]
        least = available if told.available is None else min(told.available, available)
        told.available = available
        self._k = max(self._k, k)
        calm = event.node not in self._disturbed
        if k != (self._fanout or k) or k < 1:
            self._others_k.add(event.node)
        there = self._there(event.node)
        until, told.until = told.until, self._timeline.place(event)
        apart = event.node in self._apart
        least_early = 0 if apart else self._least_early(least, there, k, calm=calm)
        over = told.until >= self._lifted  # a telling may be heard of after a fault, and be of earlier rounds
        if told.until >= self._lifted + self._header.deadline.exchange_ns and not self._keeping:
            self._apart.discard(event.node)
        bound = self._bound(event.node, k, least)
        found = None
        short = []
        for number, picked in enumerate(rounds, 1):
            told.rounds += 1
            told.picks += len(picked)
            told.liars += sum(one in self._liars for one in picked)
            told.allowed += bound * len(picked)
            told.variance += bound * (1 - bound) * len(picked)
            last = number == len(rounds)
            found = found or self._judge_round(index, event.node, picked, wanted=min(k, available) if last else 0)
            if not last and len(picked) < least_early:
                short.append(_too_few(index, event.node, picked, least_early))
        if not apart:
            told.tellings.append(_Telling(Span(until, told.until), least < there, len(rounds) - 1, short))
        if calm:
            if least == self._peers:
                told.calm.update(one for picked in rounds for one in picked)
        elif over and not self._in_force:
            self._disturbed.discard(event.node)
        return found

    def _least_early(self, least: int, there: int, k: int, *, calm: bool) -> int:
        """What a round before the last of a telling has to pick at the least.

        How many were available is told of the last round; in an earlier one fewer may have been, but those whom nothing
        keeps from it.
        """
        return max(min(1, least) if calm else 0, min(k, there) if least >= there else 0)

    def _there(self, node: int) -> int:
        """How many peers must be available to `node` while nothing is in force: liars need not be."""
        out = self._told[node].gone | self._crashed
        return sum(number != node and self._entries[number].agent not in out for number in self._told)

    def _judge_round(self, index: int, node: int, picked: list[str], *, wanted: int) -> Anomaly | None:
        data = {"node": node, "picked": picked}
        if len(set(picked)) < len(picked):
            found = Anomaly("selected-twice", f"node {node} picked a peer twice in one round", [index], data)
        elif len(picked) < wanted:
            found = _too_few(index, node, picked, wanted)
        elif self._entries[node].agent[:PREFIX] in picked:
            found = Anomaly("selected-itself", f"node {node} picked itself", [index], data)
        elif any(one not in self._names for one in picked):
            found = Anomaly("selected-stranger", f"node {node} picked somebody who is no member", [index], data)
        else:
            return None
        self._anomalies.append(found)
        return found

    def final(self) -> CheckResult:
        """Shares and evenness; unknown where too little was told."""
        few = [node for node, told in self._told.items() if told.rounds < self._rounds_min]
        unknown = [f"of nodes {few}, fewer than {self._rounds_min} rounds were told"] if few else []
        chances = [self._judge_evenness(node, told.calm) for node, told in self._told.items()]
        for node, told in self._told.items():
            self._judge_share(node, told)
            excused = self._judge_early(node, told)
            if excused is not None:
                unknown.append(excused)
        unknown += self._not_known()
        notes = []
        if self._strategy == "random" and self._k < self._peers and all(one is None for one in chances):
            notes.append("of no node enough was told, with all peers there and no fault in force, to judge evenness")
        worst = max(self._told.values(), key=lambda told: told.share, default=_Told())
        figures: dict[str, Any] = {
            "strategy": self._strategy,
            "selections": sum(told.picks for told in self._told.values()),
            "worst_share": round(worst.share, 4),
            "bound": round(worst.bound, 4),
            "least_chance": min((one for one in chances if one is not None), default=None),
        }
        return result(NAME, self._anomalies, unknown=unknown, notes=notes, figures=figures)

    def _judge_early(self, node: int, told: _Told) -> str | None:
        """Of rounds before the last of a telling; why it is not known whether the node picks enough, if so."""
        early = sum(one.early for one in told.tellings)
        busy = [one for one in told.tellings if self._busy(node, one.span)]
        told.tellings = [one for one in told.tellings if not self._busy(node, one.span)]
        if self._header.network.loss:
            busy += told.tellings
        else:
            self._anomalies += [found for one in told.tellings for found in one.short]
        short = sum(len(one.short) for one in busy)
        if short * 2 > early >= self._rounds_min:
            return f"node {node} picked too few in {short} of {early} rounds, by lost frames or for want of processors"
        return None

    def _busy(self, node: int, span: Span) -> bool:
        """Whether a machine starved in it, as far as that was heard."""
        unheard = span.end > self._timeline.heard_until(node)
        return unheard or any(one.begin <= span.end and span.begin <= one.end for one in self._starved)

    def _not_known(self) -> list[str]:
        hidden = [
            node
            for node, told in self._told.items()
            if sum(one.unexplained for one in told.tellings) * 2 > len(told.tellings)
        ]
        unknown = []
        if hidden:
            unknown.append(f"nodes {hidden} mostly told of fewer peers than nothing in the history kept from them")
        if self._others_k:
            unknown.append(f"nodes {sorted(self._others_k)} told of another number of places than {self._fanout}")
        return unknown

    def _judge_share(self, node: int, told: _Told) -> None:
        if self._share_max is not None:
            limit = self._share_max * told.picks
        else:
            limit = told.allowed + DEVIATIONS * math.sqrt(told.variance)
        if told.liars > limit + ROUNDING * told.picks:
            share = limit / told.picks
            said = f"of {told.picks} picks of node {node}, liars have {told.share:.3f}, the bound is {share:.3f}"
            self._anomalies.append(Anomaly("byzantine-share", said, [], {"node": node, "share": told.share}))

    def _bound(self, node: int, k: int, available: int) -> float:
        """The expected share of liars in k picks among `available`, at most; the docstring has the argument."""
        k, liars = min(k, available), min(len(self._liars), available)
        if k < 1:
            return 0.0
        if self._strategy == "region":
            region = self._entries[node].region
            whole = sum(entry.region == region for entry in self._header.nodes) - 1
        else:
            whole = min(max(2 * self._header.faulty + 1, liars), self._peers)
        # Correct ones are missing before liars are: as few are left as there are liars, if it comes to that.
        size = min(whole, max(whole - (self._peers - available), liars))
        near = min(near_places(self._strategy, k), size)
        in_near = near * min(liars, size) / size if near else 0.0
        others = (k - near) * (liars - in_near) / (available - near) if k > near else 0.0
        return (in_near + others) / k

    def _judge_evenness(self, node: int, calm: Counter[str]) -> float | None:
        own = self._entries[node].agent[:PREFIX]
        counts = [calm[entry.agent[:PREFIX]] for entry in self._header.nodes if entry.agent[:PREFIX] != own]
        peers = len(counts)
        expected = sum(counts) / peers if peers else 0.0
        if self._strategy != "random" or expected < EXPECTED_MIN or self._k >= peers:
            return None
        statistic = sum((count - expected) ** 2 / expected for count in counts) * (peers - 1) / (peers - self._k)
        chance = chi_square_tail(statistic, peers - 1)
        if chance < CHANCE_MIN:
            said = f"node {node} picks its peers so unevenly that chance explains it with probability {chance:.1e}"
            self._anomalies.append(Anomaly("not-uniform", said, [], {"node": node, "chance": chance}))
        return chance


def _too_few(index: int, node: int, picked: list[str], wanted: int) -> Anomaly:
    said = f"node {node} picked {len(picked)} peers, {wanted} were wanted and there"
    return Anomaly("too-few", said, [index], {"node": node, "picked": picked})


def near_places(strategy: str, k: int) -> int:
    """How many of k places the strategy gives to near peers."""
    if strategy == "random" or not k:
        return 0
    if k == 1:
        return 1
    return min(max(1, (4 * k + 2) // 5), k - 1) if strategy == "hybrid" else k - 1


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(X >= statistic) for chi-square with `degrees`: the regularised upper incomplete gamma function Q(a, x).

    By its series below a + 1 and Lentz's continued fraction above (Press et al., Numerical Recipes, 6.2).
    """
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, 1000):
            term *= x / (a + step)
            total += term
            if term < total * 1e-15:
                break
        return max(0.0, 1 - total * scale)
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for step in range(1, 1000):
        number = -step * (step - a)
        b += 2
        d = 1 / ((number * d + b) or tiny)
        c = (b + number / c) or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return scale * fraction
