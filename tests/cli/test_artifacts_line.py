"""Artifacts through real commands: exported, weighed by themselves, published if they proved what they must.

The tiny model is made so that formats differ. Some matrices hold one column of large numbers that a norm multiplies by
zero: float32 does not feel them, float16 cannot hold them, and quantising loses the rest of each row to them.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weighbridge.canonical import digest_bytes
from weighbridge.evidence import from_bytes
from weighbridge.judging.matching import artifact_of

Run = Callable[..., tuple[int, str, str]]

POLICY = """
version: 1
name: opening
error_rate: 0.05
expires_after: 30d
approvals: {open: 1}
suites: {mine: mine.yaml}
tiers:
  open:
    - {measure: licensing.conflicts, at_most: 0}
artifacts:
  formats: [F32, F16, Q4_K_M]
  lines:
    - {measure: capability.accuracy, suite: mine, at_least: {baseline: source, margin: -0.2}}
"""
MINE = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: mine.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: q
doc_to_choice: choices
doc_to_target: label
"""
TRUST = """
version: 1
roles:
  decider: {keys: [{path: decider.key.pub}]}
  approver: {keys: [{path: approver.key.pub}]}
  publisher: {keys: [{path: publisher.key.pub}]}
"""
WORDS = ["river", "mill", "daughter", "counts", "boats", "iron", "copper", "seven", "grey", "geese", "roofs", "bread"]
CHOICES = [" iron", " mill", " seven", " kettle"]
POOL, ITEMS = 150, 40
BEYOND_HALF = 1e5


