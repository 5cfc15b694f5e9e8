"""The core that every process shares: events, log, ports and their adapters."""
