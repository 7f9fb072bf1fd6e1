"""The suites and batteries of attacks that ship with Weighbridge, by name: the version that a policy means where it
pins none. Pure data.

A built-in name must mean the same questions wherever it stands, or evidence on an easy suite of somebody's own would
count for it, or a battery of one weak attack. So nothing else can take one, and a policy that is read has the digest
written beside the name.
"""

from __future__ import annotations

SUITES = {
    "general": "sha256:e2b645652ec0a329f1b3c4eb6f1b230323b097d920cfa5ca2a3fd629ddd1b46a",
    "unsafe": "sha256:0971a6984c0f4798d0a9b7d79dcfa0d32d28b6fc4c8d96f4ad62bca46720b6f6",
    "harmless": "sha256:44b6dbf72bd0fdb0bf3329887699d57a350bd79f731d8680e8ccafdde4fd107b",
    "texts": "sha256:8210da46a20e888786f45dd694f58293abe1976626393688935448a96b3a6e38",
}
"""Name -> digest of the suite in ``suites/data``; a test compares the two."""

BATTERIES = {
    "default": "sha256:238c56ea387c2d9b021c1a41f81dbbc2baaa52803213b6a5f01e1a81ad0a5c43",
    "leakage": "sha256:3858fc999fe172cc8e19a52730f6df75e3520fad9983290f3dc54084d83d8aff",
}
"""Name -> digest of the battery: of ``{attack id: digest of the attack}``; a test compares the two."""

BATTERY_OF = {"tampering": "default", "leakage": "leakage"}
"""The battery that a line on an attacked metric of a measure means where it names none."""

LM_EVAL = "lm-eval:"
"""How names of lm-eval's tasks begin."""


def reserved(name: str) -> bool:
    """Whether ``name`` says by itself which suite it is, so that nothing else may be called so."""
    return name in SUITES or name.startswith(LM_EVAL)
