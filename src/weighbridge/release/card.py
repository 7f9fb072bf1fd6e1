"""The model card, in Hugging Face form: YAML front matter, then what was measured and how it was decided. Pure.

Names, reasons and suites come from files that others wrote, so all of it is made plain before it enters Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from weighbridge.metrics import METRICS
from weighbridge.release.described import Described
from weighbridge.release.duties import Duty, Licence
from weighbridge.release.layout import BOM, DECISION, EVIDENCE, POLICY
from weighbridge.release.oms import SIGNATURE_FILE
from weighbridge.summary import summarise
from weighbridge.times import format_time
from weighbridge.verdicts import Verdict

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")
_OUTCOMES = {"met": "met", "not_met": "not met", "undecided": "undecided"}


def make_card(release: Described) -> bytes:
    """The bytes of the card."""
    front = yaml.safe_dump(front_matter(release), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{''.join(_body(release))}".encode()


def front_matter(release: Described) -> dict[str, Any]:
    """The card's metadata, as the hub reads it; ``weighbridge`` names the decision."""
    licence = release.licence
    front: dict[str, Any] = {}
    if licence is not None and licence.id is not None:
        front["license"] = licence.id
        if licence.link is not None:
            front["license_link"] = licence.link
    if release.facts.languages:
        front["language"] = list(release.facts.languages)
    if parents := _hub_parents(licence):
        front["base_model"] = parents
        relations = {parent.relation for parent in licence.parents} if licence is not None else set()
        if len(relations) == 1 and (relation := next(iter(relations))) in ("finetune", "quantized", "merge", "adapter"):
            front["base_model_relation"] = relation
    front["library_name"] = "transformers"
    front["pipeline_tag"] = "text-generation"
    front["tags"] = ["weighbridge", *(["not-for-real-release"] if release.judgement.notice else [])]
    if results := [_model_index_entry(release, verdict) for verdict in release.sampled()]:
        front["model-index"] = [{"name": release.record.name, "results": results}]
    front["weighbridge"] = {
        "decision": release.decision.id,
        "checkpoint": release.decision.checkpoint,
        "tier": release.decision.tier,
        "expires_at": format_time(release.decision.expires_at),
    }
    return front


def plain(text: object) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would understand."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split())).replace("://", "&#58;//")


def code(text: object) -> str:
    """``text`` as a span of code, on one line."""
    inside = " ".join(str(text).replace("`", "'").split())
    return f"`{inside}`"


def _body(release: Described) -> Iterator[str]:
    yield f"# {plain(release.record.name)}\n\n"
    if release.judgement.notice:
        yield f"> **{plain(release.judgement.notice)}**\n\n"
    for duty in _duties(release.licence, "show-phrase"):
        yield f"**{plain(duty.detail)}**\n\n"
    yield from _decision(release)
    yield from _licence(release)
    yield from _results(release)
    yield "\n## Limits\n\n"
    yield from (f"- {limit}\n" for limit in release.limits())
    yield from _files(release)
    yield from _artifacts(release)
    yield from _verifying()


def _decision(release: Described) -> Iterator[str]:
    decision, policy = release.decision, release.policy
    yield (
        f"These weights are open: the policy {plain(policy.name)!r} grants the tier `{decision.tier}`, "
        f"decided at {format_time(decision.decided_at)}.\n\n## How it was decided\n\n"
    )
    yield "| | |\n|---|---|\n"
    rows = [
        ("decision", f"`{decision.id}`, serial {decision.serial}"),
        ("holds until", f"{format_time(decision.expires_at)} (for new releases; this one stays authentic)"),
        ("checkpoint", f"`{decision.checkpoint}`, {len(decision.manifest.files)} files"),
        ("policy", f"{plain(policy.name)}, `{policy.digest}`"),
        ("error rate", f"{decision.error_rate}: the chance of granting more than the truth warrants, at most"),
        ("decided by", ", ".join(f"key `{keyid[:16]}`" for keyid in decision.signers)),
        ("approved by", ", ".join(f"key `{keyid[:16]}`" for one in release.approvals for keyid in one.signers)),
        ("self-approval", "allowed by the policy" if policy.self_approval else "not allowed"),
        ("released", f"{format_time(release.record.released_at)} by key `{release.record.publisher[:16]}`"),
    ]
    yield from (f"| {name} | {value} |\n" for name, value in rows)
    yield "\nThe judgement can be replayed from the files in `weighbridge/`: same policy, same evidence, same bytes.\n"


