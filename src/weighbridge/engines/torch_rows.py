"""Log-probabilities of wanted tokens at wanted rows: the vocabulary projection, in tiles, for those rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weighbridge.engines.torch_lean import LeanModel

_TILE = 2**20  # logits held at a time: what is made of a tile of them should stay in the cache
_ROWS = 1024  # rows at a time


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tokens wanted at rows: ``rows`` are the distinct rows, rising; ``row`` and ``target`` say, for each token
    wanted, which of them and which token."""

    rows: list[int]
    row: list[int]
    target: list[int]

    @classmethod
    def of(cls, rows: Sequence[int], targets: Sequence[int]) -> Wanted:
        """From one row and one target per token wanted, rows not falling."""
        distinct: list[int] = []
        place: list[int] = []
        for row in rows:
            if not distinct or distinct[-1] != row:
                distinct.append(row)
            place.append(len(distinct) - 1)
        return cls(distinct, place, list(targets))


def score_rows(model: LeanModel, state: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """(log-probabilities in float32, greedy flags) of the wanted tokens; ``state`` are hidden states [rows, hidden]."""
    device = state.device
    chosen = model.final(state[torch.tensor(wanted.rows, device=device)])
    row, target = torch.tensor(wanted.row, device=device), torch.tensor(wanted.target, device=device)
    likelihoods, greedy = [], []
    first = 0
    for start in range(0, len(wanted.rows), _ROWS):
        stop = min(start + _ROWS, len(wanted.rows))
        last = int(torch.searchsorted(row, stop))
        part = _score(model, chosen[start:stop], row[first:last] - start, target[first:last])
        likelihoods.append(part[0])
        greedy.append(part[1])
        first = last
    return torch.cat(likelihoods), torch.cat(greedy)


def _score(model: LeanModel, rows: Tensor, row: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Running maximum and sum of exponentials over tiles of the vocabulary, as in online softmax (Milakov and
    Gimelshein 2018). NaN anywhere in a row's logits makes its likelihoods NaN."""
    vocabulary = model.head.shape[0]
    width = min(max(_TILE // rows.shape[0], 1024), vocabulary)
    buffer = torch.empty((rows.shape[0], width), dtype=rows.dtype, device=rows.device)
    best = torch.full((rows.shape[0],), float("-inf"), device=rows.device)
    choice = torch.zeros(rows.shape[0], dtype=torch.int64, device=rows.device)
    sums = torch.zeros_like(best)
    value = torch.zeros(row.shape[0], device=rows.device)
    for start in range(0, vocabulary, width):
        stop = min(start + width, vocabulary)
        logits = torch.mm(rows, model.head[start:stop].t(), out=buffer[:, : stop - start]).float()
        inside = ((target >= start) & (target < stop)).nonzero()[:, 0]
        value[inside] = logits[row[inside], target[inside] - start]
        top, place = logits.max(dim=1)
        choice = torch.where(top > best, place + start, choice)  # the first of equals, as argmax
        higher = torch.maximum(best, top)
        sums = sums * torch.exp(best - higher) + logits.sub_(higher[:, None]).exp_().sum(dim=1)
        best = higher
    return value - best[row] - torch.log(sums[row]), choice[row] == target
