"""What a measure may ask of a model, whatever runs it. Implementations sit beside this file and are imported last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from weighbridge.canonical import Json


@dataclass(frozen=True, slots=True)
class Score:
    """One scored continuation: summed log-likelihood in nats, and whether greedy decoding would produce it.

    ``loglikelihood`` is NaN where the model produced NaN; the measure turns that into a failed item.
    """

    loglikelihood: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a response is generated. Part of the question.

    ``system`` is the system prompt (None: what the template puts there by itself). ``prefill`` is what the response is
    made to begin with; it is no part of the text that is returned. ``template`` "raw" puts the prompt alone before the
    model, an empty line and then the prefill, as a document to go on with. ``temperature`` 0 is greedy; above, tokens
    are drawn from the softmax of logits / temperature, by ``seed`` and the prompt alone, whatever is asked beside it.
    """

    max_tokens: int
    system: str | None = None
    until: tuple[str, ...] = ()
    prefill: str = ""
    template: Literal["chat", "raw"] = "chat"
    temperature: float = 0.0
    seed: int = 0

    @property
    def settings(self) -> dict[str, Json]:
        """What a question holds. What is left at its default, and was added later, is left out: the digests of
        questions that were asked before stay as they are."""
        result: dict[str, Json] = {
            "method": "sampling" if self.temperature else "greedy",
            "max_tokens": self.max_tokens,
            "system": self.system,
            "until": list(self.until),
        }
        if self.prefill:
            result["prefill"] = self.prefill
        if self.template != "chat":
            result["template"] = self.template
        if self.temperature:
            result |= {"temperature": self.temperature, "seed": self.seed}
        return result

    def document(self, prompt: str) -> str:
        """The text that a model sees of ``prompt`` under the template "raw"."""
        return f"{prompt}\n\n{self.prefill}"


class Engine(Protocol):
    """A loaded model. ``settings`` (engine, device, dtype, file loaded and its digest ...) belong to the question and
    are known without loading; ``producer`` (library versions) belongs to the record; ``tokens`` counts the
    tokens processed so far, for progress and cost."""

    @property
    def settings(self) -> Mapping[str, Json]: ...

    @property
    def producer(self) -> Mapping[str, str]: ...

    @property
    def tokens(self) -> int: ...

    def close(self) -> None:
        """Free the model. Idempotent."""
        ...


class Scorer(Engine, Protocol):
    """Scores continuations."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Scores of (context, continuation) pairs, in order, tokenised and split as lm-eval does.

        Results do not depend on the order or the grouping of pairs beyond float rounding. Memory is bounded by
        the engine's token budget, however many pairs are given. Raises ``EngineError``.
        """
        ...


class Generator(Engine, Protocol):
    """Generates text."""

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        """Raw, greedy continuations of ``contexts`` (no chat template), cut at the first of ``until``, in order."""
        ...

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        """Responses to single user turns under the checkpoint's own chat template, in order.

        Raises ``EngineError``, for a decoding too that the engine cannot carry out.
        """
        ...
