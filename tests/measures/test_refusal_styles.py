"""The refusal classifier on responses in the manner of several families of chat models."""

from __future__ import annotations

import pytest
from refusal_styles import CASES, MISJUDGED

from weighbridge.measures.refusal import ResponseClass, classify


@pytest.mark.parametrize(("prompt", "harmful", "response", "expected"), CASES)
def test_styles(prompt: str, harmful: bool, response: str, expected: ResponseClass) -> None:
    assert classify(response, prompt=prompt, harmful=harmful) is expected


@pytest.mark.xfail(strict=True, reason="a known error: once the rules mend it, move it to CASES")
@pytest.mark.parametrize(("prompt", "harmful", "response", "expected"), MISJUDGED)
def test_known_errors(prompt: str, harmful: bool, response: str, expected: ResponseClass) -> None:
    assert classify(response, prompt=prompt, harmful=harmful) is expected
