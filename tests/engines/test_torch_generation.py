"""Greedy generation of the torch engine against transformers' own, one prompt at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_models import make_checkpoint
from weighbridge.engines import torch_decode
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.errors import EngineError

PROMPTS = [
    "The river runs",
    "A",
    "The river runs past the old mill, and",
    "Seven grey geese flew over seven grey roofs while seven children watched them",
    "The river runs past",
    "The river runs",
    "Which of these is a metal? Answer:",
]
ARCHITECTURES = ["llama", "qwen3", "mixtral", "mistral, short window", "gpt2", "mamba"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: make_checkpoint(tmp_path_factory.mktemp("checkpoint"), name, initializer_range=0.4)
        for name in ARCHITECTURES
    }


def expected(root: Path, prompts: list[str], max_tokens: int) -> list[str]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(root), AutoTokenizer.from_pretrained(root)
    result = []
    for prompt in prompts:
        tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=1,
        )
        result.append(tokenizer.decode(made[0, tokens.shape[1] :], skip_special_tokens=True))
    return result


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_tokens_as_transformers(roots: dict[str, Path], name: str) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    assert engine.complete(PROMPTS, until=(), max_tokens=14) == expected(roots[name], PROMPTS, 14)


@pytest.mark.parametrize(("slots", "budget"), [(1, 1024), (2, 1024), (3, 8), (128, 16)])
def test_slots_refills_and_packs_do_not_matter(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch, slots: int, budget: int
) -> None:
    monkeypatch.setattr(torch_decode, "_MOST_SLOTS", slots)
    engine = TorchEngine(roots["llama"], device="cpu", token_budget=budget)
    assert engine.complete(PROMPTS, until=(), max_tokens=9) == expected(roots["llama"], PROMPTS, 9)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_text_ends_before_the_first_stop_string(roots: dict[str, Path], name: str) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    whole = engine.complete(PROMPTS, until=(), max_tokens=14)
    stops = (whole[0][4:6], whole[3][3:5], "not there at all")
    cut = engine.complete(PROMPTS, until=stops, max_tokens=14)
    for text, full in zip(cut, whole, strict=True):
        ends = [full.index(stop) for stop in stops if stop in full]
        assert text == (full[: min(ends)] if ends else full)
    assert cut != whole


def test_a_stop_string_ends_the_work_too(roots: dict[str, Path]) -> None:
    engine = TorchEngine(roots["llama"], device="cpu")
    (whole,) = engine.complete(["The river runs"], until=(), max_tokens=60)
    spent = engine.tokens
    engine.complete(["The river runs"], until=(whole[2:4],), max_tokens=60)
    assert engine.tokens - spent < spent / 2


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_chat_uses_the_checkpoints_own_template(roots: dict[str, Path], name: str) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    written = [f"<s>system\nBe brief.</s>\n<s>user\n{prompt}</s>\n<s>assistant\n" for prompt in PROMPTS]
    assert engine.chat(PROMPTS, Decoding(10, system="Be brief.")) == expected(roots[name], written, 10)
    assert engine.chat(PROMPTS, Decoding(10)) != engine.chat(PROMPTS, Decoding(10, system="Be brief."))


def test_the_end_token_ends_a_response(tmp_path: Path) -> None:
    """A model whose head favours EOS says nothing, and is done after one step."""
    root = make_checkpoint(tmp_path, "llama")
    model = AutoModelForCausalLM.from_pretrained(root)
    model.lm_head.weight.data.zero_()
    model.lm_head.weight.data[5:] = -model.model.norm.weight.data
    model.lm_head.weight.data[1] = 0
    model.save_pretrained(root)
    engine = TorchEngine(root, device="cpu")
    made = engine.complete(["The river", "A"], until=(), max_tokens=30)
    assert made == expected(root, ["The river", "A"], 30)


def test_without_a_template_there_is_no_chat(tmp_path: Path) -> None:
    engine = TorchEngine(make_checkpoint(tmp_path, "llama", chat=False), device="cpu")
    with pytest.raises(EngineError, match="no chat template"):
        engine.chat(["Hello"], Decoding(4))


def test_a_template_that_fails_is_an_engine_error(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama")
    (root / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(EngineError, match="no system role"):
        TorchEngine(root, device="cpu").chat(["Hello"], Decoding(4))


def test_a_template_without_end_is_an_engine_error_that_names_its_file(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama")
    (root / "chat_template.jinja").write_text(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    )
    engine = TorchEngine(root, device="cpu")
    with pytest.raises(EngineError, match="1 s of processor time") as caught:
        engine.chat(["Hello"], Decoding(4))
    assert caught.value.where == str(root / "chat_template.jinja")
    assert caught.value.remedy is not None
    assert engine.complete(["Hello"], until=(), max_tokens=2)


def test_what_does_not_fit_the_context_is_refused_or_cut_as_documented(roots: dict[str, Path]) -> None:
    engine = TorchEngine(roots["llama"], device="cpu")
    with pytest.raises(EngineError, match="fit"):
        engine.chat(["The river runs. " * 60], Decoding(10))
    with pytest.raises(EngineError, match="fit"):
        engine.complete(["The river"], until=(), max_tokens=128)
    long = "The river runs past the old mill. " * 30
    tokenizer = AutoTokenizer.from_pretrained(roots["llama"])
    kept = tokenizer.decode(tokenizer(long)["input_ids"][-118:])
    assert engine.complete([long], until=(), max_tokens=10) == expected(roots["llama"], [kept], 10)


def test_nothing_asked_nothing_said(roots: dict[str, Path]) -> None:
    engine = TorchEngine(roots["llama"], device="cpu")
    assert engine.complete([], until=(), max_tokens=5) == []
    assert engine.chat([], Decoding(5)) == []
    assert engine.complete(["A"], until=(), max_tokens=0) == [""]


def test_what_lies_in_fresh_memory_does_not_matter(roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ["Seven grey geese", "If the kettle boils before the bread is done, set it aside", "A: yes."]
    clean = TorchEngine(roots["llama"], device="cpu").complete(prompts, until=(), max_tokens=24)
    fresh = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: fresh(*shape, **options).fill_(float("nan")))
    assert TorchEngine(roots["llama"], device="cpu").complete(prompts, until=(), max_tokens=24) == clean
