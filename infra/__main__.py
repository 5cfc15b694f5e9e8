"""The Pulumi program: `pulumi up` runs it, from the folder that holds it."""

import sys
from pathlib import Path

# Pulumi puts this folder first; we are a package, as everywhere else, and no module of ours hides another
sys.path[0] = str(Path(__file__).resolve().parents[1])

from infra.stack import deploy  # noqa: E402 -- it is found by the line above

deploy()
