"""A model behind an OpenAI-compatible endpoint, over HTTP: as the model that is asked, or as a judge. Generates only.

What such an endpoint serves cannot be hashed from here: settings name the address and the model, nothing more, and
evidence from it says so. Keys are read from the environment and appear in no setting, message or log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError, InputError

if TYPE_CHECKING:
    import httpx

MAX_REPLY_BYTES = 4 * 1024 * 1024
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 30.0  # seconds, however long the endpoint asks us to wait


def settings_for(url: str, model: str) -> dict[str, Json]:
    """The settings of an ``OpenAIEndpoint`` with these arguments. Raises ``InputError`` for a bad address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("not an http(s) address", where=url, remedy="give the base address, as https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "the address carries more than host, port and path",
            where=f"{parts.scheme}://{parts.hostname}",
            remedy="put the key into an environment variable and name that",
        )
    return {"engine": "openai-endpoint", "url": url.rstrip("/"), "model": model}


class OpenAIEndpoint:
    """Implements ``Generator`` over HTTP.

    ``key_variable`` names the environment variable that holds the API key, if one is needed. ``timeout`` is in
    seconds for one try; a try that meets a connection error or a passing status (408, 429, 5xx) is repeated at most
    ``retries`` times with growing pauses. ``parallel`` requests are under way at a time. ``transport`` and ``sleep``
    are for tests. Raises ``InputError`` for bad arguments; calls raise ``EngineError``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        parallel: int = 4,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings_for(url, model)
        self._url = url.rstrip("/")
        self._model = model
        self._retries = retries
        self._sleep = sleep
        headers = {}
        if key_variable is not None:
            key = os.environ.get(key_variable)
            if not key:
                raise InputError(f"the environment variable {key_variable} is not set", where=url)
            headers["Authorization"] = f"Bearer {key}"
        httpx = _httpx()
        self._httpx = httpx
        self._client = httpx.Client(headers=headers, timeout=timeout, transport=transport, follow_redirects=False)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="endpoint")
        self._tokens = 0

    @property
    def settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def producer(self) -> Mapping[str, str]:
        return {"httpx": str(self._httpx.__version__)}

    @property
    def tokens(self) -> int:
        """Tokens processed, as far as the endpoint reports them."""
        return self._tokens

    def close(self) -> None:
        self._pool.shutdown()
        self._client.close()

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        """Raw continuations, from ``/completions``. Raises ``EngineError``."""
        bodies = [{"prompt": context, **self._greedy(max_tokens, until)} for context in contexts]
        return list(self._pool.map(lambda body: self._ask("completions", body, ("text",)), bodies))

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        """Responses to single user turns, from ``/chat/completions``. Raises ``EngineError``."""
        if decoding.prefill or decoding.template != "chat" or decoding.temperature:
            raise EngineError(
                "an endpoint applies its own template and draws by its own chance: no prefill, no raw prompt, no seed",
                where=self._url,
                remedy="use a checkpoint that is at hand",
            )
        system = [] if decoding.system is None else [{"role": "system", "content": decoding.system}]
        bodies = [
            {
                "messages": [*system, {"role": "user", "content": prompt}],
                **self._greedy(decoding.max_tokens, decoding.until),
            }
            for prompt in prompts
        ]
        return list(self._pool.map(lambda body: self._ask("chat/completions", body, ("message", "content")), bodies))

    def _greedy(self, max_tokens: int, until: Sequence[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "max_tokens": max_tokens, "temperature": 0}
        return {**body, "stop": list(until)} if until else body

    def _ask(self, path: str, body: Mapping[str, Any], keys: Sequence[str]) -> str:
        where = f"{self._url}/{path}"
        reply = self._parsed(self._post(where, body), where)
        try:
            found = reply["choices"][0]
            for key in keys:
                found = found[key]
            used = reply.get("usage") or {}
            self._tokens += int(used.get("total_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as cause:
            raise EngineError(
                f"the reply has no {'.'.join(('choices[0]', *keys))}", where=where, remedy="is it OpenAI-compatible?"
            ) from cause
        if found is not None and not isinstance(found, str):
            raise EngineError("the reply's text is no text", where=where)
        return found or ""

    def _parsed(self, data: bytes, where: str) -> Any:
        try:
            return canonical.loads(data, where=where)
        except InputError as cause:
            raise EngineError(f"the reply cannot be read: {cause.message}", where=where) from cause

    def _post(self, where: str, body: Mapping[str, Any]) -> bytes:
        problem = ""
        for attempt in range(self._retries + 1):
            wait = min(2.0**attempt, _LONGEST_WAIT)
            try:
                with self._client.stream("POST", where, json=body) as response:
                    data = self._bounded(response, where)
                if response.status_code == 200:
                    return data
                problem = f"status {response.status_code}: {_excerpt(data)}"
                if response.status_code not in _RETRIED:
                    raise EngineError(problem, where=where, remedy="check address, model name and key")
                wait = _asked_wait(response.headers.get("retry-after"), wait)
            except self._httpx.TransportError as cause:
                problem = f"{type(cause).__name__}: {cause}"
            except (self._httpx.HTTPError, self._httpx.InvalidURL) as cause:
                raise EngineError(f"{type(cause).__name__}: {cause}", where=where) from cause
            if attempt < self._retries:
                self._sleep(wait)
        raise EngineError(f"gave up after {self._retries + 1} tries; {problem}", where=where, remedy="is it up?")

    def _bounded(self, response: httpx.Response, where: str) -> bytes:
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > MAX_REPLY_BYTES:
                raise EngineError(f"a reply of more than {MAX_REPLY_BYTES} bytes", where=where)
        return bytes(data)


def _asked_wait(retry_after: str | None, otherwise: float) -> float:
    try:
        return min(max(float(retry_after or ""), 0.0), _LONGEST_WAIT)
    except ValueError:
        return otherwise


def _excerpt(data: bytes) -> str:
    return " ".join(data[:300].decode("utf-8", "replace").split())


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise EngineError("the package httpx is not installed", remedy="pip install httpx") from None
    return httpx
