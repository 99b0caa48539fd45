"""Dashboards by the hundred: what benchmarks.dashboards and benchmarks.fanout are made of.

Three kinds of processes measure, none of which is the hub's: a publisher (or a feeder, that stores and announces by
itself), a crowd of sockets that counts what comes, and the command, which tells them what to do and reads the kernel.
Times are µs of the clock that all processes of a machine share (CLOCK_MONOTONIC).
"""
