"""What links attach to: entities, their management nodes, and ``$cbs``."""
