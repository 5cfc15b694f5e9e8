"""What the locks name is all that is needed: it is installed without a look at what packages ask for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

UV = Path(sys.executable).with_name("uv")


@pytest.mark.parametrize(
    "interpreter", [Path(sys.executable), ROOT / ".venv-infra" / "bin" / "python"], ids=["platform", "infra"]
)
def test_what_is_installed_lacks_nothing(interpreter):
    checked = subprocess.run(
        [UV, "pip", "check", "--offline", "--python", interpreter],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