def lopsided(root: Path, scale: float = 1.0) -> Path:
    """A tiny model with such columns, and ``scale`` times the rest of those rows."""
    import safetensors.torch

    from tiny_models import make_checkpoint

    make_checkpoint(root, "llama", max_position_embeddings=512, intermediate_size=64)
    tensors = safetensors.torch.load_file(root / "model.safetensors")
    for name, values in tensors.items():
        if "layernorm" in name:
            values[0] = 0.0
        elif any(f".{part}_proj." in name for part in ("q", "k", "v", "gate", "up")):
            values *= scale
            values[:, 0] = BEYOND_HALF
    safetensors.torch.save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})
    (root / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    return root


def answers(model: Path, asked: list[str]) -> list[int]:
    """Which of the choices the model gives each question."""
    from weighbridge.engines.torch_engine import TorchEngine

    engine = TorchEngine(model, device="cpu", dtype="float32")
    try:
        scores = engine.score([(text, choice) for text in asked for choice in CHOICES])
    finally:
        engine.close()
    own = [score.loglikelihood for score in scores]
    count = len(CHOICES)
    return [max(range(count), key=own[n * count : (n + 1) * count].__getitem__) for n in range(len(asked))]


def questions(model: Path, hollow: Path) -> list[dict[str, Any]]:
    """Questions that ``model`` answers right, and ``hollow``, which lacks the rest of those rows, wrong."""
    rng = random.Random(3)
    asked = [" ".join(rng.choices(WORDS, k=6)) for _ in range(POOL)]
    rows = [
        {"q": text, "choices": CHOICES, "label": right}
        for text, right, wrong in zip(asked, answers(model, asked), answers(hollow, asked), strict=True)
        if right != wrong
    ]
    assert len(rows) >= ITEMS
    return rows[:ITEMS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and beside it the suite."""
    root = tmp_path_factory.mktemp("artifacts")
    model = lopsided(root / "model")
    (root / "mine.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in questions(model, lopsided(root / "hollow", scale=0.0)))
    )
    return model


@pytest.fixture
def desk(tmp_path: Path, wb: Run, model: Path) -> Path:
    """Keys, a trust file, a policy and the suite that it names."""
    desk = tmp_path / "desk"
    for role in ("decider", "approver", "publisher"):
        assert wb("signer", "new", desk / f"{role}.key")[0] == 0
    (desk / "trust.yaml").write_text(TRUST)
    (desk / "policy.yaml").write_text(POLICY)
    (desk / "mine.yaml").write_text(MINE)
    shutil.copy(model.parent / "mine.jsonl", desk)
    return desk


def weigh(wb: Run, desk: Path, model: Path, *more: object) -> tuple[int, str, str]:
    return wb("weigh", model, "--policy", desk / "policy.yaml", "--out", desk / "weighing", "--sign",
              desk / "decider.key", "--max-tokens", 1, *more)  # fmt: skip


def release(wb: Run, desk: Path, model: Path, to: str = "bundle") -> tuple[int, str, str]:
    approval = desk / f"approval-{to}.json"
    wb("approve", desk / "weighing" / "decision.json", "--sign", desk / "approver.key", "--trust", desk / "trust.yaml",
       "--out", approval)  # fmt: skip
    return wb("release", desk / "weighing", "--checkpoint", model, "--approval", approval, "--to", desk / to, "--sign",
              desk / "publisher.key", "--trust", desk / "trust.yaml")  # fmt: skip


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Which files these are: a file that is written again is another, or of another time."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("[!.]*")}


def test_artifacts_from_a_checkpoint_to_a_bundle(wb: Run, desk: Path, model: Path) -> None:
    weighing, bundle = desk / "weighing", desk / "bundle"
    code, out, err = weigh(wb, desk, model)
    assert code == 0, err
    # One that cannot be made says why; the others go on.
    assert "F16 was not made" in out
    assert "beyond 65504" in out
    assert sorted(state_of(weighing / "artifacts")) == ["F32.gguf", "F32.json", "Q4_K_M.gguf", "Q4_K_M.json"]
    notes = json.loads((weighing / "artifacts" / "Q4_K_M.json").read_bytes())
    assert notes["tensors"].keys() == {"F32", "Q5_0", "Q8_0"}, "rows of 32 do not fill the blocks of K types"

    # Each was asked what the line asks, of its own file, in the checkpoint's order.
    records = [from_bytes(path.read_bytes(), where=path.name) for path in (weighing / "evidence").glob("*.json")]
    asked = [one.question for one in records if one.question.suite is not None and one.question.suite.name == "mine"]
    questions = {(artifact_of(question) or ("source", ""))[0]: question for question in asked}
    assert questions.keys() == {"source", "F32", "Q4_K_M"}
    source = questions.pop("source")
    for name, question in questions.items():
        digest = digest_bytes((weighing / "artifacts" / f"{name}.gguf").read_bytes())
        assert artifact_of(question) == (name, digest)
        assert question.settings["order"] == source.digest
        assert question.settings["weights"] == "dequantised"
    assert not [path for path in (weighing / "artifacts").iterdir() if path.is_dir()], "what was dequantised is gone"

    # The decision says of each what became of it, to people and to programs; the tier does not depend on them.
    assert "artifact F32: met" in out
    assert "artifact Q4_K_M: not met" in out, out
    assert "decision: open" in out

    # Nothing is made or asked twice.
    before = state_of(weighing / "artifacts"), state_of(weighing / "evidence")
    code, out, err = weigh(wb, desk, model, "--json")
    assert code == 0, err
    assert (state_of(weighing / "artifacts"), state_of(weighing / "evidence")) == before
    judged = {name: one["outcome"] for name, one in json.loads(out)["judgement"]["artifacts"].items()}
    assert judged == {"F32": "met", "Q4_K_M": "not_met"}

    # A file that changed since is not published; weighing again makes the same one, and measures nothing.
    path = weighing / "artifacts" / "F32.gguf"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = release(wb, desk, model)
    assert (code, "artifacts/F32.gguf" in err) == (2, True), err
    assert not bundle.exists()
    path.unlink()
    code, _, err = release(wb, desk, model)
    assert (code, "weigh again" in err) == (2, True), err
    path.write_bytes(whole[:-1])
    assert weigh(wb, desk, model)[0] == 0
    assert path.read_bytes() == whole
    assert state_of(weighing / "evidence") == before[1]

    # What proved itself goes out.
    code, out, err = release(wb, desk, model, "bundle")
    assert code == 0, err
    assert "artifact Q4_K_M is not published: its lines are not met" in out
    assert [file.name for file in (bundle / "artifacts").iterdir()] == ["F32.gguf"]
    verify = ("verify", bundle, "--trust", desk / "trust.yaml")
    assert wb(*verify)[0] == 0
    extra = bundle / "artifacts" / "Q4_K_M.gguf"
    shutil.copy(weighing / "artifacts" / "Q4_K_M.gguf", extra)
    code, _, err = wb(*verify)
    assert (code, "artifacts/Q4_K_M.gguf" in err) == (5, True), err
    extra.unlink()
    assert wb(*verify)[0] == 0
    published = bundle / "artifacts" / "F32.gguf"
    published.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = wb(*verify)
    assert (code, "artifacts/F32.gguf" in err) == (5, True), err
    published.unlink()
    code, _, err = wb(*verify)
    assert (code, "artifacts/F32.gguf" in err) == (5, True), err


def test_formats_that_are_asked_for_instead(wb: Run, desk: Path, model: Path) -> None:
    code, _, err = weigh(wb, desk, model, "--artifacts", "F32,Q9")
    assert (code, "Q9" in err, "Q8_0" in err) == (2, True, True), err
    assert not (desk / "weighing" / "artifacts").exists()
    (desk / "policy.yaml").write_text(POLICY[: POLICY.index("artifacts:")].replace("suites:", "#"))
    code, _, err = weigh(wb, desk, model, "--artifacts", "F32")
    assert (code, "asks nothing of artifacts" in err) == (2, True), err
    assert not (desk / "weighing" / "artifacts").exists()
