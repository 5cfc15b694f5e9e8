"""Indexing policies: which paths have an index, and which groups of paths have a composite one.

Source: "Indexing policies in Azure Cosmos DB".
"""

from dataclasses import dataclass
from typing import Any

from ops.emulators.cosmos.errors import CosmosError, outside_subset

DEFAULT_POLICY: dict[str, Any] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": '/"_etag"/?'}],
}

_KNOWN = {"indexingMode", "automatic", "includedPaths", "excludedPaths", "compositeIndexes"}

#: What a step of a document's path is called in a policy when it is an index of an array.
ANY_ELEMENT = "[]"

_ALWAYS_INDEXED = {("id",), ("_ts",)}


@dataclass(frozen=True, slots=True)
class _Rule:
    steps: tuple[str, ...]
    below: bool  #: everything under it, or only the value at it
    included: bool

    def covers(self, path: tuple[str, ...]) -> bool:
        if not self.below:
            return path == self.steps
        return path[: len(self.steps)] == self.steps

    @property
    def precision(self) -> tuple[int, bool]:
        return (len(self.steps), not self.below)


class IndexingPolicy:
    """Decides by the most precise rule that covers a path.

    Raises:
      CosmosError: The policy is invalid, or has kinds of index that this emulator has not.
    """

    def __init__(self, policy: dict[str, Any]) -> None:
        if unknown := {name for name in policy if policy[name]} - _KNOWN:
            raise outside_subset(f"indexing policy with {', '.join(sorted(unknown))}")
        self._on = str(policy.get("indexingMode", "consistent")).lower() != "none"
        included = [entry["path"] for entry in policy.get("includedPaths", [])]
        excluded = [entry["path"] for entry in policy.get("excludedPaths", [])]
        if self._on and "/*" not in (*included, *excluded):
            raise CosmosError(
                400, 'The special mandatory indexing path "/" is not provided in any of the path type sets.'
            )
        rules = [_rule(path, included=True) for path in included]
        rules += [_rule(path, included=False) for path in excluded]
        self._rules = sorted(rules, key=lambda rule: rule.precision, reverse=True)
        self._known: dict[tuple[str, ...], bool] = {}
        self.composites = [
            tuple((_steps(entry["path"]), entry.get("order", "ascending") == "descending") for entry in group)
            for group in policy.get("compositeIndexes", [])
        ]

    def includes(self, path: tuple[str, ...]) -> bool:
        """Say whether the values at a path are indexed."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._decide(path)
        return known

    def _decide(self, path: tuple[str, ...]) -> bool:
        if not self._on:
            return False
        if path in _ALWAYS_INDEXED:
            return True
        return next((rule.included for rule in self._rules if rule.covers(path)), False)

    def orders_by(self, paths: tuple[tuple[str, ...], ...], *, descending: bool) -> bool:
        """Say whether an index gives this order of several paths, read forward or backward."""
        wanted = [(path, descending) for path in paths]
        opposite = [(path, not descending) for path in paths]
        return any(list(group) in (wanted, opposite) for group in self.composites)


def _rule(path: str, *, included: bool) -> _Rule:
    if path.endswith("/*"):
        return _Rule(_steps(path[:-2]), below=True, included=included)
    if path.endswith("/?"):
        return _Rule(_steps(path[:-2]), below=False, included=included)
    raise CosmosError(400, f"The indexing path '{path}' could not be accepted: it must end with /? or /*.")


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step.strip('"') for step in path.split("/") if step)
