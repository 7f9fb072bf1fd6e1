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
            - {measure: tampering.harmful_compliance, suite: unsafe, at_most: 0.50}
            - {measure: safety.harmful_compliance, suite: unsafe, no_more_than: {baseline: frontier, margin: 0.02}}
    artifacts:
      formats: [F16, Q8_0]
      lines:
        - {measure: capability.accuracy, suite: general, at_least: {baseline: source, margin: -0.05}}

Tiers are cumulative: ``open`` asks everything that ``gated`` and ``api`` ask. ``held`` asks nothing. ``artifacts`` is
what each file emitted besides the checkpoint must prove to be published with it; a list stands for its lines alone,
and then no file is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from weighbridge import canonical, shipped, strict_yaml
from weighbridge.canonical import Json
from weighbridge.errors import PolicyError
from weighbridge.policy_lines import LineReader, Source
from weighbridge.requirements import SOURCE, Bound, Requirement, bounds

VERSION = 1
Tier = Literal["api", "gated", "open"]
TIERS: tuple[Tier, ...] = ("api", "gated", "open")  # from strict to open; ``held`` stands before them all
MAX_BYTES = 4 * 1024 * 1024
_FORMAT = re.compile(r"[A-Z][A-Z0-9_]{0,23}")  # which of them can be made is known where they are made


@dataclass(frozen=True)
class Policy:
    """A checked policy. ``suites`` and ``batteries`` say where those come from, files relative to the folder ``base``.
    ``artifacts`` is what each artifact must prove, ``formats`` which are made. ``source`` is the policy's file, for
    messages; neither it nor ``base`` is part of the policy. ``notice`` is printed wherever the decision is shown (``not
    for real release``)."""

    name: str
    error_rate: Decimal
    expires_after: timedelta
    approvals: Mapping[str, int]
    tiers: Mapping[Tier, tuple[Requirement, ...]]
    artifacts: tuple[Requirement, ...] = ()
    formats: tuple[str, ...] = ()
    suites: Mapping[str, Source] = field(default_factory=dict)
    batteries: Mapping[str, Source] = field(default_factory=dict)
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
        lines = [line.to_json() for line in self.artifacts]
        return {
            "version": VERSION,
            "name": self.name,
            "error_rate": format(self.error_rate, "f"),
            "expires_after": f"{self.expires_after.days}d",
            "approvals": dict(self.approvals),
            "suites": {name: suite.to_json() for name, suite in self.suites.items()},
            "batteries": {name: battery.to_json() for name, battery in self.batteries.items()},
            "self_approval": self.self_approval,
            "accept_imported": self.accept_imported,
            "notice": self.notice,
            "tiers": {tier: [line.to_json() for line in lines] for tier, lines in self.tiers.items()},
            "artifacts": {"formats": list(self.formats), "lines": lines} if self.formats else lines,
        }

    def lines(self, tier: Tier) -> Iterator[tuple[Tier, Requirement]]:
        """Everything that ``tier`` asks, the stricter tiers' lines first."""
        for step in TIERS[: TIERS.index(tier) + 1]:
            for line in self.tiers.get(step, ()):
                yield step, line

    def bounds(self) -> Iterator[tuple[Bound, int]]:
        """Every bound of every tier, then of the artifacts, with the number by which the error rate is divided
        there."""
        for line in (*(line for tier in TIERS for line in self.tiers.get(tier, ())), *self.artifacts):
            yield from bounds(line)

    @property
    def baselines(self) -> list[str]:
        """The names of the baselines, or sets of them, that lines compare with; ``source`` is none of them."""
        return sorted({bound.baseline for bound, _ in self.bounds() if bound.baseline not in (None, SOURCE)})

    def check_chance(self, chances: Mapping[str, str | None]) -> None:
        """Refuse an ``at_least`` at or below chance; ``chances`` maps suites to the score of a guess."""
        for bound, _ in self.bounds():
            chance = chances.get(bound.suite or "")
            guessable = bound.spec.chance and chance is not None and bound.baseline is None
            if guessable and bound.direction == "at_least" and bound.threshold <= Decimal(chance or 0):
                raise PolicyError(
                    f"at_least {bound.threshold} is not above chance ({chance}) on the suite {bound.suite!r}",
                    where=f"{self.source or self.name} at {bound.path}.at_least",
                    remedy="ask for more than a guess scores",
                )


def load(data: bytes, *, where: str, base: str = ".") -> Policy:
    """A policy from its YAML or canonical JSON. Raises ``PolicyError`` naming the place in the file."""
    return _Reader(where).policy(strict_yaml.load(data, where=where, error=PolicyError), base)


