"""Generation with the lean model: many rows a step, each with its own length, refilled as rows finish.

A row's keys and values lie in a slot, from position 0 on, so no padding stands before them and what a row generates
does not depend on its neighbours. Prompts are processed as a prefix tree (a system prompt once for all of
them) and then copied to their slots. Memory is the slots', bounded by ``budget`` tokens however many prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from weighbridge.engines.prefix_tree import PrefixTree
from weighbridge.engines.torch_lean import LeanModel
from weighbridge.engines.torch_sampling import Draw, Sample
from weighbridge.engines.torch_tree import Walk

_MOST_SLOTS = 128
_REFILL = 4  # free slots are refilled when one in this many is free

Halt = Callable[[list[int]], bool]


@dataclass(slots=True)
class _Row:
    """One generation: which prompt, its length in tokens so far, how tokens are drawn (None: greedily), what it has
    generated."""

    prompt: int
    length: int
    draw: Draw | None
    output: list[int] = field(default_factory=list)


class Decoder:
    """Generates. ``budget`` bounds the tokens held in slots, ``pack`` those of one forward over prompts."""

    def __init__(self, model: LeanModel, *, pack: int, budget: int) -> None:
        self._model = model
        self._pack = pack
        self._budget = budget
        self.tokens = 0

    def generate(
        self,
        prompts: Sequence[list[int]],
        max_tokens: int,
        stops: frozenset[int],
        halt: Halt | None = None,
        sample: Sample | None = None,
    ) -> list[list[int]]:
        """The generated tokens per prompt, without the one of ``stops`` that ended it. ``halt`` is asked after each
        token whether the tokens so far are enough. Without ``sample``, greedily."""
        result: list[list[int]] = [[] for _ in prompts]
        if max_tokens > 0:
            for bucket in _buckets(prompts):
                for index, output in self._run(prompts, bucket, max_tokens, stops, halt, sample):
                    result[index] = output
        return result

    def _run(
        self,
        prompts: Sequence[list[int]],
        bucket: list[int],
        max_tokens: int,
        stops: frozenset[int],
        halt: Halt | None,
        sample: Sample | None,
    ) -> Iterator[tuple[int, list[int]]]:
        model, waiting = self._model, list(reversed(bucket))
        room = max(len(prompts[index]) for index in bucket) + max_tokens
        count = min(len(bucket), _MOST_SLOTS, max(1, self._budget // room))
        # Zeros, since a masked place is still multiplied: weight 0 times whatever lay in fresh memory may be NaN.
        slots = torch.zeros(
            (model.layers, 2, count, room, model.key_heads, model.size), dtype=model.dtype, device=model.device
        )
        walk = Walk(model)
        rows: list[_Row | None] = [None] * count
        while True:
            free = [slot for slot, row in enumerate(rows) if row is None]
            if waiting and (len(free) * _REFILL >= count):
                taken = [waiting.pop() for _ in free[: len(waiting)]]
                logits = self._prefill(walk, [prompts[index] for index in taken], slots, free)
                for slot, index in zip(free, taken, strict=False):
                    rows[slot] = _Row(index, len(prompts[index]), sample(prompts[index]) if sample else None)
                placed = free[: len(taken)]
            else:
                active = [slot for slot, row in enumerate(rows) if row is not None]
                if not active:
                    return
                if not waiting and len(active) * 2 <= len(rows):  # the last ones: carry no empty slots along
                    slots, rows = slots[:, :, active].clone(), [rows[slot] for slot in active]
                logits = self._step(rows, slots)
                placed = [slot for slot, row in enumerate(rows) if row is not None]
                logits = logits[placed]
            for number, (slot, token) in enumerate(zip(placed, logits.argmax(dim=-1).tolist(), strict=True)):
                row = rows[slot]
                assert row is not None
                if row.draw is not None:
                    token = row.draw(logits[number])
                if token not in stops:
                    row.output.append(token)
                    if len(row.output) < max_tokens and not (halt and halt(row.output)):
                        continue
                yield row.prompt, row.output
                rows[slot] = None

    def _prefill(self, walk: Walk, prompts: list[list[int]], slots: Tensor, free: list[int]) -> Tensor:
        """Process prompts, put their keys and values into free slots; logits [prompts, vocabulary] after each."""
        tree = PrefixTree(prompts, walk.path, min((len(prompt) - 1 for prompt in prompts), default=0))
        ends = [places[0] for places in tree.places([1] * len(prompts))]
        walk.enter(tree, self._pack)
        last: list[Tensor] = [torch.empty(0)] * len(prompts)
        for pack in tree.packs(self._pack):
            state = walk.forward(tree, pack)
            for number, end in enumerate(ends):
                if not pack.start <= end < pack.end:
                    continue
                row = end - pack.start
                last[number] = state[row]
                segment = next(part for part in pack.segments if part.row <= row < part.row + part.length)
                at = 0
                ranges = [(pack.path + first, pack.path + stop) for first, stop in segment.inner]
                own = (pack.path + segment.row, pack.path + row + 1)
                for first, stop in [(0, segment.outer), *ranges, own]:
                    slot = slots[:, :, free[number], at : at + stop - first]
                    slot.copy_(walk.cache[:, :, first:stop].view(slot.shape))
                    at += stop - first
            walk.follow(tree, pack)
        self.tokens += tree.rows
        return self._model.logits(torch.stack(last))

    def _step(self, rows: list[_Row | None], slots: Tensor) -> Tensor:
        """One token more for every row; logits [slots, vocabulary], those of empty slots without meaning."""
        model, device = self._model, self._model.device
        lengths = [row.length if row else 0 for row in rows]
        tokens = torch.tensor([row.output[-1] if row else 0 for row in rows], device=device)
        positions = torch.tensor(lengths, device=device)
        longest = max(lengths) + 1
        every = torch.arange(len(rows), device=device)
        mask = torch.zeros((len(rows), longest), dtype=model.dtype, device=device)
        mask.masked_fill_(torch.arange(longest, device=device)[None] > positions[:, None], float("-inf"))
        group = model.heads // model.key_heads
        # Query heads that share keys stand where a sequence's rows would: plain attention, no keys repeated.
        mask = mask[:, None, None].expand(-1, 1, group, -1)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            held_keys, held_values = slots[layer, 0], slots[layer, 1]
            held_keys[every, positions] = keys
            held_values[every, positions] = values
            attended = functional.scaled_dot_product_attention(
                queries.reshape(len(rows), model.key_heads, group, model.size),
                held_keys[:, :longest].transpose(1, 2),
                held_values[:, :longest].transpose(1, 2),
                attn_mask=mask,
                scale=model.scale,
            )
            return attended.reshape(len(rows), -1)

        state = model.hidden(tokens, positions, attend)
        for row in rows:
            if row is not None:
                row.length += 1
                self.tokens += 1
        return model.logits(state)


def _buckets(prompts: Sequence[list[int]]) -> list[list[int]]:
    """Indices of prompts by length within a factor of two, so that slots are not sized for one long prompt; within
    a bucket in the order of their tokens, so that neighbours share prefixes."""
    result: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        result.setdefault(max(6, len(prompt).bit_length()), []).append(index)
    return [sorted(result[key], key=lambda index: prompts[index]) for key in sorted(result)]
