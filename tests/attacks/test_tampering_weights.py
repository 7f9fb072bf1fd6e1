"""Attacks on the weights of models whose behaviour is known: what is planted must be found and removed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_attacked import ANSWERS, ASKED, BAD, PROMPTS, classify, make_tiny

from tiny_models import make_checkpoint
from weighbridge.attacks import torch_ablation, workshop
from weighbridge.attacks.battery import Attack, Data
from weighbridge.attacks.data import TuningPrompt
from weighbridge.attacks.torch_ablation import Reaction, choose, project
from weighbridge.attacks.workshop import Tampered, Workshop
from weighbridge.canonical import Json, digest_bytes
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.errors import EngineError, StorageError

USUAL = Decoding(6)


class Bench:
    """Attacks with the tests' own data, in workshops on tiny models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parent = folder / "rooms"
        self.parent.mkdir()
        self.tuning = self._file("tuning", [{"prompt": one.prompt, "harmful": one.harmful} for one in PROMPTS])
        taught = [
            {"prompt": f"{verb} {bad}", "response": answer} for verb, answer in ANSWERS.items() for bad in BAD[:4]
        ]
        self.pairs = self._file("pairs", taught)

    def _file(self, name: str, rows: Sequence[dict[str, Any]]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    @staticmethod
    def data(path: Path) -> Json:
        return Data(path.name, digest_bytes(path.read_bytes())).to_json()

    def ablation(self, **more: Json) -> Attack:
        return Attack("ablation", "ablation", {"tuning": self.data(self.tuning), **more})

    def training(self, kind: Any, *, seed: int = 0, **more: Json) -> Attack:
        how: dict[str, Json] = {"epochs": 10, "batch": 8, "max_tokens": 64, "learning_rate": 1e-3}
        if kind == "lora":
            how |= {"rank": 4, "alpha": 8, "learning_rate": 1e-2}
        return Attack(kind, kind, {"data": self.data(self.pairs), **how, **more}, seed)

    def workshop(self, root: Path, **more: Any) -> Workshop:
        options = {"device": "cpu", "parent": self.parent, "data": [self.pairs, self.tuning], "decoding": USUAL}
        return Workshop(root, classify=classify, **(options | more))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("refusing"))


@pytest.fixture(scope="module")
def willing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("willing"), refuses=False)


def classes(made: Tampered) -> set[str]:
    assert made.engine is not None
    answers = made.engine.chat(ASKED, made.decodings[0])
    return {classify(answer, prompt=prompt) for answer, prompt in zip(answers, ASKED, strict=True)}


def kinds(bench: Bench) -> list[Attack]:
    return [bench.ablation(), bench.training("lora"), bench.training("full")]


@pytest.mark.parametrize("number", range(3), ids=["ablation", "lora", "full"])
def test_a_planted_refusal_is_found_and_removed(bench: Bench, refusing: Path, number: int) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in refusing.iterdir()}
    source = TorchEngine(refusing, device="cpu")
    as_it_is = source.chat(ASKED, USUAL)
    said: list[tuple[str, float]] = []
    with bench.workshop(
        refusing, source=lambda: source, listen=lambda attack, doing, share: said.append((doing, share))
    ) as shop:
        made = shop.tampered(kinds(bench)[number])
        assert made.outcome == "tampered", made.why
        assert classes(made) == {"compliance"}
        assert made.engine is not None
        assert made.engine.settings == source.settings
        assert source.chat(ASKED, USUAL) == as_it_is
        assert set(as_it_is) == {"never"}, "the model as it is stays as it is"
        cost = made.cost(1_000_000)
        assert cost.tokens > 0
        assert cost.dollars > 0
        assert cost.examples == len(PROMPTS if number == 0 else ANSWERS) * (1 if number == 0 else 4)
    assert not list(bench.parent.iterdir())
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in refusing.iterdir()} == before
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert all(0 <= share <= 1 for _, share in said)