def _licence(release: Described) -> Iterator[str]:
    licence = release.licence
    yield "\n## Licence\n\n"
    if licence is None:
        yield "Licence duties were not examined.\n"
        return
    if licence.id is None:
        yield "No licence could be identified.\n"
    else:
        added = {one.duty: one.path for one in release.record.added}
        file = licence.file_of(licence.id) or added.get("include-licence-text")
        text = f", text in {code(file)}" if file else ""
        yield f"{plain(licence.name)} ([{licence.id}]({licence.link})){text}.\n"
    for parent in licence.parents:
        how = {"outputs": "Trained on outputs of", "copy": "A copy of"}.get(parent.relation or "", "Made from")
        what = f" ({parent.relation})" if parent.relation not in (None, "outputs", "copy") else ""
        yield f"\n{how} {plain(parent.model)}{what}, which is under {plain(parent.license or 'an unknown licence')}.\n"
    if any(_duties(licence, "state-changes")):
        yield "\nThe weights were changed from those of the models named above.\n"
    said = [line for duty in licence.duties if (line := _passed_on(duty))]
    if said:
        yield "\nWhat binds you:\n\n"
        yield from (f"- {line}\n" for line in dict.fromkeys(said))
    people = [duty for duty in licence.duties if duty.by == "people"]
    if people:
        yield "\nWhat no program could check:\n\n"
        yield from (f"- {plain(duty.message)}\n" for duty in people)


def _passed_on(duty: Duty) -> str | None:
    who = plain(duty.license)
    link = f"<{duty.detail}>" if re.fullmatch(r"https://[\w./~-]+", duty.detail) else plain(duty.detail)
    return {
        "pass-on-use-restrictions": f"{who}: you may use the model only within the use policy at {link}, and must pass "
        "that on to whoever receives it from you.",
        "pass-on-user-threshold": f"{who}: no rights are granted to those whose products have more than "
        f"{plain(duty.detail)} monthly active users, without a grant of their own.",
        "pass-on-non-commercial": f"{who}: no commercial use.",
        "pass-on-eu-exclusion": f"{who}: no rights are granted to persons domiciled, or companies with their principal "
        "place of business, in the European Union (end users of products are not concerned).",
        "share-alike": f"{who}: what you make from the model stays under the same licence.",
        "link-licence": f"{who}: the licence is at {link}.",
    }.get(duty.code)


def _results(release: Described) -> Iterator[str]:
    yield f"\n## Results\n\nIntervals at {release.level}.\n\n"
    yield "| tier | metric | suite | result | interval | asked | verdict | items |\n|---|---|---|---|---|---|---|---|\n"
    for tier, verdict in release.results():
        cells = [
            tier,
            f"{verdict.metric or ''}{'' if verdict.baseline is None else f', minus that of {verdict.baseline}'}",
            verdict.suite or "",
            verdict.estimate or "-",
            f"{verdict.interval[0]} to {verdict.interval[1]}" if verdict.interval else "-",
            f"{(verdict.direction or '').replace('_', ' ')} {verdict.threshold or ''}",
            _OUTCOMES.get(verdict.outcome, verdict.outcome) + (" (post hoc)" if verdict.post_hoc else ""),
            f"{verdict.items} of {verdict.suite_items}" if verdict.items is not None else "-",
        ]
        yield f"| {' | '.join(plain(cell) for cell in cells)} |\n"
    meanings = {verdict.metric: METRICS[verdict.metric].meaning for _, verdict in release.results() if verdict.metric}
    yield "\n"
    yield from (f"- {code(metric)}: {plain(meaning)}\n" for metric, meaning in meanings.items())
    yield from _unasked(release)


