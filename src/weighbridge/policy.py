"""A policy: for each tier, the requirements that must all be met. Parsing and checking; pure.

    version: 1
    name: default
    error_rate: 0.05
    expires_after: 180d
    approvals: {open: 1}
    suites: {reading: ./reading.yaml}
    tiers:
      api:
        - {measure: integrity.findings, at_most: 0, why: weights that run code are not weights}
      open:
        - any_of:
            - {measure: safety.harmful_compliance, suite: unsafe, at_most: 0.10}

Tiers are cumulative: ``open`` asks everything that ``gated`` and ``api`` ask. ``held`` asks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Literal

from weighbridge import canonical, shipped, strict_yaml
from weighbridge.canonical import Json
from weighbridge.errors import PolicyError
from weighbridge.metrics import METRICS
from weighbridge.requirements import AllOf, AnyOf, Bound, Direction, Requirement, bounds
from weighbridge.text import check_visible

VERSION = 1
Tier = Literal["api", "gated", "open"]
TIERS: tuple[Tier, ...] = ("api", "gated", "open")  # from strict to open; ``held`` stands before them all
DIRECTIONS: tuple[Direction, ...] = ("at_most", "at_least")
MAX_LINES = 500
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SuiteSource:
    """Where a suite of a policy comes from, if its name does not say so, and which version counts, if pinned."""

    source: str | None = None
    digest: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this."""
        return {key: value for key, value in (("source", self.source), ("digest", self.digest)) if value is not None}


@dataclass(frozen=True)
class Policy:
    """A checked policy. ``suites`` says where suites come from, files relative to the folder ``base``. ``source`` is
    the policy's file, for messages; neither is part of the policy. ``notice`` is printed wherever the decision is
    shown (``not for real release``)."""

    name: str
    error_rate: Decimal
    expires_after: timedelta
    approvals: Mapping[str, int]
    tiers: Mapping[Tier, tuple[Requirement, ...]]
    suites: Mapping[str, SuiteSource] = field(default_factory=dict)
    self_approval: bool = False
    accept_imported: bool = False
    notice: str | None = None
    base: str = field(default=".", compare=False)
    source: str = field(default="", compare=False)

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>`` of the canonical form; comments and layout of the YAML do not count."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, Json]:
        """The canonical form: JSON with decimal strings. ``load`` reads it back to an equal policy."""
        return {
            "version": VERSION,
            "name": self.name,
            "error_rate": format(self.error_rate, "f"),
            "expires_after": f"{self.expires_after.days}d",
            "approvals": dict(self.approvals),
            "suites": {name: suite.to_json() for name, suite in self.suites.items()},
            "self_approval": self.self_approval,
            "accept_imported": self.accept_imported,
            "notice": self.notice,
            "tiers": {tier: [line.to_json() for line in lines] for tier, lines in self.tiers.items()},
        }

    def lines(self, tier: Tier) -> Iterator[tuple[Tier, Requirement]]:
        """Everything that ``tier`` asks, the stricter tiers' lines first."""
        for step in TIERS[: TIERS.index(tier) + 1]:
            for line in self.tiers.get(step, ()):
                yield step, line

    def bounds(self) -> Iterator[tuple[Bound, int]]:
        """Every bound of every tier, with the number by which the error rate is divided there."""
        for tier in TIERS:
            for line in self.tiers.get(tier, ()):
                yield from bounds(line)

    def check_chance(self, chances: Mapping[str, str | None]) -> None:
        """Refuse an ``at_least`` at or below chance; ``chances`` maps suites to the score of a guess."""
        for bound, _ in self.bounds():
            chance = chances.get(bound.suite or "")
            guessable = bound.spec.chance and chance is not None
            if guessable and bound.direction == "at_least" and bound.threshold <= Decimal(chance or 0):
                raise PolicyError(
                    f"at_least {bound.threshold} is not above chance ({chance}) on the suite {bound.suite!r}",
                    where=f"{self.source or self.name} at {bound.path}.at_least",
                    remedy="ask for more than a guess scores",
                )


def load(data: bytes, *, where: str, base: str = ".") -> Policy:
    """A policy from its YAML or canonical JSON. Raises ``PolicyError`` naming the place in the file."""
    return _Reader(where).policy(strict_yaml.load(data, where=where, error=PolicyError), base)


