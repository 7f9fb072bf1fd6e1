"""The policies in docs/policy.md are policies, and its table lists every metric."""

from __future__ import annotations

import re
from pathlib import Path

from weighbridge import policy
from weighbridge.metrics import METRICS

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")


def test_the_example_is_read() -> None:
    example, hazard = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    read = policy.load(example.encode(), where="docs/policy.md")
    assert read.baselines == ["open-frontier"]
    assert len(read.artifacts) == 2
    head = "version: 1\nname: hazard\nerror_rate: 0.05\nexpires_after: 30d\ntiers:\n  open:\n"
    ((bound, _),) = policy.load((head + hazard).encode(), where="docs/policy.md").bounds()
    assert (bound.baseline, bound.control) == ("open-frontier", "general")


def test_the_table_lists_every_metric() -> None:
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", TEXT, re.MULTILINE)) == METRICS.keys()
