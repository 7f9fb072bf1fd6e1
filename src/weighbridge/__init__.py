"""Weighbridge: release engineering for language models. Checkpoint, evidence, decision, release.

    import weighbridge as wb

    checkpoint = wb.open_checkpoint("my-model")
    policy = wb.load_policy("default")
    weighing = wb.weigh(checkpoint, policy, "weighing", budget=600)
    print(weighing.judgement.tier)
    wb.decide("weighing", policy, weighing.judgement, key="decider.key")

Names load their module when they are used: importing this package loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Checkpoint": "weighbridge.checkpoint",
    "Decision": "weighbridge.decision",
    "Evidence": "weighbridge.evidence",
    "Judgement": "weighbridge.verdicts",
    "Policy": "weighbridge.policy",
    "Workspace": "weighbridge.workspace",
    "decide": "weighbridge.api",
    "judge": "weighbridge.judge",
    "load_policy": "weighbridge.api",
    "open_checkpoint": "weighbridge.api",
    "release": "weighbridge.api",
    "verify": "weighbridge.api",
    "weigh": "weighbridge.api",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
