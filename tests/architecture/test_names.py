"""Names: ours lead here, and importing a module does nothing but define it."""

import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, PYPROJECT, ROOT, module_name, source_files

VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
SDKS = {"azure", "openai"}

#: Who may import an SDK: the adapters, and what deploys.
ADAPTERS = [
    "lightning.storage.cosmos*",
    "lightning.llm.*openai*",
    "lightning.azure_identity",
    "lightning.containers.aci*",
    "lightning.telemetry.azure*",
    "brokers.servicebus*",
    "agents.openai_shell*",
    "ops.checkup*",  # loaded by the command that looks at Azure, and by no other
    "infra.*",
    "ops.*",
]

#: Modules that only run: what they do when imported is what they are for.
PROGRAMS = [
    "worker.main",  # Dramatiq's own command imports it, so it composes its broker there
    "api.chainlit_app",  # Chainlit imports it, which is an extra
    "api.chat.*",  # so do these import Chainlit, which writes files when it is imported
    "infra.*",  # the Pulumi program, which has an environment of its own
]

#: All that the chat knows of the platform, and what its process needs besides.
CLIENT = ["lightning.client", "lightning.client.answering"]
FOR_A_PROCESS = [
    "lightning.keys",
    "lightning.settings",
    "lightning.telemetry.logs",
    "lightning.telemetry.redaction",
]

ENVIRONMENT_READERS = [
    "lightning.settings.environment",
    "agents.__main__",  # inside a container
]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def reads_environment(path: Path) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names})
        for node in ast.walk(parsed(path))
    )


def is_any(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def run_imports(*modules: str, cwd: Path = ROOT) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-B", str(ROOT / "tests/architecture/imports.py"), *modules],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(cwd)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize("package", PACKAGES)
def test_our_names_lead_here(package):
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_dependency_installs_a_package_of_our_name(package):
    owners = set(importlib.metadata.packages_distributions().get(package, []))
    assert owners <= {PYPROJECT["project"]["name"]}


def test_no_name_is_vague():
    names = {part for path in source_files() for part in module_name(path).split(".")}
    assert not names & VAGUE


def test_only_adapters_import_an_sdk():
    importers = {
        module_name(path)
        for path in source_files()
        if {name.partition(".")[0] for name in imports_of(path)} & SDKS
    }
    assert [name for name in sorted(importers) if not is_any(name, ADAPTERS)] == []


def test_the_chat_is_a_client_and_nothing_more():
    files = [ROOT / "api" / "chainlit_app.py", *(ROOT / "api" / "chat").glob("*.py")]
    assert len(files) > 10
    ours = {
        (module_name(path), name)
        for path in files
        for name in imports_of(path)
        if name.partition(".")[0] in PACKAGES and not is_any(name, ["api.chat", "api.chat.*", *CLIENT])
    }
    # its process has settings as every other, and logs as they do
    assert ours == {("api.chat.main", name) for name in FOR_A_PROCESS}


def test_only_the_settings_read_the_environment():
    readers = {module_name(path) for path in source_files() if reads_environment(path)}
    assert readers - set(ENVIRONMENT_READERS) == set()


def test_importing_a_module_only_defines_it():
    modules = [module_name(path) for path in source_files()]
    plain = [name for name in modules if not is_any(name, PROGRAMS) and not is_any(name, ADAPTERS[:-2])]
    assert len(plain) > len(PACKAGES)
    assert run_imports(*plain) == []


GUILTY = [
    ("import socket; s = socket.socket()", "socket.__new__"),
    (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "starts a thread",
    ),
    ("open('made', 'w')", "opens made for writing"),
    ("import pathlib; pathlib.Path('folder').mkdir()", "os.mkdir"),
    ("import os; os.environ['A'] = 'b'", "os.putenv"),
    ("import sqlite3; sqlite3.connect(':memory:')", "sqlite3.connect"),
    ("import openai.types", "above load openai"),
]


@pytest.fixture(scope="module")
def noticed(tmp_path_factory):
    """Give what is said of modules that do something, one after the other."""
    folder = tmp_path_factory.mktemp("guilty")
    names = [f"guilty_{number}" for number in range(len(GUILTY))]
    for name, (source, _) in zip(names, GUILTY, strict=True):
        (folder / f"{name}.py").write_text(source)
    return run_imports(*names, cwd=folder)


@pytest.mark.parametrize(("number", "says"), [(number, says) for number, (_, says) in enumerate(GUILTY)])
def test_a_side_effect_is_noticed(noticed, number, says):
    about = ("the modules above", f"guilty_{number} ")
    assert any(line.startswith(about) and says in line for line in noticed)
