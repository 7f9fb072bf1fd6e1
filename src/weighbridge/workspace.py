"""The folder of a weighing: what ``weigh`` writes and what ``decide``, ``approve`` and ``release`` read.

manifest.json      the checkpoint's files, with what was read of its configuration
plan.json          what was asked, fixed before anything ran
plans/             earlier plans, by digest: evidence that was made under one names it
policy.json        the policy of the decision, canonical
evidence/          see ``store``
decision.json      signed: an envelope; unsigned: a draft, which nothing carries out
decisions/         every signed decision made here, by id: a former one put back is seen to be superseded
report.html        the decision for people
artifacts/         files exported from the checkpoint, with a record of each
draft/             policy, decision and report of the last draft made while a signed decision stood in the folder
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge import canonical, policy
from weighbridge.checkpoint import Checkpoint, Manifest
from weighbridge.decision import Decision
from weighbridge.errors import CheckpointError, InputError, PolicyError
from weighbridge.files import read, write_atomic
from weighbridge.plan import MAX_BYTES, Plan, read_plan
from weighbridge.policy import Policy
from weighbridge.store import EvidenceStore
from weighbridge.trust import read_decision_unverified
from weighbridge.trust.decisions import is_draft


class Workspace:
    """One weighing's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent if folder.name == "evidence" else folder

    @property
    def store(self) -> EvidenceStore:
        """The evidence."""
        return EvidenceStore(self.folder / "evidence")

    @property
    def artifacts(self) -> Path:
        """Where exported files lie, ``NAME.gguf`` each, with its record beside."""
        return self.folder / "artifacts"

    @property
    def decision_path(self) -> Path:
        """The decision that counts, signed or draft."""
        return self.folder / "decision.json"

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record which checkpoint this folder is about. Raises ``CheckpointError`` if it is about another."""
        path = self.folder / "manifest.json"
        if path.exists() and self.manifest().digest != checkpoint.digest:
            raise CheckpointError(
                "this folder holds the weighing of another checkpoint, or of this one before its files changed",
                where=str(path),
                remedy="name another folder with --out",
            )
        record = {
            "manifest": checkpoint.manifest.to_json(),
            "facts": checkpoint.facts.to_json(),
            "origin": None if checkpoint.origin is None else checkpoint.origin.to_json(),
        }
        write_atomic(path, canonical.dumps(record))

    def _record(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        record = canonical.loads(read(path, error=CheckpointError), where=str(path), error=CheckpointError)
        if not isinstance(record, dict) or set(record) != {"manifest", "facts", "origin"}:
            raise CheckpointError("is no manifest of a weighing", where=str(path), remedy="weigh the checkpoint")
        for name in ("facts", "origin"):
            if not isinstance(record[name], dict) and (name, record[name]) != ("origin", None):
                raise CheckpointError("expected an object", where=f"{path} at $.{name}", remedy="weigh the checkpoint")
        return record

    def manifest(self) -> Manifest:
        """The checkpoint's files, as weighed."""
        return Manifest.from_json(self._record()["manifest"], where=str(self.folder / "manifest.json"))

    def facts(self) -> dict[str, Any]:
        """What was read of the checkpoint's configuration, as JSON."""
        return dict(self._record()["facts"])

    def origin(self) -> dict[str, Any] | None:
        """What the checkpoint was converted from, as JSON; None if it came as it is."""
        origin = self._record()["origin"]
        return None if origin is None else dict(origin)

    def write_plan(self, plan: Plan) -> None:
        """Make ``plan`` the current one. What was made under the former one names it, so it is kept."""
        former = self.plan()
        if former is not None and former.digest != plan.digest:
            write_atomic(self._kept("plans", former.digest), canonical.dumps(former.to_json()))
        write_atomic(self.folder / "plan.json", canonical.dumps(plan.to_json()))

    def plan(self) -> Plan | None:
        """The current plan, if there is one: evidence may also have been gathered measure by measure."""
        path = self.folder / "plan.json"
        return read_plan(read(path, limit=MAX_BYTES), where=str(path)) if path.exists() else None

    def plans(self) -> list[Plan]:
        """The current plan and earlier ones. Raises ``InputError`` for a file that is not what its name says."""
        current = self.plan()
        plans = [] if current is None else [current]
        for path in sorted((self.folder / "plans").glob("*.json")):
            plan = read_plan(read(path, limit=MAX_BYTES), where=str(path))
            if path != self._kept("plans", plan.digest):
                raise InputError("the name is not the plan's digest", where=str(path), remedy="do not rename plans")
            plans.append(plan)
        return plans

    def policy(self) -> Policy:
        """The policy of the decision. Raises ``PolicyError`` for any other form of it than the one that was written."""
        path = self.folder / "policy.json"
        data = read(path, error=PolicyError, limit=policy.MAX_BYTES)
        rules = policy.load(data, where=str(path))
        if canonical.dumps(rules.to_json()) != data:
            raise PolicyError("not in canonical form", where=str(path), remedy="it was edited: decide again")
        return rules

    def known_decisions(self) -> list[Decision]:
        """Signed decisions made here before, verified by nobody: good for numbering, for nothing else."""
        paths = [*sorted((self.folder / "decisions").glob("*.json")), *([self.decision_path] if self.signed() else [])]
        return [read_decision_unverified(path) for path in paths]

    def signed(self) -> bool:
        """Whether the decision here is more than a draft; nobody has verified it."""
        return self.decision_path.exists() and not is_draft(read(self.decision_path))

    def write_decision(self, decision: Decision, data: bytes, rules: Policy) -> Path:
        """Write ``decision`` (``data`` is its envelope or draft) with its policy; returns the folder they now lie in.

        A signed one becomes the one that counts, and is kept by its id as well. A draft never takes the place of a
        signed one, whose policy and report are needed as they are: it goes to a folder of its own.
        """
        folder = self.folder
        if is_draft(data):
            folder = self.folder / "draft" if self.signed() else self.folder
        else:
            if self.signed():
                former = read_decision_unverified(self.decision_path)
                write_atomic(self._kept("decisions", former.id), read(self.decision_path))
            write_atomic(self._kept("decisions", decision.id), data)
        write_atomic(folder / "policy.json", canonical.dumps(rules.to_json()))
        write_atomic(folder / self.decision_path.name, data)
        return folder

    def _kept(self, kind: str, digest: str) -> Path:
        return self.folder / kind / f"{digest.removeprefix('sha256:')}.json"

    def check(self) -> None:
        """Raises ``InputError`` if there is no weighing here."""
        if not (self.folder / "manifest.json").is_file():
            raise InputError("no weighing here", where=str(self.folder), remedy="weighbridge weigh PATH --out DIR")
