"""What our images are built from, as one number: an image of other files than these would be judged in their place.

compose/build-images runs this file by itself, before anything is installed, and leaves the number in each image.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("knhk_mesh", "faults", "compose", "constraints.txt")
SUFFIXES = {".py", ".txt", ".typed", ".liar", ".relay", ""}
"""Of the files that make an image; README.md and compose.yaml do not."""
LABEL = "knhk.sources"


def digest_of_sources(root: Path = ROOT) -> str | None:
    """SHA-256 (hex) over names and bytes of all files; None where they are not, and nothing can be compared."""
    if not (root / "compose" / "Dockerfile").is_file():
        return None
    digest = hashlib.sha256()
    for path in sorted(_files(root)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}:{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    """But not `compose/bin`, into which a server may have been put by hand."""
    there = [one for part in PARTS for one in (root / part, *(root / part).rglob("*"))]
    return [one for one in there if one.is_file() and one.suffix in SUFFIXES and one.parent.name != "bin"]


if __name__ == "__main__":
    print(digest_of_sources())
