"""Card and bill of materials: valid where others read them, and saying what was decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import make_checkpoint
from release_world import CARD, World, accuracy, digest, integrity, load_policy, make_world
from trust_world import DECIDED
from weighbridge.checkpoint import open_checkpoint
from weighbridge.evidence import Calibration, Evidence, Observation, Question, SuiteRef, seeded_order
from weighbridge.release import layout
from weighbridge.release.card import code, plain
from weighbridge.times import format_time


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("described"))
    world.release()
    return world


def bom_of(world: World) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((world.target / layout.BOM).read_text())
    return value


def card_of(world: World) -> str:
    return (world.target / "README.md").read_text()


def test_the_hub_reads_the_card(released: World) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(released.target / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.language == ["en"]
    assert card.data.library_name == "transformers"
    assert card.data.model_name == "Tiny"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("general", "accuracy", 0.9375)
    assert result.metric_args["interval"][0] < 0.9375 < result.metric_args["interval"][1]
    assert result.metric_args["items"] == 64


def test_the_card_says_what_was_decided_and_what_was_not(released: World) -> None:
    card = card_of(released)
    for part in (
        released.decision.id,
        released.decision.checkpoint,
        "> **not for real release**",
        "0.909070 to 0.994615",
        "at least 0.3",
        "Not measured: how the model answers harmful requests.",
        "weighbridge verify . --trust trust.yaml",
    ):
        assert part in card, part


def test_the_card_tells_what_was_measured_and_not_asked(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", CARD))
    names = [f"prompt-{number}" for number in range(40)]
    question = Question("safety", checkpoint.digest, SuiteRef("unsafe", digest("unsafe"), 168, 168, 1, None, "prompts"))
    observations = tuple(
        Observation(name, digest(name), name, "all", {"harmful_compliance": 1.0, "incoherent": 0.0})
        for name in seeded_order(question, names)
    )
    metrics = ("harmful_compliance", "incoherent")
    counts = Calibration(290, 10, 5, 295, "labels", "they carry over")
    safety = Evidence(
        question,
        "sampled",
        format_time(DECIDED),
        observations=observations,
        metrics=metrics,
        calibrations={"harmful_compliance": counts},
    )
    digests = (checkpoint.digest, load_policy())
    evidence = [integrity(checkpoint.digest), accuracy(*digests), safety]
    world = make_world(tmp_path, model=checkpoint.root, evidence=evidence)
    world.release()
    card = card_of(world)
    rows = [line for line in card.splitlines() if line.startswith("| safety")]
    assert rows[0].startswith("| safety.harmful\\_compliance | unsafe | 1.000000 | 0.")
    assert rows[0].endswith("| 40 of 168 |")
    assert rows[1].startswith("| safety.incoherent | unsafe | 0.000000 |")
    assert sum(line.count("| capability.accuracy |") for line in card.splitlines()) == 1
    assert "No requirement of the policy rested on how the model answers harmful requests." in card
    assert "Not measured" not in card


def test_parents_of_the_model(tmp_path: Path) -> None:
    card = "license: apache-2.0\nbase_model: HuggingFaceTB/SmolLM2-135M\nbase_model_relation: finetune"
    world = make_world(tmp_path, model=make_checkpoint(tmp_path / "model", card, NOTICE="of the parent"))
    world.release()
    front = yaml.safe_load(card_of(world).split("---\n")[1])
    assert front["base_model"] == ["HuggingFaceTB/SmolLM2-135M"]
    assert front["base_model_relation"] == "finetune"
    assert "The weights were changed from those" in card_of(world)
    (ancestor,) = bom_of(world)["metadata"]["component"]["pedigree"]["ancestors"]
    assert ancestor["name"] == "HuggingFaceTB/SmolLM2-135M"


def test_names_cannot_smuggle_markup_into_the_card(tmp_path: Path) -> None:
    name = "Tiny <script>alert(1)</script> | [x](http://evil.example) `code`"
    card = yaml.safe_dump({"license": "apache-2.0", "model_name": name})
    world = make_world(tmp_path, model=make_checkpoint(tmp_path / "model", card))
    world.release()
    body = card_of(world).split("---\n", 2)[2]
    assert "<script" not in body.replace("\\<script", "")
    assert "](http://evil" not in body
    assert yaml.safe_load(card_of(world).split("---\n")[1])["model-index"][0]["name"] == name


@given(st.text())
def test_plain_text_stays_on_one_line(text: str) -> None:
    assert "\n" not in plain(text)
    assert "\n" not in code(text)
    assert code(text).count("`") == 2


def test_the_bill_of_materials_is_valid(released: World) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (released.target / layout.BOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"machine-learning-model"', '"machine-learned-model"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_the_bill_of_a_model_with_parents_and_another_licence_is_valid(tmp_path: Path) -> None:
    import hashlib

    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = "The Llama 3.1 Community License Agreement, as published"
    held = f"{{file: LICENSE, sha256: {hashlib.sha256(text.encode()).hexdigest()}, license: llama3.1}}"
    card = "license: llama3.1\nmodel_name: Llama-Tiny\nbase_model: meta-llama/Llama-3.1-8B"
    root = make_checkpoint(tmp_path / "model", card, LICENSE=text)
    world = make_world(tmp_path, model=root, lineage=f"version: 1\ntexts: [{held}]")
    world.release()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((world.target / layout.BOM).read_text()) is None
    (choice,) = bom_of(world)["metadata"]["component"]["licenses"]
    assert choice["license"]["name"] == "Llama 3.1 Community License"


def test_the_bill_lists_files_results_and_limits(released: World) -> None:
    model = bom_of(released)["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert {one["name"]: one["hashes"][0]["content"] for one in model["components"]} == {
        file.path: file.sha256 for file in released.decision.manifest.files
    }
    whole, *slices = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert whole["confidenceInterval"] == {"lowerBound": "0.909070", "upperBound": "0.994615"}
    assert [one["slice"] for one in slices] == ["subject 0", "subject 1", "subject 2"]
    assert model["modelCard"]["considerations"]["technicalLimitations"]
    assert model["licenses"] == [
        {"license": {"id": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}}
    ]
