"""python docs/examples/verify.py < history.jsonl: verifies every certificate and every proof in it."""

import json
import struct
import sys
from hashlib import blake2b

from nacl.signing import VerifyKey

header, *events = [json.loads(line) for line in sys.stdin]
network = blake2b(header["quorum"]["network"].encode(), digest_size=32, person=b"knhk.network").digest()
found = {"certificates": 0, "proofs": 0}
for event in events:
    certificate = event.get("certificate") or (event["data"] if event.get("name") == "certified" else None)
    if certificate:  # n - f distinct members have signed: in this network and epoch, this commit has this slot
        said = bytes.fromhex(certificate["statement"])
        domain, net, epoch, author, incarnation, seq, commit = struct.unpack(">16s32sQ32s16sQ32s", said)
        assert domain == b"knhk.vote.v1".ljust(16, b"\0") and (net, epoch) == (network, header["quorum"]["epoch"])
        voters = {voter for voter, _ in certificate["votes"]} & {node["agent"] for node in header["nodes"]}
        assert len(voters) == len(certificate["votes"]) >= header["quorum"]["size"], "too few, twice, or strangers"
        for voter, signature in certificate["votes"]:
            VerifyKey(bytes.fromhex(voter)).verify(said, bytes.fromhex(signature))
        found["certificates"] += 1
    if event.get("name") == "proven":  # its author has signed two different commits for one slot of this network
        one, one_by, other, other_by = (bytes.fromhex(part) for part in event["data"]["proof"].values())
        assert one != other and one[:104] == other[:104] and one[:48] == b"knhk.commit.v1".ljust(16, b"\0") + network
        for commit, signature in ((one, one_by), (other, other_by)):
            VerifyKey(commit[48:80]).verify(commit, signature)
        found["proofs"] += 1
print(", ".join(f"{count} {what} verified" for what, count in found.items()))
