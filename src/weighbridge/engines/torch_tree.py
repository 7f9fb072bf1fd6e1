"""Scores requests as one prefix tree: packs of rows through the lean model, with the keys and values of one path.

Memory is the longest path and one pack, whatever the number of requests. The path stays warm from call to call, so
that what the next call's sequences share with it (a few-shot header) is not computed again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from weighbridge.engines.interface import Score
from weighbridge.engines.prefix_tree import Block, Pack, PrefixTree, Range, blocks
from weighbridge.engines.tokenize import Request
from weighbridge.engines.torch_lean import LeanModel
from weighbridge.engines.torch_rows import Wanted, score_rows

# How attention over a pack is cut into blocks: most rows, rows of one stretch, what a call costs (see ``blocks``).
_BLOCKS = {"cpu": (256, 96, 1500), "cuda": (1024, 1024, 200_000)}
_GATHER_WASTE = 1.2  # keys are copied together when a plain stretch of them would hold this much more


class Walk:
    """A walk down one prefix tree after another: the path's tokens, and a cache of their keys and values.

    ``cache`` is [layers, 2, tokens, key heads x size]: the path's rows and, after ``forward``, the pack's behind them.
    """

    def __init__(self, model: LeanModel) -> None:
        self._model = model
        self.path: list[int] = []
        self.cache = torch.empty(0)
        self.tokens = 0

    def enter(self, tree: PrefixTree, pack: int) -> None:
        """Begin a tree that was laid out along the path, with packs of at most ``pack`` rows."""
        del self.path[len(tree.path) :]
        model, held = self._model, len(self.path)
        size = max(map(len, tree.sequences)) + min(pack, tree.rows)
        if self.cache.dim() == 4 and size <= self.cache.shape[2] <= 4 * size:
            return
        kept = self.cache[:, :, :held].clone() if held else None
        self.cache = torch.empty(0)  # free the old one before the new one is made
        self.cache = torch.empty(
            (model.layers, 2, size, model.key_heads * model.size), dtype=model.dtype, device=model.device
        )
        if kept is not None:
            self.cache[:, :, :held] = kept

    def forward(self, tree: PrefixTree, pack: Pack) -> Tensor:
        """The hidden states [rows, hidden] of a pack, whose ancestors are on the path."""
        model, device, path, cache = self._model, self._model.device, pack.path, self.cache
        tokens = tree.tokens(pack.start, pack.end)
        positions = torch.cat([torch.arange(part.depth, part.depth + part.length) for part in pack.segments])
        plans = [_Keys(model, block, path) for block in blocks(pack, *_BLOCKS[device.type])]

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            rows = queries.shape[0]
            held_keys, held_values = cache[layer, 0, : path + rows], cache[layer, 1, : path + rows]
            held_keys[path:].view(keys.shape).copy_(keys)
            held_values[path:].view(values.shape).copy_(values)
            result = torch.empty((rows, model.heads * model.size), dtype=queries.dtype, device=device)
            for plan in plans:
                plan.attend(model, queries, held_keys, held_values, result)
            return result

        self.tokens += len(tokens)
        return model.hidden(torch.tensor(tokens, device=device), positions.to(device), attend)

    def follow(self, tree: PrefixTree, pack: Pack) -> None:
        """After a pack: the path becomes what the next pack descends from."""
        end = pack.keep_outer
        del self.path[end:]
        for first, last in pack.keep_inner:
            size = last - first
            source = self.cache[:, :, pack.path + first : pack.path + last]
            if pack.path + first != end:
                # A move to the left within one buffer: copy first where the stretches overlap.
                source = source.clone() if end + size > pack.path + first else source
                self.cache[:, :, end : end + size] = source
            self.path.extend(tree.tokens(pack.start + first, pack.start + last))
            end += size

    def forget(self) -> None:
        """Drop the path and its memory."""
        self.path = []
        self.cache = torch.empty(0)


class TreeScorer:
    """Scores requests with a model of the Llama family. ``budget`` is the most rows in one forward pass."""

    def __init__(self, model: LeanModel, budget: int) -> None:
        self._model = model
        self._budget = budget
        self._walk = Walk(model)

    @property
    def tokens(self) -> int:
        """Rows processed so far."""
        return self._walk.tokens

    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Scores in order. Every request has at least one input and one target."""
        tree, owners, targets, rows = self._lay_out(requests)
        walk = self._walk
        walk.enter(tree, self._budget)
        found: list[tuple[Tensor, Tensor]] = []
        done = 0
        for pack in tree.packs(self._budget):
            state = walk.forward(tree, pack)
            last = bisect_left(rows, pack.end, done)
            if last > done:
                wanted = Wanted.of([row - pack.start for row in rows[done:last]], targets[done:last])
                found.append(score_rows(self._model, state, wanted))
            done = last
            walk.follow(tree, pack)
        return _sum_up(len(requests), owners, found)

    def forget(self) -> None:
        """Drop what is kept warm. Needed after a failure, when it may be half written."""
        self._walk.forget()

    def _lay_out(self, requests: Sequence[Request]) -> tuple[PrefixTree, list[int], list[int], list[int]]:
        """The tree, and (request, target, row) of everything wanted, by row."""
        # What is scored must be computed now: the warm path ends before the first row that is.
        path = self._walk.path
        limit = len(path)
        for request in requests:
            first = len(request.inputs) - len(request.targets)
            if first < limit and request.inputs[:first] == path[:first]:
                limit = first
        tree = PrefixTree([request.inputs for request in requests], path, limit)
        places = tree.places([len(request.targets) for request in requests])
        wanted = sorted(
            (row, target, owner)
            for owner, (request, rows) in enumerate(zip(requests, places, strict=True))
            for row, target in zip(rows, request.targets, strict=True)
        )
        return tree, [item[2] for item in wanted], [item[1] for item in wanted], [item[0] for item in wanted]


