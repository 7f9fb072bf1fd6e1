"""Prometheus metrics of a gateway, and the observer that feeds them, the log and the guard.

Requests are counted in plain objects, since a few microseconds are all that watching may cost; prometheus_client asks
for them when somebody looks. Labels are bounded: served models, routes, status and error codes; never keys or projects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from weighbridge.gateway.api.models import Model
from weighbridge.gateway.api.observing import Finished
from weighbridge.gateway.api.requests import Request
from weighbridge.gateway.rules.terms import Admitted
from weighbridge.gateway.watch.guard import Flag, Guard
from weighbridge.gateway.watch.logs import LogWriter

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds of the histograms, in seconds."""
STATES = ("starting", "serving", "restarting", "stopped")
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Accounts(Protocol):
    """The ledger, as far as it is watched."""

    gone: bool
    groups: int
    operations: int

    @property
    def lost_seals(self) -> int: ...
    @property
    def owed(self) -> int: ...
    @property
    def behind(self) -> int: ...


class Histogram:
    """Counts of times in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        found, total = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class ModelSums:
    """What the requests of one model used and how long they took. Money in nano-units."""

    __slots__ = ("cached", "cost", "duration", "first_byte", "input", "most_over", "output", "over", "overshoots")

    def __init__(self) -> None:
        self.input = self.cached = self.output = 0
        self.cost = self.over = self.overshoots = self.most_over = 0
        self.duration, self.first_byte = Histogram(), Histogram()


class Metrics(Collector):
    """Counts what finished; ``render`` is the page for Prometheus.

    ``currency`` None leaves money out: amounts of several currencies have no sum.
    """

    def __init__(self, *, currency: str | None) -> None:
        self._currency = currency
        self._requests: dict[tuple[str, str, str, int, str, str], int] = {}
        self._refusals: dict[tuple[str, str], int] = {}
        self._models: dict[tuple[str, str], ModelSums] = {}
        self._flags: dict[str, int] = {}
        self._sources: list[Callable[[], Iterable[Metric]]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def add(self, one: Finished) -> None:
        """Count a request that was answered."""
        model, binding = one.model or "", one.binding or ""
        place = (one.route, model, binding, one.status, one.outcome or "none", "yes" if one.stream else "no")
        self._requests[place] = self._requests.get(place, 0) + 1
        if one.code is not None:
            refusal = (model, one.code)
            self._refusals[refusal] = self._refusals.get(refusal, 0) + 1
        if one.outcome is None:
            return
        sums = self._models.get((model, binding))
        if sums is None:
            sums = self._models[model, binding] = ModelSums()
        sums.duration.add(one.seconds)
        if one.first_byte is not None:
            sums.first_byte.add(one.first_byte)
        if one.usage is not None:
            sums.input += one.usage.input
            sums.cached += one.usage.cached
            sums.output += one.usage.output
        if one.cost:
            sums.cost += one.cost
        if one.overshoot:
            sums.overshoots += 1
            sums.over += one.overshoot
            sums.most_over = max(sums.most_over, one.overshoot)

    def flag(self, flag: Flag) -> None:
        self._flags[flag.signal] = self._flags.get(flag.signal, 0) + 1

    def watch(self, source: Callable[[], Iterable[Metric]]) -> None:
        """Have ``source`` asked whenever somebody looks."""
        self._sources.append(source)

    def render(self) -> bytes:
        """The page for Prometheus, as ``CONTENT_TYPE``."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Any]:
        return []  # registering must not ask the sources, which are not there yet

    def collect(self) -> Iterable[Any]:
        labels = ["route", "model", "binding", "status", "outcome", "stream"]
        requests = CounterMetricFamily("weighbridge_requests", "Requests answered.", labels=labels)
        for place, count in self._requests.items():
            requests.add_metric([str(each) for each in place], count)
        yield requests
        refusals = CounterMetricFamily("weighbridge_errors", "Errors told to clients.", labels=["model", "code"])
        for refusal, count in self._refusals.items():
            refusals.add_metric(list(refusal), count)
        yield refusals
        flags = CounterMetricFamily("weighbridge_guard_flags", "Flags of the guard.", labels=["signal"])
        for signal, count in self._flags.items():
            flags.add_metric([signal], count)
        yield flags
        yield from self._by_model()
        for source in self._sources:
            yield from source()

    def _by_model(self) -> Iterable[Metric]:
        labels = ["model", "binding"]
        tokens = CounterMetricFamily("weighbridge_tokens", "Tokens as reported.", labels=[*labels, "kind"])
        overshoots = CounterMetricFamily("weighbridge_overshoots", "Reports above their hold.", labels=labels)
        duration = HistogramMetricFamily(
            "weighbridge_request_duration_seconds", "From a dispatched request's headers to its end.", labels=labels
        )
        first_byte = HistogramMetricFamily(
            "weighbridge_first_byte_seconds", "From dispatch to the engine's headers.", labels=labels
        )
        for place, sums in self._models.items():
            for kind in ("input", "cached", "output"):
                tokens.add_metric([*place, kind], getattr(sums, kind))
            overshoots.add_metric(place, sums.overshoots)
            duration.add_metric(place, sums.duration.cumulative(), sums.duration.sum)
            first_byte.add_metric(place, sums.first_byte.cumulative(), sums.first_byte.sum)
        yield from (tokens, overshoots, duration, first_byte)
        if self._currency is not None:
            yield from self._money(self._currency, [*labels, "currency"])

    def _money(self, currency: str, labels: list[str]) -> Iterable[Metric]:
        cost = CounterMetricFamily("weighbridge_cost_nano", "Billed, in nano-units (10^-9).", labels=labels)
        over = CounterMetricFamily("weighbridge_overshoot_nano", "Billed above holds.", labels=labels)
        most = GaugeMetricFamily("weighbridge_overshoot_max_nano", "The most above one hold.", labels=labels)
        for place, sums in self._models.items():
            where = [*place, currency]
            cost.add_metric(where, sums.cost)
            over.add_metric(where, sums.over)
            most.add_metric(where, sums.most_over)
        yield from (cost, over, most)


