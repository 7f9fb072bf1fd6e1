"""Copies of answers for requests that carry an Idempotency-Key: encrypted, kept for a day, at most a megabyte.

That a key was used is remembered for ever; what the answer was, for ``KEPT``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.terms import Refused, Replay, Retained

KEPT = 24 * 3600 * 1000
LARGEST_COPY = 1_000_000
RETRY = 1000
"""Milliseconds after which a client whose first request is still in flight may ask again."""


class Copies:
    """Seals and opens copies. Each is bound to its intent, status and content type."""

    def __init__(self, secret: Secret) -> None:
        self._cipher = AESGCM(secret.derive("copies of answers"))
        self._headers = secret.derive("idempotency keys")

    def header(self, text: str) -> bytes:
        """What the ledger keeps of an Idempotency-Key, which may say anything: 32 bytes."""
        return hmac.digest(self._headers, text.encode("utf-8", "surrogatepass"), "sha256")

    def seal(self, intent: str, answer: Retained) -> tuple[bytes, bytes] | None:
        """(nonce, ciphertext) of an answer, or None if it is too large to keep."""
        if len(answer.body) > LARGEST_COPY:
            return None
        nonce = secrets.token_bytes(12)
        return nonce, self._cipher.encrypt(nonce, answer.body, _bound(intent, answer.status, answer.content_type))

    def open(self, intent: str, status: int, content_type: str, nonce: bytes, sealed: bytes) -> Replay | None:
        """The answer, or None if the copy was changed or the secret is another one."""
        try:
            body = self._cipher.decrypt(nonce, sealed, _bound(intent, status, content_type))
        except InvalidTag:
            return None
        return Replay(intent, status, content_type, body)


def _bound(intent: str, status: int, content_type: str) -> bytes:
    return hashlib.sha256(f"{intent}\n{status}\n{content_type}".encode()).digest()


OTHER_BODY = Refused(
    422,
    "invalid_request_error",
    "idempotency_key_reused",
    "This Idempotency-Key was used with another request body.",
    should_retry=False,
)
IN_FLIGHT = Refused(
    409,
    "invalid_request_error",
    "request_in_flight",
    "The first request with this Idempotency-Key is still in flight.",
    retry_after=RETRY,
)
UNKNOWN = Refused(
    409,
    "invalid_request_error",
    "outcome_unknown",
    "How the first request with this Idempotency-Key ended is not known; it is not dispatched again.",
    should_retry=False,
)
NOT_RETAINED = Refused(
    409,
    "invalid_request_error",
    "response_not_retained",
    "The first request with this Idempotency-Key has finished, and its answer is no longer kept.",
    should_retry=False,
)