class _Reader:
    """Reads one policy; every error carries the place in the file."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self.suites: dict[str, SuiteSource] = {}

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

    def policy(self, value: Any, base: str) -> Policy:
        known = {
            "version", "name", "error_rate", "expires_after", "approvals", "suites",
            "self_approval", "accept_imported", "notice", "tiers",
        }  # fmt: skip
        top = self.fields(value, "$", known, {"version", "name", "error_rate", "expires_after", "tiers"})
        if top["version"] is not VERSION and top["version"] != VERSION:
            raise self.fail(
                "$.version", f"policy version {top['version']!r} is unknown", f"this program reads {VERSION}"
            )
        error_rate = self.decimal(top["error_rate"], "$.error_rate")
        if not Decimal(0) < error_rate <= Decimal("0.5"):
            raise self.fail("$.error_rate", f"{error_rate} is not above 0 and at most 0.5")
        self.suites = self.read_suites(top.get("suites"))
        tiers = self.tiers(top["tiers"])
        policy = Policy(
            name=self.text(top["name"], "$.name"),
            error_rate=error_rate,
            expires_after=self.days(top["expires_after"]),
            approvals=self.approvals(top.get("approvals", {"open": 1})),
            tiers=tiers,
            suites=self.suites,
            self_approval=self.flag(top.get("self_approval", False), "$.self_approval"),
            accept_imported=self.flag(top.get("accept_imported", False), "$.accept_imported"),
            notice=None if top.get("notice") is None else self.text(top["notice"], "$.notice"),
            base=base,
            source=self.where,
        )
        self.contradictions(policy)
        return policy

    def read_suites(self, value: Any) -> dict[str, SuiteSource]:
        if value is None:
            return {}
        result = {}
        for name, given in self.fields(
            value, "$.suites", set(value) if isinstance(value, dict) else set(), set()
        ).items():
            path = f"$.suites.{name}"
            self.text(name, path)
            if isinstance(given, str):
                given = {"source": given}
            parts = self.fields(given, path, {"source", "digest"}, set())
            digest = parts.get("digest")
            if digest is not None and not (isinstance(digest, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", digest)):
                raise self.fail(f"{path}.digest", f"{digest!r:.80} is no digest", "policy check prints the digests")
            source = self.text(parts["source"], f"{path}.source") if "source" in parts else None
            if source is not None and shipped.reserved(name):
                raise self.fail(
                    path, f"the name {name!r} says which suite it is, and takes a digest only", "choose another name"
                )
            result[name] = SuiteSource(source, digest)
        return result

    def pinned(self, suite: str | None) -> str | None:
        """The version of ``suite`` that counts. A built-in one that the policy does not pin is the shipped one, and is
        written down, so that judging again under another version of this program means the same."""
        if suite in shipped.SUITES and self.suites.get(suite, SuiteSource()).digest is None:
            self.suites[suite] = SuiteSource(digest=shipped.SUITES[suite])
        return self.suites[suite].digest if suite in self.suites else None

    def tiers(self, value: Any) -> dict[Tier, tuple[Requirement, ...]]:
        tiers = self.fields(value, "$.tiers", set(TIERS), set())
        if not tiers:
            raise self.fail("$.tiers", "no tier is listed, so nothing could ever be granted")
        result: dict[Tier, tuple[Requirement, ...]] = {}
        for tier in TIERS:
            if tier in tiers:
                lines = self.lines(tiers[tier], f"$.tiers.{tier}")
                result[tier] = lines
        return result

    def lines(self, value: Any, path: str) -> tuple[Requirement, ...]:
        if not isinstance(value, list) or not value:
            raise self.fail(path, "expected a list of requirements that is not empty", "an empty list never passes")
        return tuple(self.line(line, f"{path}[{index}]") for index, line in enumerate(value))

    def line(self, value: Any, path: str) -> Requirement:
        self.count += 1
        if self.count > MAX_LINES or path.count("_of") > 8:
            raise self.fail(path, f"more than {MAX_LINES} lines, or nested more than 8 deep")
        if isinstance(value, dict):
            for key, kind in (("any_of", AnyOf), ("all_of", AllOf)):
                if key in value:
                    line = self.fields(value, path, {key, "why"}, {key})
                    return kind(self.lines(line[key], f"{path}.{key}"), self.why(line, path), path)
        return self.bound(value, path)

    def bound(self, value: Any, path: str) -> Bound:
        known = {"measure", "suite", "at_most", "at_least", "items", "control", "settings", "why"}
        line = self.fields(value, path, known, {"measure"})
        name = line["measure"]
        if name not in METRICS:
            raise self.fail(f"{path}.measure", f"unknown measure {name!r}", f"known: {', '.join(sorted(METRICS))}")
        metric = METRICS[name]
        directions: list[Direction] = [key for key in DIRECTIONS if key in line]
        if len(directions) != 1:
            raise self.fail(path, "expected exactly one of at_most and at_least", "write two lines for two bounds")
        direction = directions[0]
        threshold = self.decimal(line[direction], f"{path}.{direction}")
        sampled = metric.kind == "sampled"
        if threshold < 0 or (sampled and threshold > 1) or (not sampled and threshold % 1):
            expected = "between 0 and 1" if sampled else "a whole number of at least 0"
            raise self.fail(f"{path}.{direction}", f"{threshold} is not {expected}")
        if sampled != ("suite" in line):
            raise self.fail(f"{path}.suite", f"{name} {'needs a suite' if sampled else 'is exact and takes no suite'}")
        for key in ("items", "control", "settings"):
            if key in line and not sampled:
                raise self.fail(f"{path}.{key}", f"{name} is exact and takes no {key}")
        items = line.get("items")
        if items is not None and (not isinstance(items, int) or isinstance(items, bool) or items < 1):
            raise self.fail(f"{path}.items", f"{items!r} is not a whole number of at least 1")
        suite = self.text(line["suite"], f"{path}.suite") if sampled else None
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
        return Bound(
            metric=name,
            direction=direction,
            threshold=threshold,
            suite=suite,
            suite_digest=self.pinned(suite),
            items=items,
            control=control,
            control_digest=self.pinned(control),
            settings=settings,
            why=self.why(line, path),
            path=path,
        )

    def contradictions(self, policy: Policy) -> None:
        """Two plain lines of one ladder that no value can satisfy together."""
        floors: dict[tuple[str, str | None], Bound] = {}
        ceilings: dict[tuple[str, str | None], Bound] = {}
        plain = [line for tier in TIERS for line in policy.tiers.get(tier, ()) if isinstance(line, Bound)]
        for line in plain:
            key = (line.metric, line.suite)
            side, keep = (floors, max) if line.direction == "at_least" else (ceilings, min)
            side[key] = keep(side.get(key, line), line, key=lambda bound: bound.threshold)
        for key in floors.keys() & ceilings.keys():
            if floors[key].threshold > ceilings[key].threshold:
                raise self.fail(
                    f"{floors[key].path}.at_least",
                    f"{key[0]} cannot be at least {floors[key].threshold} and, at {ceilings[key].path}, "
                    f"at most {ceilings[key].threshold}",
                )

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

    def days(self, value: Any) -> timedelta:
        match = re.fullmatch(r"([1-9][0-9]{0,4})d", value) if isinstance(value, str) else None
        if not match:
            raise self.fail("$.expires_after", f"{value!r} is no number of days", "write it as 180d")
        return timedelta(days=int(match[1]))

    def approvals(self, value: Any) -> dict[str, int]:
        needed = self.fields(value, "$.approvals", set(TIERS), set())
        for tier, count in needed.items():
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 100:
                raise self.fail(f"$.approvals.{tier}", f"{count!r} is no number of approvals")
        if needed.get("open", 1) < 1:
            raise self.fail("$.approvals.open", "opening weights needs at least one approval", "it cannot be undone")
        return {"open": 1} | needed

    def text(self, value: Any, path: str, *, prose: bool = False) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > 2000:
            raise self.fail(path, f"expected text, found {value!r:.80}")
        return check_visible(value, where=f"{self.where} at {path}", error=PolicyError, prose=prose)

    def flag(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise self.fail(path, f"expected true or false, found {value!r:.80}")
        return value

    def why(self, line: dict[str, Any], path: str) -> str:
        return self.text(line["why"], f"{path}.why", prose=True) if "why" in line else ""
