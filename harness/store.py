"""Where runs are kept: store/<campaign>/<time>-<seed>/ with plan.json, history.jsonl and verdict.json,
and, of real nodes, drift.json and nodes/ with what each has left.

The history is appended while the run goes on and can be read after a crash; plan and verdict appear whole or not
at all.  `latest` beside the runs points at the newest.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec

from checkers.verdict import Verdict
from harness.backend import Drift
from harness.errors import BadInput
from harness.plan import Plan, encode_plan

PLAN = "plan.json"
HISTORY = "history.jsonl"
VERDICT = "verdict.json"
DRIFT = "drift.json"
NODES = "nodes"
LATEST = "latest"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class RunDirectory:
    """The directory of one run; made when constructed.  Raises BadInput where it cannot be written."""

    def __init__(self, store: Path, campaign: str, seed: int) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        name = _UNSAFE.sub("_", campaign).strip(".") or "campaign"
        self.path = store / name / f"{stamp}-{seed}"
        try:
            self.path.mkdir(parents=True)
            self._point_latest()
        except OSError as error:
            raise BadInput(str(store), "", f"the store cannot be written: {error.strerror}") from None

    def write_plan(self, plan: Plan) -> None:
        """Put plan.json there."""
        self._write_whole(PLAN, encode_plan(plan))

    def open_history(self) -> TextIO:
        """A stream for history.jsonl, line by line."""
        return (self.path / HISTORY).open("w", encoding="utf-8", buffering=1 << 16)

    def write_verdict(self, verdict: Verdict) -> None:
        """Put verdict.json there."""
        self._write_whole(VERDICT, msgspec.json.format(msgspec.json.encode(verdict), indent=1) + b"\n")

    def write_drift(self, drift: Drift) -> None:
        """Put drift.json there: how late the plan was carried out, which qualifies everything else."""
        self._write_whole(DRIFT, msgspec.json.format(msgspec.json.encode(drift), indent=1) + b"\n")

    def nodes(self) -> Path:
        """The directory for what real nodes leave behind: logs, databases, histograms."""
        return self.path / NODES

    def _write_whole(self, name: str, data: bytes) -> None:
        partial = self.path / f".{name}.partial"
        try:
            partial.write_bytes(data)
            partial.replace(self.path / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise BadInput(str(self.path / name), "", f"cannot be written: {error.strerror}") from None

    def _point_latest(self) -> None:
        link = self.path.parent / LATEST
        fresh = self.path.parent / f".{LATEST}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path.name)
        fresh.replace(link)


def find(path: Path, name: str) -> Path:
    """`path` itself if it is a file, else the file called `name` in it.  Raises BadInput if there is neither."""
    found = path / name if path.is_dir() else path
    if not found.is_file():
        raise BadInput(str(path), "", f"is neither a file nor a run's directory with {name}")
    return found
