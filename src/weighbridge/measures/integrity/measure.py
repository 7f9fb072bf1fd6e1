"""Integrity: is there anything in the checkpoint that must not be there? Exact; the metric is ``findings``."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import PurePosixPath

from weighbridge import __version__
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.evidence import Evidence, Question
from weighbridge.measures.integrity.belongs import check_files
from weighbridge.measures.integrity.chat import check_templates
from weighbridge.measures.integrity.configs import check_configs
from weighbridge.measures.integrity.notes import FIELD, Notes, words
from weighbridge.measures.integrity.secrets import scan
from weighbridge.measures.integrity.vocabulary import check_vocabulary
from weighbridge.measures.integrity.weights import check_weights, is_weights

RULES = 1  # raised whenever the same checkpoint could get other findings
_NOT_TEXT = words(".png .jpg .jpeg .gif .webp")
_MAX_SECRETS = 20


class Integrity:
    """The integrity measure of one checkpoint. An ``ExactMeasure``."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @property
    def question(self) -> Question:
        """The checkpoint, and the version of the rules."""
        return Question("integrity", self._checkpoint.digest, settings={"rules": RULES})

    def examine(self, *, made: str) -> Evidence:
        """Look at every file. What cannot be checked leaves ``findings`` undecided, with the reasons."""
        started = time.monotonic()
        checkpoint, notes = self._checkpoint, Notes()
        notes.attempt("files", lambda: check_files(checkpoint, notes))
        notes.attempt("configs", lambda: check_configs(checkpoint, notes))
        notes.attempt("chat templates", lambda: check_templates(checkpoint, notes))
        notes.attempt("secrets", lambda: _check_secrets(checkpoint, notes))
        notes.attempt("tokenizer", lambda: check_vocabulary(checkpoint, notes))
        check_weights(checkpoint, notes)
        return Evidence(
            question=self.question,
            kind="exact",
            made=made,
            metrics=(FIELD,),
            findings=tuple(notes.findings),
            undecided={FIELD: "; ".join(notes.reasons)} if notes.reasons else {},
            facts=dict(sorted(notes.facts.items())),
            producer=_producer(),
            cost={"seconds": round(time.monotonic() - started, 3)},
        )


def _check_secrets(checkpoint: Checkpoint, notes: Notes) -> None:
    for file in checkpoint.manifest.files:
        if is_weights(file.path) or PurePosixPath(file.path).suffix.lower() in _NOT_TEXT:
            continue
        with checkpoint.locate(file.path).open("rb") as stream:
            for number, secret in enumerate(scan(stream)):
                if number == _MAX_SECRETS:
                    break
                notes.find("secret", f"{file.path} at byte {secret.offset}", f"looks like a {secret.kind}")


def _producer() -> dict[str, str]:
    result = {"weighbridge": __version__}
    for name in ("jinja2", "numpy", "torch", "transformers"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result
