"""Sampling that a row's neighbours cannot change: each row draws from a generator of its own.

The generator is seeded by the decoding's seed and the row's prompt, and gives one number a token, by which the token
is found in the cumulative distribution. So a response depends on the model, the prompt and the seed, on no batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

Draw = Callable[[Tensor], int]
"""One row's logits [vocabulary] to its next token."""

Sample = Callable[[list[int]], Draw]
"""A prompt's tokens to its row's draw."""


def sampling(temperature: float, seed: int) -> Sample:
    """Draws from softmax(logits / ``temperature``), which is above 0."""

    def row(prompt: list[int]) -> Draw:
        words = ",".join(map(str, [seed, *prompt])).encode()
        chance = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1)

        def draw(logits: Tensor) -> int:
            likelihoods = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
            point = torch.rand(1, generator=chance, dtype=torch.float64).to(likelihoods.device) * likelihoods[-1]
            # "Right": never a token without likelihood. Rounding may put the point at the very end.
            return min(int(torch.searchsorted(likelihoods, point, right=True)), len(likelihoods) - 1)

        return draw

    return row


class Drawn(LogitsProcessor):
    """Leaves to transformers' greedy loop, row by row, the token that was drawn for it."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._draws = draws

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002
        chosen = torch.tensor([draw(row) for draw, row in zip(self._draws, scores, strict=True)], device=scores.device)
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)
