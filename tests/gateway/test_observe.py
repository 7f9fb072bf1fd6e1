"""Metrics that Prometheus reads, and log lines that hold no text."""

from __future__ import annotations

import json
import logging
import os
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from weighbridge.gateway.api.observing import Finished
from weighbridge.gateway.rules.terms import Outcome, Usage
from weighbridge.gateway.watch.guard import Flag
from weighbridge.gateway.watch.logs import WAITING, LogWriter
from weighbridge.gateway.watch.observe import BOUNDS, Metrics, ledger_metrics

PLACE = {"model": "small", "binding": "verified"}


def done(**changes: Any) -> Finished:
    fields: dict[str, Any] = {
        "request_id": "req_1", "route": "/v1/chat/completions", "status": 200, "seconds": 0.2, "model": "small",
        "binding": "verified", "key_id": "thekey", "project": "acme", "outcome": Outcome.COMPLETED,
        "usage": Usage(100, 20, 40), "cost": 500, "first_byte": 0.03,
    }  # fmt: skip
    return Finished(**(fields | changes))


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def at(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_requests_are_counted_by_what_bounds_them() -> None:
    metrics = Metrics(currency="USD")
    for one in (done(), done(), done(stream=True), done(cost=1500, overshoot=700), done(cost=900, overshoot=300)):
        metrics.add(one)
    metrics.add(done(status=429, code="insufficient_quota", outcome=None, usage=None, cost=None, first_byte=None))
    metrics.add(done(status=502, code="upstream_broke_off", outcome=Outcome.UNKNOWN, usage=None, cost=0))
    found = values(metrics)
    where = {"route": "/v1/chat/completions", **PLACE}
    requests = "weighbridge_requests_total"
    assert found[requests, at(**where, status="200", outcome="completed", stream="no")] == 4
    assert found[requests, at(**where, status="200", outcome="completed", stream="yes")] == 1
    assert found[requests, at(**where, status="429", outcome="none", stream="no")] == 1
    assert found[requests, at(**where, status="502", outcome="unknown", stream="no")] == 1
    assert found["weighbridge_errors_total", at(model="small", code="insufficient_quota")] == 1
    assert found["weighbridge_tokens_total", at(**PLACE, kind="input")] == 500
    assert found["weighbridge_tokens_total", at(**PLACE, kind="cached")] == 200
    assert found["weighbridge_tokens_total", at(**PLACE, kind="output")] == 100
    assert found["weighbridge_cost_nano_total", at(**PLACE, currency="USD")] == 3900
    assert found["weighbridge_overshoots_total", at(**PLACE)] == 2
    assert found["weighbridge_overshoot_nano_total", at(**PLACE, currency="USD")] == 1000
    assert found["weighbridge_overshoot_max_nano", at(**PLACE, currency="USD")] == 700


def test_histograms_are_cumulative_and_a_bound_is_inside() -> None:
    metrics = Metrics(currency=None)
    for seconds in (0.0, 0.005, 0.0051, 0.3, 10_000.0):
        metrics.add(done(seconds=seconds))
    found = values(metrics)
    name = "weighbridge_request_duration_seconds"
    buckets = [found[f"{name}_bucket", at(**PLACE, le=str(bound))] for bound in BOUNDS]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[1], buckets[-1]) == (2, 3, 4)
    assert found[f"{name}_bucket", at(**PLACE, le="+Inf")] == found[f"{name}_count", at(**PLACE)] == 5
    assert abs(found[f"{name}_sum", at(**PLACE)] - 10_000.3101) < 1e-6


def test_money_of_several_currencies_is_not_summed() -> None:
    metrics = Metrics(currency=None)
    metrics.add(done())
    assert not any("nano" in name for name, _ in values(metrics))


def test_no_key_and_no_project_is_a_label() -> None:
    metrics = Metrics(currency="USD")
    metrics.add(done())
    metrics.flag(Flag(1, "template", "thekey", 1.0, 0.9))
    page = metrics.render().decode()
    assert "thekey" not in page
    assert "acme" not in page
    assert 'weighbridge_guard_flags_total{signal="template"} 1.0' in page


def test_the_ledger_is_asked_when_somebody_looks() -> None:
    metrics = Metrics(currency=None)
    ledger = SimpleNamespace(gone=False, lost_seals=0, groups=1, operations=2, owed=0, behind=0)
    metrics.watch(lambda: ledger_metrics(ledger))
    assert values(metrics)["weighbridge_ledger_gone", ()] == 0
    ledger.gone, ledger.owed, ledger.behind = True, 7, 1500
    found = values(metrics)
    assert found["weighbridge_ledger_gone", ()] == 1
    assert found["weighbridge_ledger_owed_seals", ()] == 7
    assert found["weighbridge_ledger_clock_behind_seconds", ()] == 1.5


def written(writer: LogWriter, end: int) -> list[dict[str, Any]]:
    writer.close()
    lines = os.read(end, 1 << 20).decode().splitlines()
    os.close(end)
    return [json.loads(line) for line in lines]


def test_log_lines_are_json_and_quote_no_exception() -> None:
    end, begin = os.pipe()
    writer = LogWriter(begin)
    writer.request(done())
    writer.request(done(status=500))
    log = logging.getLogger("weighbridge.test_observe")
    log.addHandler(writer)
    try:
        log.error("model stopped", extra={"model": "small", "reason": "files\nchanged"})
        try:
            raise KeyError("the client's own words")
        except KeyError:
            log.exception("a fault of the gateway", extra={"request_id": "req_9"})
    finally:
        log.removeHandler(writer)
    lines = written(writer, end)
    os.close(begin)
    assert [line["event"] for line in lines] == ["request", "request", "model stopped", "a fault of the gateway"]
    assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert (lines[0]["request_id"], lines[0]["usage"]) == ("req_1", {"input": 100, "output": 20, "cached": 40})
    assert lines[2]["reason"] == "files\nchanged"
    assert (lines[3]["exception"], lines[3]["request_id"]) == ("KeyError", "req_9")
    assert lines[3]["at"][-1].startswith("test_observe.py:")
    assert "own words" not in json.dumps(lines)


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    end, begin = os.pipe()
    writer = LogWriter(begin)
    one = done()
    for _ in range(3 * WAITING):  # far more than a pipe holds
        writer.request(one)
    assert writer.dropped > 0
    os.close(end)  # the thread's write ends with an error, and its lines count as dropped
    writer.close()
    os.close(begin)
