"""Scores of the torch engine against a plain forward of transformers, one sequence at a time, for each architecture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_models import FALLBACK, TREE, make_checkpoint
from weighbridge.engines.interface import Score
from weighbridge.engines.tokenize import Splitter
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.errors import EngineError

HEADER = "Seven grey geese flew over the old mill.\n\nA: yes, as far as anyone can tell.\n\n"
PAIRS = [
    (context, continuation)
    for context in (
        HEADER + "Which of these is a metal?",
        HEADER + "Which of these is a bird? ",
        "The kettle boils before the bread is done",
        "",
    )
    for continuation in (" iron", " iron and tin", " lead", " a goose", " a goose that flew", "!", " iron")
]

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Make:
    @cache
    def make(name: str, **changes: Any) -> Path:
        return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), name, **changes)

    return make


def plain(root: Path, pairs: list[tuple[str, str]]) -> list[Score]:
    """What the engine should say, from transformers' own forward over one whole sequence after the other."""
    model = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
    splitter = Splitter(AutoTokenizer.from_pretrained(root), 128)
    result = []
    with torch.inference_mode():
        for request in splitter.requests(pairs):
            assert request is not None
            targets = torch.tensor(request.targets)
            rows = model(torch.tensor([request.inputs])).logits[0].log_softmax(-1)[-len(targets) :]
            chosen = rows.gather(1, targets[:, None])
            result.append(Score(float(chosen.sum()), bool((rows.argmax(-1) == targets).all())))
    return result


def assert_close(found: list[Score], expected: list[Score], tolerance: float = 1e-4) -> None:
    assert [score.greedy for score in found] == [score.greedy for score in expected]
    worst = max(abs(a.loglikelihood - b.loglikelihood) for a, b in zip(found, expected, strict=True))
    assert worst < tolerance


@pytest.mark.parametrize("budget", [1024, 7])
@pytest.mark.parametrize("name", TREE)
def test_tree_parity(checkpoint: Make, name: str, budget: int) -> None:
    root = checkpoint(name)
    engine = TorchEngine(root, device="cpu", token_budget=budget)
    assert engine.settings["mode"] == "tree"
    assert_close(engine.score(PAIRS), plain(root, PAIRS))


@pytest.mark.parametrize("budget", [1024, 40])
@pytest.mark.parametrize("name", FALLBACK)
def test_fallback_parity(checkpoint: Make, name: str, budget: int) -> None:
    root = checkpoint(name)
    engine = TorchEngine(root, device="cpu", token_budget=budget)
    assert engine.settings["mode"] == "fallback"
    assert engine.facts["why"]
    assert_close(engine.score(PAIRS), plain(root, PAIRS))


def test_the_tree_runs_each_shared_token_once(checkpoint: Make) -> None:
    root = checkpoint("llama")
    engine = TorchEngine(root, device="cpu")
    engine.score(PAIRS)
    requests = Splitter(AutoTokenizer.from_pretrained(root), 128).requests(PAIRS)
    prefixes = {tuple(item.inputs[: end + 1]) for item in requests if item for end in range(len(item.inputs))}
    assert engine.tokens == len(prefixes)


def test_the_fallback_shares_prefixes_where_the_cache_allows(checkpoint: Make) -> None:
    shared = TorchEngine(checkpoint("gpt2"), device="cpu")
    whole = TorchEngine(checkpoint("mamba"), device="cpu")
    assert (shared.facts["shares_prefixes"], whole.facts["shares_prefixes"]) == (True, False)
    shared.score(PAIRS)
    whole.score(PAIRS)
    assert shared.tokens < 0.6 * whole.tokens


