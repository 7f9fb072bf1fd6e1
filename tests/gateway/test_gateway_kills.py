"""The durability campaign in short: gateways killed under load, the journals of upstream and clients as the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gateway" / "kill.py"


def test_nothing_is_lost_or_doubled_when_gateways_are_killed(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, str(PROGRAM), "--kills", "10", "--json", str(found)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    parts = json.loads(found.read_text())
    assert sum(part["kills"] for part in parts.values()) == 10
    for part in parts.values():
        assert part["faults"] == []
        assert part["sealed"] > 0
        assert part["sealed"] + part.get("recovered", 0) + part.get("void", 0) == part["intents"]
    assert sum(part.get("recovered", 0) for part in parts.values()) > 0  # killed with requests in flight


def test_that_test_would_notice(tmp_path: Path) -> None:
    """The oracle against a ledger that lost a seal, and one where a budget was passed."""
    sys.path.insert(0, str(PROGRAM.parent))
    try:
        import kill
    finally:
        sys.path.remove(str(PROGRAM.parent))
    campaign = kill.Campaign(tmp_path, "ledger.db", 1, 0, 1, None)
    campaign.upstream = kill.Upstream(1)
    even = range(kill.BASE, kill.BASE + 99, 2)  # of the project with a budget
    number = next(n for n in even if 0 < kill.fate(1, n).cost <= kill._limit(n))
    fate = kill.fate(1, number)
    heard = kill.Heard([200], fate.report, True)
    campaign._check_heard(number, heard, [])
    assert len(campaign.faults) == 1
    sealed = kill.Row(number, 10**9, "completed", *fate.report, fate.cost, 0, None)
    campaign._check_heard(number, heard, [sealed])
    assert len(campaign.faults) == 1
    campaign._check_row(kill.Row(number, 10**9, "completed", *fate.report, fate.cost + 1, 0, None), {number: 1})
    assert len(campaign.faults) == 2
    campaign._check_row(kill.Row(number, 10**9, None, *[None] * 5, "gateway-0/that-lived"), {number: 1})
    assert len(campaign.faults) == 3
    campaign.upstream.dispatched = [number]
    campaign.budget = fate.cost - 1
    campaign._check_budget(0)
    assert len(campaign.faults) == 4
