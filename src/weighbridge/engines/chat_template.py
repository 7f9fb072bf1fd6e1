"""A checkpoint's chat template: messages in, the text that the model sees out, within bounds whatever it says."""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError
from weighbridge.rendering import Renderer

_REMEDY = "look at it with `weighbridge measure integrity`; release one that only puts messages into a form"


class ChatTemplate:
    """``source`` with the special tokens that it may write (``bos_token`` and the like); ``where`` names its file."""

    def __init__(self, source: str, tokens: Mapping[str, str | list[str]], *, where: str) -> None:
        self._source = source
        self._tokens = dict(tokens)
        self._where = where
        self._renderer = Renderer("weighbridge.engines.chat_dialect", error=EngineError, remedy=_REMEDY)

    def turn(self, prompt: str, decoding: Decoding) -> str:
        """One user turn after the system prompt of ``decoding``, if it has one, up to where the answer begins, and
        what it is made to begin with.

        Raises ``EngineError`` where the template fails or goes past its bounds.
        """
        system = [] if decoding.system is None else [{"role": "system", "content": decoding.system}]
        variables = {
            **self._tokens,
            "messages": [*system, {"role": "user", "content": prompt}],
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        }
        return self._renderer.render(self._source, variables, where=self._where) + decoding.prefill

    def close(self) -> None:
        """End the process that renders. Idempotent."""
        self._renderer.close()
