"""python docs/examples/verify.py < history.jsonl: verifies every certificate and every proof in it."""

import json
import sys
from hashlib import blake2b

from nacl.signing import VerifyKey

header, *events = map(json.loads, sys.stdin)
roster = header["quorum"] or sys.exit("there is no roster, so nobody certifies or proves anything")
network = blake2b(roster["network"].encode(), digest_size=32, person=b"knhk.network").digest()
members, liars = {n["agent"] for n in header["nodes"]}, {n["index"] for n in header["nodes"] if n["byzantine"]}
quorum = len(members) - min(header["faulty"], (len(members) - 1) // 3)
found = {"certificates": 0, "proofs": 0}
for line, event in enumerate(events, 2):
    told = event["data"] if event.get("name") in ("certified", "proven") and event["node"] not in liars else {}
    if certificate := event.get("certificate") or ("votes" in told and told):  # of domain, network, epoch, slot, id
        said, votes = bytes.fromhex(certificate["statement"]), certificate["votes"]
        enough = len({voter for voter, _ in votes} & members) == len(votes) >= quorum
        here = said[:56] == b"knhk.vote.v1\0\0\0\0" + network + roster["epoch"].to_bytes(8, "big")
        if not enough or not here or said[112:].hex() != (told.get("id") or event["commit"]):
            sys.exit(f"line {line}: too few votes, one twice, or a stranger's; or another mesh, epoch or commit")
        found["certificates"] += all(VerifyKey(bytes.fromhex(v)).verify(said, bytes.fromhex(s)) for v, s in votes)
    if "proof" in told:  # two commits, each: domain, network, author, incarnation, seq, ...
        proof = {name: bytes.fromhex(part) for name, part in told["proof"].items()}
        one, other, key = proof["first"], proof["second"], VerifyKey(bytes.fromhex(told["agent"]))
        if one[:80] != b"knhk.commit.v1\0\0" + network + bytes(key) or one == other or one[:104] != other[:104]:
            sys.exit(f"line {line}: not two commits of this agent for one slot of this network")
        found["proofs"] += all(key.verify(proof[n], proof[n + "_signature"]) for n in ("first", "second"))
print(", ".join(f"{count} {what} verified" for what, count in found.items() if count) or sys.exit("nothing to verify"))
