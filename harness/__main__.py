"""`python -m harness`.  SIGTERM is SIGINT, and either at any moment, the imports' too, ends it as `cli` documents."""

import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":  # a process of a pool imports this file, and has its signals from its parent
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from harness.cli import main

        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)
