"""What holds for the whole suite."""

import gc

import pytest

from lightning.garbage import look_less_often

pytest_plugins = [
    "tests.guards.sockets",
    "tests.guards.skips",
    "tests.guards.turns",
    "tests.guards.copies",
    "tests.stores",
    "tests.acceptance.queues",
    "tests.acceptance.runners",
]


def pytest_addoption(parser):
    """Let `make chaos` run what takes too long for every change."""
    parser.addoption("--chaos", action="store_true", help="run every acceptance test on every queue")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage while tests are collected, and leave all that they are out of later looks."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        look_less_often()
