"""Chaos: the platform under random kills, judged from outside."""
