"""Proves that what stands in a store agrees with itself, and says what does not."""

from lightning.audit.audit import Audit, audit
from lightning.audit.finding import Finding
from lightning.audit.rules import Bounds

__all__ = ["Audit", "Bounds", "Finding", "audit"]
