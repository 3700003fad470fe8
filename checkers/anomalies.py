"""The names of all anomalies, by the checker that finds them: what a campaign may expect, spelt as it is found.

Each is defined in the docstring of its checker.  `compose` holds every result against this table.
"""

from __future__ import annotations

ANOMALIES: dict[str, tuple[str, ...]] = {
    "accountability": (
        "wrongly-proven",
        "stranger-proven",
        "bad-proof",
        "not-proven-everywhere",
        "correct-fork",
        "suspicion-stands",
        "vouched-for-proven",
        "retracted",
    ),
    "availability": ("over-budget", "unserved-node"),
    "convergence": ("same-root-different-values", "diverged", "late"),
    "counter": ("out-of-bounds", "unequal-final"),
    "crashes": ("node-crashed", "bad-exit"),
    "durability": ("lost-write", "resurrected"),
    "exposure": (),
    "partition": (
        "undetected",
        "healthy-while-cut-off",
        "not-recovered",
        "false-alarm",
        "bad-transition",
        "healthy-before-reconciled",
    ),
    "quorum": (
        "bad-certificate",
        "conflicting-certificates",
        "double-vote-by-correct",
        "acknowledged-without-certificate",
        "acknowledged-in-minority",
        "stable-write-lost",
        "stale-quorum-read",
        "certificate-of-another-write",
        "wiped-member-voted",
        "certificate-not-kept",
    ),
    "resources": ("over-quota", "limit-moved"),
    "selection": (
        "selected-twice",
        "too-few",
        "selected-itself",
        "selected-stranger",
        "not-uniform",
        "byzantine-share",
    ),
    "set_full": ("lost", "phantom", "duplicate", "failed-but-visible"),
    "visibility": ("wrong-value", "went-backwards", "own-write-unseen"),
}
