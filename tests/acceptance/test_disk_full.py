"""A full disk is said, damages nothing, and is over by itself when there is room again."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(240)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_loses_nothing_and_heals_without_anybody(tmp_path):
    # Given a platform whose data is on a file system of 16 MB
    command = ["unshare", "--mount", sys.executable, "-m", "ops.chaos.disk", str(tmp_path)]
    # When that is full, and is freed again
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    # Then posts were refused meanwhile, with 503 and Retry-After; all that was accepted is done, and agrees
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert ran.stdout.splitlines()[-1].endswith("PASSED")
