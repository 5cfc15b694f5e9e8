"""A deployment as files: written from one store, verified, read into another."""

from lightning.archive.export import Exported, export
from lightning.archive.files import Archive
from lightning.archive.loading import Loaded, load
from lightning.archive.marker import Marker, unfinished

__all__ = ["Archive", "Exported", "Loaded", "Marker", "export", "load", "unfinished"]
