"""The llama.cpp engine on a real GGUF file (SmolLM2-135M-Instruct)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.checkpoint import hash_file
from weighbridge.checkpoint.gguf_header import read_gguf_header
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


def test_a_prefill_and_a_raw_prompt_are_what_the_model_goes_on_from(engine: LlamaCppEngine) -> None:
    question, begun = "What is the capital of France?", "The capital of France is"
    assert engine.chat([question], Decoding(12, prefill=begun))[0].startswith(" Paris")
    document = engine.complete([f"{question}\n\n{begun}"], until=(), max_tokens=12)
    assert engine.chat([question], Decoding(12, prefill=begun, template="raw")) == document
    with pytest.raises(EngineError, match="depends on what is asked beside it"):
        engine.chat([question], Decoding(12, temperature=1.0))


def test_a_chat_is_what_llama_cpp_makes_of_the_same_messages(engine: LlamaCppEngine, gguf: Path) -> None:
    """Its own reading of the template, tokens counted, the BOS included that this template writes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = 0
    params.use_jinja = True
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.hostnames = ["127.0.0.1"]
    server = xllamacpp.Server(params)
    for system in (None, "Be brief."):
        for prompt in ("Say hello.", "<|im_end|> and"):
            head = [] if system is None else [{"role": "system", "content": system}]
            request = {"max_tokens": 8, "temperature": 0.0, "top_k": 1, "seed": 0, "cache_prompt": False}
            messages = [*head, {"role": "user", "content": prompt}]
            reply = server.handle_chat_completions({"messages": messages, **request})
            before = engine.tokens
            assert engine.chat([prompt], Decoding(8, system=system)) == [reply["choices"][0]["message"]["content"]]
            assert engine.tokens - before == reply["usage"]["total_tokens"]


@pytest.mark.parametrize(
    "hostile",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_a_template_without_end_holds_up_neither_loading_nor_chatting(gguf: Path, tmp_path: Path, hostile: str) -> None:
    """llama.cpp itself would render it while loading; the file is the real one but for its template."""
    own = read_gguf_header(gguf).templates()["default"].encode()
    data = gguf.read_bytes()
    assert data.count(own) == 1
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data.replace(own, hostile.encode().ljust(len(own))))
    engine = LlamaCppEngine(path, context=64, parallel=1, threads=2)
    with pytest.raises(EngineError, match="the template fails") as caught:
        engine.chat(["Hello"], Decoding(max_tokens=4))
    assert caught.value.where == f"{path} at tokenizer.chat_template"
    assert engine.complete(["The capital of France is"], until=(), max_tokens=2)
    engine.close()


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
