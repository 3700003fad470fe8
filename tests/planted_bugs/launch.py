"""Plant one bug, then run a user's command in the same process.

    python tests/planted_bugs/launch.py <bug | nothing> pytest <arguments>
    python tests/planted_bugs/launch.py <bug | nothing> harness <arguments>

The bug is planted before the mesh is used, in memory only.
"""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))


def plant(name: str) -> None:
    """Import the bug's file and let it break the mesh."""
    if name == "nothing":
        return
    spec = importlib.util.spec_from_file_location(f"planted_bug_{name}", HERE / f"{name}.py")
    if spec is None or spec.loader is None or not (HERE / f"{name}.py").is_file():
        raise SystemExit(f"no planted bug {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.plant()


def main() -> int:
    """Plant, and hand over."""
    if len(sys.argv) < 3 or sys.argv[2] not in ("pytest", "harness"):
        raise SystemExit(__doc__)
    name, command, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    plant(name)
    if command == "pytest":
        import pytest

        return int(pytest.main(arguments))
    from harness.cli import main as harness_main

    return harness_main(arguments)


if __name__ == "__main__":
    sys.exit(main())
