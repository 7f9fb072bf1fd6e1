"""The integrity measure: sound checkpoints have no findings, and each kind of trouble has its own."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gguf_making import TEMPLATE, write_gguf
from weighbridge import canonical
from weighbridge.checkpoint import Checkpoint, Facts, convert_gguf, hash_files, open_checkpoint
from weighbridge.checkpoint.files import list_checkpoint
from weighbridge.errors import CheckpointError
from weighbridge.evidence import Evidence, to_json
from weighbridge.measures.integrity import Integrity

MADE = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny checkpoint: weights, config, tokenizer, chat template."""
    base = tmp_path_factory.mktemp("sound")
    write_gguf(base / "x.gguf")
    folder = convert_gguf(base / "x.gguf", base / "out")
    (folder / "weighbridge-origin.json").unlink()  # so that files may be changed
    (folder / "LICENSE").write_text("Some terms.\n")
    return folder


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "m")
    return tmp_path / "m"


def examine(root: Path) -> Evidence:
    return Integrity(open_checkpoint(root)).examine(made=MADE)


def examine_unopened(root: Path) -> Evidence:
    """As if the files had been broken after opening: headers are not taken on trust from there."""
    found = list_checkpoint(root)
    facts = Facts(architecture="LlamaForCausalLM", model_type="llama", vocabulary=269)
    return Integrity(Checkpoint(root, hash_files(found), facts)).examine(made=MADE)


def codes(evidence: Evidence) -> list[str]:
    return [finding.code for finding in evidence.findings]


def found(evidence: Evidence) -> list[tuple[str, str]]:
    return [(finding.code, finding.where) for finding in evidence.findings]


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_sound_checkpoint_has_no_findings_and_nothing_undecided(root: Path) -> None:
    evidence = examine(root)
    assert evidence.findings == ()
    assert evidence.undecided == {}
    assert evidence.kind == "exact"
    assert evidence.metrics == ("findings",)
    assert evidence.facts["chat_templates"] == 1
    assert evidence.facts["tensors"] == 20
    assert evidence.facts["numbers"] == open_checkpoint(root).facts.parameters
    canonical.dumps(to_json(evidence))


def test_the_question_is_the_checkpoint(root: Path) -> None:
    checkpoint = open_checkpoint(root)
    question = Integrity(checkpoint).question
    assert (question.measure, question.checkpoint, question.suite) == ("integrity", checkpoint.digest, None)
    assert examine(root).question == question
    (root / "NOTICE").write_text("x")
    assert Integrity(open_checkpoint(root)).question.digest != question.digest


