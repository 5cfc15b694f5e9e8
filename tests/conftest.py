"""What holds for the whole suite."""

from lightning.garbage import look_less_often

pytest_plugins = [
    "tests.guards.sockets",
    "tests.guards.skips",
    "tests.guards.turns",
    "tests.stores",
    "tests.acceptance.queues",
    "tests.acceptance.runners",
]


def pytest_addoption(parser):
    """Let `make chaos` run what takes too long for every change."""
    parser.addoption("--chaos", action="store_true", help="run every acceptance test on every queue")


def pytest_collection_finish():
    """Leave the tests themselves, thousands of objects each, out of all looks for garbage."""
    look_less_often()
