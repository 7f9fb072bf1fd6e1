"""A small release from end to end: a checkpoint of a few kilobytes, weighed, decided, approved, ready to be opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from checkpoints import make_checkpoint
from trust_world import DECIDED, NOW, key, trust
from weighbridge import policy as policies
from weighbridge.checkpoint import Checkpoint, open_checkpoint
from weighbridge.decision import Decision, make_decision
from weighbridge.evidence import Evidence, Observation, Question, SuiteRef, seeded_order
from weighbridge.judge import judge
from weighbridge.measures.licensing import Licensing
from weighbridge.plan import make_plan
from weighbridge.policy import Policy
from weighbridge.release import Bundle, write_bundle
from weighbridge.shipped import SUITES
from weighbridge.times import format_time
from weighbridge.trust import Trust, make_approval, sign, verify_decision
from weighbridge.workspace import Workspace

POLICY = """
version: 1
name: tests
notice: not for real release
error_rate: 0.05
expires_after: 90d
approvals: {open: 1}
tiers:
  api:
    - {measure: integrity.findings, at_most: 0}
    - {measure: capability.accuracy, suite: general, at_least: 0.30}
  open:
    - {measure: licensing.conflicts, at_most: 0}
"""

CARD = "license: apache-2.0\nlanguage: [en]\nmodel_name: Tiny"


def load_policy(text: str = POLICY) -> Policy:
    return policies.load(text.encode(), where="tests.yaml")


def integrity(checkpoint: str, findings: tuple[Any, ...] = ()) -> Evidence:
    question = Question("integrity", checkpoint)
    return Evidence(question, "exact", format_time(DECIDED), metrics=("findings",), findings=findings)


def accuracy(checkpoint: str, policy: Policy, right: int = 60, items: int = 64, **settings: bool) -> Evidence:
    """Evidence of ``right`` answers out of ``items``, in the order in which an honest run would ask."""
    names = [f"item-{number}" for number in range(items)]
    suite = SuiteRef("general", SUITES["general"], items, items, 1, "0.25", "multiple_choice")
    question = Question("capability", checkpoint, suite, {"dtype": "float32", **settings})
    observations = tuple(
        Observation(name, digest(name), name, f"subject {number % 3}", {"accuracy": float(number < right)})
        for number, name in enumerate(seeded_order(question, names))
    )
    return Evidence(
        question,
        "sampled",
        format_time(DECIDED),
        observations=observations,
        metrics=("accuracy",),
    )


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass
class World:
    """A folder with ``model``, ``weighing`` and ``approval.json``, and all that ``release`` takes."""

    folder: Path
    checkpoint: Checkpoint
    policy: Policy
    decision: Decision
    trust: Trust

    @property
    def weighing(self) -> Path:
        return self.folder / "weighing"

    @property
    def target(self) -> Path:
        return self.folder / "bundle"

    def release(self, **changes: Any) -> Bundle:
        arguments: dict[str, Any] = {
            "weighing": self.weighing,
            "checkpoint": self.checkpoint,
            "approvals": [self.folder / "approval.json"],
            "to": self.target,
            "publisher": key("publisher"),
            "trust": self.trust,
            "now": NOW,
        }
        return write_bundle(**arguments | changes)

    def approve(self, name: str = "approver", **changes: Any) -> Path:
        arguments = {"action": "open", "approved_at": NOW, "expires_at": NOW + timedelta(days=7)} | changes
        path = self.folder / "approval.json"
        path.write_bytes(sign(make_approval(self.decision, **arguments).payload, [key(name)]))
        return path


def make_world(
    folder: Path,
    *,
    policy: Policy | None = None,
    evidence: list[Evidence] | None = None,
    model: Path | None = None,
    signed_by: str | None = "decider",
    decided_at: datetime = DECIDED,
    lineage: str | None = None,
    **files: str,
) -> World:
    """Make it. ``evidence`` replaces the records but licensing; ``files`` are more files of the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    root = model or make_checkpoint(folder / "model", CARD, **files)
    if lineage is not None:
        root.with_name(f"{root.name}.lineage.yaml").write_text(lineage)
    checkpoint = open_checkpoint(root)
    policy = policy or load_policy()
    workspace = Workspace(folder / "weighing")
    workspace.write_checkpoint(checkpoint)
    records = [integrity(checkpoint.digest), accuracy(checkpoint.digest, policy)] if evidence is None else evidence
    records = [*records, Licensing(checkpoint).examine(made=format_time(DECIDED))]
    plan = make_plan(policy, checkpoint.digest, [record.question for record in records])
    workspace.write_plan(plan)
    for record in records:
        workspace.store.put(replace(record, plan=plan.ref))
    decision = decide(workspace, policy, decided_at, signed_by, checkpoint)
    world = World(folder, checkpoint, policy, decision, trust())
    if signed_by is not None and decision.tier == "open":
        world.approve()
    return world


def decide(
    workspace: Workspace, policy: Policy, at: datetime, signed_by: str | None, checkpoint: Checkpoint, **changes: Any
) -> Decision:
    """Judge what lies in ``workspace``, and write the decision there."""
    records, plan = workspace.store.load(), workspace.plan()
    judgement = judge(policy, records, checkpoint=checkpoint.digest, at=format_time(at))
    arguments: dict[str, Any] = {
        "manifest": checkpoint.manifest,
        "judgement": judgement.to_json(),
        "policy": policy.to_json(),
        "evidence": [(record.question.digest, record.digest) for record in records],
        "plan": None if plan is None else plan.digest,
        "decided_at": judgement.at,
        "expires_at": judgement.expires_at,
        "origin": workspace.origin(),
    }
    decision = make_decision(**arguments | changes)
    data = decision.payload if signed_by is None else sign(decision.payload, [key(signed_by)])
    workspace.write_decision(decision, data, policy)
    return decision if signed_by is None else verify_decision(data, trust(decider=[signed_by]))
