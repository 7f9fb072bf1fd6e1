"""Scoring and generation for models that cannot take a tree mask: shared-prefix batches through transformers' forward.

Requests whose inputs begin alike form a batch: what they share is processed once, its cache is repeated, and the
rest follows side by side, padded on the right, where a causal model does not look. Models whose state is not a
cache of keys and values (recurrent ones) get whole sequences in batches; equal inputs are still run only once.
Generation batches prompts of equal length, so that nothing is ever padded.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from weighbridge.engines.interface import Score
from weighbridge.engines.prefix_tree import common_prefix
from weighbridge.engines.tokenize import Request
from weighbridge.engines.torch_decode import Halt
from weighbridge.engines.torch_sampling import Drawn, Sample

_LOGITS = 2**26  # the most logits at a time
_WORTH = 8  # a shared prefix of fewer tokens is not worth a pass of its own
_PLAIN_CACHES = {"DynamicLayer", "DynamicSlidingWindowLayer"}


@dataclass(slots=True)
class _Group:
    """Distinct inputs that are run side by side after ``prefix`` shared tokens. ``scored`` is, for each, how many of
    its last tokens are asked for."""

    inputs: list[list[int]]
    scored: list[int]
    prefix: int

    @property
    def width(self) -> int:
        return max(map(len, self.inputs)) - self.prefix


class FallbackScorer:
    """Scores requests with any causal model of transformers. ``budget`` is the most tokens in one forward pass
    (a single longer sequence is still run whole where the model keeps no cache)."""

    def __init__(self, model: Any, budget: int) -> None:
        self._model = model
        self._device = model.device
        vocabulary = model.get_input_embeddings().weight.shape[0]
        self._budget = max(1, min(budget, _LOGITS // vocabulary))
        self._parameters = inspect.signature(model.forward).parameters
        self._shares = _keeps_plain_cache(model, self._parameters)
        self._held: tuple[list[int], Any] = ([], None)
        self.tokens = 0

    @property
    def shares(self) -> bool:
        """Whether shared prefixes are processed once; if not, only equal inputs are."""
        return self._shares

    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Scores in order. Every request has at least one input and one target."""
        order = sorted(range(len(requests)), key=lambda index: requests[index].inputs)
        result: list[Score | None] = [None] * len(requests)
        self._held = ([], None)
        groups = self._groups([requests[index] for index in order])
        at = 0
        for number, group in enumerate(groups):
            logits = self._run(group, groups[number + 1] if number + 1 < len(groups) else None)
            for inputs, rows in zip(group.inputs, logits, strict=True):
                likelihoods = rows.float().log_softmax(-1)
                while at < len(order) and requests[order[at]].inputs == inputs:
                    result[order[at]] = _score(likelihoods, requests[order[at]].targets)
                    at += 1
        self._held = ([], None)
        return [score for score in result if score is not None]

    def _groups(self, ordered: list[Request]) -> list[_Group]:
        groups: list[_Group] = []
        for request in ordered:
            inputs, scored = request.inputs, len(request.targets)
            if groups and groups[-1].inputs[-1] == inputs:
                group = groups[-1]
                group.scored[-1] = max(group.scored[-1], scored)
                group.prefix = min(group.prefix, len(inputs) - scored)
                continue
            alone = _Group([inputs], [scored], len(inputs) - scored if self._shares else 0)
            if groups and (joined := self._join(groups[-1], alone)):
                groups[-1] = joined
            else:
                groups.append(alone)
        return groups

    def _join(self, group: _Group, other: _Group) -> _Group | None:
        """Both as one group, if that fits the budget and costs no more than running them one after the other."""
        prefix = min(group.prefix, other.prefix, common_prefix(group.inputs[-1], other.inputs[0]))
        joined = _Group(group.inputs + other.inputs, group.scored + other.scored, prefix if prefix >= _WORTH else 0)
        size = len(joined.inputs) * joined.width
        apart = len(group.inputs) * group.width + group.prefix + len(other.inputs[0])
        return joined if size <= self._budget and size + joined.prefix <= 1.2 * apart else None

    def _run(self, group: _Group, following: _Group | None) -> list[Tensor]:
        """For each input of a group, the logits [scored, vocabulary] at its last tokens."""
        cache = self._prefix(group, following) if group.prefix else None
        if cache is not None and len(group.inputs) > 1:
            cache.reorder_cache(torch.zeros(len(group.inputs), dtype=torch.int64, device=self._device))
        rests = [inputs[group.prefix :] for inputs in group.inputs]
        width = group.width
        padded = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests], device=self._device)
        first = min(len(rest) - scored for rest, scored in zip(rests, group.scored, strict=True))
        logits = self._forward(padded, cache, width - first)
        first = width - logits.shape[1]
        return [
            logits[row, len(rest) - scored - first : len(rest) - first]
            for row, (rest, scored) in enumerate(zip(rests, group.scored, strict=True))
        ]

    def _prefix(self, group: _Group, following: _Group | None) -> Any:
        """The cache of a group's prefix. What the next group's prefix begins with, too, is held for it."""
        prefix = group.inputs[0][: group.prefix]
        tokens, held = self._held
        if held is None or prefix[: len(tokens)] != tokens:
            tokens, held = [], DynamicCache(config=self._model.config)
        common = common_prefix(prefix, following.inputs[0][: following.prefix]) if following else 0
        if common > len(tokens):
            self._extend(held, prefix[len(tokens) : common])
            tokens = prefix[:common]
        self._held = (tokens, held if tokens else None)
        cache = copy.deepcopy(held) if tokens else DynamicCache(config=self._model.config)
        self._extend(cache, prefix[len(tokens) :])
        return cache

    def _extend(self, cache: Any, tokens: list[int]) -> None:
        for start in range(0, len(tokens), self._budget):
            part = torch.tensor([tokens[start : start + self._budget]], device=self._device)
            self._forward(part, cache, 1)

    def _forward(self, tokens: Tensor, cache: Any, keep: int) -> Tensor:
        """Logits [rows, at least ``keep`` last tokens, vocabulary]."""
        options: dict[str, Any] = {"use_cache": cache is not None} if "use_cache" in self._parameters else {}
        if cache is not None:
            options["past_key_values"] = cache
        if "logits_to_keep" in self._parameters:
            options["logits_to_keep"] = keep
        self.tokens += tokens.numel()
        logits: Tensor = self._model(tokens, **options).logits
        return logits


