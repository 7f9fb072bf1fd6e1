"""Which artifacts a policy has made, and what each must prove."""

from __future__ import annotations

import pytest

from weighbridge import canonical, policy
from weighbridge.errors import PolicyError

HEAD = "{version: 1, name: p, error_rate: 0.05, expires_after: 9d, tiers: {open: [LINE]}, artifacts: WHAT}"
LINE = "{measure: integrity.findings, at_most: 0}"
OWN = "{measure: capability.accuracy, suite: general, at_least: {baseline: source, margin: -0.05}}"


def load(artifacts: str) -> policy.Policy:
    text = HEAD.replace("LINE", LINE).replace("WHAT", artifacts).replace("OWN", OWN)
    return policy.load(text.encode(), where="p.yaml")


def test_formats_and_lines_are_read_and_nothing_is_lost() -> None:
    rules = load("{formats: [F16, Q4_K_M], lines: [OWN]}")
    assert rules.formats == ("F16", "Q4_K_M")
    assert rules.artifacts[0].path == "$.artifacts.lines[0]"
    again = policy.load(canonical.dumps(rules.to_json()), where="p.json")
    assert again == rules
    assert again.digest == rules.digest
    assert load(f"[{OWN}]").formats == ()
    assert load(f"[{OWN}]").digest != rules.digest


@pytest.mark.parametrize(
    ("artifacts", "place"),
    [
        ("{lines: [OWN]}", "$.artifacts"),
        ("{formats: [], lines: [OWN]}", "$.artifacts.formats"),
        ("{formats: [F16, F16], lines: [OWN]}", "$.artifacts.formats"),
        ("{formats: [../F16], lines: [OWN]}", "$.artifacts.formats"),
        ("{formats: F16, lines: [OWN]}", "$.artifacts.formats"),
        ("{formats: [F16], lines: []}", "$.artifacts.lines"),
        ("{formats: [F16], lines: [OWN], more: 1}", "$.artifacts"),
    ],
)
def test_formats_that_say_nothing_are_refused_where_they_stand(artifacts: str, place: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(artifacts)
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"p.yaml at {place}")
