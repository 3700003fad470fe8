"""Whether a node that was just started answers already."""

from __future__ import annotations

import aiohttp

READY_SECONDS = 20.0
READY_EVERY_S = 0.02


async def answers(session: aiohttp.ClientSession, address: str, token: str) -> bool:
    """Whether GET /status at `address` ("host:port") gives 200."""
    try:
        async with session.get(f"http://{address}/status", headers={"Authorization": f"Bearer {token}"}) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
