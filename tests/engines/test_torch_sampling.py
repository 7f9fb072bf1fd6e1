"""How a response is made to begin, without its template, and by chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tiny_models import make_checkpoint
from weighbridge.engines import torch_decode
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.engines.torch_sampling import sampling

PROMPTS = ["The river runs", "A", "Seven grey geese flew over seven grey roofs", "The river", "Which of these?"]
SAMPLED = Decoding(12, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = ("llama", "gpt2")
    return {name: make_checkpoint(tmp_path_factory.mktemp("sampled"), name) for name in names}


def test_what_was_asked_before_keeps_its_question() -> None:
    assert Decoding(64).settings == {"method": "greedy", "max_tokens": 64, "system": None, "until": []}
    assert Decoding(64, seed=7).settings == Decoding(64).settings, "a seed means nothing to greedy decoding"
    changed = [
        Decoding(64, prefill="Yes"),
        Decoding(64, template="raw"),
        Decoding(64, temperature=0.5),
        Decoding(64, temperature=0.5, seed=1),
    ]
    assert len({repr(decoding.settings) for decoding in [Decoding(64), *changed]}) == 5


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_sample_does_not_depend_on_its_neighbours(
    roots: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    together = engine.chat(PROMPTS, SAMPLED)
    assert [engine.chat([prompt], SAMPLED)[0] for prompt in PROMPTS] == together
    assert engine.chat(PROMPTS[::-1], SAMPLED)[::-1] == together
    monkeypatch.setattr(torch_decode, "_MOST_SLOTS", 2)
    assert engine.chat([*PROMPTS, *PROMPTS], SAMPLED) == together * 2


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_seed_and_temperature_change_a_sample(roots: dict[str, Path], name: str) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    once = engine.chat(PROMPTS, SAMPLED)
    assert TorchEngine(roots[name], device="cpu").chat(PROMPTS, SAMPLED) == once
    assert engine.chat(PROMPTS, replace(SAMPLED, seed=4)) != once
    cold = engine.chat(PROMPTS, replace(SAMPLED, temperature=1e-6))
    assert cold == engine.chat(PROMPTS, Decoding(12)), "next to temperature 0, the most likely token is all there is"


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    likelihoods = torch.tensor([0.5, 0.0, 0.3, 0.2])
    seeds = range(4000)
    drawn = Counter(sampling(1.0, seed)([1, 2])(likelihoods.log()) for seed in seeds)
    assert drawn[1] == 0
    for token, likelihood in ((0, 0.5), (2, 0.3), (3, 0.2)):
        assert drawn[token] / len(seeds) == pytest.approx(likelihood, abs=0.03)
    flat = Counter(sampling(2.0, seed)([1])(torch.tensor([2.0, 0.0])) for seed in seeds)
    assert flat[0] / len(seeds) == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=0.03)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_prefill_stands_before_the_response_and_not_in_it(roots: dict[str, Path], name: str) -> None:
    engine = TorchEngine(roots[name], device="cpu")
    begun = "Seven grey"
    written = [f"<s>user\n{prompt}</s>\n<s>assistant\n{begun}" for prompt in PROMPTS]
    expected = engine.complete(written, until=(), max_tokens=9)
    assert engine.chat(PROMPTS, Decoding(9, prefill=begun)) == expected


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_raw_prompt_needs_no_template(roots: dict[str, Path], name: str, tmp_path: Path) -> None:
    engine = TorchEngine(make_checkpoint(tmp_path, name, chat=False), device="cpu")
    expected = engine.complete([f"{prompt}\n\nA:" for prompt in PROMPTS], until=(), max_tokens=9)
    assert engine.chat(PROMPTS, Decoding(9, template="raw", prefill="A:")) == expected
