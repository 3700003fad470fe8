"""python docs/examples/verify.py < history.jsonl: verifies each certificate and proof that correct nodes show in it."""

import json
import sys
from hashlib import blake2b

from nacl.signing import VerifyKey

line, found = 1, {"certificates": 0, "proofs": 0}
sys.excepthook = lambda kind, why, _: print(f"line {line}: {kind.__name__}: {why}", file=sys.stderr)  # and exit with 1
roster = (header := json.loads(sys.stdin.readline()))["quorum"] or sys.exit("no roster, so nobody certifies or proves")
network = blake2b(roster["network"].encode(), digest_size=32, person=b"knhk.network").digest()
members, liars = {n["agent"] for n in header["nodes"]}, {n["index"] for n in header["nodes"] if n["byzantine"]}
faulty = min(header["faulty"], (len(members) - 1) // 3)
for line, text in enumerate(sys.stdin, 2):
    told, name = (event := json.loads(text)).get("data"), event.get("name") if event.get("node") not in liars else ""
    if (certificate := told if name == "certified" else event.get("certificate")) is not None:
        said, votes = bytes.fromhex(certificate["statement"]), certificate["votes"]  # domain, network, epoch, slot, id
        enough = len({v.lower() for v, _ in votes} & members) == len(votes) >= len(members) - faulty
        here = said[:56] == b"knhk.vote.v1\0\0\0\0" + network + roster["epoch"].to_bytes(8, "big")
        if not (enough and here) or said[112:].hex() != (told["id"] if name else event["commit"]).lower():
            sys.exit(f"line {line}: too few votes, one twice, or a stranger's; or another mesh, epoch or commit")
        found["certificates"] += all(VerifyKey(bytes.fromhex(v)).verify(said, bytes.fromhex(s)) for v, s in votes)
    if name == "proven":  # two commits, each: domain, network, author, incarnation, seq, ...
        proof = {part: bytes.fromhex(data) for part, data in told["proof"].items()}
        one, other, key = proof["first"], proof["second"], VerifyKey(bytes.fromhex(told["agent"]))
        if one[:80] != b"knhk.commit.v1\0\0" + network + bytes(key) or one == other or one[:104] != other[:104]:
            sys.exit(f"line {line}: not two commits of this agent for one slot of this network")
        found["proofs"] += all(key.verify(proof[n], proof[n + "_signature"]) for n in ("first", "second"))
print(", ".join(f"{count} {what} verified" for what, count in found.items() if count) or sys.exit("nothing to verify"))
