"""Benchmarks: what the platform does in a second, and what bounds it."""
