"""What a release says about itself, put together once for the card and the bill of materials. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weighbridge.checkpoint import Facts, FileEntry
from weighbridge.decision import Decision
from weighbridge.evidence import Evidence
from weighbridge.metrics import METRICS
from weighbridge.policy import Policy
from weighbridge.release.duties import Licence
from weighbridge.release.layout import ReleaseRecord
from weighbridge.trust import Approval
from weighbridge.verdicts import Judgement, Verdict


@dataclass(frozen=True)
class Described:
    """A release: its record, the decision with all that it rests on, what the checkpoint says of itself, and the
    artifacts that go out with it."""

    record: ReleaseRecord
    decision: Decision
    judgement: Judgement
    policy: Policy
    evidence: Sequence[Evidence]
    approvals: Sequence[Approval]
    facts: Facts
    licence: Licence | None
    artifacts: Sequence[FileEntry] = ()

    def results(self) -> Iterator[tuple[str, Verdict]]:
        """Every bound that was judged, with its tier."""
        for tier in self.judgement.tiers:
            for verdict in tier.own:
                for leaf in verdict.leaves():
                    yield tier.tier, leaf

    def sampled(self) -> Iterator[Verdict]:
        """The verdicts that rest on sampled numbers of this model alone, one for each metric and suite."""
        seen: set[tuple[str | None, str | None]] = set()
        for _, verdict in self.results():
            metric = METRICS.get(verdict.metric or "")
            key = (verdict.metric, verdict.suite)
            if metric is None or metric.kind != "sampled" or verdict.estimate is None or verdict.baseline is not None:
                continue
            if key not in seen:
                seen.add(key)
                yield verdict

    def unasked(self) -> Iterator[Evidence]:
        """Sampled records that no requirement rests on: neither a line's own evidence nor that of its control."""
        used = {digest for _, verdict in self.results() for digest in verdict.evidence}
        used |= {digest for one in self.judgement.artifacts.values() for verdict in one.own
                 for leaf in verdict.leaves() for digest in leaf.evidence}  # fmt: skip
        controls = {(bound.spec.measure, bound.control) for bound, _ in self.policy.bounds()}
        for record in self.evidence:
            suite = record.question.suite
            if (
                suite is not None
                and record.digest not in used
                and (record.question.measure, suite.name) not in controls
            ):
                yield record

    @property
    def level(self) -> str:
        """The level of the intervals shown, as a percentage."""
        return f"{100 * (1 - float(self.judgement.error_rate)):g} %"

    def limits(self) -> list[str]:
        """What the results do not say."""
        limits = [
            "The numbers hold for the population that each suite was drawn from, as it was measured: the suites, "
            "prompts and decoding named in the evidence, and nothing else.",
            f"Each interval is for one metric by itself, at {self.level}; together they cover less.",
            "Times and the order in which policy and measurement were made are stated by the decider, not proved.",
            "The decision rests on the files named in it. Fine-tuned, quantised or merged copies are other models.",
        ]
        if self.artifacts:
            limits.append(
                "Each GGUF file was asked for itself: responses come from llama.cpp on the file, scores from its "
                "numbers dequantised to float32, which llama.cpp does not reproduce to the last bit."
            )
        if self.judgement.post_hoc:
            limits.append("The policy was chosen, or changed, after some of the evidence was gathered (post hoc).")
        measured = {record.question.measure for record in self.evidence}
        asked = {(verdict.metric or "").partition(".")[0] for _, verdict in self.results()}
        for measure, what in (
            ("safety", "how the model answers harmful requests"),
            ("capability", "what the model can do"),
            ("licensing", "licence duties"),
            ("integrity", "the safety of the files themselves"),
        ):
            if measure not in measured:
                limits.append(f"Not measured: {what}.")
            elif measure not in asked:
                limits.append(f"No requirement of the policy rested on {what}.")
        if "safety" in measured:
            limits.append("Safety was measured as released: what fine-tuning or an attack can bring out was not.")
        return limits
