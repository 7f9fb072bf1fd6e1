"""A Hugging Face checkpoint as what an export needs: config, tokenizer, chat templates, and rows of its tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np

from weighbridge.artifacts.model import CONFIG, Model, plan_model
from weighbridge.artifacts.vocabulary import CONFIG as TOKENIZER_CONFIG
from weighbridge.artifacts.vocabulary import FILE as TOKENIZER
from weighbridge.artifacts.vocabulary import Vocabulary, plan_vocabulary
from weighbridge.checkpoint import Checkpoint
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.gguf_header import MAX_STRING_BYTES
from weighbridge.checkpoint.gguf_tensors import Floats
from weighbridge.checkpoint.safetensors_header import Tensor
from weighbridge.checkpoint.weights import read_json, read_weights
from weighbridge.errors import CheckpointError
from weighbridge.files import unreadable

_GENERATION = "generation_config.json"
_SPECIAL = "special_tokens_map.json"
_TEMPLATE = "chat_template.jinja"
_MORE_TEMPLATES = "additional_chat_templates"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Source:
    """An open checkpoint: a context that closes its files. ``rows`` may be called from several threads.

    Raises ``CheckpointError`` for a checkpoint that GGUF cannot hold as it is.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        names = set(checkpoint.manifest.by_path)
        self.checkpoint = checkpoint
        self._names = names
        self._tensors = read_weights(checkpoint.root, names, locate=checkpoint.locate).tensors
        config = self._json(CONFIG)
        self.model: Model = plan_model(config, {name: tensor.shape for name, (_, tensor) in self._tensors.items()})
        if TOKENIZER not in names:
            raise CheckpointError(f"no {TOKENIZER}", where=str(checkpoint.root), remedy="save its fast tokenizer")
        self.tokenizer = self._json(TOKENIZER)
        self.tokenizer_config = self._json(_SPECIAL) | self._json(TOKENIZER_CONFIG)
        size = int(self.model.config["vocab_size"])
        ends = _numbers(self._json(_GENERATION).get("eos_token_id")) or _numbers(config.get("eos_token_id"))
        self.vocabulary: Vocabulary = plan_vocabulary(self.tokenizer, self.tokenizer_config, size=size, ends=ends)
        self.templates = self._templates()
        for _, tensor in self._tensors.values():
            if tensor.dtype not in _DTYPES:
                raise CheckpointError(f"the dtype {tensor.dtype} is not exported", where=tensor.name)
        self._files: dict[str, int] = {}

    def __enter__(self) -> Source:
        for name in sorted({name for name, _ in self._tensors.values()}):
            try:
                self._files[name] = os.open(self.checkpoint.locate(name), os.O_RDONLY | os.O_CLOEXEC)
            except OSError as cause:
                raise unreadable(cause, where=name, error=CheckpointError) from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def rows(self, name: str, columns: int, first: int, count: int) -> Floats:
        """Rows of the tensor ``name``, seen as a matrix of ``columns``: [count, columns], float32."""
        file, tensor = self._tensors[name]
        kind = np.dtype(_DTYPES[tensor.dtype])
        length = count * columns * kind.itemsize
        stored = np.frombuffer(self._read(file, tensor, first * columns * kind.itemsize, length), kind)
        if tensor.dtype == "BF16":  # the upper half of a float32
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32, copy=False).reshape(count, columns)

    def _read(self, file: str, tensor: Tensor, offset: int, length: int) -> bytes | bytearray:
        data = bytearray(length)
        view, done = memoryview(data), 0
        while done < length:
            got = os.preadv(self._files[file], [view[done:]], tensor.begin + offset + done)
            if not got:
                raise CheckpointError("shrank while being read", where=f"{file} at {tensor.name}")
            done += got
        return data

    def _json(self, name: str) -> dict[str, Any]:
        return read_json(self.checkpoint.locate(name), where=name) if name in self._names else {}

    def _templates(self) -> dict[str, str]:
        """Chat templates by name (``default`` for the unnamed one): the files, or what the tokenizer's config holds,
        in transformers' order."""
        result: dict[str, str] = {}
        value = self.tokenizer_config.get("chat_template")
        if isinstance(value, str):
            result["default"] = value
        elif isinstance(value, list):
            result |= {one["name"]: one["template"] for one in value if isinstance(one, Mapping) and len(one) == 2}
        for name in sorted(self._names):
            path = PurePosixPath(name)
            if name == _TEMPLATE or str(path.parent) == _MORE_TEMPLATES:
                text = read_bytes(self.checkpoint.locate(name), limit=MAX_STRING_BYTES, where=name)
                result["default" if name == _TEMPLATE else path.stem] = text.decode("utf-8", errors="strict")
        return result

    @property
    def root(self) -> Path:
        """The checkpoint's folder."""
        return self.checkpoint.root


def _numbers(value: Any) -> list[int]:
    many = value if isinstance(value, list) else [value]
    return [number for number in many if type(number) is int]
