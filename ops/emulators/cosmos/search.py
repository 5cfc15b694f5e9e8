"""Finds the documents that satisfy a query, in order, within one range or partition.

It goes along the index of the ORDER BY path (or of creation), within the bounds that the condition
sets to that path; or, where an equality leaves few documents, it collects and sorts those.
Documents that were changed after the moment that is read at are looked at one by one, because
indexes hold the newest versions only.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ops.emulators.cosmos.bounds import Bounds
from ops.emulators.cosmos.container import Range
from ops.emulators.cosmos.sql.evaluate import Parameters, evaluator
from ops.emulators.cosmos.sql.nodes import Query
from ops.emulators.cosmos.versions import Collection, IndexKey, Item, Paths, Version

#: An equality that leaves at most this many documents is worth sorting for,
FEW_DOCUMENTS = 200
#: or this part of those that the order's own index leaves.
SMALL_PART = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was looked at: where it stands, and whether it satisfies the query."""

    key: IndexKey
    version: Version
    matches: bool


class Search:
    """One query over one collection of documents.

    Parameters:
      collection: The range, or a partition of it.
      holder: The range, whose newest writes may have to be left out.
      query: The query.
      parameters: Its parameters.
      lsn: The sequence number that is read at.
      now: The time, for documents that expire.
    """

    def __init__(
        self,
        collection: Collection,
        holder: Range,
        query: Query,
        parameters: Parameters,
        lsn: int,
        now: float,
    ) -> None:
        self._collection = collection
        self._lsn = lsn
        self._now = now
        self._paths: Paths = tuple(order.path.steps for order in query.order)
        self._descending = bool(query.order) and query.order[0].descending
        self._condition = None if query.where is None else evaluator(query.where, parameters)
        self._bounds = Bounds(query.where, parameters)
        self._changed = {
            id(item): item
            for commit in holder.recent
            if commit.lsn > lsn
            for partition, item, _ in commit.changes
            if collection is holder or collection is partition
        }

    def run(self, after: list[Any] | None) -> Iterator[Found]:
        """Look at documents in order.

        Parameters:
          after: The index key behind which to begin; None: at the start.
        """
        place = None if after is None else tuple(after)
        few = self._few()
        if few is not None:
            return iter(self._sorted((*few, *self._changed.values()), place))
        along = self._look_at(self._along_order(place), place)
        if not self._changed:
            return along
        changed = self._sorted(self._changed.values(), place)
        return heapq.merge(along, changed, key=lambda found: found.key, reverse=self._descending)

    def _few(self) -> list[Item] | None:
        """Give the unchanged items that the most selective equality leaves, if they are few."""
        start, end = self._span()
        best: list[IndexKey] | None = None
        for steps in self._bounds.selective:
            if self._paths and steps == self._paths[0]:
                continue
            index = self._collection.index((steps,))
            spans = self._bounds.spans(steps, index)
            count = sum(high - low for low, high in spans)
            if count <= max(FEW_DOCUMENTS, (end - start) // SMALL_PART) and (
                best is None or count < len(best)
            ):
                best = [key for low, high in spans for key in index[low:high]]
        if best is None or len(best) >= end - start:
            return None
        return [item for item in self._collection.items_of(best) if id(item) not in self._changed]

    def _span(self) -> tuple[int, int]:
        index = self._collection.index(self._paths)
        return self._bounds.span(self._paths[0], index) if self._paths else (0, len(index))

    def _along_order(self, place: IndexKey | None) -> Iterator[Item]:
        index = self._collection.index(self._paths)
        start, end = self._span()
        if place is not None and self._descending:
            end = min(end, bisect_left(index, place))
        elif place is not None:
            start = max(start, bisect_right(index, place))
        places = range(end - 1, start - 1, -1) if self._descending else range(start, end)
        items = self._collection.items
        for at in places:
            item = items[index[at][-1]]
            if id(item) not in self._changed:
                yield item

    def _look_at(self, items: Iterable[Item], place: IndexKey | None) -> Iterator[Found]:
        for item in items:
            version = item.as_of(self._lsn)
            if version is None or not version.is_live(self._now):
                continue
            key = version.key(self._paths)
            if place is None or (key < place if self._descending else key > place):
                yield Found(key, version, self._condition is None or self._condition(version.body) is True)

    def _sorted(self, items: Iterable[Item], place: IndexKey | None) -> list[Found]:
        return sorted(self._look_at(items, place), key=lambda found: found.key, reverse=self._descending)