class FallbackDecoder:
    """Generation with transformers' own loop, in batches of prompts of equal length."""

    def __init__(self, model: Any, budget: int) -> None:
        self._model = model
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
        """As ``torch_decode.Decoder.generate``."""
        result: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), prompts[index]))
        while order and max_tokens > 0:
            length = len(prompts[order[0]])
            most = max(1, self._budget // (length + max_tokens))
            taken = [index for index in order[:most] if len(prompts[index]) == length]
            order = order[len(taken) :]
            made = self._batch([prompts[index] for index in taken], max_tokens, stops, halt, sample)
            for index, output in zip(taken, made, strict=True):
                result[index] = output
        return result

    def _batch(
        self,
        prompts: list[list[int]],
        max_tokens: int,
        stops: frozenset[int],
        halt: Halt | None,
        sample: Sample | None,
    ) -> list[list[int]]:
        length = len(prompts[0])
        make: Any = GenerationConfig
        config = make(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_tokens,
            eos_token_id=sorted(stops) or None,
            pad_token_id=min(stops, default=0),
        )
        criteria = StoppingCriteriaList([_Halting(halt, length)] if halt else [])
        drawn = LogitsProcessorList([Drawn([sample(prompt) for prompt in prompts])] if sample else [])
        tokens = torch.tensor(prompts, device=self._model.device)
        made = self._model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=config,
            stopping_criteria=criteria,
            logits_processor=drawn,
        )
        result = []
        for row in made[:, length:].tolist():
            end = next((place for place, token in enumerate(row) if token in stops), len(row))
            if halt:
                end = next((place for place in range(1, end + 1) if halt(row[:place])), end)
            self.tokens += end
            result.append(row[:end])
        self.tokens += tokens.numel()
        return result


class _Halting(StoppingCriteria):
    """Ends a row when ``halt`` says that its generated tokens are enough."""

    def __init__(self, halt: Halt, length: int) -> None:
        self._halt = halt
        self._length = length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:  # noqa: ARG002
        done = [self._halt(row[self._length :]) for row in input_ids.tolist()]
        return torch.tensor(done, device=input_ids.device)


def _keeps_plain_cache(model: Any, parameters: Any) -> bool:
    """Whether the model's cache is of keys and values alone, told by transformers' own choice of cache layers."""
    if "past_key_values" not in parameters or "use_cache" not in parameters:
        return False
    if getattr(model, "_is_stateful", False):
        return False
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception:  # a config that transformers has no cache for: run it without
        return False
    return all(type(layer).__name__ in _PLAIN_CACHES for layer in layers)


def _score(likelihoods: Tensor, targets: list[int]) -> Score:
    rows = likelihoods[-len(targets) :]
    wanted = torch.tensor(targets, device=rows.device)
    chosen = rows.gather(1, wanted[:, None])[:, 0]
    return Score(float(chosen.double().sum()), bool((rows.argmax(-1) == wanted).all()))
