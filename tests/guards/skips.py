"""A test is skipped only where `tests/allowed_skips.txt` says so; any other skip fails the run.

Each line of the file is a test's node id, in which ``*`` stands for anything, then ``|`` and the reason.
``#`` begins a comment.
"""

import re
from pathlib import Path

import pytest

_ALLOWED = pytest.StashKey[list[re.Pattern[str]]]()
_UNLISTED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the list."""
    path = config.rootpath / "tests" / "allowed_skips.txt"
    config.stash[_ALLOWED] = read_allowed(path) if path.exists() else []
    config.stash[_UNLISTED] = []
    config.pluginmanager.register(_Watcher(config))


def read_allowed(path: Path) -> list[re.Pattern[str]]:
    """Read the patterns of node ids.

    Raises:
      UsageError: A line names no reason.
    """
    patterns: list[re.Pattern[str]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        node_id, _, reason = (part.strip() for part in line.partition("|"))
        if not node_id or not reason:
            raise pytest.UsageError(f"{path}:{number}: write 'node id | reason'")
        patterns.append(re.compile(re.escape(node_id).replace(r"\*", ".*")))
    return patterns


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a green run red when something was skipped in silence."""
    if session.config.stash[_UNLISTED] and session.exitstatus in {0, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the skips that are on no list."""
    if config.stash[_UNLISTED]:
        terminalreporter.section("skips that tests/allowed_skips.txt does not allow")
        terminalreporter.write_line("\n".join(config.stash[_UNLISTED]))


class _Watcher:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid)

    def _note(self, node_id: str) -> None:
        if not any(pattern.fullmatch(node_id) for pattern in self._config.stash[_ALLOWED]):
            self._config.stash[_UNLISTED].append(node_id)
