"""Opening a folder: facts, and clear errors for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import make_checkpoint, write_safetensors
from weighbridge.checkpoint import open_checkpoint
from weighbridge.checkpoint.facts import read_card
from weighbridge.checkpoint.files import ORIGIN_FILE
from weighbridge.errors import CheckpointError


def test_facts_come_with_their_sources(tmp_path: Path) -> None:
    card = (
        "license: llama3.1\nbase_model: [meta/Base, other/Base]\nlanguage: en\ntraining_flop: 3.8e25\nmodel_name: Thing"
    )
    root = make_checkpoint(tmp_path / "m", card=card, config={"tie_word_embeddings": True})
    facts = open_checkpoint(root).facts
    assert (facts.architecture, facts.model_type, facts.context, facts.vocabulary) == (
        "LlamaForCausalLM",
        "llama",
        64,
        8,
    )
    assert (facts.license, facts.base_model, facts.name) == ("llama3.1", ("meta/Base", "other/Base"), "Thing")
    assert facts.training_flop == 3.8e25
    assert (facts.parameters, facts.tensors, facts.dtype, facts.tied_embeddings) == (256, 1, "float32", True)
    assert facts.sources["license"] == "README.md at license"
    assert facts.sources["training_flop"] == "README.md at training_flop"
    assert json.loads(json.dumps(facts.to_json()))["languages"] == ["en"]


def test_a_tied_head_is_counted_once_and_another_not(tmp_path: Path) -> None:
    for tied, parameters in ((True, 4), (False, 8)):
        root = make_checkpoint(tmp_path / str(tied), config={"tie_word_embeddings": tied})
        write_safetensors(
            root / "model.safetensors", {"lm_head.weight": [1.0] * 4, "model.embed_tokens.weight": [1.0] * 4}
        )
        assert open_checkpoint(root).facts.parameters == parameters


def test_the_card_describes_and_is_no_part(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "m", card="license: mit")
    first = open_checkpoint(root)
    (root / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    again = open_checkpoint(root)
    assert first.digest == again.digest
    assert (first.facts.license, again.facts.license) == ("mit", "apache-2.0")
    (root / "chat_template.jinja").write_text("{{ messages }}")
    assert open_checkpoint(root).digest != first.digest


def test_files_are_located_through_links(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "blobs"
    real = make_checkpoint(blobs)
    snapshot = tmp_path / "hub" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    checkpoint = open_checkpoint(snapshot)
    assert checkpoint.locate("config.json") == (real / "config.json").resolve()
    assert checkpoint.digest == open_checkpoint(real).digest
    with pytest.raises(CheckpointError, match="not a file of the checkpoint"):
        checkpoint.locate("../x")


def shard(root: Path, weight_map: dict[str, Any]) -> None:
    (root / "model.safetensors").unlink(missing_ok=True)
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "m")
    write_safetensors(root / "one.safetensors", {"a": [1.0]})
    write_safetensors(root / "two.safetensors", {"b": [1.0, 2.0]})
    shard(root, {"a": "one.safetensors", "b": "two.safetensors"})
    assert open_checkpoint(root).facts.parameters == 3


@pytest.mark.parametrize(
    ("weight_map", "why", "where"),
    [
        ({"a": "one.safetensors", "b": "gone.safetensors"}, "1 of 2 shards are missing: gone", "index.json"),
        ({"b": "one.safetensors"}, "lacks b, holds besides a", "one.safetensors"),
        ({"a": "one.safetensors", "b": "one.safetensors"}, "lacks b", "one.safetensors"),
        ({"a": "../one.safetensors"}, "beside it", "index.json"),
        ({"a": "weighbridge/one.safetensors"}, "beside it", "index.json"),
        ({"a": "one.bin"}, "beside it", "index.json"),
        ({"a": 1}, "beside it", "index.json"),
        ({}, "no tensor", "index.json"),
    ],
)
def test_an_index_that_disagrees_is_refused(tmp_path: Path, weight_map: dict[str, Any], why: str, where: str) -> None:
    root = make_checkpoint(tmp_path / "m")
    write_safetensors(root / "one.safetensors", {"a": [1.0]})
    shard(root, weight_map)
    with pytest.raises(CheckpointError, match=why) as caught:
        open_checkpoint(root)
    assert where in str(caught.value.where)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing here"):
        open_checkpoint(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty folder"):
        open_checkpoint(tmp_path / "empty")
    root = make_checkpoint(tmp_path / "m")
    (root / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        open_checkpoint(root)
    make_checkpoint(root)
    (root / "config.json").unlink()
    with pytest.raises(CheckpointError, match="no config"):
        open_checkpoint(root)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(CheckpointError, match="neither a folder nor a GGUF"):
        open_checkpoint(tmp_path / "file.txt")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="converted before"):
        open_checkpoint(tmp_path / "x.gguf")
    with pytest.raises(CheckpointError, match="ends inside"):
        open_checkpoint(tmp_path / "x.gguf", convert_to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pickled_weights_alone_can_be_opened_so_that_they_can_be_refused(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "m")
    (root / "model.safetensors").rename(root / "pytorch_model.bin")
    assert open_checkpoint(root).facts.parameters is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"model_type": 3}'),
        ("config.json", '{"model_type": "llama", "model_type": "gpt2"}'),
        ("config.json", '{"model_type": "llama", "training_flops": "many"}'),
        ("generation_config.json", "nonsense"),
        ("tokenizer_config.json", "[1]"),
        ("README.md", "---\nlicense: [\n---\n"),
        ("README.md", "---\nlicense: mit\n"),
        ("model.safetensors", "short"),
        (ORIGIN_FILE, "{}"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, content: str) -> None:
    root = make_checkpoint(tmp_path / "m")
    (root / name).write_text(content)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(root)
    assert str(caught.value.where).startswith(name)


def test_an_unsafe_card_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: !!python/object/apply:os.getcwd []\n---\n")
    with pytest.raises(CheckpointError, match="not YAML"):
        read_card(tmp_path / "README.md")


@given(
    st.one_of(
        st.text(max_size=60), st.text(alphabet="-:[]{}&*!|>' \nab", max_size=60).map(lambda text: f"---\n{text}\n---\n")
    )
)
def test_cards_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "README.md"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(read_card(path), dict)
    except CheckpointError:
        return
