"""Starts what the demo, the tests and the benchmarks run: PostgreSQL, Guillotina nodes, and a client for them.

It imports none of the three.
"""
