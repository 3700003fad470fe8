"""The simulated links: one seeded link policy for each directed pair, made when it is first used.

The policy is the one that the relays use on real datagrams (`faults.link`); here it is asked for each frame.  A
frame is what an authenticated channel delivers, so a link never alters one: `corrupt` is for datagrams.
"""

from __future__ import annotations

from faults.link import LinkPolicy
from faults.vocabulary import Cut, Link, PlannedFault
from harness.network import ordinary_link
from harness.plan import PlannedCluster

Edge = tuple[int, int]


class SimulatedNetwork:
    """All links of a cluster, and the faults on them."""

    def __init__(self, cluster: PlannedCluster, *, seed: int) -> None:
        self._cluster = cluster
        self._seed = seed
        self._links: dict[int, LinkPolicy] = {}
        self._nodes = cluster.nodes
        self._ordinary: dict[tuple[str, str], Link] = {}  # by the regions of source and target

    def apply(self, planned: PlannedFault) -> None:
        """Put a Cut or a Link in force on its links."""
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        for source, target in fault.links:
            self.link(source, target).apply(planned.id, fault)

    def lift(self, planned: PlannedFault) -> dict[str, int]:
        """Take it off again; returns how often it bit, by kind, over its links."""
        fault = planned.fault
        assert isinstance(fault, Cut | Link)
        total: dict[str, int] = {}
        for source, target in fault.links:
            link = self.link(source, target)
            for kind, times in link.counts(planned.id).items():
                total[kind] = total.get(kind, 0) + times
            link.lift(planned.id)
        return total

    def link(self, source: int, target: int) -> LinkPolicy:
        """The policy of one directed link: when, and how often, a frame that is sent arrives."""
        key = source * self._nodes + target
        link = self._links.get(key)
        if link is None:
            regions = (self._cluster.regions[source], self._cluster.regions[target])
            base = self._ordinary.get(regions)
            if base is None:
                base = self._ordinary[regions] = ordinary_link(self._cluster, source, target)
            link = self._links[key] = LinkPolicy(source, target, seed=self._seed, base=base)
        return link