class _Keys:
    """Which keys a block of rows attends to, and how: a plain stretch of the cache, or a gathered copy."""

    def __init__(self, model: LeanModel, block: Block, path: int) -> None:
        self.first, self.last = block.first, block.last
        ranges = [(0, block.outer)] if block.outer else []
        ranges += [(path + first, path + last) for first, last in block.inner]
        needed = sum(last - first for first, last in ranges)
        start, stop = ranges[0][0], ranges[-1][1]
        self.stretch: Range | None = (start, stop) if stop - start <= _GATHER_WASTE * needed else None
        self.index: Tensor | None = None
        if self.stretch is None:
            self.index = torch.cat([torch.arange(first, last) for first, last in ranges]).to(model.device)
        else:
            ranges = [self.stretch]
        self.mask = _mask(block, path, ranges, model.dtype).repeat(model.heads // model.key_heads, 1).to(model.device)

    def attend(self, model: LeanModel, queries: Tensor, keys: Tensor, values: Tensor, result: Tensor) -> None:
        """Put the block's rows of ``result`` [rows, heads x size] in place."""
        if self.stretch is not None:
            keys, values = keys[slice(*self.stretch)], values[slice(*self.stretch)]
        elif self.index is not None:
            keys, values = keys.index_select(0, self.index), values.index_select(0, self.index)
        attention(model, queries[self.first : self.last], keys, values, self.mask, result[self.first : self.last])


def attention(model: LeanModel, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, result: Tensor) -> None:
    """Attention of [rows, heads, size] to [keys, key heads x size] under an additive mask [group x rows, keys], put
    into ``result`` [rows, heads x size].

    The heads of a group share keys, so they stand below each other as rows: longer products, no keys repeated, and
    a form that CUDA's fused kernels take together with a mask.
    """
    rows, group = queries.shape[0], model.heads // model.key_heads
    stacked = queries.view(rows, model.key_heads, group, model.size).permute(1, 2, 0, 3)
    attended = functional.scaled_dot_product_attention(
        stacked.reshape(1, model.key_heads, group * rows, model.size),
        keys.view(-1, model.key_heads, model.size).transpose(0, 1)[None],
        values.view(-1, model.key_heads, model.size).transpose(0, 1)[None],
        attn_mask=mask[None, None],
        scale=model.scale,
    )
    parts = attended.view(model.key_heads, group, rows, model.size).permute(2, 0, 1, 3)
    result.view(rows, model.key_heads, group, model.size).copy_(parts)


def _mask(block: Block, path: int, ranges: list[Range], dtype: torch.dtype) -> Tensor:
    """The additive mask [rows, keys] of a block over stretches ``ranges`` of (path, pack)."""
    columns = sum(last - first for first, last in ranges)
    mask = torch.full((block.last - block.first, columns), float("-inf"), dtype=dtype)
    for segment in block.segments:
        rows = mask[segment.row - block.first : segment.row - block.first + segment.length]
        own = (path + segment.row, path + segment.row + segment.length)
        seen = [(0, segment.outer), *((path + first, path + last) for first, last in segment.inner)]
        column = 0
        for first, last in ranges:
            for start, stop in seen:
                start, stop = max(start, first), min(stop, last)
                if start < stop:
                    rows[:, column + start - first : column + stop - first] = 0
            if first <= own[0] < last:
                place = column + own[0] - first
                rows[:, place : place + segment.length].triu_(1)
            column += last - first
    return mask


def _sum_up(count: int, owners: list[int], found: list[tuple[Tensor, Tensor]]) -> list[Score]:
    """Scores of requests from the log-probabilities and greedy flags of their targets."""
    owner = torch.tensor(owners)
    likelihoods = torch.cat([pair[0] for pair in found]).double().cpu()
    greedy = torch.cat([pair[1] for pair in found]).cpu()
    totals = torch.zeros(count, dtype=torch.float64).index_add_(0, owner, likelihoods)
    misses = torch.zeros(count, dtype=torch.int64).index_add_(0, owner, (~greedy).long())
    return [Score(total, miss == 0) for total, miss in zip(totals.tolist(), misses.tolist(), strict=True)]
