"""The ingress: HTTP in front of the event log. It records events and never runs an actor."""
