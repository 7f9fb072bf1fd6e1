"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("weighbridge", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("weighbridge")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Public benchmark data beside the project, or skip: it is no part of the project."""
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("WEIGHBRIDGE_DATA", root.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("public benchmark data is not at hand (set WEIGHBRIDGE_DATA)")
    return path


@pytest.fixture(scope="session")
def real_gguf() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file, which ``make test`` fetches; else skip."""
    for path in sorted((Path(__file__).resolve().parents[1] / ".models").glob("*.gguf")):
        return path
    pytest.skip("SmolLM2-135M-Instruct is not at hand (make test fetches it)")


@pytest.fixture(scope="session")
def real_folder(real_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model, converted."""
    from weighbridge.checkpoint import convert_gguf

    return convert_gguf(real_gguf, tmp_path_factory.mktemp("real") / "smollm2")
