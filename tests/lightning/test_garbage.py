"""Garbage: what a process has loaded is looked at no more, and what refers to itself is still freed."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from lightning.garbage import OBJECTS_BETWEEN_LOOKS, look_less_often

class Cycle:
    def __init__(self):
        self.me = self

loaded = len(gc.get_objects())
look_less_often()
assert gc.get_freeze_count() > loaded / 2, gc.get_freeze_count()
freed = weakref.ref(Cycle())
assert freed() is not None
kept = [[] for _ in range(2 * OBJECTS_BETWEEN_LOOKS)]
assert freed() is None
"""


def test_a_process_looks_for_garbage_now_and_then_and_never_at_what_it_has_loaded():
    # Given a process of its own, whose memory is nobody else's
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=30
    )
    # Then its checks hold
    assert ran.returncode == 0, ran.stderr
