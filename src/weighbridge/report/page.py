"""The page: what it says, put together for its template. Pure, reads no clock.

Names and messages come from the checkpoint and may be hostile. The template escapes every value, ``words.safe`` makes
every character visible, and the page forbids itself scripts and every load from elsewhere: see ``templating``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from weighbridge.checkpoint.manifest import Manifest
from weighbridge.evidence import Evidence
from weighbridge.policy import TIERS, Tier
from weighbridge.report import drawing, lines, public, reasons, records, words
from weighbridge.report.templating import render_page
from weighbridge.verdicts import Judgement, Verdict

MAX_FILES = 200


@dataclass(frozen=True)
class Rung:
    """A tier on the ladder: ``state`` is an outcome, or ``not listed`` by the policy."""

    tier: Tier
    meaning: str
    state: str
    mark: Markup
    reason: reasons.Reason
    own: tuple[lines.Line, ...]


def render(
    judgement: Judgement,
    evidence: Sequence[Evidence],
    *,
    manifest: Manifest,
    facts: Mapping[str, Any],
    origin: Mapping[str, Any] | None,
    decision: str,
    signed: bool,
    problems: Mapping[str, str],
    later: Sequence[str] = (),
) -> str:
    """The page as HTML. The same arguments give the same text.

    ``facts`` and ``origin`` are their JSON forms; ``problems`` maps question digests to what broke; ``later`` names
    records that came after the one that counts.
    """
    by_digest = {record.digest: record for record in evidence}
    leaves = [leaf for result in judgement.tiers for verdict in result.own for leaf in verdict.leaves()]
    shown = [records.record(one, named=judgement.evidence, problems=problems) for one in evidence]
    return render_page(
        "report.html",
        j=judgement,
        name=words.safe(_name(facts, origin), words.MAX_NAME),
        meaning=reasons.TIER_MEANINGS[judgement.tier],
        rungs=[_rung(judgement, tier, by_digest) for tier in TIERS],
        decision=decision,
        signed=signed,
        validity=words.days(judgement.at, judgement.expires_at),
        about=_about(facts, manifest, origin),
        legend=_legend(),
        unanswered=_unanswered(leaves),
        possible=[(group[0], reasons.could_show(group)) for group in lines.shown_together(leaves)],
        slices=lines.slice_tables(leaves),
        attacks=public.attacks(judgement, evidence),
        positions=public.positions(judgement),
        artifacts=public.artifacts(judgement, evidence),
        leakage=any(one.question.measure == "leakage" for one in evidence),
        artifact_lines=public.artifact_lines(judgement),
        records=sorted(shown, key=lambda one: (not one.named, one.measure, one.suite or "", one.digest)),
        checkpoint=_checkpoint(facts),
        sources=sorted(dict(facts.get("sources") or {}).items()),
        origin=words.flatten({key: value for key, value in origin.items() if key != "made"}) if origin else [],
        files=manifest.files[:MAX_FILES],
        hidden_files=max(0, len(manifest.files) - MAX_FILES),
        total=(len(manifest.files), manifest.size),
        problems=sorted(problems.items()),
        later=later,
        judged=any(reasons.is_judged(leaf) for leaf in leaves),
        imported=any(one.question.settings.get("imported") for one in evidence),
    )


def _rung(judgement: Judgement, tier: Tier, by_digest: Mapping[str, Evidence]) -> Rung:
    result = next((one for one in judgement.tiers if one.tier == tier), None)
    return Rung(
        tier=tier,
        meaning=reasons.TIER_MEANINGS[tier],
        state="not listed" if result is None else reasons.OUTCOMES[result.outcome],
        mark=drawing.mark("not_met" if result is None else result.outcome),
        reason=reasons.tier_reason(judgement, tier),
        own=() if result is None else tuple(lines.line(verdict, by_digest) for verdict in result.own),
    )


def _name(facts: Mapping[str, Any], origin: Mapping[str, Any] | None) -> str:
    return str(facts.get("name") or (origin or {}).get("name") or "unnamed checkpoint")


def _about(facts: Mapping[str, Any], manifest: Manifest, origin: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The checkpoint at a glance."""
    parameters = facts.get("parameters")
    pairs: list[tuple[str, str | None]] = [
        ("Architecture", facts.get("architecture") or facts.get("model_type")),
        ("Parameters", None if parameters is None else words.magnitude(parameters)),
        ("Licence", facts.get("license") or "none declared"),
        ("Files", f"{words.things(len(manifest.files), 'file')}, {words.size(manifest.size)}"),
        ("Converted from", None if origin is None else str(origin.get("name"))),
    ]
    return [(name, words.safe(str(value), words.MAX_NAME)) for name, value in pairs if value is not None]


def _checkpoint(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every fact that is stated, but for where each was read, which stands apart."""
    stated = {
        key: value
        for key, value in facts.items()
        if key not in {"sources", "special_tokens"} and value is not None and value not in ([], {}, "")
    }
    return words.flatten(stated)


def _unanswered(leaves: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Sampled lines that no number could be computed for: (name, why), each once."""
    blank = [leaf for leaf in leaves if reasons.kind(leaf) == "sampled" and leaf.lower is None]
    return sorted({(reasons.name(leaf), leaf.reason) for leaf in blank})


def _legend() -> Markup:
    """An example of the drawing, to be explained by the text beside it."""
    return drawing.scale(
        drawing.Scale(
            outcome="undecided",
            direction="at_most",
            threshold="0.5",
            estimate="0.42",
            interval=("0.26", "0.62"),
            lower="0.28",
            upper="0.58",
        )
    )
