"""Text to tokens exactly as lm-evaluation-harness 0.4.13 does it for causal models, so that scores agree.

The rules, each checked against its Hugging Face backend in the tests: trailing whitespace of the context moves to the
continuation; context + continuation are encoded together and split after as many tokens as the context alone
has; a text that already begins with the prefix token gets no special tokens; an empty context becomes the
prefix token (BOS, else EOS); what is too long loses tokens on the left. Knows tokenizers, no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.errors import EngineError


@dataclass(frozen=True, slots=True)
class Request:
    """What the model is to process for one (context, continuation) pair.

    ``inputs`` are the tokens to run through the model: everything but the last one. The logits at the last
    ``len(targets)`` of them are asked for ``targets``.
    """

    inputs: list[int]
    targets: list[int]


class Splitter:
    """Encodes texts with a Hugging Face tokenizer. ``add_bos_token`` None leaves it to the tokenizer, as in lm-eval.

    ``max_length`` is the model's context in tokens.
    """

    def __init__(self, tokenizer: Any, max_length: int, add_bos_token: bool | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.add_bos_token = add_bos_token
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.prefix_token: int | None = bos if bos is not None else eos
        # lm-eval decodes the prefix token to recognise it at the start of a text.
        self.prefix_text: str | None = None if self.prefix_token is None else tokenizer.decode(self.prefix_token)

    def requests(self, pairs: Sequence[tuple[str, str]]) -> list[Request | None]:
        """One request per pair; None where there is nothing to score (no continuation token, or more than fit)."""
        moved = [move_trailing_space(context, continuation) if context else None for context, continuation in pairs]
        texts = {text for pair in moved if pair for text in (pair[0], pair[0] + pair[1])}
        encoded = self._encode_all(texts)
        bare = self._encode(
            {continuation for context, continuation in pairs if not context}, {"add_special_tokens": False}
        )
        result: list[Request | None] = []
        for (_, continuation), pair in zip(pairs, moved, strict=True):
            if pair is None:
                before, after = self._without_context(bare[continuation])
            else:
                before = encoded[pair[0]]
                after = encoded[pair[0] + pair[1]][len(before) :]
            result.append(self._fit(before, after))
        return result

    def prompt(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Token lists to generate from: as lm-eval encodes them, cut on the left to leave room for ``max_tokens``."""
        room = self.max_length - max_tokens
        if room <= 0:
            raise EngineError(
                f"{max_tokens} new tokens do not fit into a context of {self.max_length}",
                remedy="ask for fewer tokens",
            )
        encoded = self._encode_all(set(texts))
        result = [encoded[text][-room:] for text in texts]
        if any(not tokens for tokens in result):
            if self.prefix_token is None:
                raise EngineError("an empty prompt, and the tokenizer has neither a BOS nor an EOS token")
            result = [tokens or [self.prefix_token] for tokens in result]
        return result

    def _without_context(self, after: list[int]) -> tuple[list[int], list[int]]:
        if self.prefix_token is None:
            raise EngineError(
                "an empty context, and the tokenizer has neither a BOS nor an EOS token to stand in for it",
                remedy="give every item a context",
            )
        if after and after[0] == self.prefix_token:
            return after[:1], after[1:]
        return [self.prefix_token], after

    def _fit(self, before: list[int], after: list[int]) -> Request | None:
        if not before or not 0 < len(after) <= self.max_length:
            return None
        return Request((before + after)[-(self.max_length + 1) :][:-1], after)

    def _encode_all(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Text -> tokens, with the special tokens that lm-eval would add."""
        plain: set[str] = set()
        started: set[str] = set()
        for text in texts:
            begins = self.prefix_text is not None and text.startswith(self.prefix_text)
            (started if begins else plain).add(text)
        options = {} if self.add_bos_token is None else {"add_special_tokens": self.add_bos_token}
        return self._encode(plain, options) | self._encode(started, {"add_special_tokens": False})

    def _encode(self, texts: set[str], options: dict[str, bool]) -> dict[str, list[int]]:
        if not texts:
            return {}
        ordered = sorted(texts)
        try:
            batch = self.tokenizer(
                ordered, return_attention_mask=False, return_token_type_ids=False, verbose=False, **options
            )
        except Exception as error:  # the tokenizer is foreign code: whatever it raises stops here
            raise EngineError(f"the tokenizer failed: {error}", remedy="check the checkpoint's tokenizer") from error
        return dict(zip(ordered, batch["input_ids"], strict=True))


def move_trailing_space(context: str, continuation: str) -> tuple[str, str]:
    """The pair with the context's trailing whitespace moved to the front of the continuation."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation
