"""Who an agent is: its Ed25519 public key, and nothing else.

An agent id *is* the 32-byte public key, so that an id can be checked by whoever holds it and no registry has to
be trusted for the pair (spec-defects 21).  `sign` and `verify` are libsodium's, through PyNaCl.
"""

from __future__ import annotations

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

AgentId = bytes
"""32 bytes: an Ed25519 public key."""

AGENT_ID_BYTES = 32
SIGNATURE_BYTES = 64
SEED_BYTES = 32


class Signer:
    """Holds one private key.

    `seed` is the 32-byte Ed25519 seed; a wrong length raises ValueError.
    """

    __slots__ = ("_key", "agent_id")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a signing seed has {SEED_BYTES} bytes, got {len(seed)}")
        self._key = SigningKey(seed)
        self.agent_id: AgentId = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """The detached 64-byte signature of exactly these bytes (deterministic: RFC 8032)."""
        return self._key.sign(message).signature


def verify(agent_id: AgentId, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` was made by the key `agent_id`.  Never raises on hostile bytes."""
    if len(agent_id) != AGENT_ID_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, agent_id)
    except (BadSignatureError, ValueError):
        return False
    return True
