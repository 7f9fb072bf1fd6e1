"""An exported file through llama.cpp: the source's tokens, and the source's numbers."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("xllamacpp")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llama_reading import reading  # noqa: E402

from weighbridge.artifacts.compare import PROBES  # noqa: E402
from weighbridge.artifacts.export import export_gguf  # noqa: E402
from weighbridge.checkpoint import open_checkpoint, read_gguf_header  # noqa: E402
from weighbridge.engines.interface import Decoding  # noqa: E402
from weighbridge.engines.llama_cpp import LlamaCppEngine  # noqa: E402

PROMPTS = (
    "The capital of France is",
    "Question: Which of these is a metal?\nAnswer:",
    "def fibonacci(n):\n    if n < 2:\n        return",
)


def expected(model: Any, tokens: list[int]) -> npt.NDArray[np.float64]:
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, -1]
    result: npt.NDArray[np.float64] = torch.log_softmax(logits.double(), -1).numpy()
    return result


FAMILIES = {
    "llama": {},
    "llama, tied, biased": {},
    "mistral": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "mixtral": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_what_the_source_computes(tmp_path: Path, family: str) -> None:
    from tiny_models import make_checkpoint

    folder = make_checkpoint(tmp_path / "model", family, bos=family == "llama", **FAMILIES[family])
    checkpoint = open_checkpoint(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for form, most in (("F32", 1e-3), ("F16", None)):
        export_gguf(checkpoint, form, tmp_path / f"{form}.gguf")
        with reading(tmp_path / f"{form}.gguf") as llama:
            for text in PROMPTS:
                tokens = tokenizer(text).input_ids
                assert llama.tokens(text, special=True) == tokens
                off = np.abs(llama.next_token(tokens, 320) - expected(model, tokens))
                assert np.sqrt(np.mean(off**2)) < 1e-2
                assert most is None or off.max() < most
            for probe in PROBES:  # llama.cpp composes no characters; Qwen's tokenizer does
                text = unicodedata.normalize("NFC", probe) if family == "qwen2" else probe
                assert llama.tokens(text, special=False) == tokenizer(text, add_special_tokens=False).input_ids


def test_the_real_model_through_llama_cpp(real_gguf: Path, real_folder: Path, tmp_path: Path) -> None:
    """What was read from a GGUF file is written back with the same tokens, merges, special tokens and template; and
    llama.cpp computes with the file what the source computes, and answers from it."""
    record = export_gguf(open_checkpoint(real_folder), "F16", tmp_path / "F16.gguf")
    assert record.tensors == {"F16": 211, "F32": 61}
    before, after = read_gguf_header(real_gguf).metadata, read_gguf_header(tmp_path / "F16.gguf").metadata
    kept = {key for key in before if key.startswith(("tokenizer.", "llama."))} - {"tokenizer.ggml.add_space_prefix"}
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}
    assert after["general.license"] == "apache-2.0"
    model = transformers.AutoModelForCausalLM.from_pretrained(real_folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(real_folder)
    chat = [{"role": "user", "content": "How do I bake bread?"}]
    turn = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    with reading(tmp_path / "F16.gguf") as llama:
        for text in (*PROMPTS, turn):
            tokens = tokenizer(text, add_special_tokens=False).input_ids
            assert llama.tokens(text, special=False) == tokens
            off = llama.next_token(tokens, len(tokenizer)) - expected(model, tokens)
            assert np.sqrt(np.mean(off**2)) < 1e-2
        for text in PROBES:
            assert llama.tokens(text, special=False) == tokenizer(text, add_special_tokens=False).input_ids


def test_the_real_model_answers_from_each_format(real_folder: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(real_folder)
    for form in ("F16", "Q8_0", "Q4_K_M"):
        path = tmp_path / f"{form}.gguf"
        export_gguf(checkpoint, form, path)
        engine = LlamaCppEngine(path, context=64, parallel=1, threads=1)
        [text] = engine.complete(["The capital of France is"], until=["."], max_tokens=4)
        assert "Paris" in text
        assert engine.chat(["Say hello."], Decoding(max_tokens=4)) != [""]
        engine.close()


def test_tokens_that_pieces_cannot_make_are_filled_up(tmp_path: Path) -> None:
    """An embedding with more rows than the tokenizer has tokens: llama.cpp counts the rows by the tokens."""
    from tiny_models import make_checkpoint

    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", "llama"))
    export_gguf(checkpoint, "F16", tmp_path / "F16.gguf")
    metadata = read_gguf_header(tmp_path / "F16.gguf").metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(types, list)
    assert len(tokens) == len(types) == 320
    unused = [token for token, kind in zip(tokens, types, strict=True) if kind == 5]
    assert unused == [f"[PAD{number}]" for number in range(320 - len(unused), 320)]
    assert len(unused) > 0
