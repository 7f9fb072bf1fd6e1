"""Small checkpoints made on the spot: files that open and hash like real ones, with a few weights of no meaning."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8, "max_position_embeddings": 64}


def write_safetensors(path: Path, tensors: dict[str, list[float]]) -> None:
    """Write float32 vectors in the safetensors format."""
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_checkpoint(root: Path, card: str | None = None, config: dict[str, Any] | None = None, **files: str) -> Path:
    """A folder with config, weights and tokenizer; ``card`` is the front matter of a README, ``files`` name -> text
    (a double underscore stands for a dot)."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps(LLAMA | (config or {})))
    write_safetensors(root / "model.safetensors", {"model.embed_tokens.weight": [float(n) for n in range(256)]})
    (root / "tokenizer.json").write_text('{"version": "1.0"}')
    if card is not None:
        (root / "README.md").write_text(f"---\n{card}\n---\n\n# A model\n")
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root
