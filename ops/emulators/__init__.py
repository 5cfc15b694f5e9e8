"""Servers on loopback that speak other people's protocols."""
