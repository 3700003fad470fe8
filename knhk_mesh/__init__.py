"""The reference mesh: a sans-IO gossip node of signed commits, and (from issue to issue) its I/O shells.

Nothing in this package reads a clock, a random source or a socket: time, randomness and ticks are
arguments, and what a node wants done it returns as effects.  Start reading at `node`.
"""
