"""Why nothing is admitted, as the client reads it. Limits have their own words in ``limits``."""

from __future__ import annotations

from weighbridge.gateway.rules.terms import Refused


def _no_key(message: str) -> Refused:
    return Refused(401, "invalid_request_error", "invalid_api_key", message, should_retry=False)


NO_SUCH_KEY = _no_key("Incorrect API key provided.")
REVOKED = _no_key("This API key has been revoked.")
EXPIRED = _no_key("This API key has expired.")

CLOCK = Refused(
    503,
    "server_error",
    "clock_behind",
    "The gateway's clock is behind its ledger; nothing is admitted until it is right.",
    retry_after=60_000,
)


def no_model(name: str) -> Refused:
    """The same words whether the model does not exist or the key may not use it."""
    return Refused(
        404,
        "invalid_request_error",
        "model_not_found",
        f"The model {name!r} does not exist or you do not have access to it.",
        param="model",
        should_retry=False,
    )


def no_price(name: str, currency: str) -> Refused:
    return Refused(
        503,
        "server_error",
        "no_price",
        f"No price in {currency} is valid now for {name!r}; nothing is served unpriced.",
        retry_after=60_000,
    )
