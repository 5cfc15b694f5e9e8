"""Brokers compared: ours beside those that people would pick instead, on one machine in one run."""
