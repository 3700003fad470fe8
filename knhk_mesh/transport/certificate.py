"""The certificate of an agent: self-signed, and its public key is the agent id.

Nobody vouches for it and nobody needs to: the dialler knows the id of whom it dials, and TLS proves that the other
end holds the key.  Made from the key alone, it is the same in every life of a node.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from knhk_mesh.identity import AgentId

NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2120, 1, 1, tzinfo=UTC)


def make_certificate(seed: bytes) -> tuple[x509.Certificate, Ed25519PrivateKey]:
    """The certificate of the key with this 32-byte seed, and the key."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "knhk agent")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
    return builder.sign(key, None), key


def is_certificate_of(agent: AgentId, certificate: x509.Certificate | None) -> bool:
    """Whether this is a certificate of that agent's key."""
    try:
        key = None if certificate is None else certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, Ed25519PublicKey):
        return False
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw) == agent
