"""The deterministic simulator: virtual time, simulated links and disks, the real mesh.

`loop` is the clock, `network` the links, `disk` the disks, `host` a machine with one node on it, `backend` the
whole as a backend.  Equal plans give equal histories and equal trace hashes, in any process.
"""
