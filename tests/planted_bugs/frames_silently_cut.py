"""A sender that puts all commits into one frame and silently cuts it at the limit."""

SHOWS = "campaign backlog.toml"


def plant():
    import knhk_mesh.gossip as gossip
    import knhk_mesh.outbox as outbox

    encode = outbox.encode_frame

    def all_at_once(commits, *, frame_bytes_max, frames_max):
        batch = [commit.wire for commit in commits]
        if batch:
            yield batch

    gossip.pack_deltas = all_at_once
    outbox.encode_frame = lambda frame: encode(frame)[:65536]