KEYS = {"vocab_size": 269, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {"head_dim": 8},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sharded", [False, True])
def test_what_transformers_saves_has_no_findings(sound: Path, tmp_path: Path, family: str, sharded: bool) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = getattr(transformers, family + "Config")(**KEYS, **FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "m", max_shard_size="20KB" if sharded else "1GB")
    transformers.AutoTokenizer.from_pretrained(sound).save_pretrained(tmp_path / "m")
    evidence = examine(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors.index.json").exists() is sharded
    assert found(evidence) == []
    assert evidence.undecided == {}
    assert open_checkpoint(tmp_path / "m").facts.parameters == sum(one.numel() for one in model.parameters())


# --- files ------------------------------------------------------------------------------------------------------


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("pytorch_model.bin", pickle.dumps([1]), "pickled-file"),
        ("training_args.bin", b"text", "pickled-file"),
        ("optimizer.pt", b"x", "pickled-file"),
        ("sub/rng_state.pth", b"x", "pickled-file"),
        ("x.PKL", b"x", "pickled-file"),
        ("x.ckpt", b"x", "pickled-file"),
        ("notes.txt", pickle.dumps([1], 4), "pickled-file"),
        ("weights", zipped(), "archive-file"),
        ("data.zip", b"x", "archive-file"),
        ("modeling_x.py", b"x = 1", "code-file"),
        ("x.so", b"x", "code-file"),
        ("install.sh", b"echo", "code-file"),
        ("run", b"#!/bin/sh\necho", "executable-file"),
        ("LICENSE.txt", b"\x7fELF\x02\x01", "executable-file"),
        ("tool.md", b"MZ\x90\x00", "executable-file"),
        ("tf_model.h5", b"x", "unreadable-weights"),
        ("model.onnx", b"x", "unreadable-weights"),
        (".env", b"x", "hidden-file"),
        (".ipynb_checkpoints/a.txt", b"x", "hidden-file"),
        ("blob.dat", bytes(range(256)), "unknown-file"),
        ("picture.png", b"no picture", "unknown-file"),
        ("tokenizer.model", b"no protobuf", "unknown-file"),
        ("License", b"differs by case", "colliding-names"),
        ("extra.json", b"{", "malformed-file"),
        ("extra.json", b'{"a": NaN}', "malformed-file"),
        ("adapter_config.json", b"{}", "adapter"),
    ],
)
def test_files_that_do_not_belong(root: Path, name: str, content: bytes, code: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    found_here = [item for item in examine(root).findings if name.startswith(item.where.split(" at ")[0])]
    assert code in [item.code for item in found_here] or (code == "colliding-names" and code in codes(examine(root)))


def test_files_that_do_belong(root: Path) -> None:
    (root / "USE_POLICY.md").write_text("Müssen wir höflich sein? " * 10_000)  # longer than the sample, multibyte
    (root / "NOTICE").write_text("x")
    (root / "merges.txt").write_text("#version: 0.2\nh e\n")
    (root / "figure.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (root / "notes.yaml").write_text("a: 1")
    (root / "MZ_history.txt").write_text("MZ was his name")
    assert found(examine(root)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling.Model"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "other/repo--modeling.Model"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["a.B", None]}}),
        ("config.json", {"trust_remote_code": True}),
        ("config.json", {"custom_pipelines": {"x": {"impl": "a.B"}}}),
        ("config.json", {"attn_implementation": "someone/kernel:attention"}),
        ("generation_config.json", {"script": "generate.py"}),
    ],
)
def test_configs_that_bring_code(root: Path, name: str, value: dict[str, Any]) -> None:
    change(root / name, **value)
    assert "remote-code" in codes(examine(root))


def test_settings_that_only_look_like_code_pass(root: Path) -> None:
    change(root / "config.json", auto_map={}, trust_remote_code=False, attn_implementation="sdpa")
    assert found(examine(root)) == []


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        ("F32", struct.pack("<f", float("nan"))),
        ("F32", struct.pack("<f", float("-inf"))),
        ("F32", b"\x01\x00\x80\x7f"),  # a signalling NaN
        ("F64", struct.pack("<d", float("nan"))),
        ("F16", struct.pack("<e", float("inf"))),
        ("BF16", b"\x80\x7f"),
        ("BF16", b"\xc1\xff"),
        ("F8_E5M2", b"\x7c"),
        ("F8_E5M2", b"\xff"),
        ("F8_E4M3", b"\x7f"),
        ("F8_E4M3", b"\xff"),
        ("F8_E8M0", b"\xff"),
        ("F8_E4M3FNUZ", b"\x80"),
        ("C64", struct.pack("<ff", 1.0, float("nan"))),
    ],
)
def test_one_bad_number_anywhere_is_found(tmp_path: Path, dtype: str, bad: bytes) -> None:
    from weighbridge.checkpoint import read_safetensors_header
    from weighbridge.measures.integrity.finite import find_broken

    width = len(bad)
    count = 1_200_000 // width
    for at in (0, count // 2, count - 1):
        data = bytearray(b"\x01" * (count * width))
        data[at * width : (at + 1) * width] = bad
        path = tmp_path / "x.safetensors"
        write_raw(path, {"good": (dtype, [3], b"\x01" * 3 * width), "bad": (dtype, [count], bytes(data))})
        [broken] = find_broken([("x", path, read_safetensors_header(path).tensors)])
        assert (broken.tensor, broken.nan + broken.infinite) == ("bad", 1)


def test_integers_and_ordinary_numbers_are_finite(tmp_path: Path) -> None:
    from weighbridge.checkpoint import read_safetensors_header
    from weighbridge.measures.integrity.finite import find_broken

    path = tmp_path / "x.safetensors"
    write_raw(
        path,
        {
            "i": ("I32", [2], b"\xff" * 8),
            "u": ("U8", [4], b"\x7f\xff\x7c\x80"),
            "large": ("F32", [2], np.array([3.4e38, -3.4e38], "<f4").tobytes()),
            "tiny": ("F32", [2], np.array([1e-45, -0.0], "<f4").tobytes()),
            "fp8": ("F8_E4M3", [2], b"\x7e\xfe"),
            "half": ("F16", [1], np.array([65504], "<f2").tobytes()),
            "none": ("F32", [0, 4], b""),
        },
    )
    assert find_broken([("x", path, read_safetensors_header(path).tensors)]) == []


def write_raw(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def weights(root: Path) -> dict[str, Any]:
    return dict(safetensors.numpy.load_file(root / "model.safetensors"))


def save(root: Path, tensors: dict[str, Any]) -> None:
    safetensors.numpy.save_file(tensors, root / "model.safetensors", metadata={"format": "pt"})


def test_not_finite_weights_are_counted_by_tensor(root: Path) -> None:
    tensors = weights(root)
    tensors["model.norm.weight"][3] = np.nan
    tensors["model.embed_tokens.weight"][7, 5:8] = np.inf
    save(root, tensors)
    [finding] = examine(root).findings
    assert (finding.code, finding.where) == ("not-finite", "model.safetensors")
    assert "model.norm.weight (1 NaN, 0 infinite)" in finding.message
    assert "model.embed_tokens.weight (0 NaN, 3 infinite)" in finding.message


def test_not_finite_scales_of_a_gguf_are_found(root: Path) -> None:
    write_gguf(root / "q.gguf", quantised=__import__("gguf").GGMLQuantizationType.Q8_0)
    from weighbridge.checkpoint import read_gguf_header

    assert found(examine(root)) == []
    tensor = read_gguf_header(root / "q.gguf").by_name["blk.1.ffn_up.weight"]
    data = bytearray((root / "q.gguf").read_bytes())
    data[tensor.begin : tensor.begin + 2] = b"\x00\x7c"  # the first block's scale, infinite
    (root / "q.gguf").write_bytes(data)
    [finding] = examine(root).findings
    assert (finding.code, finding.where) == ("not-finite", "q.gguf")
    assert "blk.1.ffn_up.weight" in finding.message


def drop(tensors: dict[str, Any]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def add(tensors: dict[str, Any]) -> None:
    tensors["model.layers.2.mlp.up_proj.weight"] = np.ones((64, 32), np.float32)


def reshape(tensors: dict[str, Any]) -> None:
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1].copy()


@pytest.mark.parametrize(
    ("alter", "code", "shown"),
    [
        (drop, "weights-missing", "model.layers.1.mlp.up_proj.weight"),
        (add, "weights-unexpected", "model.layers.2.mlp.up_proj.weight"),
        (reshape, "weights-misshapen", r"model.embed_tokens.weight is [268, 32], not [269, 32]"),
    ],
)
def test_weights_that_do_not_match_the_config(
    root: Path, alter: Callable[[dict[str, Any]], None], code: str, shown: str
) -> None:
    tensors = weights(root)
    alter(tensors)
    save(root, tensors)
    [finding] = examine(root).findings
    assert (finding.code, finding.where) == (code, "model.safetensors")
    assert shown in finding.message


def test_tied_heads_and_ignored_buffers_may_be_stored(root: Path) -> None:
    tensors = weights(root)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    save(root, tensors)
    assert found(examine(root)) == []


def test_weights_of_the_bare_model_match(root: Path) -> None:
    save(root, {name.removeprefix("model."): values for name, values in weights(root).items()})
    assert found(examine(root)) == []


def test_an_absurd_number_of_layers_is_refused_without_building_them(root: Path) -> None:
    change(root / "config.json", num_hidden_layers=10**9)
    [finding] = examine(root).findings
    assert (finding.code, finding.where) == ("weights-differ", "config.json at $.num_hidden_layers")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"architectures": ["UnheardOfForCausalLM"]}, "no architecture 'UnheardOfForCausalLM'"),
        ({"architectures": ["os"]}, "no architecture 'os'"),
        ({"architectures": None}, "no architecture None"),
        ({"model_type": "unheard-of"}, "cannot read the config"),
        ({"model_type": "gpt2"}, "does not take a config"),
        ({"num_attention_heads": "four"}, "cannot"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights"),
        ({"vocab_size": None}, "no vocab_size"),
    ],
)
def test_what_cannot_be_compared_is_undecided(root: Path, values: dict[str, Any], why: str) -> None:
    change(root / "config.json", **values)
    assert why in examine(root).undecided["findings"]


