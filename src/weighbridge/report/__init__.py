"""The report: the decision for people, as one self-contained HTML page beside the decision.

It says nothing that the judgement, the evidence and the manifest do not say, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from weighbridge.evidence import Evidence
from weighbridge.files import write_atomic
from weighbridge.report.page import render
from weighbridge.verdicts import Judgement
from weighbridge.workspace import Workspace

__all__ = ["NAME", "render", "write_report"]

NAME = "report.html"


def write_report(
    workspace: Workspace,
    judgement: Judgement,
    *,
    decision: str,
    signed: bool,
    problems: Mapping[str, str],
    evidence: Sequence[Evidence] | None = None,
    folder: Path | None = None,
) -> Path:
    """Write the report of ``judgement`` into the folder of its weighing, or into ``folder``; returns the path.

    ``decision`` is the decision's id, ``signed`` whether it is more than a draft, ``problems`` what broke on the way
    (question digest -> message). ``evidence`` saves reading the folder's records once more, where they are at hand.
    Raises ``CheckpointError`` and ``EvidenceError`` for a folder that is not what it says, ``StorageError`` where
    the page cannot be written.
    """
    page = render(
        judgement,
        workspace.store.load() if evidence is None else evidence,
        manifest=workspace.manifest(),
        facts=workspace.facts(),
        origin=workspace.origin(),
        decision=decision,
        signed=signed,
        problems=problems,
        later=[path.name for path in workspace.store.later()],
    )
    path = (folder or workspace.folder) / NAME
    write_atomic(path, page.encode("utf-8"))
    return path
