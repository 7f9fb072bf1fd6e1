"""A lean forward pass of the Llama family (Llama, Mistral, Mixtral, Qwen2, Qwen3) over rows of tokens.

It takes over the weights of a transformers model, whose modules keep working: the query, key and value projections
become views of one matrix, and so do gate and up. What rows attend to is not decided here: ``attend`` is given the
rotated queries, keys and values of each layer. The arithmetic is that of transformers, operation by operation,
but for the order of additions inside matrix products; the tests compare both for each architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# (layer, queries [rows, heads, size], keys [rows, key heads, size], values like keys) -> [rows, heads x size]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One decoder layer. Matrices are [in, out]; a mixture of experts keeps its transformers module."""

    norm_in: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    norm_post: Tensor
    gate_up: Tensor | None
    gate_up_bias: Tensor | None
    down: Tensor | None
    down_bias: Tensor | None
    experts: Any


class LeanModel:
    """The model as matrices. ``heads`` query heads and ``key_heads`` key/value heads of ``size`` dimensions."""

    def __init__(self, model: Any) -> None:
        config, base = model.config, model.model
        self.layers = len(base.layers)
        self.heads = int(config.num_attention_heads)
        self.key_heads = int(config.num_key_value_heads)
        self.size = int(base.layers[0].self_attn.head_dim)
        self.scale = float(base.layers[0].self_attn.scaling)
        self.epsilon = float(config.rms_norm_eps)
        self.embedding: Tensor = base.embed_tokens.weight.data
        self.dtype, self.device = self.embedding.dtype, self.embedding.device
        self._rotary = base.rotary_emb
        self._layers = [_take_over(layer) for layer in base.layers]
        self._norm: Tensor = base.norm.weight.data
        self.head: Tensor = model.lm_head.weight.data

    @property
    def row_bytes(self) -> int:
        """Bytes of keys and values that one token leaves behind."""
        return 2 * self.layers * self.key_heads * self.size * self.embedding.element_size()

    def weights_touched(self) -> int:
        """Weights that one token is multiplied with, embeddings and head left out (for a mixture: two of its experts'
        worth is not known here, so all are counted). What the floor in the benchmarks is made from."""
        total = 0
        for layer in self._layers:
            total += layer.qkv.numel() + layer.out.numel()
            if layer.gate_up is not None and layer.down is not None:
                total += layer.gate_up.numel() + layer.down.numel()
            else:
                total += sum(parameter.numel() for parameter in layer.experts.parameters())
        return total

    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The last layer's output, before the final norm, [rows, hidden], for tokens at positions (both [rows])."""
        state = functional.embedding(tokens, self.embedding)
        cosine, sine = self._rotary(state, positions[None])
        half = self.size // 2
        cosine, sine = cosine[0, :, None].contiguous(), sine[0, :, None, :half].contiguous()
        rows = state.shape[0]
        query_width, key_width = self.heads * self.size, self.key_heads * self.size
        for number, layer in enumerate(self._layers):
            qkv = _product(self._normed(state, layer.norm_in), layer.qkv, layer.qkv_bias)
            turned = qkv[:, : query_width + key_width].view(rows, self.heads + self.key_heads, self.size)
            if layer.query_norm is not None and layer.key_norm is not None:
                queries = self._normed(turned[:, : self.heads], layer.query_norm)
                keys = self._normed(turned[:, self.heads :], layer.key_norm)
                turned = torch.cat((queries, keys), dim=1)
            turned = _rotate(turned, cosine, sine)
            values = qkv[:, query_width + key_width :].view(rows, self.key_heads, self.size)
            attended = attend(number, turned[:, : self.heads], turned[:, self.heads :], values)
            _add_product(state, attended, layer.out, layer.out_bias)
            normed = self._normed(state, layer.norm_post)
            if layer.gate_up is None or layer.down is None:
                state += layer.experts(normed[None])[0]
                continue
            both = _product(normed, layer.gate_up, layer.gate_up_bias)
            width = both.shape[1] // 2
            inner = functional.silu(both[:, :width], inplace=True).mul_(both[:, width:])
            _add_product(state, inner, layer.down, layer.down_bias)
        return state

    def final(self, state: Tensor) -> Tensor:
        """The final norm over rows of ``hidden``."""
        return self._normed(state, self._norm)

    def logits(self, state: Tensor) -> Tensor:
        """[rows, vocabulary] for rows of ``hidden``."""
        return functional.linear(self.final(state), self.head)

    def _normed(self, state: Tensor, weight: Tensor) -> Tensor:
        if self.dtype == torch.float32:
            size = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
            return (state * torch.rsqrt(size * size / state.shape[-1] + self.epsilon)).mul_(weight)
        wide = state.float()  # as transformers does: the norm in float32, the weight after rounding back
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return weight * wide.to(self.dtype)


def _product(rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(rows, matrix) if bias is None else torch.addmm(bias, rows, matrix)


def _add_product(state: Tensor, rows: Tensor, matrix: Tensor, bias: Tensor | None) -> None:
    """``state += rows @ matrix + bias`` in place, in one matrix product."""
    state.addmm_(rows, matrix)
    if bias is not None:
        state.add_(bias)


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of [rows, heads, size] by cosines [rows, 1, size] and sines [rows, 1, size / 2] (Su et al. 2021,
    halves as in GPT-NeoX)."""
    half = heads.shape[-1] // 2
    result = heads * cosine
    result[..., :half].addcmul_(heads[..., half:], sine, value=-1)
    result[..., half:].addcmul_(heads[..., :half], sine)
    return result


def _take_over(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    qkv, qkv_bias = _fuse([attention.q_proj, attention.k_proj, attention.v_proj])
    out, out_bias = _fuse([attention.o_proj])
    dense = hasattr(mlp, "gate_proj")
    gate_up, gate_up_bias = _fuse([mlp.gate_proj, mlp.up_proj]) if dense else (None, None)
    down, down_bias = _fuse([mlp.down_proj]) if dense else (None, None)
    return _Layer(
        norm_in=layer.input_layernorm.weight.data,
        qkv=qkv,
        qkv_bias=qkv_bias,
        query_norm=attention.q_norm.weight.data if hasattr(attention, "q_norm") else None,
        key_norm=attention.k_norm.weight.data if hasattr(attention, "k_norm") else None,
        out=out,
        out_bias=out_bias,
        norm_post=layer.post_attention_layernorm.weight.data,
        gate_up=gate_up,
        gate_up_bias=gate_up_bias,
        down=down,
        down_bias=down_bias,
        experts=None if dense else mlp,
    )


def _fuse(projections: list[Any]) -> tuple[Tensor, Tensor | None]:
    """One [in, out] matrix of several projections, which become views of it, so that nothing is held twice.

    Laid out [in, out], since products of few rows are up to a quarter faster so.
    """
    matrix = torch.cat([projection.weight.data for projection in projections]).t().contiguous()
    biases = [projection.bias.data for projection in projections if projection.bias is not None]
    column = 0
    for projection in projections:
        columns = projection.weight.shape[0]
        projection.weight.data = matrix[:, column : column + columns].t()
        column += columns
    return matrix, torch.cat(biases) if len(biases) == len(projections) else None
