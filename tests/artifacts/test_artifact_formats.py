"""Which type each tensor gets, and what quantising loses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weighbridge.artifacts import quantise as quantising
from weighbridge.artifacts.formats import FORMATS, stored_bytes, tensor_type
from weighbridge.artifacts.quantise import LOSS, loss, quantise
from weighbridge.errors import EngineError

Q4 = FORMATS["Q4_K_M"]


def kinds(part: str, layers: int, experts: int = 0) -> list[str]:
    return [
        tensor_type(Q4, f"blk.{layer}.{part}.weight", (512, 512), layers=layers, experts=experts, tied=False)
        for layer in range(layers)
    ]


def test_the_mixture_is_that_of_llama_cpp() -> None:
    """For 32 layers llama.cpp gives six bits to half of the value and down projections: the layers listed here."""
    more = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    for part in ("attn_v", "ffn_down"):
        assert [layer for layer, kind in enumerate(kinds(part, 32)) if kind == "Q6_K"] == more
    assert set(kinds("attn_q", 32)) == set(kinds("attn_k", 32)) == set(kinds("ffn_up", 32)) == {"Q4_K"}
    assert set(kinds("attn_v", 32, experts=8)) == set(kinds("attn_k", 32, experts=8)) == {"Q8_0"}
    assert set(kinds("attn_output", 32, experts=8)) == {"Q5_K"}
    whole = {"layers": 32, "experts": 0}
    assert tensor_type(Q4, "output.weight", (512, 512), tied=False, **whole) == "Q6_K"
    assert tensor_type(Q4, "token_embd.weight", (512, 512), tied=True, **whole) == "Q6_K"
    assert tensor_type(Q4, "token_embd.weight", (512, 512), tied=False, **whole) == "Q4_K"
    assert tensor_type(Q4, "token_embd.weight", (512, 576), tied=True, **whole) == "Q8_0"
    assert tensor_type(Q4, "blk.0.attn_q.weight", (512, 576), tied=True, **whole) == "Q5_0"
    assert tensor_type(Q4, "blk.0.attn_q.weight", (512, 570), tied=True, **whole) == "F16"
    for name in ("blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "blk.0.attn_norm.weight"):
        assert tensor_type(Q4, name, (8, 512)[-1 if "norm" in name else 0 :], tied=True, **whole) == "F32"


@pytest.mark.parametrize("form", FORMATS)
@given(columns=st.integers(1, 4096), part=st.sampled_from(["attn_v", "ffn_down", "ffn_up_exps", "attn_output"]))
def test_every_tensor_gets_a_type_whose_blocks_it_fills(form: str, columns: int, part: str) -> None:
    kind = tensor_type(FORMATS[form], f"blk.3.{part}.weight", (2, columns), layers=9, experts=0, tied=True)
    assert stored_bytes(kind, (2, columns)) == 2 * stored_bytes(kind, (1, columns)) > 0


@pytest.mark.parametrize("kind", [kind for kind in LOSS if kind != "F32"])
@settings(max_examples=30)
@given(values=arrays.arrays(np.float32, (2, 512), elements=st.floats(-4.0, 4.0, width=32)))
def test_a_type_loses_no_more_than_it_may(kind: str, values: np.ndarray) -> None:
    if kind.endswith("_K"):
        pytest.importorskip("xllamacpp")
    if np.abs(values).max() < 1e-3:
        values = values + np.float32(1.0)  # far below one, scales in float16 lose their digits
    packed = quantise(values, kind)
    assert packed.nbytes == stored_bytes(kind, values.shape)
    assert loss(values, packed, kind) <= LOSS[kind]
    assert np.array_equal(packed, quantise(values.copy(), kind))


def test_a_tensor_of_zeros_stays_one() -> None:
    for kind in ("F16", "Q8_0", "Q5_0"):
        zeros = np.zeros((1, 256), np.float32)
        assert loss(zeros, quantise(zeros, kind), kind) == 0.0


def test_without_llama_cpp_its_types_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(quantising.ctypes, "CDLL", missing)
    quantising._ggml.cache_clear()
    with pytest.raises(EngineError, match=r"Q4_K is made by llama\.cpp"):
        quantise(np.zeros((1, 256), np.float32), "Q4_K")
    assert quantise(np.zeros((1, 256), np.float32), "Q8_0").nbytes == 272


def test_a_library_that_makes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(quantising, "loss", lambda rows, packed, kind: 1.4)
    quantising._ggml.cache_clear()
    with pytest.raises(EngineError, match="something else"):
        quantise(np.zeros((1, 256), np.float32), "Q4_K")
    quantising._ggml.cache_clear()
