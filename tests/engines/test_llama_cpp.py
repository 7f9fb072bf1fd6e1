"""The llama.cpp engine on a real GGUF file (SmolLM2-135M-Instruct)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.checkpoint import hash_file
from weighbridge.engines.interface import Decoding
from weighbridge.engines.llama_cpp import LlamaCppEngine, settings_for
from weighbridge.errors import CheckpointError, EngineError

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def gguf(real_gguf: Path) -> Path:
    return real_gguf


@pytest.fixture(scope="module")
def engine(gguf: Path) -> Iterator[LlamaCppEngine]:
    engine = LlamaCppEngine(gguf, context=256, parallel=2, threads=2)
    yield engine
    engine.close()


def test_settings_name_the_file_that_is_loaded_and_are_known_before(engine: LlamaCppEngine, gguf: Path) -> None:
    assert engine.settings == settings_for(gguf, context=256, parallel=2)
    assert engine.settings["file"] == gguf.name
    assert engine.settings["file_digest"] == "sha256:" + hash_file(gguf)
    assert "xllamacpp" in engine.producer


def test_chat_answers_in_order_and_greedily(engine: LlamaCppEngine) -> None:
    prompts = ["What is the capital of France?", "Say hello.", "What is the capital of France?"]
    before = engine.tokens
    first = engine.chat(prompts, Decoding(max_tokens=12))
    assert first[0] == first[2] != first[1]
    assert engine.tokens > before + 30
    assert engine.chat(prompts[:1], Decoding(max_tokens=12)) == first[:1]


def test_the_system_prompt_and_stop_sequences_shape_the_answer(engine: LlamaCppEngine) -> None:
    question = "What is the capital of France?"
    [plain] = engine.chat([question], Decoding(max_tokens=12))
    [stopped] = engine.chat([question], Decoding(max_tokens=12, until=("capital",)))
    [spoken] = engine.chat([question], Decoding(max_tokens=12, system="You are a pirate. Only ever say: arr."))
    assert stopped == plain.split("capital")[0]
    assert spoken != plain


def test_complete_takes_no_template(engine: LlamaCppEngine) -> None:
    [text] = engine.complete(["The capital of France is"], until=["."], max_tokens=8)
    assert "Paris" in text
    assert "." not in text


def test_a_prompt_that_does_not_fit_is_an_engine_error(engine: LlamaCppEngine) -> None:
    with pytest.raises(EngineError, match="context"):
        engine.chat(["word " * 400], Decoding(max_tokens=4))
    assert engine.chat(["Say hello."], Decoding(max_tokens=4))  # and the engine lives on


def test_what_is_no_gguf_file_is_refused(tmp_path: Path, gguf: Path) -> None:
    other = tmp_path / "model.gguf"
    with pytest.raises(CheckpointError, match="no such file"):
        LlamaCppEngine(other)
    other.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(CheckpointError, match="not a GGUF"):
        LlamaCppEngine(other)
    with gguf.open("rb") as stream:
        other.write_bytes(stream.read(100_000))
    with pytest.raises(EngineError, match="cannot load"):
        LlamaCppEngine(other)


def test_a_closed_engine_says_so(gguf: Path) -> None:
    engine = LlamaCppEngine(gguf, context=64, parallel=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.chat(["hello"], Decoding(max_tokens=4))
