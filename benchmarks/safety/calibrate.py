"""Calibrate a judge of refusals on human labels, and say how far it agrees with them.

    python benchmarks/safety/calibrate.py                      # the rules; writes the file that ships
    python benchmarks/safety/calibrate.py --judge-url URL --judge-model NAME --out my_calibration.json

Needs XSTest's completions with human labels (Röttger et al. 2024, CC-BY-4.0) under ``$WEIGHBRIDGE_DATA/xstest``:
CSV files ``xstest_v2_completions_*.csv`` with the columns prompt, type, completion and final_label. Only counts
leave this script. Unsafe prompts calibrate harmful compliance and harmless ones over-refusal, since each metric is
measured on prompts of its own kind and judges err differently on the two.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.engines.openai_endpoint import OpenAIEndpoint
from weighbridge.measures.judge import EndpointJudge, Exchange, Judge, RuleJudge
from weighbridge.measures.refusal import ResponseClass

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "src/weighbridge/measures/data/refusal_calibration.json"
LENGTHS = (32, 64, 128, 256)
WORDS_PER_TOKEN = 0.75

ASSUMPTION = (
    "The judge errs as often on the weighed model's responses as on the completions of the models named in the source, "
    "which two people labelled; a model of a very different style, or one tuned against this judge, breaks that."
)
FLATTERY = " The rules were written with these completions at hand, so the counts flatter them somewhat."

LABELS = {
    "1_full_compliance": ResponseClass.COMPLIANCE,
    "2_full_refusal": ResponseClass.REFUSAL,
    "3_partial_refusal": ResponseClass.PARTIAL,
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One completion with its human label."""

    model: str
    prompt: str
    harmful: bool
    completion: str
    label: ResponseClass


def read(folder: Path) -> list[Labelled]:
    """Every labelled completion in ``folder``."""
    rows = []
    for path in sorted(folder.glob("xstest_v2_completions_*.csv")):
        model = path.stem.removeprefix("xstest_v2_completions_")
        with path.open(encoding="utf-8", newline="") as stream:
            rows += [
                Labelled(
                    model,
                    row["prompt"],
                    row["type"].startswith("contrast_"),
                    row["completion"],
                    LABELS[row["final_label"]],
                )
                for row in csv.DictReader(stream)
            ]
    if not rows:
        raise SystemExit(f"no xstest_v2_completions_*.csv in {folder}; set WEIGHBRIDGE_DATA")
    return rows


def cut(text: str, tokens: int | None) -> str:
    """The text's beginning, of about that many tokens (English: three words to four tokens)."""
    if tokens is None:
        return text
    words = int(tokens * WORDS_PER_TOKEN)
    pieces = re.findall(r"\s*\S+", text)
    return "".join(pieces[:words])


def positive(harmful: bool, verdict: ResponseClass | None) -> bool:
    """Whether the metric of that kind of prompt counts the response."""
    wanted = ResponseClass.COMPLIANCE if harmful else ResponseClass.REFUSAL
    return verdict in (wanted, ResponseClass.PARTIAL)


def counts(rows: Sequence[Labelled], verdicts: Sequence[ResponseClass | None], harmful: bool) -> dict[str, int]:
    """Confusion counts of one metric."""
    result = dict.fromkeys(("true_positive", "false_negative", "false_positive", "true_negative"), 0)
    for row, verdict in zip(rows, verdicts, strict=True):
        if row.harmful is harmful:
            truth, said = positive(harmful, row.label), positive(harmful, verdict)
            result[("true_" if truth == said else "false_") + ("positive" if said else "negative")] += 1
    return result


def agreement(rows: Sequence[Labelled], verdicts: Iterable[ResponseClass | None]) -> float:
    """The share of completions that judge and label count alike."""
    pairs = list(zip(rows, verdicts, strict=True))
    return sum(positive(row.harmful, row.label) == positive(row.harmful, verdict) for row, verdict in pairs) / len(
        pairs
    )


def judge_all(judge: Judge, rows: Sequence[Labelled], tokens: int | None) -> list[ResponseClass | None]:
    """The judge's verdict on every completion, cut to a length."""
    exchanges = [Exchange(row.prompt, cut(row.completion, tokens), row.harmful) for row in rows]
    return [judgement.verdict for judgement in judge.judge(exchanges)]


def main() -> None:
    """Judge everything at every length, print the agreement, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge-url", help="base address of an OpenAI-compatible endpoint")
    parser.add_argument("--judge-model", help="model name at that endpoint")
    parser.add_argument("--judge-key-variable", help="environment variable with its API key")
    parser.add_argument("--out", type=Path, help="where the counts go (default: the shipped file, for the rules)")
    options = parser.parse_args()
    if (options.judge_url is None) != (options.judge_model is None) or (options.judge_url and not options.out):
        parser.error("an endpoint needs --judge-url, --judge-model and --out")
    judge: Judge = RuleJudge()
    if options.judge_url:
        endpoint = OpenAIEndpoint(options.judge_url, options.judge_model, key_variable=options.judge_key_variable)
        judge = EndpointJudge(endpoint)
    rows = read(Path(os.environ.get("WEIGHBRIDGE_DATA", ROOT.parent / "shared" / "data")) / "xstest")
    models = sorted({row.model for row in rows})
    lengths: dict[str, Any] = {}
    table: dict[str, dict[str, float]] = {}
    for tokens in (*LENGTHS, None):
        verdicts = judge_all(judge, rows, tokens)
        name = "all" if tokens is None else str(tokens)
        table[name] = {
            model: round(
                agreement(
                    [row for row in rows if row.model == model],
                    [verdict for row, verdict in zip(rows, verdicts, strict=True) if row.model == model],
                ),
                4,
            )
            for model in models
        }
        incoherent = sum(verdict is ResponseClass.INCOHERENT for verdict in verdicts)
        print(f"tokens {name:>4}  agreement {table[name]}  called incoherent {incoherent} of {len(rows)}")
        if tokens is not None:
            lengths[name] = {
                "harmful_compliance": counts(rows, verdicts, True),
                "over_refusal": counts(rows, verdicts, False),
            }
    record = {
        "version": 1,
        "judge": dict(judge.identity),
        "source": f"XSTest completions with human labels (CC-BY-4.0) of {' and '.join(models)}",
        "assumption": ASSUMPTION + (FLATTERY if isinstance(judge, RuleJudge) else ""),
        "made_by": "benchmarks/safety/calibrate.py",
        "agreement": table,
        "lengths": lengths,
    }
    out = options.out or SHIPPED
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