class Watcher:
    """The observer of a gateway: metrics, guard and log are told of each request."""

    def __init__(self, metrics: Metrics, guard: Guard, log: LogWriter | None) -> None:
        self._metrics, self._guard, self._log = metrics, guard, log

    def admitted(self, request: Request, admitted: Admitted) -> None:
        self._guard.admitted(request, admitted)

    def finished(self, finished: Finished) -> None:
        self._metrics.add(finished)
        self._guard.finished(finished)
        if self._log is not None:
            self._log.request(finished)


def ledger_metrics(ledger: Accounts) -> Iterable[Metric]:
    """How the ledger does."""
    counters = {
        "groups": ("Commits of admissions and seals.", ledger.groups),
        "operations": ("Admissions and seals committed.", ledger.operations),
        "lost_seals": ("Seals for which no room was left while the ledger was gone.", ledger.lost_seals),
    }
    gauges = {
        "gone": ("1 while nothing can be written.", float(ledger.gone)),
        "owed_seals": ("Seals that wait in memory for a ledger that is gone.", float(ledger.owed)),
        "clock_behind_seconds": ("How far this clock is behind the newest intent.", ledger.behind / 1000),
    }
    for name, (text, count) in counters.items():
        yield CounterMetricFamily(f"weighbridge_ledger_{name}", text, value=count)
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"weighbridge_ledger_{name}", text, value=value)


def model_metrics(models: Iterable[tuple[Model, int]]) -> Iterable[Metric]:
    """How each model does. ``models``: its handle, and how often its engine was started again."""
    labels = ["model", "binding"]
    state = GaugeMetricFamily("weighbridge_model_state", "1 for the present state.", labels=[*labels, "state"])
    inflight = GaugeMetricFamily("weighbridge_in_flight", "Requests in flight.", labels=labels)
    restarts = CounterMetricFamily("weighbridge_engine_restarts", "Starts after the first.", labels=labels)
    for model, again in models:
        place = [model.served.name, model.served.binding]
        for one in STATES:
            state.add_metric([*place, one], int(model.state == one))
        inflight.add_metric(place, model.inflight)
        restarts.add_metric(place, again)
    yield from (state, inflight, restarts)


def guard_metrics(guard: Guard, log: LogWriter | None) -> Iterable[Metric]:
    """What those who watch had to leave out."""
    yield CounterMetricFamily("weighbridge_guard_untracked", "Requests of keys it had no room for.", guard.untracked)
    if log is not None:
        yield CounterMetricFamily("weighbridge_log_dropped", "Log lines for which no room was left.", log.dropped)