class _Reader(LineReader):
    """Reads one policy; every error carries the place in the file."""

    def policy(self, value: Any, base: str) -> Policy:
        known = {
            "version", "name", "error_rate", "expires_after", "approvals", "suites", "batteries",
            "self_approval", "accept_imported", "notice", "tiers", "artifacts",
        }  # fmt: skip
        top = self.fields(value, "$", known, {"version", "name", "error_rate", "expires_after", "tiers"})
        if top["version"] is not VERSION and top["version"] != VERSION:
            raise self.fail(
                "$.version", f"policy version {top['version']!r} is unknown", f"this program reads {VERSION}"
            )
        error_rate = self.decimal(top["error_rate"], "$.error_rate")
        if not Decimal(0) < error_rate <= Decimal("0.5"):
            raise self.fail("$.error_rate", f"{error_rate} is not above 0 and at most 0.5")
        self.suites = self.sources(top.get("suites"), "$.suites", "suite", shipped.reserved)
        self.batteries = self.sources(top.get("batteries"), "$.batteries", "battery", shipped.BATTERIES.__contains__)
        tiers = self.tiers(top["tiers"])
        artifacts, formats = self.artifacts(top.get("artifacts"))
        policy = Policy(
            name=self.text(top["name"], "$.name"),
            error_rate=error_rate,
            expires_after=self.days(top["expires_after"]),
            approvals=self.approvals(top.get("approvals", {"open": 1})),
            tiers=tiers,
            artifacts=artifacts,
            formats=formats,
            suites=self.suites,
            batteries=self.batteries,
            self_approval=self.flag(top.get("self_approval", False), "$.self_approval"),
            accept_imported=self.flag(top.get("accept_imported", False), "$.accept_imported"),
            notice=None if top.get("notice") is None else self.text(top["notice"], "$.notice"),
            base=base,
            source=self.where,
        )
        self.contradictions(policy)
        return policy

    def sources(self, value: Any, place: str, kind: str, reserved: Callable[[str], bool]) -> dict[str, Source]:
        """Names of suites or batteries, and where each comes from."""
        if value is None:
            return {}
        result = {}
        names = set(value) if isinstance(value, dict) else set()
        for name, given in self.fields(value, place, names, set()).items():
            path = f"{place}.{name}"
            self.text(name, path)
            if isinstance(given, str):
                given = {"source": given}
            parts = self.fields(given, path, {"source", "digest"}, set())
            digest = self.digest(parts.get("digest"), f"{path}.digest")
            source = self.text(parts["source"], f"{path}.source") if "source" in parts else None
            if source is not None and reserved(name):
                raise self.fail(
                    path, f"the name {name!r} says which {kind} it is, and takes a digest only", "choose another name"
                )
            result[name] = Source(source, digest)
        return result

    def tiers(self, value: Any) -> dict[Tier, tuple[Requirement, ...]]:
        tiers = self.fields(value, "$.tiers", set(TIERS), set())
        if not tiers:
            raise self.fail("$.tiers", "no tier is listed, so nothing could ever be granted")
        return {tier: self.lines(tiers[tier], f"$.tiers.{tier}") for tier in TIERS if tier in tiers}

    def artifacts(self, value: Any) -> tuple[tuple[Requirement, ...], tuple[str, ...]]:
        """The lines and the formats. No list at all and an empty one mean the same: no artifact may be published."""
        path = "$.artifacts"
        formats: tuple[str, ...] = ()
        if isinstance(value, dict) and value:
            given = self.fields(value, path, {"formats", "lines"}, {"formats", "lines"})
            value, path, names = given["lines"], f"{path}.lines", given["formats"]
            known = isinstance(names, list) and all(isinstance(one, str) and _FORMAT.fullmatch(one) for one in names)
            if not known or not names or len(set(names)) < len(names):
                raise self.fail("$.artifacts.formats", "not a list of formats", "name them: [F16, Q8_0, Q4_K_M]")
            formats = tuple(names)
        lines = () if value is None or value == [] else self.lines(value, path, artifact=True)
        if formats and not lines:
            raise self.fail(path, "formats that need to prove nothing", "say what each must prove to be published")
        return lines, formats

    def contradictions(self, policy: Policy) -> None:
        """Two plain lines of one ladder that no value can satisfy together."""
        floors: dict[tuple[str, str | None], Bound] = {}
        ceilings: dict[tuple[str, str | None], Bound] = {}
        lines = [line for tier in TIERS for line in policy.tiers.get(tier, ()) if isinstance(line, Bound)]
        plain = [line for line in lines if line.baseline is None]
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

    def flag(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise self.fail(path, f"expected true or false, found {value!r:.80}")
        return value
