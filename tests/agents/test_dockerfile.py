"""The image of the agents: what its recipe copies is there, and nothing in it is root's or a package's."""

import re

from tests.architecture.tree import ROOT

RECIPE = (ROOT / "agents" / "Dockerfile").read_text()


def test_it_copies_what_there_is():
    copied = re.findall(r"^COPY (.+) (\S+)$", RECIPE, re.MULTILINE)
    assert copied
    found = {path.name for sources, _ in copied for each in sources.split() for path in ROOT.glob(each)}
    assert found == {path.name for path in (ROOT / "agents").glob("*.py")}
    assert {"__main__.py", "run_api.py", "echo.py"} <= found
    # to where Python looks for it
    [(_, target)] = copied
    assert target.removesuffix("/agents/") == re.search(r"PYTHONPATH=(\S+)", RECIPE)[1]


def test_nothing_runs_as_root_and_nothing_is_installed():
    words = [line.split()[0] for line in RECIPE.splitlines() if line and line[0] not in "# \t"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert re.search(r"^USER 65534:65534$", RECIPE, re.MULTILINE)
    assert "RUN pip" not in re.sub(r"^#.*$", "", RECIPE, flags=re.MULTILINE)
