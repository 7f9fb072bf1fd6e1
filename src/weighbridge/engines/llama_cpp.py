"""GGUF files through llama.cpp, in this process (the package xllamacpp). Generates only.

The engine reads exactly one file, names it with its digest in its settings, and refuses to go on where the file
changed between hashing and loading. It does not score: llama.cpp's server gives no log-likelihoods of a given
continuation. Converted checkpoints are scored by the torch engine. Nor does llama.cpp render the file's chat template,
which it would do within this process and without bounds, even while loading: ``ChatTemplate`` does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weighbridge.canonical import Json
from weighbridge.checkpoint import hash_file
from weighbridge.checkpoint.gguf_header import GgufHeader, read_gguf_header
from weighbridge.engines.chat_template import ChatTemplate
from weighbridge.engines.interface import Decoding
from weighbridge.errors import CheckpointError, EngineError

_MAGIC = b"GGUF"
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def settings_for(gguf: Path, *, context: int = 2048, parallel: int = 4) -> dict[str, Json]:
    """The settings that a ``LlamaCppEngine`` with these arguments will have: hashes the file, loads nothing.

    ``parallel`` belongs to them because sequences that are decoded together can differ in the last bits.
    Raises ``CheckpointError`` for what is no GGUF file.
    """
    if not gguf.is_file():
        raise CheckpointError("no such file", where=str(gguf), remedy="name one .gguf file")
    try:
        with gguf.open("rb") as stream:
            magic = stream.read(4)
    except OSError as cause:
        raise CheckpointError(cause.strerror or str(cause), where=str(gguf)) from cause
    if magic != _MAGIC:
        raise CheckpointError("not a GGUF file", where=str(gguf), remedy="safetensors run on the torch engine")
    return {
        "engine": "llama.cpp",
        "file": gguf.name,
        "file_digest": "sha256:" + hash_file(gguf),
        "context": context,
        "parallel": parallel,
    }


class LlamaCppEngine:
    """Implements ``Generator`` on one GGUF file.

    ``context`` is the number of tokens that one prompt with its response may have, ``parallel`` how many are
    decoded at a time, ``threads`` the CPU threads (all cores where None). Raises ``CheckpointError`` for what is no
    GGUF file and ``EngineError`` where llama.cpp cannot load it.
    """

    def __init__(self, gguf: Path, *, context: int = 2048, parallel: int = 4, threads: int | None = None) -> None:
        if context < 1 or parallel < 1:
            raise EngineError(f"context {context} and parallel {parallel} must be at least 1", where=str(gguf))
        before = _identity(gguf)
        self._settings = settings_for(gguf, context=context, parallel=parallel)
        self._server = _load(gguf, context, parallel, threads)
        header = read_gguf_header(gguf)
        if _identity(gguf) != before:
            raise EngineError("the file changed while it was loaded", where=str(gguf), remedy="weigh it again")
        self._gguf = gguf
        self._specials = _special_tokens(header)
        self._template = _chat_template(gguf, header, self._specials)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="llama")
        self._tokens = 0
        # One token, so that the server's loop surely runs: closing a server whose loop has not begun waits for ever.
        self._run("handle_completions", [{"prompt": "a", **_sampling(1, ())}], lambda choice: choice["text"])
        self._tokens = 0

    @property
    def settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def producer(self) -> Mapping[str, str]:
        return producer()

    @property
    def tokens(self) -> int:
        return self._tokens

    def close(self) -> None:
        self._pool.shutdown()
        if self._template is not None:
            self._template.close()
        self._server = None

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        """Raw continuations, cut at the first of ``until``. Raises ``EngineError``."""
        requests = [{"prompt": context, **_sampling(max_tokens, until)} for context in contexts]
        return self._run("handle_completions", requests, lambda choice: choice["text"])

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        """Responses under the chat template that the file carries. Raises ``EngineError``."""
        if self._server is None:
            raise EngineError("the engine is closed", where=str(self._gguf))
        if decoding.temperature:
            raise EngineError(
                "sampling in llama.cpp depends on what is asked beside it",
                where=str(self._gguf),
                remedy="decode greedily, or use the torch engine",
            )
        if decoding.template == "raw":
            return self.complete(
                [decoding.document(prompt) for prompt in prompts], until=decoding.until, max_tokens=decoding.max_tokens
            )
        if self._template is None:
            raise EngineError(
                "the file has no chat template",
                where=str(self._gguf),
                remedy="measure it as a base model, or add the template",
            )
        requests = [
            {
                "prompt": self._once_begun(self._template.turn(prompt, decoding)),
                **_sampling(decoding.max_tokens, decoding.until),
            }
            for prompt in prompts
        ]
        return self._run("handle_completions", requests, lambda choice: choice["text"])

    def _once_begun(self, text: str) -> str | list[int | str]:
        """A template may write the BOS that llama.cpp may add too: given as a token, it is not added again."""
        token, written = self._specials.get("bos_token", (0, ""))
        return [token, text.removeprefix(written)] if written and text.startswith(written) else text

    def _run(
        self, method: str, requests: Sequence[Mapping[str, Any]], text_of: Callable[[Any], str | None]
    ) -> list[str]:
        if self._server is None:
            raise EngineError("the engine is closed", where=str(self._gguf))
        handle = getattr(self._server, method)

        def ask(request: Mapping[str, Any]) -> str:
            try:
                reply = handle(dict(request))
            except (ValueError, RuntimeError, TypeError) as cause:
                raise EngineError(f"llama.cpp failed: {cause}", where=str(self._gguf)) from cause
            if not isinstance(reply, dict) or "error" in reply:
                error = reply.get("error") if isinstance(reply, dict) else reply
                message = error.get("message") if isinstance(error, dict) else error
                raise EngineError(f"llama.cpp answered with an error: {message}", where=str(self._gguf))
            self._tokens += int(reply["usage"]["total_tokens"])
            return text_of(reply["choices"][0]) or ""

        return list(self._pool.map(ask, requests))


def _special_tokens(header: GgufHeader) -> dict[str, tuple[int, str]]:
    """Jinja's name of each special token -> its number and text."""
    texts = header.metadata.get("tokenizer.ggml.tokens")
    result = {}
    for name, key in _SPECIAL.items():
        number = header.metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and isinstance(texts, Sequence) and 0 <= number < len(texts):
            result[name] = (number, str(texts[number]))
    return result