def test_a_missing_transformers_is_undecided(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "weighbridge.measures.integrity.expected_torch", None)
    evidence = examine(root)
    assert "the check itself failed" in evidence.undecided["findings"]
    assert evidence.findings == ()


def test_weights_that_nobody_loads_are_found(root: Path) -> None:
    shutil.copy(root / "model.safetensors", root / "consolidated.safetensors")
    assert found(examine(root)) == [("weights-unreferenced", "consolidated.safetensors")]


def test_two_sets_of_weights_are_ambiguous(root: Path) -> None:
    names = list(weights(root))
    shutil.copy(root / "model.safetensors", root / "model-1.safetensors")
    index = {"weight_map": dict.fromkeys(names, "model-1.safetensors")}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "weights-ambiguous" in codes(examine(root))


def test_malformed_headers_are_findings_too(root: Path) -> None:
    for name in ("model.safetensors", "extra.safetensors"):
        (root / name).write_bytes(b"\xff" * 100)
    (root / "extra.gguf").write_bytes(b"GGUF\x03\0\0\0")
    evidence = examine_unopened(root)
    assert {("malformed-weights", name) for name in ("model.safetensors", "extra.safetensors", "extra.gguf")} <= set(
        found(evidence)
    )
    with pytest.raises(CheckpointError, match="header"):
        open_checkpoint(root)


