"""The measure economics, judged: a billing period decides a line of a policy, and nothing else about it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from core_world import CHECKPOINT, NOW
from weighbridge.canonical import dumps
from weighbridge.evidence import from_bytes, to_json
from weighbridge.judge import judge
from weighbridge.measures.economics import Economics
from weighbridge.policy import load

POLICY = b"""
version: 1
name: keep what pays
error_rate: 0.05
expires_after: 30d
tiers:
  api:
    - {measure: economics.revenue, at_least: 0}
  open:
    - {measure: economics.revenue, at_most: 0, why: somebody pays for what would be given away}
"""


def written(folder: Path, *amounts: str) -> Path:
    """A closed period in which each project was billed so much."""
    common = {"specversion": "1.0", "source": "urn:weighbridge:ledger:x"}
    lines = []
    for n, amount in enumerate(amounts):
        data = {"model_digest": CHECKPOINT, "binding": "verified", "currency": "EUR", "amount": amount}
        event = {**common, "id": str(n), "type": "weighbridge.usage", "subject": f"project-{n}", "data": data}
        lines.append(json.dumps(event) + "\n")
    digest = f"sha256:{sha256(''.join(lines).encode()).hexdigest()}"
    mark = {"month": "2025-12", "state": "closed", "ledger": "x", "events": len(lines), "digest": digest}
    end = {**common, "id": "end", "type": "weighbridge.period", "subject": "2025-12", "data": mark}
    path = folder / "usage.jsonl"
    path.write_text("".join([*lines, json.dumps(end) + "\n"]))
    return path


@pytest.mark.parametrize(
    ("amounts", "tier"),
    [(["0.00"], "open"), (["0.00", "0.000000001"], "api"), (["12.5", "3"], "api"), (["-1"], "open")],
)
def test_somebody_pays_or_nobody_does(tmp_path: Path, amounts: list[str], tier: str) -> None:
    record = Economics(CHECKPOINT, written(tmp_path, *amounts)).examine(made=NOW)
    policy = load(POLICY, where="policy")
    assert judge(policy, [record], checkpoint=CHECKPOINT, at=NOW).tier == tier


def test_without_a_period_nothing_is_decided() -> None:
    assert judge(load(POLICY, where="policy"), [], checkpoint=CHECKPOINT, at=NOW).tier == "undecided"


def test_the_record_is_evidence_like_any_other(tmp_path: Path) -> None:
    path = written(tmp_path, "12.50", "7")
    record = Economics(CHECKPOINT, path).examine(made=NOW)
    assert from_bytes(dumps(to_json(record)), where="record") == record
    assert record.facts["revenue"] == {"EUR": "19.5"}
    assert record.question.settings["usage"] == json.loads(path.read_text().splitlines()[-1])["data"]["digest"]
