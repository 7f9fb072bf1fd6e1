"""Converting GGUF files: every number, the config, the tokenizer; and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from gguf_making import HEADS, HIDDEN, NAMES, TEMPLATE, byte_level_tokens, hugging_face_tensors, numbers, write_gguf
from weighbridge.checkpoint import convert_gguf, open_checkpoint
from weighbridge.checkpoint.files import ORIGIN_FILE
from weighbridge.checkpoint.gguf_families import shortest_float32
from weighbridge.checkpoint.gguf_rope import llama3_factors
from weighbridge.errors import CheckpointError, StorageError

Tensors = Mapping[str, npt.NDArray[np.float32]]


def load(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    result: dict[str, npt.NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        result |= safetensors.numpy.load_file(path)
    return result


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        one[key].shape == other[key].shape and one[key].tobytes() == other[key].tobytes() for key in one
    )


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_float32_comes_out_as_it_was_before_llama_cpp_permuted_it(tmp_path: Path, architecture: str) -> None:
    tensors = write_gguf(tmp_path / "x.gguf", architecture=architecture)
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert same(load(folder), tensors)


def test_biases_of_permuted_projections_are_permuted_too(tmp_path: Path) -> None:
    tensors = hugging_face_tensors(len(byte_level_tokens()[0]), bias=True)
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.o_proj.bias"] = numbers("o", (HIDDEN,))
    write_gguf(tmp_path / "x.gguf", tensors=tensors)
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert same(load(folder), tensors)
    assert json.loads((folder / "config.json").read_text())["attention_bias"] is True


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"])
def test_quantised_tensors_are_what_dequantising_gives(tmp_path: Path, name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    tensors = write_gguf(tmp_path / "x.gguf", quantised=kind)
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")

    def rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Rows are quantised one by one, so permuting them and dequantising may be exchanged.
        return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind) if values.ndim > 1 else values

    assert same(load(folder), {key: rounded(values) for key, values in tensors.items()})
    origin = open_checkpoint(folder).origin
    assert origin is not None
    assert origin.quantisation[name] == sum(values.ndim > 1 for values in tensors.values())


def test_it_agrees_with_transformers_own_reading(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    write_gguf(tmp_path / "x.gguf", quantised=gguf.GGMLQuantizationType.Q8_0)
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf", dtype=torch.float32)
    ours = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for (name, one), (other_name, other) in zip(
        sorted(theirs.state_dict().items()), sorted(ours.state_dict().items()), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other), name
    one, other = theirs.config.to_dict(), ours.config.to_dict()
    aside = {
        "architectures",
        "_name_or_path",
        "_model_name_or_path",
        "quantization_config",
        "pad_token_id",
        "unk_token_id",
        "rms_norm_eps",
    }
    assert {key: one[key] for key in one.keys() - aside} == {key: other[key] for key in other.keys() - aside}
    assert other["rms_norm_eps"] == pytest.approx(one["rms_norm_eps"], rel=1e-7)


def test_experts_become_tensors_of_their_own(tmp_path: Path) -> None:
    tensors = {key: values for key, values in hugging_face_tensors(269).items() if ".mlp." not in key}
    extra = {}
    expected = dict(tensors)
    for layer in range(2):
        prefix = f"model.layers.{layer}.block_sparse_moe."
        extra[f"blk.{layer}.ffn_gate_inp.weight"] = expected[prefix + "gate.weight"] = numbers("g", (4, HIDDEN))
        for part, name, shape in (("gate", "w1", (64, 32)), ("down", "w2", (32, 64)), ("up", "w3", (64, 32))):
            stacked = numbers(part, (4, *shape))
            extra[f"blk.{layer}.ffn_{part}_exps.weight"] = stacked
            for expert in range(4):
                expected[f"{prefix}experts.{expert}.{name}.weight"] = stacked[expert]
    write_gguf(
        tmp_path / "x.gguf", tensors=tensors, extra=extra, more={"llama.expert_count": 4, "llama.expert_used_count": 2}
    )
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert same(load(folder), expected)
    transformers = pytest.importorskip("transformers")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == "MixtralForCausalLM"
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_shards_have_an_index(tmp_path: Path) -> None:
    tensors = write_gguf(tmp_path / "x.gguf")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out", shard_bytes=20_000)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert same(load(folder), tensors)
    assert open_checkpoint(folder).facts.parameters == sum(values.size for values in tensors.values())


def test_an_untied_head_is_kept(tmp_path: Path) -> None:
    head = numbers("head", (269, HIDDEN))
    write_gguf(tmp_path / "x.gguf", extra={"output.weight": head})
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert load(folder)["lm_head.weight"].tobytes() == head.tobytes()
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3_scaling_is_recognised_by_its_factors(tmp_path: Path, factor: float) -> None:
    factors = np.array(llama3_factors(HIDDEN // HEADS, 500000.0, factor), np.float32)
    write_gguf(tmp_path / "x.gguf", extra={"rope_freqs.weight": factors})
    config = json.loads((convert_gguf(tmp_path / "x.gguf", tmp_path / "out") / "config.json").read_text())
    assert config["rope_scaling"]["rope_type"] == "llama3"
    assert config["rope_scaling"]["factor"] == factor


def test_llama_3_factors_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=64 * 32, num_attention_heads=32, max_position_embeddings=131072,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    )  # fmt: skip
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** (-np.arange(0, 64, 2) / 64)
    assert plain / scaled.numpy() == pytest.approx(llama3_factors(64, 500000.0, 32.0), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"architecture": "gemma9"}, "gemma9.*not converted"),
        ({"more": {"llama.attention.sliding_window": 4}}, "not carried over"),
        ({"more": {"llama.logit_scale": 0.5}}, "not carried over"),
        ({"more": {"llama.rope.scaling.type": "yarn"}}, "yarn.*not converted"),
        ({"more": {"llama.rope.dimension_count": 4}}, "one size"),
        ({"extra": {"rope_freqs.weight": np.full(4, 3.0, np.float32)}}, "no known rule"),
        ({"extra": {"blk.0.mystery.weight": np.ones(4, np.float32)}}, "no place"),
        ({"extra": {"blk.7.attn_q.weight": np.ones((4, 4), np.float32)}}, "no place"),
        ({"extra": {"v.patch_embd.weight": np.ones(4, np.float32)}}, "no place"),
        ({"pre": "unheard-of"}, "splitting rule"),
        ({"more": {"tokenizer.ggml.padding_token_id": 99999}}, "not a token"),
    ],
)
def test_what_would_not_survive_is_refused(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    write_gguf(tmp_path / "x.gguf", **options)
    with pytest.raises(CheckpointError, match=why) as caught:
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert caught.value.where is not None
    assert caught.value.where.startswith("x.gguf at ")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_the_tokenizer_has_the_sources_vocabulary_and_templates(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_gguf(tmp_path / "x.gguf", more={"tokenizer.chat_template.tool_use": "{{ tools }}"})
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens, _, _ = byte_level_tokens()
    assert tokenizer.get_vocab() == {token: index for index, token in enumerate(tokens)}
    assert (folder / "chat_template.jinja").read_text() == TEMPLATE
    assert tokenizer.chat_template == {"default": TEMPLATE, "tool_use": "{{ tools }}"}
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    ids = tokenizer("hello world 123 \u00e9").input_ids
    assert tokenizer.convert_ids_to_tokens(ids)[:2] == ["hello", "\u0120world"]
    assert tokenizer.decode(ids) == "hello world 123 \u00e9"


@pytest.mark.parametrize("add", [True, False])
def test_a_bos_token_is_added_where_the_source_says_so(tmp_path: Path, add: bool) -> None:
    transformers = pytest.importorskip("transformers")
    write_gguf(tmp_path / "x.gguf", more={"tokenizer.ggml.add_bos_token": add})
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    ids = transformers.AutoTokenizer.from_pretrained(folder)("hello").input_ids
    assert (ids[0] == 0) is add


def test_the_origin_survives_opening_again(tmp_path: Path) -> None:
    lineage = {
        "general.base_model.count": 1,
        "general.base_model.0.name": "Base",
        "general.base_model.0.repo_url": "https://huggingface.co/org/base",
    }
    write_gguf(tmp_path / "x.gguf", more=lineage)
    first = open_checkpoint(tmp_path / "x.gguf", convert_to=tmp_path / "out")
    again = open_checkpoint(tmp_path / "out")
    assert again.origin == first.origin
    assert again.digest == first.digest
    assert again.origin is not None
    assert again.origin.name == "x.gguf"
    assert again.facts.license == "apache-2.0"
    assert again.facts.base_model == ("org/base",)
    assert again.facts.name == "Tiny"
    assert again.facts.sources["license"] == "x.gguf at general.license"
    assert ORIGIN_FILE not in again.manifest.by_path


def test_a_second_run_reuses_the_first(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    before = (folder / "model.safetensors").stat()
    convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert (folder / "model.safetensors").stat() == before


def test_added_files_are_fine_changed_ones_are_not(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    (folder / "LICENSE").write_text("terms")
    assert "LICENSE" in open_checkpoint(folder).manifest.by_path
    convert_gguf(tmp_path / "x.gguf", folder)
    (folder / "chat_template.jinja").write_text("other")
    with pytest.raises(CheckpointError, match="no longer the file") as caught:
        open_checkpoint(folder)
    assert caught.value.where == "chat_template.jinja"
    with pytest.raises(CheckpointError, match="no longer the file"):
        convert_gguf(tmp_path / "x.gguf", folder)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="already holds"):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    write_gguf(tmp_path / "y.gguf", template="{{ 1 }}")
    folder = convert_gguf(tmp_path / "y.gguf", tmp_path / "out2")
    with pytest.raises(CheckpointError, match=r"made from y\.gguf"):
        convert_gguf(tmp_path / "x.gguf", folder)


def test_an_interrupted_conversion_leaves_nothing_and_a_killed_one_is_cleared(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")

    def stop(done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "model.safetensors").write_text("half")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.gguf"]
    assert open_checkpoint(folder).facts.tensors == 20


def test_what_is_written_wrongly_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is not the conversion again: a wrong permutation, or a flipped bit, does not pass it."""
    from weighbridge.checkpoint import gguf_convert

    write_gguf(tmp_path / "x.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(gguf_convert, "split_halves", lambda count, head: np.arange(count))
        with pytest.raises(CheckpointError, match="differs from its dequantised source") as caught:
            convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
        assert "_proj.weight" in str(caught.value.where)
    original = gguf_convert._Conversion.write

    def flip(self: Any, folder: Path, shard_bytes: int, progress: Any) -> None:
        original(self, folder, shard_bytes, progress)
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(gguf_convert._Conversion, "write", flip)
    with pytest.raises(CheckpointError, match="differs from its dequantised source"):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.checkpoint import gguf_convert

    write_gguf(tmp_path / "x.gguf")
    monkeypatch.setattr(gguf_convert.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(StorageError, match="10 are free"):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out")


def test_slices_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.checkpoint import gguf_convert

    tensors = write_gguf(tmp_path / "x.gguf")
    monkeypatch.setattr(gguf_convert, "_SLICE_ELEMENTS", 100)
    assert same(load(convert_gguf(tmp_path / "x.gguf", tmp_path / "out")), tensors)


@given(st.floats(min_value=2.0**-100, max_value=2.0**100, width=32))
def test_the_shortest_decimal_is_the_same_float32(value: float) -> None:
    assert np.float32(shortest_float32(value)) == np.float32(value)


def test_importing_and_opening_load_no_framework(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    folder = convert_gguf(tmp_path / "x.gguf", tmp_path / "out")
    code = (
        "import sys, pathlib, weighbridge.checkpoint as c; c.open_checkpoint(pathlib.Path(sys.argv[1]));"
        "print([m for m in ('torch','transformers','numpy','gguf','tokenizers','jinja2') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_real_model(real_gguf: Path, real_folder: Path) -> None:
    """Every tensor against gguf's own reader, with the permutation undone by another formula."""
    weights = safetensors.numpy.load_file(real_folder / "model.safetensors")
    source = gguf.GGUFReader(real_gguf)
    assert len(weights) == len(source.tensors)
    for tensor in source.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name == "token_embd.weight":
            assert np.array_equal(weights["model.embed_tokens.weight"], values)
        elif ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            part, heads = ("q", 9) if ".attn_q." in tensor.name else ("k", 3)
            found = weights[f"model.layers.{tensor.name.split('.')[1]}.self_attn.{part}_proj.weight"]
            pairs = values.reshape(heads, 32, 2, 576)
            assert np.array_equal(found.reshape(heads, 2, 32, 576)[:, 0], pairs[:, :, 0])
            assert np.array_equal(found.reshape(heads, 2, 32, 576)[:, 1], pairs[:, :, 1])
        elif tensor.name == "output_norm.weight":
            assert np.array_equal(weights["model.norm.weight"], values)
        else:
            _, layer, part, kind = tensor.name.split(".")
            name = next(name for name, short in NAMES.items() if short == part)
            assert np.array_equal(weights[f"model.layers.{layer}.{name}.{kind}"], values)
    facts = open_checkpoint(real_folder).facts
    assert (facts.parameters, facts.context, facts.vocabulary, facts.license) == (134515008, 8192, 49152, "apache-2.0")
