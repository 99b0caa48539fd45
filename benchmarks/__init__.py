"""Measurements that decisions rest on. Each is a program of its own: `python -m benchmarks.<name>`.

They start the servers of tests/services.py. Compare figures of one run only: machines differ, and are shared.
"""
