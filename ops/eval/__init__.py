"""Judges agents and models by scenarios whose outcome can be checked (`lightning eval`)."""