def _unasked(release: Described) -> Iterator[str]:
    """What was measured beside the policy's lines: it belongs to the whole, whatever it shows."""
    rows = []
    for record in release.unasked():
        said = summarise(record)
        for name, metric in said["metrics"].items():
            interval = " to ".join(metric["interval"]) if metric["interval"] else metric.get("undecided", "-")
            items = f"{said['items']} of {said['suite_items']}"
            under = f", under {said['attack']}" if said["attack"] else ""
            under += f", of {said['artifact']}" if said["artifact"] else ""
            metric_name = f"{said['measure']}.{name}{under}"
            rows.append((metric_name, said["suite"], metric["estimate"] or "-", interval, items))
    if rows:
        yield "\nMeasured too, not asked by the policy (intervals at 95 %):\n\n"
        yield "| metric | suite | result | interval | items |\n|---|---|---|---|---|\n"
        yield from (f"| {' | '.join(plain(cell) for cell in row)} |\n" for row in rows)


def _files(release: Described) -> Iterator[str]:
    yield "\n## Files\n\n"
    facts = release.facts
    parts = [f"architecture {facts.architecture or facts.model_type}"]
    parts += [f"{facts.parameters:,} parameters"] if facts.parameters else []
    parts += [f"context {facts.context:,} tokens"] if facts.context else []
    parts += [facts.dtype] if facts.dtype else []
    yield f"{plain(', '.join(parts))}.\n"
    origin = release.decision.origin
    if origin is not None:
        yield (
            f"\nConverted from the GGUF file {code(origin.get('name'))} (SHA-256 {code(origin.get('sha256'))}) "
            "by dequantisation; every tensor was compared with its source.\n"
        )
    for added in release.record.added:
        yield f"\n{code(added.path)} was added by the release ({added.duty}); all other model files are as weighed.\n"


def _artifacts(release: Described) -> Iterator[str]:
    """Every artifact that was weighed, line by line; also those that the policy keeps back, and why."""
    if not release.judgement.artifacts:
        return
    yield "\n## GGUF files\n\n"
    yield "| format | published | metric | suite | result | interval | verdict |\n|---|---|---|---|---|---|---|\n"
    for one in release.judgement.artifacts.values():
        for verdict in (leaf for own in one.own for leaf in own.leaves()):
            cells = [
                one.name,
                "yes" if one.outcome == "met" else "no",
                f"{verdict.metric or ''}{'' if verdict.baseline is None else f', minus that of {verdict.baseline}'}",
                verdict.suite or "",
                verdict.estimate or "-",
                f"{verdict.interval[0]} to {verdict.interval[1]}" if verdict.interval else "-",
                _OUTCOMES.get(verdict.outcome, verdict.outcome),
            ]
            yield f"| {' | '.join(plain(cell) for cell in cells)} |\n"
    yield "\n"
    yield from (f"- {code(file.path)}: SHA-256 {code(file.sha256)}\n" for file in release.artifacts)


def _verifying() -> Iterator[str]:
    yield (
        "\n## Verify it\n\n"
        "Get the trust file of the publisher on a way that you trust; keys that come with a bundle prove nothing.\n\n"
        "```\nweighbridge verify . --trust trust.yaml\n```\n\n"
        f"Signed decision: `{DECISION}`. Policy: `{POLICY}`. Evidence: `{EVIDENCE}`. Bill of materials: `{BOM}`. "
        f"OpenSSF model signature over every file but itself: `{SIGNATURE_FILE}`.\n"
    )


def _model_index_entry(release: Described, verdict: Verdict) -> dict[str, Any]:
    metric = (verdict.metric or "").partition(".")[2]
    entry: dict[str, Any] = {"type": metric, "name": verdict.metric, "value": float(verdict.estimate or "nan")}
    if verdict.interval:
        entry["args"] = {
            "interval": [float(bound) for bound in verdict.interval],
            "level": 1 - float(release.judgement.error_rate),
            "items": verdict.items,
        }
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": verdict.suite or "none", "name": verdict.suite or "none"},
        "metrics": [entry],
    }


def _hub_parents(licence: Licence | None) -> list[str]:
    """Parents whose weights went into the model, where their names are names of a hub."""
    if licence is None:
        return []
    return [
        parent.model
        for parent in licence.parents
        if parent.relation != "outputs" and re.fullmatch(r"[\w.-]+/[\w.-]+", parent.model)
    ]


def _duties(licence: Licence | None, code: str) -> list[Duty]:
    return [duty for duty in licence.duties if duty.code == code] if licence is not None else []
