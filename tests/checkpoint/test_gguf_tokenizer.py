"""Tokenizers of GGUF files: the converted one gives the ids that llama.cpp gives."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from gguf_making import byte_level_tokens, hugging_face_tensors, write_gguf
from weighbridge.checkpoint import convert_gguf, read_gguf_header

xllamacpp = pytest.importorskip("xllamacpp")

TEXTS = [
    "Hello, world! It's 1234567 o'clock; we'll see 3.14159.",
    "  two  spaces, \t a tab,\n\n\nthree newlines   \n and trailing   ",
    "naïve café 日本語 русский العربية 😀 a1b2c3",
    "def f(x):\n    return x**2  # comment\r\n\r\n",
    "½ ² ٣٤ Ⅷ １２",  # noqa: RUF001  (digits of other scripts are the point)
    "I'M SURE THEY'LL SAY 'TIS 10,000,000.00 -- (or not?)...!!!",
    "    indented\n\t\ttabs\n   \n",
    "<s>turn</s>\n<s> spaced </s>",
]


@contextmanager
def llama_cpp(path: Path) -> Iterator[Callable[[str], list[int]]]:
    """llama.cpp's tokenisation of a text, control tokens recognised, nothing added."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 64
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = 0
    params.hostnames = ["127.0.0.1"]
    server = xllamacpp.Server(params)

    def tokenize(text: str) -> list[int]:
        body = json.dumps({"content": text, "parse_special": True, "add_special": False}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            tokens: list[int] = json.load(answer)["tokens"]
        return tokens

    yield tokenize


def ours(folder: Path) -> Callable[[str], list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module")
def real_vocabulary(real_gguf: Path) -> tuple[list[str], list[int], list[str]]:
    """SmolLM2's 49,152 tokens, with the two that the tiny models call <s> and </s>."""
    metadata: dict[str, Any] = dict(read_gguf_header(real_gguf).metadata)
    tokens = list(metadata["tokenizer.ggml.tokens"])
    tokens[1], tokens[2] = "<s>", "</s>"
    return tokens, metadata["tokenizer.ggml.token_type"], metadata["tokenizer.ggml.merges"]


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-r1-qwen"])
def test_byte_level_rules(tmp_path: Path, real_vocabulary: Any, pre: str) -> None:
    path = tmp_path / "x.gguf"
    tensors = hugging_face_tensors(len(real_vocabulary[0]))
    write_gguf(path, tokens=real_vocabulary, tensors=tensors, pre=pre)
    tokenize = ours(convert_gguf(path, tmp_path / "out"))
    with llama_cpp(path) as theirs:
        for text in TEXTS:
            assert tokenize(text) == theirs(text), text


def test_the_real_models_tokenizer(real_gguf: Path, real_folder: Path) -> None:
    tokenize = ours(real_folder)
    with llama_cpp(real_gguf) as theirs:
        for text in TEXTS:
            assert tokenize(text) == theirs(text), text


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_scores(tmp_path: Path, prefix: bool) -> None:
    pieces = ["\u2581", *"abcdehlorstw .,!", "he", "ll", "lo", "hell", "llo", "hello", "\u2581w", "or", "ld", "world"]
    pieces += ["\u2581world", "\u2581hello", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "er", "\u2581the", "th", "wor"]
    pieces = [piece for piece in pieces if piece != " "] + ["t\u2581h", "the"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [2, 3, 3, *[6] * 256, *[1] * len(pieces)]
    scores = [0.0] * 259 + [-float((index * 7919) % 101) for index in range(len(pieces))]
    path = tmp_path / "x.gguf"
    write_gguf(
        path,
        tokens=(tokens, types, []),
        scores=scores,
        tensors=hugging_face_tensors(len(tokens)),
        more={"tokenizer.ggml.add_space_prefix": prefix},
    )
    folder = convert_gguf(path, tmp_path / "out")
    tokenize = ours(folder)
    with llama_cpp(path) as theirs:
        for text in [
            "hello world",
            "  the   world.",
            "hell o",
            "hello\nworld",
            "\u00e9t\u00e9",
            "held the world, lord!",
        ]:
            assert tokenize(text) == theirs(text), text
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).decode(tokenize("hello world")) == "hello world"


def test_a_small_vocabulary_survives_a_round_trip(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", tokens=byte_level_tokens(), pre="smollm")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
