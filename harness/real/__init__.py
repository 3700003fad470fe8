"""Runs a plan on real nodes, in real time: what local processes and containers have in common.

A node here is its command line and its control API (docs/node-contract.md); nothing in this package knows the mesh.
"""
