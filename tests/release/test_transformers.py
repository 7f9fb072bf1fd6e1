"""A bundle is a model folder: transformers loads it, and the model says what it said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from release_world import make_world
from trust_world import NOW, trust
from weighbridge.release import open_released, verify_bundle

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand weights, in two shards, with a tokenizer of single characters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root = tmp_path_factory.mktemp("tiny") / "model"
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(root, max_shard_size="20KB")
    characters = {chr(code): number for number, code in enumerate(range(32, 95))} | {"<unk>": 63}
    tokenizer = Tokenizer(models.WordLevel(characters, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(root)
    (root / "README.md").write_text("---\nlicense: apache-2.0\nmodel_name: tiny\n---\n")
    return root


def test_transformers_loads_a_bundle(model_folder: Path, tmp_path: Path) -> None:
    world = make_world(tmp_path, model=model_folder)
    assert any("00002" in file.path for file in world.decision.manifest.files), "meant to be sharded"
    world.release()
    verify_bundle(world.target, now=NOW, trust=trust())
    original = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    released = transformers.AutoModelForCausalLM.from_pretrained(world.target)
    tokenizer = transformers.AutoTokenizer.from_pretrained(world.target)
    ids = tokenizer("HELLO", return_tensors="pt").input_ids
    assert ids.shape == (1, 5)
    with torch.no_grad():
        assert torch.equal(original(ids).logits, released(ids).logits)


def test_a_verified_bundle_opens_as_the_checkpoint_that_was_weighed(model_folder: Path, tmp_path: Path) -> None:
    world = make_world(tmp_path, model=model_folder)
    world.release()
    verified = verify_bundle(world.target, now=NOW, trust=trust())
    checkpoint = open_released(verified)
    assert checkpoint.digest == world.checkpoint.digest
    assert checkpoint.facts.parameters == world.checkpoint.facts.parameters
    assert checkpoint.locate("config.json").read_bytes() == (model_folder / "config.json").read_bytes()
