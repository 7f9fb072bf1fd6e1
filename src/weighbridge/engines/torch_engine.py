"""The torch engine: scores and generates with a Hugging Face directory, on CPU or CUDA. A Scorer and a Generator.

Which of two ways a sequence goes is in the settings (see ``torch_settings``): as part of a prefix tree through the
lean forward, or as part of a shared-prefix batch through transformers' own.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from weighbridge.canonical import Json
from weighbridge.engines import torch_settings
from weighbridge.engines.chat_template import ChatTemplate
from weighbridge.engines.interface import Decoding, Score
from weighbridge.engines.tokenize import Request, Splitter
from weighbridge.engines.torch_decode import Decoder, Halt
from weighbridge.engines.torch_fallback import FallbackDecoder, FallbackScorer
from weighbridge.engines.torch_lean import LeanModel
from weighbridge.engines.torch_model import Loaded, engine_errors, give_back_memory, load
from weighbridge.engines.torch_sampling import Sample, sampling
from weighbridge.engines.torch_tree import TreeScorer
from weighbridge.errors import EngineError

_WINDOW_PAIRS = 4096  # pairs that are tokenised at a time
_WINDOW_CHARACTERS = 4_000_000
_TOKEN_BUDGET = {"cpu": 2048, "cuda": 4096}  # on CPU, products of 2,000 rows are up to 8 % faster than of 600
_SLOT_BUDGET = 5  # tokens held while generating, per token of the budget; and no more than a share of the model:
_SLOT_BYTES = 32 * 2**20  # plus a quarter of the weights


class TorchEngine:
    """A loaded model.

    ``token_budget`` is the most tokens in one forward pass; memory beyond the model is a few such passes and the
    longest sequence, however many pairs are given. It shapes no result beyond float rounding. ``add_bos_token``
    None leaves it to the tokenizer, as lm-eval does. Raises ``EngineError`` for whatever cannot be loaded.
    """

    def __init__(
        self,
        root: Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        token_budget: int | None = None,
        add_bos_token: bool | None = None,
    ) -> None:
        self._plan = torch_settings.plan_for(root, device=device, dtype=dtype, add_bos_token=add_bos_token)
        loaded = load(self._plan)
        self._loaded: Loaded | None = loaded
        budget = _TOKEN_BUDGET[loaded.device.type] if token_budget is None else token_budget
        if budget < 1:
            raise EngineError(f"a token budget of {budget}", remedy="use at least 1")
        self._template: ChatTemplate | None = None
        self._splitter = Splitter(loaded.tokenizer, self._plan.max_length, add_bos_token)
        self._fallback = FallbackScorer(loaded.model, budget)
        self._fallback_decoder = FallbackDecoder(loaded.model, _SLOT_BUDGET * budget)
        self._tree: TreeScorer | None = None
        self._decoder: Decoder | None = None
        if self._plan.mode.name == "tree":
            with engine_errors("the model cannot be prepared"):
                lean = LeanModel(loaded.model)
            give_back_memory()
            self._tree = TreeScorer(lean, budget)
            held = sum(parameter.nbytes for parameter in loaded.model.parameters()) // 4 + _SLOT_BYTES
            slots = min(_SLOT_BUDGET * budget, held // lean.row_bytes)
            self._decoder = Decoder(lean, pack=budget, budget=slots)

    @property
    def settings(self) -> Mapping[str, Json]:
        """What shapes the answer; ``torch_settings.settings_for`` tells the same without loading."""
        return self._plan.settings

    @property
    def producer(self) -> Mapping[str, str]:
        """Versions of what computes."""
        return torch_settings.producer()

    @property
    def facts(self) -> Mapping[str, Json]:
        """Details for people: how sequences are scored, and why so."""
        return {"mode": self._plan.mode.name, "why": self._plan.mode.why, "shares_prefixes": self._shares}

    @property
    def tokens(self) -> int:
        """Tokens processed so far."""
        parts = (self._tree, self._decoder, self._fallback, self._fallback_decoder)
        return sum(part.tokens for part in parts if part is not None)

    def close(self) -> None:
        """Free the model. Idempotent."""
        if self._loaded is None:
            return
        device = self._loaded.device
        self._loaded = None
        if self._template is not None:
            self._template.close()
        for name in ("_tree", "_decoder"):
            setattr(self, name, None)
        del self._fallback, self._fallback_decoder
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        give_back_memory()

    @property
    def model(self) -> Any:
        """The model of transformers; what is computed with are its very parameters."""
        self._require_open()
        assert self._loaded is not None
        return self._loaded.model

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer, of transformers."""
        self._require_open()
        assert self._loaded is not None
        return self._loaded.tokenizer

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint has a chat template."""
        return self._loaded is not None and bool(getattr(self._loaded.tokenizer, "chat_template", None))

    def written(self, prompt: str, decoding: Decoding) -> str:
        """The text that the model sees of a user turn under ``decoding``. Raises ``EngineError``."""
        self._require_open()
        assert self._loaded is not None
        if decoding.template == "raw":
            return decoding.document(prompt)
        if self._template is None:
            self._template = self._chat_template(self._loaded.tokenizer)
        return self._template.turn(prompt, decoding)

    def encoded(self, prompt: str, decoding: Decoding) -> list[int]:
        """The tokens of one user turn, ready for the answer. Raises ``EngineError`` where both do not fit."""
        self._require_open()
        assert self._loaded is not None
        text = self.written(prompt, decoding)
        tokens: list[int] = self._loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if not tokens or len(tokens) + decoding.max_tokens > self._plan.max_length:
            raise EngineError(
                f"a prompt of {len(tokens)} tokens and {decoding.max_tokens} new ones do not fit into "
                f"a context of {self._plan.max_length}",
                remedy="ask for fewer tokens, or shorten the prompt",
            )
        return tokens

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Scores of (context, continuation) pairs, in order. NaN where there is nothing to score (a continuation
        without tokens, or with more than the context has) and where the model gives NaN."""
        self._require_open()
        result = [Score(math.nan, False)] * len(pairs)
        for window in _windows(pairs):
            with self._running("scoring failed"):
                found = self._splitter.requests([pairs[index] for index in window])
                asked = [(index, request) for index, request in zip(window, found, strict=True) if request]
                scores = self._score([request for _, request in asked])
            for (index, _), score in zip(asked, scores, strict=True):
                result[index] = score
        return result

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        """Raw continuations of ``contexts``, cut at the first of ``until``, in order."""
        self._require_open()
        with self._running("generation failed"):
            return self._generate(self._splitter.prompt(contexts, max_tokens), max_tokens, until)

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        """Responses to single user turns under the checkpoint's own chat template, in order."""
        self._require_open()
        with self._running("generation failed"):
            if decoding.template == "raw":
                texts = [self.written(prompt, decoding) for prompt in prompts]
                turns = self._splitter.prompt(texts, decoding.max_tokens)
            else:
                turns = [self.encoded(prompt, decoding) for prompt in prompts]
            sample = sampling(decoding.temperature, decoding.seed) if decoding.temperature else None
            return self._generate(turns, decoding.max_tokens, decoding.until, sample)

    def _score(self, requests: list[Request]) -> list[Score]:
        limit = self._plan.mode.limit
        short = [place for place, request in enumerate(requests) if self._tree and len(request.inputs) <= limit]
        long = sorted(set(range(len(requests))) - set(short))
        result: dict[int, Score] = {}
        if self._tree and short:
            result.update(zip(short, self._tree.score([requests[place] for place in short]), strict=True))
        if long:
            result.update(zip(long, self._fallback.score([requests[place] for place in long]), strict=True))
        return [result[place] for place in range(len(requests))]

    def _generate(
        self, prompts: list[list[int]], max_tokens: int, until: Sequence[str], sample: Sample | None = None
    ) -> list[str]:
        assert self._loaded is not None
        ends = [text for text in until if text]
        halt = _halting(self._loaded.tokenizer, ends) if ends else None
        limit = self._plan.mode.limit
        lean = [place for place, prompt in enumerate(prompts) if len(prompt) + max_tokens <= limit and self._decoder]
        rest = sorted(set(range(len(prompts))) - set(lean))
        outputs: dict[int, list[int]] = {}
        if self._tree is not None:
            self._tree.forget()  # its room is needed for the slots
        for decoder, places in ((self._decoder, lean), (self._fallback_decoder, rest)):
            if decoder is not None and places:
                made = decoder.generate(
                    [prompts[place] for place in places], max_tokens, self._loaded.stops, halt, sample
                )
                outputs.update(zip(places, made, strict=True))
        texts = [
            self._loaded.tokenizer.decode(outputs[place], skip_special_tokens=True) for place in range(len(prompts))
        ]
        return [_cut(text, ends) for text in texts]

    def _chat_template(self, tokenizer: Any) -> ChatTemplate:
        if not getattr(tokenizer, "chat_template", None):
            raise EngineError(
                "the checkpoint has no chat template",
                where=str(self._plan.root),
                remedy="measure it as a base model, or release the template with it",
            )
        own = self._plan.root / "chat_template.jinja"
        where = own if own.is_file() else self._plan.root / "tokenizer_config.json"
        return ChatTemplate(tokenizer.get_chat_template(), tokenizer.special_tokens_map, where=str(where))

    @property
    def _shares(self) -> bool:
        return self._plan.mode.name == "tree" or (self._loaded is not None and self._fallback.shares)

    def _require_open(self) -> None:
        if self._loaded is None:
            raise EngineError("the engine was closed")

    @contextlib.contextmanager
    def _running(self, doing: str) -> Iterator[None]:
        """Inference mode, foreign errors wrapped; after a failure nothing half computed stays warm."""
        try:
            with engine_errors(doing), torch.inference_mode():
                yield
        except BaseException:
            if self._tree is not None:
                self._tree.forget()
            raise


def _windows(pairs: Sequence[tuple[str, str]]) -> Iterator[list[int]]:
    """Indices of pairs in the order of their texts, so that neighbours share prefixes, a bounded number at a time."""
    window: list[int] = []
    characters = 0
    for index in sorted(range(len(pairs)), key=lambda index: pairs[index]):
        size = len(pairs[index][0]) + len(pairs[index][1])
        if window and (len(window) == _WINDOW_PAIRS or characters + size > _WINDOW_CHARACTERS):
            yield window
            window, characters = [], 0
        window.append(index)
        characters += size
    if window:
        yield window


def _halting(tokenizer: Any, ends: Sequence[str]) -> Halt:
    """Whether generated tokens hold one of ``ends``. Looks at the last tokens only; the final cut looks at all."""
    reach = max(map(len, ends)) + 8  # a token may stand for less than a character

    def halt(tokens: list[int]) -> bool:
        text = tokenizer.decode(tokens[-reach:], skip_special_tokens=True)
        return any(end in text for end in ends)

    return halt


def _cut(text: str, ends: Sequence[str]) -> str:
    return min((text[: text.index(end)] for end in ends if end in text), key=len, default=text)
