"""Isolated containers in which agents run."""
