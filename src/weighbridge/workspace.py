"""The folder of a weighing: what ``weigh`` writes and what ``decide``, ``approve`` and ``release`` read.

manifest.json      the checkpoint's files, with what was read of its configuration
plan.json          what was asked, fixed before anything ran
policy.json        the policy of the decision, canonical
evidence/          see ``store``
decision.json      signed: an envelope; unsigned: a draft, which nothing carries out
decisions/         every decision made here, by id: a former one put back is seen to be superseded
report.html        the decision for people
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge import canonical, policy
from weighbridge.checkpoint import Checkpoint, Manifest
from weighbridge.decision import Decision
from weighbridge.errors import CheckpointError, InputError
from weighbridge.files import read, write_atomic
from weighbridge.plan import Plan
from weighbridge.policy import Policy
from weighbridge.store import EvidenceStore
from weighbridge.trust import read_decision_unverified


class Workspace:
    """One weighing's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent if folder.name == "evidence" else folder

    @property
    def store(self) -> EvidenceStore:
        """The evidence."""
        return EvidenceStore(self.folder / "evidence")

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
        """Keep the plan."""
        write_atomic(self.folder / "plan.json", canonical.dumps(plan.to_json()))

    def plan_digest(self) -> str | None:
        """The digest of the plan, if there is one: evidence may also have been gathered measure by measure."""
        path = self.folder / "plan.json"
        return canonical.digest(canonical.loads(read(path), where=str(path))) if path.exists() else None

    def policy(self) -> Policy:
        """The policy of the decision."""
        path = self.folder / "policy.json"
        return policy.load(read(path), where=str(path))

    def known_decisions(self) -> list[Decision]:
        """Decisions made here before, verified by nobody: good for numbering, for nothing else."""
        paths = [*sorted((self.folder / "decisions").glob("*.json")), self.decision_path]
        return [read_decision_unverified(path) for path in paths if path.exists()]

    def write_decision(self, decision: Decision, data: bytes, rules: Policy) -> None:
        """Make ``decision`` (``data`` is its envelope or draft) the one that counts; each is kept by its id as well."""
        if self.decision_path.exists():
            former = read_decision_unverified(self.decision_path)
            if former.id != decision.id:
                write_atomic(self._kept(former), read(self.decision_path))
        write_atomic(self.folder / "policy.json", canonical.dumps(rules.to_json()))
        write_atomic(self.decision_path, data)
        write_atomic(self._kept(decision), data)

    def _kept(self, decision: Decision) -> Path:
        return self.folder / "decisions" / f"{decision.id.removeprefix('sha256:')}.json"

    def check(self) -> None:
        """Raises ``InputError`` if there is no weighing here."""
        if not (self.folder / "manifest.json").is_file():
            raise InputError("no weighing here", where=str(self.folder), remedy="weighbridge weigh PATH --out DIR")
