"""What llama.cpp makes of a GGUF file: token numbers, and log-probabilities of the next token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import xllamacpp

KEY = "between us"


class Reading:
    """A file loaded by llama.cpp, whose attention keeps float32."""

    def __init__(self, path: Path, context: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.warmup = False
        params.verbosity = 0
        params.use_jinja = False
        params.chat_template = "chatml"
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [KEY]
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """The numbers of the tokens of ``text``; ``special``: with those that the tokenizer puts around it."""
        reply = httpx.post(
            self.server.listening_address + "/tokenize",
            json={"content": text, "add_special": special, "parse_special": True},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        numbers: list[int] = reply.json()["tokens"]
        return numbers

    def next_token(self, tokens: Sequence[int], vocabulary: int) -> npt.NDArray[np.float64]:
        """Log-probability of each token of the vocabulary to follow."""
        request: dict[str, Any] = {"prompt": list(tokens), "max_tokens": 1, "temperature": 0.0, "logprobs": vocabulary}
        request |= {"cache_prompt": False, "seed": 0}
        # Shapes the choice and not these numbers, which the end or half a character in UTF-8 would leave out.
        request["logit_bias"] = [[tokens[-1], 1000.0]]
        reply = self.server.handle_completions(request)
        result = np.full(vocabulary, np.nan)
        for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            result[entry["id"]] = entry["logprob"]
        return result


@contextlib.contextmanager
def reading(path: Path, *, context: int = 128) -> Iterator[Reading]:
    """The file at ``path`` in llama.cpp. Something must be asked of it before the block ends."""
    yield Reading(path, context)