def test_a_missing_shard_is_a_finding(root: Path) -> None:
    (root / "model.safetensors").unlink()
    (root / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert ("weights-incomplete", "model.safetensors.index.json") in found(examine_unopened(root))


def test_only_pickled_weights_are_a_finding_and_undecided(root: Path) -> None:
    (root / "model.safetensors").rename(root / "pytorch_model.bin")
    evidence = examine(root)
    assert codes(evidence) == ["pickled-file"]
    assert "nothing that could be compared" in evidence.undecided["findings"]


# --- tokenizer --------------------------------------------------------------------------------------------------


def tokenizer_of(size: int, **more: Any) -> str:
    vocabulary = {"<s>": 0, "</s>": 1} | {f"t{index}": index for index in range(2, size)}
    return json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": vocabulary, "merges": []}, **more})


@pytest.mark.parametrize("size", [270, 500, 200, 20])
def test_a_tokenizer_of_another_vocabulary(root: Path, size: int) -> None:
    (root / "tokenizer.json").write_text(tokenizer_of(size))
    assert ("tokenizer-differs", "tokenizer.json") in found(examine(root))


@pytest.mark.parametrize("size", [269, 260, 205])
def test_a_padded_embedding_is_fine(root: Path, size: int) -> None:
    (root / "tokenizer.json").write_text(tokenizer_of(size))
    assert found(examine(root)) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"eos_token_id": 269}),
        ("generation_config.json", {"eos_token_id": [1, 999]}),
        ("generation_config.json", {"pad_token_id": "0"}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"5": {"content": "<s>"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"300": {"content": "<new>"}}}),
        ("tokenizer_config.json", {"pad_token": "[PAD]"}),
        ("tokenizer_config.json", {"pad_token": {"content": "[PAD]"}}),
    ],
)
def test_special_tokens_outside_the_vocabulary(root: Path, name: str, values: dict[str, Any]) -> None:
    change(root / name, **values)
    assert codes(examine(root)) == ["tokenizer-differs"]


def test_special_tokens_of_old_configs_pass(root: Path) -> None:
    change(root / "config.json", pad_token_id=-1, eos_token_id=None)
    change(root / "tokenizer_config.json", added_tokens_decoder={"0": {"content": "<s>"}}, unk_token=None)
    assert found(examine(root)) == []


def test_a_second_vocabulary_must_agree(root: Path) -> None:
    vocabulary = json.loads((root / "tokenizer.json").read_text())["model"]["vocab"]
    (root / "vocab.json").write_text(json.dumps(vocabulary))
    assert found(examine(root)) == []
    vocabulary["hello"], vocabulary["<s>"] = vocabulary["<s>"], vocabulary["hello"]
    (root / "vocab.json").write_text(json.dumps(vocabulary))
    assert found(examine(root)) == [("tokenizer-differs", "vocab.json")]


def pieces(count: int) -> bytes:
    """A SentencePiece model: pieces in field 1, then settings in field 2."""
    result = b""
    for text in ["<s>", "</s>", *(f"t{index}" for index in range(2, count))]:
        piece = b"\x0a" + bytes([len(text)]) + text.encode() + b"\x15\x00\x00\x80\x3f"
        result += b"\x0a" + bytes([len(piece)]) + piece
    return result + b"\x12\x02\x08\x01"


def test_sentencepiece_models_are_counted(root: Path) -> None:
    (root / "tokenizer.json").unlink()
    (root / "tokenizer.model").write_bytes(pieces(269))
    assert found(examine(root)) == []
    (root / "tokenizer.model").write_bytes(pieces(400))
    assert found(examine(root)) == [("tokenizer-differs", "tokenizer.model")]
    (root / "tokenizer.model").write_bytes(pieces(269)[:-1])
    assert found(examine(root)) == [("malformed-file", "tokenizer.model")]


