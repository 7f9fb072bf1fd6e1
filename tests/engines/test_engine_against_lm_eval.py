"""The torch engine against lm-evaluation-harness's own Hugging Face backend, on the same model and the same pairs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_models import make_checkpoint
from weighbridge.engines.torch_engine import TorchEngine

pytest.importorskip("lm_eval", reason="lm-eval is an optional extra")

LONG = "Seven grey geese flew over seven grey roofs while seven children watched them go. " * 4
PAIRS = [
    (LONG, "The end."),
    (LONG + "   ", "The end."),
    ("The river runs", " past the mill"),
    ("The river runs ", "past the mill"),
    ("The river runs \n ", "past"),
    ("The river runs", "past"),
    ("The river runs", " past"),
    ("The river runs", " p"),
    ("Question:\n", "A"),
    ("", "iron and tin"),
    ("", "<s>iron"),
    ("<s>The river", " runs"),
    ("<s>", "The river"),
    ("x", LONG[:200]),
    ("Où est la rivière", " ? Là-bas… ✓"),
]


def lm_eval_model(root: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.models.huggingface import HFLM

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        tokenizer_options = {key: value for key, value in options.items() if key == "add_bos_token"}
        return HFLM(
            pretrained=AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32),
            tokenizer=AutoTokenizer.from_pretrained(root, **tokenizer_options),
            batch_size=4,
            **options,
        )


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, pair, number) for number, pair in enumerate(arguments)]


@pytest.mark.parametrize("add_bos_token", [None, True, False])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_same_likelihoods_and_greedy_flags(tmp_path: Path, name: str, bos: bool, add_bos_token: bool | None) -> None:
    root = make_checkpoint(tmp_path, name, bos=bos)
    options = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    expected = lm_eval_model(root, **options).loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    found = TorchEngine(root, device="cpu", add_bos_token=add_bos_token).score(PAIRS)
    for pair, score, (likelihood, greedy) in zip(PAIRS, found, expected, strict=True):
        assert score.loglikelihood == pytest.approx(likelihood, abs=2e-4), pair
        assert score.greedy == greedy, pair


def test_same_continuations(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama", initializer_range=0.5)
    contexts = ["The river runs past", "Question: Which of these", LONG, "A: yes. B:"]
    for until, length in ((["\n", " a"], 12), (["qqq"], 20)):
        arguments = [(context, {"until": list(until), "max_gen_toks": length}) for context in contexts]
        model = lm_eval_model(root)
        model.batch_size_per_gpu = 1  # its batches pad, which moves ties
        expected = model.generate_until(instances("generate_until", arguments), disable_tqdm=True)
        assert TorchEngine(root, device="cpu").complete(contexts, until=until, max_tokens=length) == expected


def test_same_on_the_public_data(tmp_path: Path, data_dir: Path) -> None:
    """Real text, real prompts: some of MMLU's questions, one-letter answers and whole ones."""
    import json

    root = make_checkpoint(tmp_path, "qwen2", max_position_embeddings=512)
    lines = next((data_dir / "mmlu").rglob("*test*.jsonl")).read_text().splitlines()[:6]
    pairs = []
    for line in lines:
        item = json.loads(line)
        choices = item["choices"]
        labels = list(choices.values()) if isinstance(choices, dict) else choices
        pairs += [(f"{item['question']}\nAnswer:", f" {label}") for label in (*labels, "A", "B", "C", "D")]
    expected = lm_eval_model(root).loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    found = TorchEngine(root, device="cpu").score(pairs)
    for score, (likelihood, greedy) in zip(found, expected, strict=True):
        assert score.loglikelihood == pytest.approx(likelihood, rel=1e-5, abs=1e-3)
        assert score.greedy == greedy
