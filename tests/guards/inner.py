"""Runs of pytest within a test, under the guards."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_inner(
    folder: Path, cores: str, sources: dict[str, str], allowed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run tests that are written for the purpose.

    Parameters:
      folder: An empty directory for them.
      cores: ``-n0``, or as many workers of pytest-xdist.
      sources: Their files.
      allowed: The list of skips.
    """
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "allowed_skips.txt").write_text(allowed)
    for name, source in sources.items():
        (folder / "tests" / name).write_text(source)
    # other plugins are not what is tested here, and take a second to load
    loaded = [f"-ptests.guards.{name}" for name in ("sockets", "skips", "turns")]
    loaded += ["-pxdist", "-pno:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", cores, "--import-mode=importlib", *loaded, "tests"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
