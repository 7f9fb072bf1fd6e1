"""What the data plane says no with: one error class around the shared ``Refused``, and its usual forms."""

from __future__ import annotations

from weighbridge.errors import WeighbridgeError
from weighbridge.gateway.rules.terms import Refused

INVALID = "invalid_request_error"


class Rejected(WeighbridgeError):
    """A request that ends here; ``refused`` is what the client is told."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message, where=refused.param)
        self.refused = refused


def invalid(message: str, *, code: str, param: str | None = None, status: int = 400) -> Rejected:
    """The request itself is wrong: asking again changes nothing."""
    return Rejected(Refused(status, INVALID, code, message, param, should_retry=False))


def unsupported(param: str) -> Rejected:
    """A field that is not on the list of what is forwarded."""
    return invalid(f"Unsupported parameter: '{param}'.", code="unsupported_parameter", param=param)


def unavailable(message: str, *, code: str, retry_after: int | None) -> Rejected:
    """Not now. ``retry_after`` in milliseconds; None where waiting does not help."""
    retry = retry_after is not None
    return Rejected(Refused(503, "server_error", code, message, retry_after=retry_after, should_retry=retry))


def upstream_failed(message: str, *, status: int = 502, code: str = "upstream_error") -> Rejected:
    """The engine failed after dispatch. Asking again would be a new request with a cost of its own."""
    return Rejected(Refused(status, "server_error", code, message, should_retry=False))
