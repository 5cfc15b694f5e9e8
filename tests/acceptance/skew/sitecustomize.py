"""Puts the wall clock of every process of an installation forward or back, while it runs.

Python imports it by itself where PYTHONPATH names this folder. The file that SKEW_FILE names holds the
seconds, as a double.
"""

import datetime as dt
import mmap
import os
import struct
import time
from pathlib import Path

if path := os.environ.get("SKEW_FILE"):
    with Path(path).open("rb") as file:
        _shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    _time, _time_ns, _datetime = time.time, time.time_ns, dt.datetime

    def _skew() -> float:
        return struct.unpack("d", _shared[:8])[0]

    class _Kind(type):
        def __instancecheck__(cls, instance):
            return isinstance(instance, _datetime)

        def __subclasscheck__(cls, subclass):
            return issubclass(subclass, _datetime)

    class _Skewed(_datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz=None):
            return _datetime.fromtimestamp(time.time(), tz)

    time.time = lambda: _time() + _skew()
    time.time_ns = lambda: _time_ns() + int(_skew() * 1e9)
    dt.datetime = _Skewed