def test_no_tokenizer_is_undecided(root: Path) -> None:
    (root / "tokenizer.json").unlink()
    evidence = examine(root)
    assert evidence.findings == ()
    assert "no tokenizer file" in evidence.undecided["findings"]


@pytest.mark.parametrize(
    "content", ["[]", '{"model": {"vocab": {"a": -1}}}', '{"model": {"vocab": {"a": "b"}}}', '{"model": 1}']
)
def test_malformed_tokenizers_are_findings(root: Path, content: str) -> None:
    (root / "tokenizer.json").write_text(content)
    assert [code for code, where in found(examine(root)) if where.startswith("tokenizer.json")] == ["malformed-file"]


# --- chat templates ---------------------------------------------------------------------------------------------

EVIL = "{{ messages.__class__ }}"


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("chat_template.jinja", EVIL, "chat_template.jinja line 1"),
        ("additional_chat_templates/tool_use.jinja", EVIL, "additional_chat_templates/tool_use.jinja line 1"),
        ("prompts/x.jinja", EVIL, "prompts/x.jinja line 1"),
        ("chat_template.json", {"chat_template": EVIL}, "chat_template.json at $.chat_template line 1"),
        ("tokenizer_config.json", {"chat_template": EVIL}, "tokenizer_config.json at $.chat_template line 1"),
        (
            "tokenizer_config.json",
            {"chat_template": [{"name": "default", "template": TEMPLATE}, {"name": "rag", "template": "\n" + EVIL}]},
            "tokenizer_config.json at $.chat_template[1] line 2",
        ),
        ("processor_config.json", {"chat_template": {"a": EVIL}}, "processor_config.json at $.chat_template.a line 1"),
    ],
)
def test_templates_are_found_wherever_they_lie(root: Path, name: str, content: Any, where: str) -> None:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | content))
    assert ("template-attribute", where) in found(examine(root))


def test_templates_of_a_gguf_are_inspected_and_compared(root: Path) -> None:
    write_gguf(root / "q.gguf")
    assert found(examine(root)) == []
    write_gguf(root / "q.gguf", template=TEMPLATE + EVIL, more={"tokenizer.chat_template.rag": EVIL})
    where = "q.gguf at tokenizer.chat_template"
    assert sorted(found(examine(root))) == [
        ("template-attribute", f"{where} (default) line 3"),
        ("template-attribute", f"{where} (rag) line 1"),
        ("template-differs", f"{where} (default)"),
    ]


def test_two_default_templates_must_agree(root: Path) -> None:
    change(root / "tokenizer_config.json", chat_template=TEMPLATE)
    assert found(examine(root)) == []
    change(root / "tokenizer_config.json", chat_template=TEMPLATE + "{{ 'more' }}")
    assert found(examine(root)) == [("template-differs", "tokenizer_config.json at $.chat_template")]


@pytest.mark.parametrize("value", [7, [1], [{"name": "x"}], {"a": 1}])
def test_malformed_template_entries_are_findings(root: Path, value: Any) -> None:
    change(root / "tokenizer_config.json", chat_template=value)
    assert codes(examine(root)) == ["malformed-file"]


# --- secrets ----------------------------------------------------------------------------------------------------


def test_a_secret_is_named_by_kind_and_place_and_never_repeated(root: Path) -> None:
    secret = "hf_" + "aB3" * 11 + "x"
    (root / "notes.txt").write_text("x" * 10 + " " + secret + "\n")
    evidence = examine(root)
    [finding] = evidence.findings
    assert (finding.code, finding.where) == ("secret", "notes.txt at byte 11")
    assert finding.message == "looks like a Hugging Face token"
    assert secret not in json.dumps(to_json(evidence))


def test_secrets_in_weights_metadata_are_found(root: Path) -> None:
    safetensors.numpy.save_file(weights(root), root / "model.safetensors", metadata={"by": "AKIA" + "ABCD2345" * 2})
    assert found(examine(root)) == [("secret", "model.safetensors at __metadata__.by")]


def test_the_real_model_has_no_findings(real_folder: Path) -> None:
    checkpoint = open_checkpoint(real_folder)
    evidence = Integrity(checkpoint).examine(made=MADE)
    assert found(evidence) == []
    assert evidence.undecided == {}
