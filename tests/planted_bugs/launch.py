"""Plant one bug, then run a user's command in the same process.

    python tests/planted_bugs/launch.py <bug | nothing> pytest <arguments>
    python tests/planted_bugs/launch.py <bug | nothing> harness <arguments>
    python tests/planted_bugs/launch.py <bug | nothing> node <arguments of knhk_mesh>

The bug is planted before the mesh is used, in memory only.  A node also gets the failpoints that the environment
asks for: KNHK_FAILPOINTS="persist:17,send:3" makes it stand still, as by SIGSTOP, right after its 17th journal write
and its 3rd frame, with the name of the failpoint in the file "failpoint" beside its configuration.
"""

import importlib.util
import os
import signal
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
COMMANDS = ("pytest", "harness", "node")


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


def set_failpoints(wanted: list[str], directory: Path) -> None:
    """Stop this process when it has done what a failpoint names, as often as it says."""
    from knhk_mesh.effects import Event, Persist, Send
    from knhk_mesh.server import NodeServer

    done: Counter[str] = Counter()
    carry_out = NodeServer._carry_out

    def step_of(effect) -> str | None:
        if isinstance(effect, Persist):
            return "persist"
        if isinstance(effect, Send):
            return "send"
        return "accept" if isinstance(effect, Event) and effect.name == "accepted" else None

    def one_by_one(self, effects):
        for effect in effects:
            carry_out(self, [effect])
            step = step_of(effect)
            if step is not None:
                done[step] += 1
                if f"{step}:{done[step]}" in wanted:
                    (directory / "failpoint").write_text(f"{step}:{done[step]}")
                    os.kill(os.getpid(), signal.SIGSTOP)

    NodeServer._carry_out = one_by_one


def run_node(arguments: list[str]) -> int:
    """knhk_mesh, with its failpoints."""
    wanted = [one for one in os.environ.get("KNHK_FAILPOINTS", "").split(",") if one]
    if wanted:
        set_failpoints(wanted, Path(arguments[arguments.index("--config") + 1]).parent)
    from knhk_mesh.__main__ import main as node_main

    return node_main(arguments)


def interrupt(_number, _frame):
    """SIGTERM is SIGINT, as in `python -m harness`."""
    raise KeyboardInterrupt


def main() -> int:
    """Plant, and hand over."""
    if len(sys.argv) < 3 or sys.argv[2] not in COMMANDS:
        raise SystemExit(__doc__)
    name, command, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    plant(name)
    if command != "node":  # which has its own
        signal.signal(signal.SIGTERM, interrupt)
    if command == "pytest":
        import pytest

        return int(pytest.main(arguments))
    if command == "node":
        return run_node(arguments)
    from harness.cli import main as harness_main

    return harness_main(arguments)


if __name__ == "__main__":
    sys.exit(main())
