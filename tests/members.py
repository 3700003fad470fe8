"""What tests of members share: a healthy mesh with a roster, and what to do with it."""

from knhk_mesh.messages import Frontier, decode_frame, encode_frame
from knhk_mesh.quorum import read_statement
from knhk_mesh.requests import Read
from tests.mesh_shell import Shell

QUORUM_READ = Read("o", "gset", "quorum")


def mesh(count=4, **options):
    """A mesh whose members are healthy and vote."""
    return Shell(count, roster=True, **options).settle_down()


def opened(frame):
    return decode_frame(frame, bytes_max=65536)


def result(shell, number, request):
    """What the request was answered with, or None."""
    found = [reply.result for reply in shell.replies[number] if reply.request == request]
    assert len(found) <= 1, "a request is answered once"
    return found[0] if found else None


def stable(shell, number, element, request=7, **delivery):
    """A stable write and all that comes of it at once."""
    shell.add(number, element, level="stable", request=request)
    shell.deliver(**delivery)
    return result(shell, number, request)


def isolate(*numbers):
    return lambda source, target: (source in numbers) != (target in numbers)


def roster(shell):
    return shell.config["roster"]


def given_votes(shell, number):
    """The statements that this node's disk says it has voted for."""
    return [
        read_statement(roster(shell).network, record.data) for record in shell.journals[number] if record.kind == "vote"
    ]


def inject(shell, source, target, make):
    """A frame of `source`'s to `target`, with its session and next number; what comes of it waits in `frames`."""
    outbox = shell.nodes[source].outbox
    frame = encode_frame(make(outbox.session, outbox.next(shell.ids[target])))
    shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))


def drop(shell, which):
    """Deliver all but what `which` (source, target, opened frame) names."""
    while shell.frames:
        source, target, frame = shell.frames.pop(0)
        if not which(source, target, opened(frame)):
            shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))


def garbled(frame, r):
    """The frame, or if it is a frontier one that says something else."""
    said = opened(frame)
    if not isinstance(said, Frontier):
        return frame
    ids = r.choice([[], [r.randbytes(32) for _ in range(3)], [*said.ids, r.randbytes(32)], said.ids[:1]])
    return encode_frame(Frontier(said.session, said.sequence, said.nonce, ids))