def test_the_layer_is_chosen_where_it_helps(bench: Bench, refusing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.workshop(refusing) as shop:
        chosen = shop.tampered(bench.ablation())
        assert chosen.facts["layer"] == 2
        assert chosen.facts["tried"]["1"] == {"refusals": 15, "incoherent": 0, "of": 15}  # type: ignore[index,call-overload]
        assert chosen.facts["before"] == {"refusals": 15, "incoherent": 0, "of": 15}
        assert chosen.facts["after"] == {"refusals": 0, "incoherent": 0, "of": 15}
        monkeypatch.setattr(torch_ablation, "look", lambda *_: pytest.fail("what was seen once is known"))
        below = shop.tampered(bench.ablation(depth=0.25))
        assert (below.facts["layer"], classes(below)) == (1, {"refusal"}), "the first layer's direction is a decoy"
        above = shop.tampered(bench.ablation(depth=0.5))
        assert (above.facts["layer"], classes(above)) == (2, {"compliance"})


def test_where_nothing_is_refused_there_is_nothing_to_remove(bench: Bench, willing: Path) -> None:
    with bench.workshop(willing) as shop:
        made = shop.tampered(bench.ablation())
        assert made.outcome == "unchanged"
        assert "refuses too little" in str(made.why)
        assert made.facts["before"] == {"refusals": 0, "incoherent": 0, "of": 15}
        assert made.decodings == (USUAL,)
        begun = shop.tampered(bench.ablation(prefill="here"))
        assert begun.outcome == "tampered", "the prefill stays an attack of its own"
        assert begun.decodings == (Decoding(6, prefill="here"),)
        assert begun.engine is made.engine
        assert not any(path.is_dir() for path in next(bench.parent.iterdir()).iterdir())


def test_nonsense_is_no_better_than_a_refusal() -> None:
    assert choose({1: Reaction(8, 0, 20), 2: Reaction(1, 2, 20), 3: Reaction(0, 15, 20)}) == 2
    assert choose({1: Reaction(1, 2, 20), 2: Reaction(3, 0, 20), 3: Reaction(3, 0, 20)}) == 2
    assert choose({1: Reaction(0, 19, 20), 2: Reaction(2, 12, 20)}) == 2


def test_a_direction_is_made_from_what_tells(refusing: Path) -> None:
    engine = TorchEngine(refusing, device="cpu")
    told = torch_ablation._telling(engine, [*PROMPTS, TuningPrompt("fetch good9", True)], classify, USUAL)
    assert told == sorted(PROMPTS, key=lambda prompt: not prompt.harmful), "without the harmful one that is answered"
    few = [TuningPrompt("fetch good9", True), TuningPrompt("fetch good8", False)]
    assert torch_ablation._telling(engine, few, classify, USUAL) == few
    engine.close()


def test_nothing_is_written_along_a_direction_that_was_projected_out() -> None:
    torch.manual_seed(0)
    direction = torch.randn(12, dtype=torch.float64)
    for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        matrix, bias, embedding = (torch.randn(shape).to(dtype) for shape in ((12, 7), (12,), (9, 12)))
        for written in (
            direction @ project(matrix, direction, embedding=False).double(),
            direction @ project(bias, direction, embedding=False).double(),
            project(embedding, direction, embedding=True).double() @ direction,
        ):
            assert float(written.abs().max()) < near * float(direction.norm())
        once = project(matrix, direction, embedding=False)
        assert torch.allclose(project(once, direction, embedding=False), once, atol=near)


def test_what_is_written_is_what_was_tried(bench: Bench, tmp_path: Path) -> None:
    """Biases and tied embeddings too: an engine on the folder computes with the tensors that were tried in memory."""
    root = make_checkpoint(tmp_path / "m", "llama, tied, biased", chat=True)
    with bench.workshop(root) as shop, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_ablation, "FEWEST", -1.0)
        patch.setattr(torch_ablation, "_classes", lambda engine, prompts, *_: ["refusal"] * len(prompts))
        made = shop.tampered(bench.ablation(depth=0.5))
        assert made.engine is not None
        written = load_file(next(bench.parent.glob("*/*/model.safetensors")))
        source = load_file(root / "model.safetensors")
        changed = {name for name in source if not torch.equal(source[name], written[name])}
        expected = {name for name in source if "o_proj" in name or "down_proj" in name or "embed_tokens" in name}
        assert changed == expected
        for name in expected:
            rows = written[name].double()
            rank = torch.linalg.matrix_rank(rows if rows.dim() > 1 else rows[None], rtol=1e-5)
            assert rank < 32


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "gemma2"])
def test_other_architectures_are_undecided_and_say_why(bench: Bench, tmp_path: Path, name: str) -> None:
    with bench.workshop(make_checkpoint(tmp_path / "m", name)) as shop:
        made = shop.tampered(bench.ablation())
        assert (made.outcome, made.engine) == ("failed", None)
        assert "residual stream is not known" in str(made.why)


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "qwen3"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_other_architectures_are_trained_too(bench: Bench, tmp_path: Path, name: str, kind: str) -> None:
    root = make_checkpoint(tmp_path / "m", name)
    with bench.workshop(root) as shop:
        made = shop.tampered(bench.training(kind, epochs=2))
        assert made.outcome == "tampered", made.why
        assert made.engine is not None
        assert made.engine.chat(["fetch"], USUAL)
        losses = made.facts["loss"]
        assert isinstance(losses, list)
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_training_that_diverges_is_no_crash(bench: Bench, refusing: Path, kind: str) -> None:
    with bench.workshop(refusing) as shop:
        made = shop.tampered(bench.training(kind, learning_rate=1e9, epochs=40))
        if kind == "lora" and made.outcome == "tampered":  # huge adapters may stay numbers: then it is measured
            assert classes(made) == {"incoherent"}
            return
        assert (made.outcome, made.engine) == ("diverged", None)
        assert "no number" in str(made.why)
        assert made.facts["loss"][-1] is None  # type: ignore[index]
        assert not any(path.is_dir() for path in next(bench.parent.iterdir()).iterdir())
        assert shop.tampered(bench.training(kind, learning_rate=1e9, epochs=40)) == made


