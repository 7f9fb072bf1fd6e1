"""Licensing as an exact measure: may these files be published under what they declare, and what is owed if so."""

from __future__ import annotations

from pathlib import Path

import weighbridge
from weighbridge.checkpoint import Checkpoint
from weighbridge.evidence import Evidence, Finding, Question
from weighbridge.measures.licensing.lineage import Lineage, find_lineage, load_lineage
from weighbridge.measures.licensing.rules import assess, facts_of
from weighbridge.measures.licensing.sources import read_sources
from weighbridge.measures.licensing.table import Table, load_table

MEASURE = "licensing"
METRICS = ("conflicts", "duties")


class Licensing:
    """The measure ``licensing`` of ``checkpoint``.

    ``lineage`` is a lineage statement; without one, ``<folder>.lineage.yaml`` beside the checkpoint is read if it is
    there. Raises ``InputError`` for a malformed statement, ``CheckpointError`` for malformed metadata.
    """

    def __init__(self, checkpoint: Checkpoint, *, lineage: Path | None = None, table: Table | None = None) -> None:
        self._checkpoint = checkpoint
        self._table = table or load_table()
        path = lineage or find_lineage(checkpoint.root)
        self._lineage = Lineage(where="no lineage statement") if path is None else load_lineage(path)
        self._sources = read_sources(checkpoint)

    @property
    def question(self) -> Question:
        """Everything the answer depends on beside the checkpoint's files: the table, the statement, the card."""
        return Question(
            MEASURE,
            self._checkpoint.digest,
            settings={
                "table": self._table.digest,
                "lineage": self._lineage.digest,
                "read": dict(self._sources.digests),
                "name": self._sources.names[0].value if self._sources.names else None,
            },
        )

    def examine(self, *, made: str) -> Evidence:
        """The evidence: findings of ``conflicts`` and ``duties``, each with the file or field it came from.

        ``undecided`` says why either count cannot be relied on: a licence that is not in the table is not free.
        """
        result = assess(self._sources, self._lineage, self._table)
        findings = [Finding("conflicts", one.code, one.where, one.message) for one in result.conflicts]
        findings += [Finding("duties", one.code, one.where, one.message) for one in result.duties]
        reasons = [f"{one.where}: {one.message}" for one in result.undecided]
        if reasons and result.conflicts:
            first = result.conflicts[0]
            reasons.insert(0, f"{len(result.conflicts)} conflicts at least ({first.where}: {first.message})")
        why = "; ".join(reasons[:4]) + (f"; and {len(reasons) - 4} more reasons" if len(reasons) > 4 else "")
        return Evidence(
            question=self.question,
            kind="exact",
            made=made,
            metrics=METRICS,
            findings=tuple(sorted(findings, key=lambda one: (one.metric, one.code, one.where, one.message))),
            undecided=dict.fromkeys(METRICS, why) if reasons else {},
            facts=facts_of(result, self._lineage),
            producer={"weighbridge": weighbridge.__version__},
        )
