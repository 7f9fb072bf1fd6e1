"""Integrity: one module for each kind of check; ``Integrity`` runs them all."""

from weighbridge.measures.integrity.measure import RULES, Integrity

__all__ = ["RULES", "Integrity"]
