"""The gateway's clock: the one place where its parts and its commands read the time of day."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