def _chat_template(gguf: Path, header: GgufHeader, specials: Mapping[str, tuple[int, str]]) -> ChatTemplate | None:
    source = header.templates().get("default")
    texts = {name: text for name, (_, text) in specials.items()}
    return ChatTemplate(source, texts, where=f"{gguf} at tokenizer.chat_template") if source else None


def producer() -> dict[str, str]:
    """The version of what computes, for the record."""
    try:
        return {"xllamacpp": version("xllamacpp")}
    except PackageNotFoundError:
        raise EngineError("the package xllamacpp is not installed", remedy="pip install xllamacpp") from None


def _sampling(max_tokens: int, until: Sequence[str]) -> dict[str, Any]:
    """Greedy decoding, and nothing carried over from earlier requests."""
    return {
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "top_k": 1,
        "repeat_penalty": 1.0,
        "seed": 0,
        "stop": list(until),
        "cache_prompt": False,
    }


def _identity(gguf: Path) -> tuple[int, int, int] | None:
    try:
        state = gguf.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino


def _load(gguf: Path, context: int, parallel: int, threads: int | None) -> Any:
    producer()
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = context * parallel
    params.n_parallel = parallel
    params.kv_unified = False  # each sequence has its own share of the context
    params.warmup = False
    params.verbosity = 0
    params.use_jinja = False
    params.chat_template = "chatml"  # instead of the file's own, which would be run while loading; not used
    if threads is not None:
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
    # The package also listens; keep that to this machine and behind a key that nobody knows.
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [secrets.token_hex(16)]
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError) as cause:
        raise EngineError(
            f"llama.cpp cannot load the file: {cause}",
            where=str(gguf),
            remedy="check that the file is whole and of an architecture that llama.cpp knows",
        ) from cause
