"""Log-probabilities and greedy flags of wanted tokens, against what a plain log-softmax and its first maximum say."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from weighbridge.engines import torch_rows
from weighbridge.engines.torch_rows import Wanted, score_rows


def head(matrix: torch.Tensor) -> Any:
    """A model that is its head alone."""
    return SimpleNamespace(head=matrix, final=lambda state: state)


@pytest.mark.parametrize("at_a_time", [2**24, 40])
def test_same_as_a_plain_log_softmax(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    monkeypatch.setattr(torch_rows, "_LOGITS", at_a_time)
    torch.manual_seed(3)
    state, matrix = torch.randn(90, 8), torch.randn(13, 8)
    whole = (state @ matrix.t()).log_softmax(-1)
    best = whole.argmax(-1).tolist()
    # Every row's best token, and for every third row another one beside it.
    wanted = sorted([(row, best[row]) for row in range(90)] + [(row, (best[row] + 1) % 13) for row in range(0, 90, 3)])
    found, greedy = score_rows(
        head(matrix), state, Wanted.of([row for row, _ in wanted], [token for _, token in wanted])
    )
    assert torch.allclose(found, torch.stack([whole[pair] for pair in wanted]), atol=1e-5)
    assert greedy.tolist() == [token == best[row] for row, token in wanted]


def test_among_equals_the_first_is_greedy() -> None:
    matrix = torch.tensor([[1.0], [3.0], [2.0], [3.0]])
    _, greedy = score_rows(head(matrix), torch.ones(2, 1), Wanted.of([0, 0, 0, 0, 1], [0, 1, 2, 3, 1]))
    assert greedy.tolist() == [False, True, False, False, True]


def test_nan_is_not_greedy_and_spoils_no_other_row() -> None:
    matrix = torch.tensor([[1.0], [2.0]])
    state = torch.tensor([[math.nan], [1.0]])
    found, greedy = score_rows(head(matrix), state, Wanted.of([0, 0, 1, 1], [0, 1, 0, 1]))
    assert found.isnan().tolist() == [True, True, False, False]
    assert greedy.tolist() == [False, False, False, True]
