"""Reading the lines of a policy: every field checked, every error with its place in the file. Pure.

What a policy's file looks like as a whole stands in ``policy.py``; what a line means, in ``requirements.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from weighbridge import shipped
from weighbridge.canonical import Json
from weighbridge.errors import PolicyError
from weighbridge.metrics import METRICS, Metric
from weighbridge.requirements import SOURCE, AllOf, AnyOf, Bound, Direction, Requirement, Usefulness
from weighbridge.text import check_visible

MAX_LINES = 500
DEMANDS: dict[str, Direction] = {"at_most": "at_most", "at_least": "at_least", "no_more_than": "at_most"}
"""What a line may demand; ``no_more_than`` is an ``at_most`` that is relative to a baseline."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a suite or a battery of a policy comes from, if its name does not say so, and which version counts, if
    pinned."""

    source: str | None = None
    digest: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this."""
        return {key: value for key, value in (("source", self.source), ("digest", self.digest)) if value is not None}


class LineReader:
    """Reads lines. ``suites`` and ``batteries`` are what the policy says of them, and gain the digests of shipped ones
    that its lines name."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self.suites: dict[str, Source] = {}
        self.batteries: dict[str, Source] = {}

    def fail(self, path: str, message: str, remedy: str | None = None) -> PolicyError:
        return PolicyError(message, where=f"{self.where} at {path}", remedy=remedy or "see docs/policy.md")

    def fields(self, value: Any, path: str, known: set[str], required: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(path, f"expected a mapping, found {type(value).__name__}")
        if unknown := sorted(set(value) - known):
            raise self.fail(
                f"{path}.{unknown[0]}", f"unknown field {unknown[0]!r}", f"known: {', '.join(sorted(known))}"
            )
        if missing := sorted(required - set(value)):
            raise self.fail(path, f"the field {missing[0]!r} is missing")
        return value

    def lines(self, value: Any, path: str, *, artifact: bool = False) -> tuple[Requirement, ...]:
        """A list of requirements; ``artifact``: what each artifact must prove."""
        if not isinstance(value, list) or not value:
            raise self.fail(path, "expected a list of requirements that is not empty", "an empty list never passes")
        return tuple(self._line(line, f"{path}[{index}]", artifact) for index, line in enumerate(value))

    def _line(self, value: Any, path: str, artifact: bool) -> Requirement:
        self.count += 1
        if self.count > MAX_LINES or path.count("_of") > 8:
            raise self.fail(path, f"more than {MAX_LINES} lines, or nested more than 8 deep")
        if isinstance(value, dict):
            for key, kind in (("any_of", AnyOf), ("all_of", AllOf)):
                if key in value:
                    line = self.fields(value, path, {key, "why"}, {key})
                    return kind(self.lines(line[key], f"{path}.{key}", artifact=artifact), self.why(line, path), path)
        return self._bound(value, path, artifact)

    def _bound(self, value: Any, path: str, artifact: bool) -> Bound:
        known = {"measure", "suite", "items", "control", "settings", "why", "battery", "useful", *DEMANDS}
        line = self.fields(value, path, known, {"measure"})
        name = line["measure"]
        if name not in METRICS:
            raise self.fail(f"{path}.measure", f"unknown measure {name!r}", f"known: {', '.join(sorted(METRICS))}")
        metric = METRICS[name]
        self._check_fields(line, path, metric, artifact)
        direction, threshold, baseline = self._demand(line, path, metric, artifact)
        items = line.get("items")
        if items is not None and (not isinstance(items, int) or isinstance(items, bool) or items < 1):
            raise self.fail(f"{path}.items", f"{items!r} is not a whole number of at least 1")
        if items is not None and baseline is not None:
            raise self.fail(f"{path}.items", "a comparison is judged at any time and takes no items")
        suite = self.text(line["suite"], f"{path}.suite") if metric.kind == "sampled" else None
        control = self.text(line["control"], f"{path}.control") if line.get("control") is not None else None
        if metric.chance and direction == "at_most" and control is None:
            raise self.fail(
                path,
                f"at_most on {name} needs a control suite",
                "a broken engine is no harmless model: name a suite of the same format to be scored above chance",
            )
        settings = line.get("settings", {})
        if not isinstance(settings, dict):
            raise self.fail(f"{path}.settings", "expected a mapping")
        for key, value in settings.items():
            for text in (key, value):
                if isinstance(text, str):
                    check_visible(text, where=f"{self.where} at {path}.settings.{key}", error=PolicyError)
        battery = self._battery(line, path, metric)
        return Bound(
            metric=name,
            direction=direction,
            threshold=threshold,
            suite=suite,
            suite_digest=self.pinned_suite(suite),
            items=items,
            control=control,
            control_digest=self.pinned_suite(control),
            settings=settings,
            why=self.why(line, path),
            path=path,
            battery=battery,
            battery_digest=_pinned(battery, self.batteries, shipped.BATTERIES),
            useful=self._useful(line, path),
            baseline=baseline,
            artifact=artifact,
        )

    def _check_fields(self, line: dict[str, Any], path: str, metric: Metric, artifact: bool) -> None:
        """Every field that a line has must mean something for its metric."""
        sampled = metric.kind == "sampled"
        if sampled != ("suite" in line):
            raise self.fail(
                f"{path}.suite", f"{metric.name} {'needs a suite' if sampled else 'is exact and takes no suite'}"
            )
        for key in ("items", "control", "settings", "no_more_than"):
            if key in line and not sampled:
                raise self.fail(f"{path}.{key}", f"{metric.name} is exact and takes no {key}")
        if artifact and (not sampled or metric.attacked):
            raise self.fail(
                f"{path}.measure",
                f"{metric.name} is no measure of an artifact",
                "name a sampled one of the model as it is",
            )
        if "battery" in line and not metric.attacked:
            raise self.fail(f"{path}.battery", f"{metric.name} is measured without an attack and takes no battery")
        if "control" in line and metric.attacked:
            raise self.fail(f"{path}.control", f"{metric.name} takes no control")
        if "useful" in line and (metric.measure != "tampering" or metric.difference):
            raise self.fail(f"{path}.useful", f"{metric.name} takes no useful", "it bounds what tampering may cost")

    def _demand(
        self, line: dict[str, Any], path: str, metric: Metric, artifact: bool
    ) -> tuple[Direction, Decimal, str | None]:
        """Direction, threshold (or margin) and baseline of a line."""
        demands = [key for key in DEMANDS if key in line]
        if len(demands) != 1:
            raise self.fail(
                path,
                "expected exactly one of at_most and at_least, or no_more_than",
                "write two lines for two bounds",
            )
        demand, given = demands[0], line[demands[0]]
        place = f"{path}.{demand}"
        if not isinstance(given, dict):
            if demand == "no_more_than":
                raise self.fail(place, "expected a baseline and a margin", "an absolute bound is written at_most: 0.1")
            return DEMANDS[demand], self._threshold(given, place, metric), None
        if demand == "at_most":
            raise self.fail(place, "at_most takes a number", "write no_more_than: {baseline: ..., margin: ...}")
        if metric.kind != "sampled" or metric.difference:
            what = "is a difference already" if metric.difference else "is exact"
            raise self.fail(place, f"{metric.name} {what} and is compared with no baseline")
        if metric.attacked and demand == "at_least":
            raise self.fail(place, f"{metric.name} is about the worst attack", "write no_more_than")
        parts = self.fields(given, place, {"baseline", "margin"}, {"baseline", "margin"})
        baseline = self.text(parts["baseline"], f"{place}.baseline")
        if baseline == SOURCE and not artifact:
            raise self.fail(
                f"{place}.baseline", f"{SOURCE!r} is the checkpoint itself", "only lines of `artifacts` compare with it"
            )
        margin = self.decimal(parts["margin"], f"{place}.margin")
        if abs(margin) > 1:
            raise self.fail(f"{place}.margin", f"{margin} is not between -1 and 1")
        return DEMANDS[demand], margin, baseline

    def _threshold(self, given: Any, place: str, metric: Metric) -> Decimal:
        threshold = self.decimal(given, place)
        sampled = metric.kind == "sampled"
        least = -1 if metric.difference else 0
        if threshold < least or (sampled and threshold > 1) or (not sampled and threshold % 1):
            expected = f"between {least} and 1" if sampled else "a whole number of at least 0"
            raise self.fail(place, f"{threshold} is not {expected}")
        return threshold

    def _battery(self, line: dict[str, Any], path: str, metric: Metric) -> str | None:
        if not metric.attacked:
            return None
        name = self.text(line.get("battery", shipped.BATTERY_OF[metric.measure]), f"{path}.battery")
        if name not in shipped.BATTERIES and name not in self.batteries:
            raise self.fail(
                f"{path}.battery",
                f"the battery {name!r} is not known",
                f"shipped: {', '.join(sorted(shipped.BATTERIES))}; say in `batteries` where another comes from",
            )
        return name

    def _useful(self, line: dict[str, Any], path: str) -> Usefulness | None:
        if "useful" not in line:
            return None
        place = f"{path}.useful"
        parts = self.fields(line["useful"], place, {"suite", "loss_at_most"}, {"suite", "loss_at_most"})
        suite = self.text(parts["suite"], f"{place}.suite")
        loss = self.decimal(parts["loss_at_most"], f"{place}.loss_at_most")
        if not 0 <= loss < 1:
            raise self.fail(f"{place}.loss_at_most", f"{loss} is not at least 0 and below 1")
        return Usefulness(suite, loss, self.pinned_suite(suite))

    def pinned_suite(self, suite: str | None) -> str | None:
        """The version of ``suite`` that counts."""
        return _pinned(suite, self.suites, shipped.SUITES)

    def decimal(self, value: Any, path: str) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.fail(path, f"expected a number, found {value!r}")
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise self.fail(path, f"expected a number, found {value!r}") from None
        if not number.is_finite() or abs(number) > 10**9 or -number.as_tuple().exponent > 9:  # type: ignore[operator]
            raise self.fail(path, f"{value!r} is no finite number of at most nine decimals")
        return number.normalize() + 0

    def text(self, value: Any, path: str, *, prose: bool = False) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > 2000:
            raise self.fail(path, f"expected text, found {value!r:.80}")
        return check_visible(value, where=f"{self.where} at {path}", error=PolicyError, prose=prose)

    def digest(self, value: Any, path: str) -> str | None:
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", value)):
            raise self.fail(path, f"{value!r:.80} is no digest", "policy check prints the digests")
        return value

    def why(self, line: dict[str, Any], path: str) -> str:
        return self.text(line["why"], f"{path}.why", prose=True) if "why" in line else ""


def _pinned(name: str | None, known: dict[str, Source], shipped_digests: dict[str, str]) -> str | None:
    """The version that counts. A shipped one that the policy does not pin is written down, so that judging again under
    another version of this program means the same."""
    if name in shipped_digests and known.get(name, Source()).digest is None:
        known[name] = Source(digest=shipped_digests[name])
    return known[name].digest if name in known else None
