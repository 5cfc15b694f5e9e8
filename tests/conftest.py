"""What holds for the whole suite."""

pytest_plugins = ["tests.guards.sockets", "tests.guards.skips"]
