"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Public benchmark data beside the project, or skip: it is no part of the project."""
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("WEIGHBRIDGE_DATA", root.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("public benchmark data is not at hand (set WEIGHBRIDGE_DATA)")
    return path
