"""Bodies that come compressed."""

import gzip
import tracemalloc

import pytest

from api.compressed import expand
from lightning.strict_json import TooLarge


def test_a_body_up_to_the_limit_is_read_whole():
    assert expand(gzip.compress(b"x" * 100), 100) == b"x" * 100
    with pytest.raises(TooLarge):
        expand(gzip.compress(b"x" * 101), 100)


def test_no_more_is_made_of_a_body_than_may_be_read():
    # Given 64 MiB that take less than one
    bomb = gzip.compress(bytes(64 * 1024**2))
    tracemalloc.start()
    try:
        # When no more than one of them may be read
        with pytest.raises(TooLarge):
            expand(bomb, 1024**2)
        # Then no more than a few were held at any time
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024**2
    finally:
        tracemalloc.stop()
