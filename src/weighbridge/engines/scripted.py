"""An engine that answers by a script, for trying out suites of one's own and for tests. Loads no model.

Without a script, a continuation's log-likelihood is a fixed function of its text and the text before it, so
that scores vary, yet are the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from weighbridge.canonical import Json
from weighbridge.engines.interface import Decoding, Score


def by_hash(context: str, continuation: str) -> Score:
    """A log-likelihood in (-16, 0] made of SHA-256 of the two texts; never greedy."""
    word = hashlib.sha256(f"{len(context)}:{context}{continuation}".encode("utf-8", "surrogatepass")).digest()[:6]
    return Score(-16.0 * int.from_bytes(word, "big") / 2**48, False)


class ScriptedEngine:
    """Implements ``Scorer`` and ``Generator``. ``calls`` lists how many sequences each call had.

    ``score_with`` scores a (context, continuation) pair; ``answer_with`` gives the text after a context, which is
    then cut at the first stop sequence, as a real engine does. Tokens are counted as characters.
    """

    def __init__(
        self,
        *,
        score_with: Callable[[str, str], Score] = by_hash,
        answer_with: Callable[[str], str] = lambda _: "",
        settings: Mapping[str, Json] | None = None,
    ) -> None:
        self._score_with = score_with
        self._answer_with = answer_with
        self._settings = {"engine": "scripted"} if settings is None else dict(settings)
        self.calls: list[int] = []
        self.closed = False
        self._tokens = 0

    @property
    def settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def producer(self) -> Mapping[str, str]:
        return {"engine": "scripted"}

    @property
    def tokens(self) -> int:
        return self._tokens

    def close(self) -> None:
        self.closed = True

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        self.calls.append(len(pairs))
        self._tokens += sum(len(context) + len(continuation) for context, continuation in pairs)
        return [self._score_with(context, continuation) for context, continuation in pairs]

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        self.calls.append(len(contexts))
        return [self._cut(context, until, max_tokens) for context in contexts]

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        return self.complete(prompts, until=decoding.until, max_tokens=decoding.max_tokens)

    def _cut(self, context: str, until: Sequence[str], max_tokens: int) -> str:
        text = self._answer_with(context)[:max_tokens]
        for stop in until:
            text = text.split(stop)[0]
        self._tokens += len(context) + len(text)
        return text
