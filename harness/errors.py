"""What can be wrong with what we were given, and the exit codes that say so.

0 valid, or as the campaign expects     1 invalid     2 unknown     64 wrong usage or bad input     70 a crash of ours
"""

from __future__ import annotations

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_UNKNOWN = 2
EXIT_BAD_INPUT = 64
EXIT_CRASH = 70
EXIT_INTERRUPTED = 130


class HostError(Exception):
    """A node or a relay that cannot be started, or what could not be done to one; one line."""


class RunBroken(Exception):
    """What the harness itself needs in a run (its relay, its view of the nodes) has failed; one line.

    Such a run says nothing of the mesh: its verdict is unknown.
    """


class BadInput(Exception):
    """Input that cannot be used.  Its text is one line: the file, the place in it, and what is wrong there."""

    def __init__(self, source: str, place: str, problem: str) -> None:
        parts = [part for part in (source, place, " ".join(problem.split())) if part]
        super().__init__(": ".join(parts))
        self.source = source
        self.place = place
        self.problem = problem
