"""Exit 0 if the node whose configuration is given answers on its control API: the image's health check."""

import sys
import tomllib
import urllib.request
from pathlib import Path


def main() -> int:
    """Ask for the status, as any client would."""
    path = Path(sys.argv[1])
    settings = tomllib.loads(path.read_text())
    token = (path.parent / settings["token"]).read_text().strip()
    port = settings["control"].rpartition(":")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=2) as answer:
        return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
