"""The shipped batteries are the ones that policies pin."""

from __future__ import annotations

from weighbridge import shipped
from weighbridge.attacks.battery import BATTERIES
from weighbridge.metrics import METRICS


def test_the_digests_that_policies_are_given_are_those_of_the_shipped_batteries() -> None:
    assert {name: battery.digest for name, battery in BATTERIES.items()} == shipped.BATTERIES


def test_every_attacked_measure_has_a_battery_of_its_own() -> None:
    measures = {metric.measure for metric in METRICS.values() if metric.attacked}
    assert shipped.BATTERY_OF.keys() == measures
    assert set(shipped.BATTERY_OF.values()) <= shipped.BATTERIES.keys()
