"""Log-probabilities of wanted tokens at wanted rows: the vocabulary projection for those rows only, in parts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from weighbridge.engines.torch_lean import LeanModel

_LOGITS = 2**24  # logits held at a time
_SOFTMAX_ROWS = 32  # rows normalised at a time: few enough to stay in the processor's cache


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
    target = torch.tensor(wanted.target, device=device)
    step = max(1, _LOGITS // model.head.shape[0])
    likelihoods, greedy = [], []
    first = 0
    for start in range(0, len(wanted.rows), step):
        logits = functional.linear(chosen[start : start + step], model.head).float()
        for inner in range(0, logits.shape[0], _SOFTMAX_ROWS):
            # The same normalisation as lm-eval's, so that what it rounds, on long continuations too, is the same.
            rows = logits[inner : inner + _SOFTMAX_ROWS].log_softmax(dim=-1)
            last = bisect_left(wanted.row, start + inner + rows.shape[0], first)
            row = torch.tensor(wanted.row[first:last], device=device) - (start + inner)
            found = rows[row, target[first:last]]
            likelihoods.append(found)
            greedy.append(_greedy(rows, row, target[first:last], found))
            first = last
    return torch.cat(likelihoods), torch.cat(greedy)


def _greedy(rows: Tensor, row: Tensor, target: Tensor, found: Tensor) -> Tensor:
    """Whether each target is the first of its row's largest. ``found`` are the targets' values.

    A row's largest value takes a fraction of the time of its place, which is asked for the few rows only where the
    target has that value: among equals, the first counts.
    """
    greedy = rows.amax(dim=-1)[row] == found
    equal = greedy.nonzero()[:, 0]
    if len(equal):
        greedy[equal] = rows[row[equal]].argmax(dim=-1) == target[equal]
    return greedy
