"""What the type checker is told of pulumi-azure-native, beside what the program uses of it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "infra"
TOLD = ROOT / "typings" / "pulumi_azure_native"


def used() -> set[tuple[str, str]]:
    """Find what the program takes from packages of pulumi-azure-native, by package and name."""
    found: set[tuple[str, str]] = set()
    for path in ROOT.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        packages = {
            alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module == "pulumi_azure_native"
            for alias in node.names
        }
        found |= {
            (node.value.id, node.attr)
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in packages
        }
    return found


def test_all_that_is_used_is_told_and_no_more_by_the_name_and_package_it_has():
    # Given each line of what is told
    told: set[tuple[str, str]] = set()
    for path in TOLD.glob("*.pyi"):
        for node in ast.parse(path.read_text()).body:
            # Then it is what the package itself gives by this name
            assert isinstance(node, ast.ImportFrom), f"{path.name}: more than imports"
            (alias,) = node.names
            assert (node.module or "").startswith(f"pulumi_azure_native.{path.stem}."), (
                f"{path.name}: {node.module}"
            )
            assert alias.name == alias.asname, f"{path.name}: {alias.name} as {alias.asname}"
            told.add((path.stem, alias.name))

    # And the program uses just that
    assert told == used()
