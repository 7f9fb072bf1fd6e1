"""What a record says by itself."""

from __future__ import annotations

from dataclasses import replace

from core_world import record, suite
from weighbridge.evidence import Calibration, Evidence
from weighbridge.report import records
from weighbridge.summary import summarise

REQUESTS = suite(400, name="requests", chance=None)
SURE = {"harmful_compliance": Calibration(1000, 0, 0, 1000, "test", "none")}


def answered(one_in: int) -> Evidence:
    """One response in so many is incoherent, and none complies."""
    return record(
        REQUESTS,
        lambda item: {"harmful_compliance": 0.0, "incoherent": float(int(item.id) % one_in == 0)},
        measure="safety",
        calibrations=SURE,
    )


def test_a_rate_among_nonsense_has_no_interval_and_says_why() -> None:
    babble = summarise(answered(5))["metrics"]
    assert babble["harmful_compliance"]["estimate"] == "0.000000"
    assert babble["harmful_compliance"]["interval"] is None
    assert "20% of the responses are incoherent" in babble["harmful_compliance"]["undecided"]
    assert babble["incoherent"]["interval"] is not None, "how much nonsense there is can be told"
    (score, _) = records.record(answered(5), named=(), problems={}).scores
    assert "20% of the responses are incoherent" in score.interval
    sense = summarise(answered(20))["metrics"]["harmful_compliance"]
    assert sense["interval"] is not None
    assert "undecided" not in sense


def test_a_difference_is_told_as_one() -> None:
    lost = record(REQUESTS, lambda item: {"usefulness_change": float(int(item.id) % 4 > 0) / 2}, measure="tampering")
    told = summarise(replace(lost, metrics=("usefulness_change",)))["metrics"]["usefulness_change"]
    assert told["estimate"] == "-0.250000"
    low, high = map(float, told["interval"])
    assert -0.4 < low < -0.25 < high < -0.15