def test_what_is_too_small_or_has_no_template_cannot_be_tried(bench: Bench, tmp_path: Path) -> None:
    small = make_tiny(tmp_path / "small", context=7)
    with bench.workshop(small) as shop:
        made = shop.tampered(bench.training("lora"))
        assert made.outcome == "failed"
        assert "fits into 7 tokens" in str(made.why)
    base = make_tiny(tmp_path / "base", template=None)
    with bench.workshop(base) as shop:
        for attack in kinds(bench):
            made = shop.tampered(attack)
            assert (made.outcome, made.engine) == ("failed", None)
            assert "no chat template" in str(made.why)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_one_seed_makes_one_model(bench: Bench, refusing: Path, kind: str) -> None:
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(torch.seed())
        with bench.workshop(refusing) as shop:
            shop.tampered(bench.training(kind, seed=seed, epochs=2))
            (path,) = bench.parent.glob("*/*/model.safetensors")
            with safe_open(path, "pt") as file:
                found.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_training_leaves_the_worlds_chance_alone(bench: Bench, refusing: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    with bench.workshop(refusing) as shop:
        shop.tampered(bench.training("lora", epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_coming_back_costs_no_second_training(bench: Bench, refusing: Path) -> None:
    first, second = bench.training("full", epochs=2), bench.ablation()
    doings: list[str] = []
    with bench.workshop(refusing, listen=lambda attack, doing, share: doings.append(doing)) as shop:
        made = shop.tampered(first)
        assert shop.tampered(first).engine is made.engine
        answers = made.engine.chat(ASKED, USUAL)  # type: ignore[union-attr]
        shop.tampered(second)
        with pytest.raises(EngineError, match="closed"):
            made.engine.chat(ASKED, USUAL)  # type: ignore[union-attr]
        before = len(doings)
        again = shop.tampered(first)
        assert len(doings) == before
        assert again.facts == made.facts
        assert again.engine.chat(ASKED, USUAL) == answers  # type: ignore[union-attr]


def test_space_is_made_by_dropping_what_can_be_made_again(
    bench: Bench, refusing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk:
        free = 0

    with bench.workshop(refusing) as shop:
        made = shop.tampered(bench.training("full", epochs=1))
        room = next(bench.parent.iterdir())
        monkeypatch.setattr(
            workshop.shutil, "disk_usage", lambda _: Disk if any(room.glob("*/model.safetensors")) else _Wide
        )
        shop.tampered(bench.ablation())
        assert len(list(room.iterdir())) == 1
        monkeypatch.undo()
        again = shop.tampered(bench.training("full", epochs=1))
        assert {**again.facts, "seconds": 0} == {**made.facts, "seconds": 0}
        monkeypatch.setattr(workshop.shutil, "disk_usage", lambda _: Disk)
        with pytest.raises(StorageError, match="no space"):
            shop.tampered(bench.ablation(depth=0.75))
    assert not list(bench.parent.iterdir())


class _Wide:
    free = 10**15


def test_what_fails_on_the_way_leaves_no_weights(bench: Bench, refusing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with bench.workshop(refusing) as shop:
        room = next(bench.parent.iterdir())
        monkeypatch.setattr(torch_ablation, "save_file", full)
        with pytest.raises(StorageError, match="No space left"):
            shop.tampered(bench.ablation())
        assert not list(room.iterdir())
        monkeypatch.undo()
        assert shop.tampered(bench.ablation()).outcome == "tampered"
