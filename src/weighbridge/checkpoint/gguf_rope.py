"""Recognise Llama 3's rotary scaling from the factors that a GGUF stores. Pure.

llama.cpp keeps the result of the rule (one factor per rotary pair, ``rope_freqs.weight``), a Hugging Face config its
parameters. The rule, from the Llama 3.1 release: frequencies whose wavelength is below ``original / high`` stay,
those above ``original / low`` are divided by ``factor``, and those between are blended linearly.
"""

from __future__ import annotations

import math
from typing import Any

# The published parameter sets: Llama 3.1 and 3.3 (8), Llama 3.2 (32).
_FACTORS = (8.0, 32.0)
_LOW, _HIGH, _ORIGINAL = 1.0, 4.0, 8192
_TOLERANCE = 1e-5  # relative; stored in float32


def llama3_scaling(factors: list[float], head_dim: int, theta: float) -> dict[str, Any] | None:
    """The ``rope_scaling`` entry whose rule gives ``factors``, or None if none of the known ones does."""
    for factor in _FACTORS:
        expected = llama3_factors(head_dim, theta, factor)
        if len(expected) == len(factors) and all(
            math.isclose(one, other, rel_tol=_TOLERANCE) for one, other in zip(expected, factors, strict=True)
        ):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": _LOW,
                "high_freq_factor": _HIGH,
                "original_max_position_embeddings": _ORIGINAL,
            }
    return None


def llama3_factors(head_dim: int, theta: float, factor: float) -> list[float]:
    """By what each of the ``head_dim // 2`` rotary frequencies is divided."""
    result = []
    for pair in range(head_dim // 2):
        wavelength = 2 * math.pi * theta ** (2 * pair / head_dim)
        if wavelength < _ORIGINAL / _HIGH:
            result.append(1.0)
        elif wavelength > _ORIGINAL / _LOW:
            result.append(factor)
        else:
            smooth = (_ORIGINAL / wavelength - _LOW) / (_HIGH - _LOW)
            result.append(1.0 / ((1.0 - smooth) / factor + smooth))
    return result
