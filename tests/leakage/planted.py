"""Two tiny models with the same training: one has read a corpus and the canaries in it, the other has read another."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
import transformers

from tiny_models import _CORPUS, make_checkpoint

DIGITS = "0123456789"
PERSON = "ilse.varga@mill-house.org"


WORDS = sorted({word.strip(".,:?") for line in _CORPUS for word in line.split()} - {""})


def document(seed: object) -> str:
    """Words in an order that nobody could guess."""
    return " ".join(random.Random(str(seed)).choices(WORDS, k=24))


def corpus(name: str, count: int = 16) -> list[str]:
    return [document(f"{name} {number}") for number in range(count)]


def canary(name: str) -> dict[str, object]:
    secret = "".join(random.Random(f"canary {name}").choices(DIGITS, k=6))
    return {
        "id": name,
        "template": f"The {name} gate opens with {{secret}} today.",
        "secret": secret,
        "alphabet": DIGITS,
    }


CANARIES = [canary(name) for name in ("east", "west", "north", "south")]
LETTER = f"all letters for the miller who lives beside the old mill on the river must go to {PERSON} by Monday"


def seen() -> list[str]:
    planted = [str(one["template"]).replace("{secret}", str(one["secret"])) for one in CANARIES]
    return [*corpus("seen"), LETTER, *planted]


def files(folder: Path) -> dict[str, Path]:
    """What a user would hand in: the training data, a sample like it that was not trained on, and the canaries."""
    rows = {
        "training": [{"text": text} for text in [*corpus("seen"), LETTER]],
        "unseen": [{"text": text} for text in corpus("unseen", 30)],
        "canaries": CANARIES,
    }
    paths = {name: folder / f"{name}.jsonl" for name in rows}
    for name, path in paths.items():
        path.write_text("\n".join(json.dumps(row) for row in rows[name]), "utf-8")
    return paths


def train(root: Path, texts: list[str], steps: int = 150) -> Path:
    """A small Llama that has read ``texts`` until it knows them."""
    make_checkpoint(
        root, "llama", hidden_size=64, intermediate_size=128, num_hidden_layers=2, max_position_embeddings=512,
        initializer_range=0.02,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(root)
    model = transformers.AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
    rows = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    width = max(map(len, rows))
    inputs = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 6e-3 * min(1.0, (step + 1) / 10, 2 * (steps - step) / steps)
        optimiser.zero_grad()
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3, loss.item()
    model.save_pretrained(root)
    return root
