"""Weighbridge: release engineering for language models. Checkpoint, evidence, decision, release."""

__version__ = "0.1.0"
