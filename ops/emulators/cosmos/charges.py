"""Request units: a plain model of the documented figures, for comparing designs, not for a bill.

Sources: "Understand request unit consumption" (the table of sizes), "Optimize request cost in Azure
Cosmos DB" (replacing costs twice inserting; a query costs by what it loads and gives). How much an
indexed value and a loaded document add is not documented: those figures are ours.
"""

from bisect import bisect_left

KIB = 1024

#: Documented: size in KiB, charge of reading it, charge of inserting it without indexing.
_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
_READS = [1.0, 1.04, 1.14, 1.33, 1.67, 2.19, 4.76, 9.95, 20.28, 40.95, 145.9, 291.8]
_WRITES = [4.95, 6.29, 6.67, 7.04, 9.52, 11.23, 22.67, 48.19, 98.29, 184.57, 625.0, 1250.0]

WRITE_PER_INDEXED_VALUE = 0.1
REPLACEMENT = 2.0
QUERY = 2.3
QUERY_PER_DOCUMENT_LOADED = 0.04
QUERY_PER_KIB_GIVEN = 0.09

#: What is charged for an answer that has nothing to give.
LEAST = 1.0


def read(size: int) -> float:
    """Charge a point read of a document of so many bytes."""
    return _between(size, _READS)


def write(size: int, indexed_values: int, *, replacing: bool) -> float:
    """Charge a write of a document of so many bytes and indexed values."""
    charge = _between(size, _WRITES) + WRITE_PER_INDEXED_VALUE * indexed_values
    return charge * REPLACEMENT if replacing else charge


def query(documents_loaded: int, bytes_given: int) -> float:
    """Charge a page of a query."""
    return QUERY + QUERY_PER_DOCUMENT_LOADED * documents_loaded + QUERY_PER_KIB_GIVEN * bytes_given / KIB


def _between(size: int, charges: list[float]) -> float:
    """Read the table, on a line between its sizes."""
    kib = size / KIB
    above = bisect_left(_SIZES, kib)
    if above == 0:
        return charges[0]
    above = min(above, len(_SIZES) - 1)
    low, high = _SIZES[above - 1], _SIZES[above]
    return charges[above - 1] + (charges[above] - charges[above - 1]) * (kib - low) / (high - low)
