"""From a judgement to a decision on disk: numbered, signed if there is a key, written with its policy and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from weighbridge.baselines import Weighed, keep
from weighbridge.decision import Decision, make_decision, successor
from weighbridge.evidence import Evidence
from weighbridge.plan import check_plans
from weighbridge.policy import Policy
from weighbridge.trust import Signer, State, Trust, sign, update_state
from weighbridge.verdicts import Judgement
from weighbridge.workspace import Workspace


@dataclass(frozen=True)
class Outcome:
    """A decision on disk: the record, the judgement that it rests on, the folder in which decision, policy and report
    lie, whether it is signed, and measures that broke."""

    decision: Decision
    judgement: Judgement
    folder: Path
    signed: bool
    problems: Mapping[str, str] = field(default_factory=dict)


class Desk:
    """Where decisions are made under one policy, signed if there is a key, and written with their reports.

    ``trust`` and ``key`` say whose earlier decisions count for the numbering, besides those in the folder. The file
    ``state_path`` remembers signed ones; ``at`` is the time.
    """

    def __init__(
        self,
        workspace: Workspace,
        policy: Policy,
        key: Signer | None,
        trust: Trust | None,
        state_path: Path | None,
        *,
        at: datetime,
    ) -> None:
        self.workspace = workspace
        self.policy = policy
        self.key = key
        self.deciders = {*(trust.keyids("decider") if trust else ()), *([key.public.keyid] if key else ())}
        # A draft leaves no trace. A state that cannot be written is found now, not after hours of measuring.
        self.state_path = state_path if key else None
        self.state = update_state(self.state_path, now=at) if self.state_path else State()

    def conclude(
        self,
        judgement: Judgement,
        records: Sequence[Evidence],
        problems: Mapping[str, str],
        baselines: Sequence[Weighed] = (),
    ) -> Outcome:
        """Make the decision that follows from ``judgement`` on ``records``, compared with ``baselines``.

        ``problems`` are what broke (question digest -> message). Raises ``InputError``, ``StorageError``.
        """
        from weighbridge.report import write_report

        workspace, policy, plan = self.workspace, self.policy, self.workspace.plan()
        check_plans(workspace.plans(), None, records)
        serial, supersedes = successor(
            workspace.known_decisions(),
            checkpoint=judgement.checkpoint,
            policy=policy.name,
            seen=self.state.latest(self.deciders, checkpoint=judgement.checkpoint, policy=policy.name),
        )
        decision = make_decision(
            manifest=workspace.manifest(),
            judgement=judgement.to_json(),
            policy=policy.to_json(),
            evidence=[(record.question.digest, record.digest) for record in records],
            plan=None if plan is None else plan.digest,
            decided_at=judgement.at,
            expires_at=judgement.expires_at,
            serial=serial,
            supersedes=supersedes,
            origin=workspace.origin(),
            baselines=[one.ref for one in baselines],
        )
        keep(workspace.folder, baselines)
        data = decision.payload if self.key is None else sign(decision.payload, [self.key])
        folder = workspace.write_decision(decision, data, policy)
        if self.state_path and self.key:
            signed = replace(decision, signers=(self.key.public.keyid,))
            update_state(self.state_path, now=decision.decided_at, decision=signed)
        write_report(
            workspace,
            judgement,
            decision=decision.id,
            signed=self.key is not None,
            problems=problems,
            evidence=records,
            folder=folder,
        )
        return Outcome(decision, judgement, folder, self.key is not None, problems)
