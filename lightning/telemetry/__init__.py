"""Traces and logs: what happened, where and how long it took; best effort, and without secrets."""
