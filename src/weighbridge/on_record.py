"""Reads decisions on record: from folders of weighings to what ``review`` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from weighbridge.baselines import Registry, check_frontier, decided_here, for_judge
from weighbridge.decision import Decision
from weighbridge.errors import InputError, VerificationError, WeighbridgeError
from weighbridge.files import unreadable
from weighbridge.imports import check_imports
from weighbridge.policy import Policy
from weighbridge.review import OnRecord, Row, review
from weighbridge.successors import check_successions, read_succession
from weighbridge.trust import State, Trust, load_decision, read_decision_unverified
from weighbridge.workspace import Workspace


@dataclass(frozen=True)
class Broken:
    """A folder that could not be reviewed, and why."""

    folder: str
    error: WeighbridgeError


@dataclass(frozen=True)
class Reviewed:
    """What a review found: a row for each model on record, and the folders that could not be read."""

    rows: tuple[Row, ...]
    broken: tuple[Broken, ...]


@dataclass(frozen=True)
class Today:
    """What decisions are reviewed by: ``policy`` (each decision's own without one, ``source`` is how commands name it),
    the ``registry`` of baselines, whom to ``trust``, and what this machine has seen. ``successors`` are decisions by
    which a successor is served, for the folder that they are given for."""

    registry: Registry
    at: datetime
    policy: Policy | None = None
    source: str = ""
    trust: Trust | None = None
    state: State = field(default_factory=State)
    successors: Mapping[Path, Path] = field(default_factory=dict)


def weighings(folders: Sequence[Path]) -> list[Path]:
    """Every folder with a decision: one of ``folders``, or in one of them.

    Raises ``InputError`` for one without any: a job that reviews nothing must not look like one that found nothing.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        try:
            inside = sorted(entry.name for entry in os.scandir(folder))
        except OSError as cause:
            raise unreadable(cause, where=str(folder)) from cause
        here = [folder] if "decision.json" in inside else [folder / name for name in inside]
        decided = [one for one in here if (one / "decision.json").is_file()]
        if not decided:
            remedy = "name a weighing, or a folder of weighings: weighbridge weigh PATH --out DIR"
            raise InputError("no decision on record", where=str(folder), remedy=remedy)
        found |= {one.resolve(): one for one in decided}
    return list(found.values())


def review_folders(folders: Sequence[Path], today: Today) -> Reviewed:
    """Judge what lies in ``folders`` again by ``today``; nothing is measured, and nothing is written.

    A folder that cannot be read is reported and does not keep the others from being reviewed. Raises ``InputError`` for
    a folder without decisions, and for a successor given for a folder that is not reviewed.
    """
    places = weighings(folders)
    today.registry.entries()  # a damaged registry is not the fault of any of the folders
    if unknown := [path for path in today.successors if path.resolve() not in {one.resolve() for one in places}]:
        raise InputError("a successor is given for it, and it is not reviewed", where=str(unknown[0]))
    broken: list[Broken] = []
    read: list[tuple[Path, Decision]] = []
    for place in places:
        try:
            read.append((place, _decision(place, today.trust)))
        except WeighbridgeError as error:
            broken.append(Broken(str(place), error))
    own = None if today.trust is None else today.trust.keyids("decider")
    decided = decided_here(today.state, own) | {decision.checkpoint for _, decision in read}
    records: list[OnRecord] = []
    for place, decision in read:
        try:
            records.append(_on_record(place, decision, decided, today))
        except WeighbridgeError as error:
            broken.append(Broken(str(place), error))
    return Reviewed(tuple(review(records, at=today.at)), tuple(broken))


def _decision(folder: Path, trust: Trust | None) -> Decision:
    workspace = Workspace(folder)
    workspace.check()
    path = workspace.decision_path
    # Without a trust file nobody vouches for the decisions; with one, drafts are shown as what they are.
    verified = trust is not None and workspace.signed()
    decision = load_decision(path, trust) if verified and trust is not None else read_decision_unverified(path)
    if workspace.manifest().digest != decision.checkpoint:
        raise VerificationError("is about another checkpoint than the weighing", where=str(path))
    return decision


def _on_record(folder: Path, decision: Decision, decided: frozenset[str], today: Today) -> OnRecord:
    workspace = Workspace(folder)
    policy = today.policy or workspace.policy()
    evidence = workspace.store.load()
    trust = today.trust or Trust.nobody()
    check_imports(workspace.store, evidence, trust, at=today.at)
    check_successions(workspace.store, evidence, trust)
    for place, successor in today.successors.items():
        if place.resolve() == folder.resolve():
            record, _ = read_succession(successor, decision.checkpoint, trust, at=today.at)
            evidence = [*(one for one in evidence if one.question.digest != record.question.digest), record]
    weighed = today.registry.weighed(policy)
    check_frontier([one.model for one in weighed], decided)
    facts, origin = workspace.facts(), workspace.origin()
    return OnRecord(
        name=str(facts.get("name") or (origin or {}).get("name") or folder.resolve().name),
        folder=str(folder),
        decision=decision,
        signed=workspace.signed(),
        policy=policy,
        source=today.source or _source(folder, policy),
        evidence=evidence,
        baselines=for_judge(weighed),
    )


def _source(folder: Path, policy: Policy) -> str:
    """How a command names the decision's own policy. Files that it names lie beside the original."""
    elsewhere = any(one.source is not None for one in (*policy.suites.values(), *policy.batteries.values()))
    return "POLICY" if elsewhere else str(folder / "policy.json")
