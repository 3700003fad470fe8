"""Selection: whom gossip rounds pick is distinct, uniform where it should be, and not the liars' to decide.

Decides, from the `selected` events of the correct nodes:

`selected-twice`    a round picked a peer twice
`too-few`           a round picked fewer than min(k, available) peers
`selected-itself`, `selected-stranger`   a round picked the node itself, or somebody who is no member
`not-uniform`       under the strategy "random" and while no fault was in force, a node's picks of its peers are so
                    uneven that chance explains it less than once in 10^6 (Pearson's chi-square, 1900)
`byzantine-share`   of all picks of a correct node, liars have more than their bound

The bound is that of the mesh's design, computed here once more from the header: of k places, near ones can go to
liars in a share of at most f / (2f + 1), since the near set has at least 2f + 1 members and is filled uniformly, and
the others in the share that liars have among those left; to it come DEVIATIONS standard deviations of as many
independent picks.  What it is to resist, eclipse by flooding and by claims of nearness, is from Basalt (arXiv
2102.04063).  The option `share_max` puts a share in its place.

Complexity: O(1) a pick.  Cannot see: what a node picked and did not tell of; unevenness in time; for strategies other
than "random", whether picks are uniform where they should be.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from checkers.history import Event, FaultEvent, Header, NodeEvent
from checkers.verdict import Anomaly, CheckResult, result

NAME = "selection"
PREFIX = 16
CHANCE_MIN = 1e-6
EXPECTED_MIN = 20
DEVIATIONS = 5.0


class Selection:
    """Options: `rounds_min` (default 20, of each correct node; fewer are unknown), `share_max` (default: the bound)."""

    def __init__(self, header: Header, *, rounds_min: int = 20, share_max: float | None = None) -> None:
        self._header = header
        self._names = {entry.agent[:PREFIX]: entry for entry in header.nodes}
        self._correct = [entry.index for entry in header.nodes if not entry.byzantine]
        self._strategy = str(header.plan.get("cluster", {}).get("strategy", "random"))
        self._rounds_min = rounds_min
        self._share_max = share_max
        self._in_force: set[str] = set()
        self._disturbed: set[int] = set()  # nodes whose next telling is of rounds that a fault was part of
        self._rounds: Counter[int] = Counter()
        self._picks: dict[int, Counter[str]] = {}
        self._calm: dict[int, Counter[str]] = {}
        self._k = 0
        self._anomalies: list[Anomaly] = []

    def on_event(self, index: int, event: Event) -> Anomaly | None:
        """What a round may not pick is certain at once."""
        if type(event) is FaultEvent:
            if event.stage == "injected":
                self._in_force.add(event.fault)
                self._disturbed.update(self._correct)
            elif event.stage in ("lifted", "skipped"):
                self._in_force.discard(event.fault)
        if type(event) is NodeEvent and event.name == "selected" and event.node in self._correct:
            return self._on_selected(index, event)
        return None

    def _on_selected(self, index: int, event: NodeEvent) -> Anomaly | None:
        found = None
        picks = self._picks.setdefault(event.node, Counter())
        k, available = int(event.data["k"]), int(event.data["available"])
        self._k = max(self._k, k)
        for picked in event.data["rounds"]:
            self._rounds[event.node] += 1
            picks.update(picked)
            # How many were available is told of the last round; in an earlier one fewer may have been.
            few = len(picked) < min(k, available) and picked is event.data["rounds"][-1]
            found = found or self._judge_round(index, event.node, picked, few=few, wanted=min(k, available))
        if event.node not in self._disturbed:
            self._calm.setdefault(event.node, Counter()).update(one for round in event.data["rounds"] for one in round)
        elif not self._in_force:
            self._disturbed.discard(event.node)
        return found

    def _judge_round(self, index: int, node: int, picked: list[str], *, few: bool, wanted: int) -> Anomaly | None:
        agent = self._header.nodes[node].agent[:PREFIX]
        said = None
        if len(set(picked)) < len(picked):
            said = ("selected-twice", f"node {node} picked a peer twice in one round")
        elif few:
            said = ("too-few", f"node {node} picked {len(picked)} peers, {wanted} were wanted and there")
        elif agent in picked:
            said = ("selected-itself", f"node {node} picked itself")
        elif any(one not in self._names for one in picked):
            said = ("selected-stranger", f"node {node} picked somebody who is no member")
        if said is None:
            return None
        anomaly = Anomaly(said[0], said[1], [index], {"node": node, "picked": picked})
        self._anomalies.append(anomaly)
        return anomaly

    def final(self) -> CheckResult:
        """Shares and evenness; unknown where too little was told."""
        few = [node for node in self._correct if self._rounds[node] < self._rounds_min]
        unknown = [f"of nodes {few}, fewer than {self._rounds_min} rounds were told"] if few else []
        chances = [self._judge_evenness(node, calm) for node, calm in sorted(self._calm.items())]
        shares = [self._judge_share(node, picks) for node, picks in sorted(self._picks.items())]
        figures: dict[str, Any] = {
            "strategy": self._strategy,
            "selections": sum(sum(picks.values()) for picks in self._picks.values()),
            "worst_share": round(max(shares, default=0.0), 4),
            "bound": round(self._bound(), 4),
            "least_chance": min((one for one in chances if one is not None), default=None),
        }
        return result(NAME, self._anomalies, unknown=unknown, figures=figures)

    def _judge_share(self, node: int, picks: Counter[str]) -> float:
        total = sum(picks.values())
        theirs = sum(count for name, count in picks.items() if name in self._names and self._names[name].byzantine)
        share = theirs / total if total else 0.0
        if self._share_max is not None:
            limit = self._share_max
        else:
            bound = self._bound()
            limit = bound + DEVIATIONS * math.sqrt(bound * (1 - bound) / total) if total else 1.0
        if share > limit:
            said = f"of {total} picks of node {node}, liars have {share:.3f}, the bound is {limit:.3f}"
            self._anomalies.append(Anomaly("byzantine-share", said, [], {"node": node, "share": share}))
        return share

    def _bound(self) -> float:
        """The expected share of liars in k picks, at most; the module's docstring has the argument."""
        others = len(self._header.nodes) - 1
        liars = len(self._header.nodes) - len(self._correct)
        k = min(self._k, others)
        if not k or not liars:
            return 0.0
        near = near_places(self._strategy, k)
        faulty = max(liars, self._header.faulty)
        in_near = near * min(1.0, faulty / min(2 * faulty + 1, others))
        return min(1.0, (in_near + (k - near) * min(1.0, liars / max(1, others - near))) / k)

    def _judge_evenness(self, node: int, calm: Counter[str]) -> float | None:
        peers = [entry.agent[:PREFIX] for entry in self._header.nodes if entry.index != node]
        total = sum(calm[peer] for peer in peers)
        expected = total / len(peers) if peers else 0.0
        if self._strategy != "random" or len(peers) < 2 or expected < EXPECTED_MIN or self._k >= len(peers):
            return None
        statistic = sum((calm[peer] - expected) ** 2 / expected for peer in peers)
        chance = chi_square_tail(statistic, len(peers) - 1)
        if chance < CHANCE_MIN:
            said = f"node {node} picks its peers so unevenly that chance explains it with probability {chance:.1e}"
            self._anomalies.append(Anomaly("not-uniform", said, [], {"node": node, "chance": chance}))
        return chance


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