def test_a_next_call_does_not_compute_a_known_header_again(checkpoint: Make) -> None:
    root = checkpoint("qwen3")
    engine = TorchEngine(root, device="cpu")
    engine.score([(HEADER + "Which of these is a metal?", " iron")])
    before = engine.tokens
    pairs = [(HEADER + "Which of these is a bird?", " a goose")]
    assert_close(engine.score(pairs), plain(root, pairs))
    assert engine.tokens - before < before / 2
    before = engine.tokens
    assert engine.score(pairs) == pytest.approx(engine.score(pairs))
    assert engine.tokens - before < 20


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt2", "mamba"])
def test_order_and_grouping_do_not_matter(checkpoint: Make, name: str) -> None:
    engine = TorchEngine(checkpoint(name), device="cpu", token_budget=64)
    together = engine.score(PAIRS)
    order = list(range(len(PAIRS)))
    random.Random(5).shuffle(order)
    shuffled = engine.score([PAIRS[index] for index in order])
    assert_close([shuffled[order.index(index)] for index in range(len(PAIRS))], together, 2e-5)
    alone = [engine.score([pair])[0] for pair in PAIRS]
    assert_close(alone, together, 2e-5)


def test_sequences_beyond_the_window_take_the_fallback_and_agree(checkpoint: Make) -> None:
    root = checkpoint("mistral, short window")
    engine = TorchEngine(root, device="cpu")
    assert engine.settings["tree_limit"] == 12
    pairs = [("The river", " runs"), (HEADER, " runs past the old mill")]
    assert_close(engine.score(pairs), plain(root, pairs))


def test_bfloat16_is_close_to_float32(checkpoint: Make) -> None:
    root = checkpoint("llama", initializer_range=0.05)
    engine = TorchEngine(root, device="cpu", dtype="bfloat16")
    assert engine.settings["dtype"] == "bfloat16"
    for found, expected in zip(engine.score(PAIRS), plain(root, PAIRS), strict=True):
        assert found.loglikelihood == pytest.approx(expected.loglikelihood, abs=0.2)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_cannot_be_scored_is_nan_and_spoils_nothing_else(checkpoint: Make, name: str) -> None:
    engine = TorchEngine(checkpoint(name), device="cpu")
    found = engine.score([("The river", ""), ("The river", " runs"), ("The river", " runs" * 400)])
    assert math.isnan(found[0].loglikelihood)
    assert not found[0].greedy
    assert math.isfinite(found[1].loglikelihood)
    assert math.isnan(found[2].loglikelihood)


@pytest.mark.parametrize("name", ["qwen2", "gpt-neox"])
def test_nan_in_the_weights_is_nan_in_the_scores(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path, name)
    model = AutoModelForCausalLM.from_pretrained(root)
    list(model.parameters())[-1].data.fill_(math.nan)
    model.save_pretrained(root)
    for score in TorchEngine(root, device="cpu").score(PAIRS[:3]):
        assert math.isnan(score.loglikelihood)


def test_no_pairs_no_scores(checkpoint: Make) -> None:
    assert TorchEngine(checkpoint("llama"), device="cpu").score([]) == []


def test_a_closed_engine_says_so(checkpoint: Make) -> None:
    engine = TorchEngine(checkpoint("llama"), device="cpu")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.score(PAIRS)


def test_running_out_of_memory_is_an_engine_error_and_the_engine_recovers(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = checkpoint("llama")
    engine = TorchEngine(root, device="cpu")
    engine.score(PAIRS[:8])

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "silu", fail)
        with pytest.raises(EngineError, match="out of memory") as caught:
            engine.score(PAIRS[8:12])
        assert "budget" in (caught.value.remedy or "")
    assert_close(engine.score(PAIRS), plain(root, PAIRS))


def test_memory_does_not_grow_with_the_number_of_pairs(checkpoint: Make) -> None:
    """The cache, which is what grows with sequences, holds one path and one pack."""
    engine = TorchEngine(checkpoint("llama"), device="cpu", token_budget=64)
    engine.score([(f"{HEADER}Boat number {number} of", f" {number * 7}") for number in range(600)])
    assert engine._tree is not None
    longest = 128
    assert engine._tree._walk.cache.shape[2] <= longest + 64
