"""Verify a bundle: what a downstream user runs. Raises on the first thing that is wrong, and says which file.

Needs no network and trusts no key that it finds. The steps are numbered as in docs/bundle.md. Where a signature is by
a key that the verifier's trust file does not know (or there is none), everything else is checked first, and only then
``SignerUnknown`` is raised: intact, signer unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from weighbridge import canonical
from weighbridge import policy as policies
from weighbridge.baselines import Weighed, for_judge, kept
from weighbridge.checkpoint import Checkpoint, Manifest, check_folders, hash_files, list_bundle
from weighbridge.checkpoint.facts import read_facts
from weighbridge.checkpoint.weights import read_weights
from weighbridge.decision import Decision, check_expiry
from weighbridge.errors import (
    CheckpointError,
    InputError,
    SignerUnknown,
    StricterThanRequired,
    UndecidedInTheWay,
    VerificationError,
)
from weighbridge.evidence import Evidence, from_bytes
from weighbridge.files import read
from weighbridge.judge import Baselines
from weighbridge.plan import Plan, named_plans, read_plan
from weighbridge.policy import Policy
from weighbridge.release import layout, oms
from weighbridge.release.description import check_description
from weighbridge.release.duties import additions, licence_of
from weighbridge.release.layout import ReleaseRecord
from weighbridge.release.replay import judge_again, replay
from weighbridge.statement import APPROVAL, Statement, refused
from weighbridge.successors import check_succession, is_succession
from weighbridge.times import SKEW, format_time, whole_seconds
from weighbridge.trust import (
    RevocationList,
    State,
    Trust,
    check_clock,
    check_not_revoked,
    dsse,
    verify_approvals,
    verify_decision,
    verify_import,
    verify_revocations,
)
from weighbridge.verdicts import Judgement

Progress = Callable[[int, int], None]
T = TypeVar("T")

_AGAIN = "get the bundle again"


@dataclass(frozen=True)
class Verified:
    """A bundle that holds. ``notes`` are what a person must be told all the same (``revocation not checked``).

    ``publisher`` is the fingerprint of the key that signed the files; ``revocations`` the list that was consulted, for
    the caller to remember its serial; ``own`` the judgement of the verifier's own policy, if one was given.
    """

    bundle: Path
    decision: Decision
    judgement: Judgement
    record: ReleaseRecord
    evidence: tuple[Evidence, ...]
    policy: Policy
    publisher: str
    approvers: tuple[str, ...]
    files: Manifest
    revocations: RevocationList | None = None
    own: Judgement | None = None
    notes: tuple[str, ...] = ()


def verify_bundle(
    bundle: Path,
    *,
    now: datetime,
    trust: Trust | None = None,
    policy: Policy | None = None,
    revocations: bytes | None = None,
    state: State | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verify the folder ``bundle`` against the verifier's own ``trust``, clock and, if given, ``policy``.

    ``revocations`` is the envelope file of a revocation list; ``state`` what this machine saw before (times, serials).
    ``progress(done, total)`` counts bytes hashed. Raises ``VerificationError`` for the first thing that is wrong;
    ``SignerUnknown`` where all is intact, but a key that signed is not trusted; ``StricterThanRequired`` or
    ``UndecidedInTheWay`` where ``policy`` would not have opened it; ``DecisionExpired`` where all holds, but the
    decision has since expired; ``InputError`` if there is no folder ``bundle``.
    """
    if not bundle.is_dir():
        raise InputError("no such folder", where=str(bundle), remedy="give the folder of a bundle")
    now = whole_seconds(now, where="now")
    state = state or State()
    check_clock(now, state.last_seen)
    case = _Case(bundle, trust or Trust.nobody(), now)
    # 1. Names: no link, no special file, no name that means two things; all that a bundle needs is there.
    # 2. Every file is hashed.
    files = case.hash(progress)
    # 3. The model signature is over exactly these names and digests, and in its one canonical form.
    # 4. A publisher that we trust made it.
    publisher = case.signature()
    # 5. A decider that we trust signed the decision. It grants open.
    decision = case.decision()
    # 6. The decision's subjects, with the files that licence duties added, are the files of the bundle.
    record = case.record(decision, publisher)
    # 7. Policy, plans, evidence and baselines are the decision's, and judging again gives its judgement, byte for byte.
    enclosed, evidence = case.policy(), case.evidence(decision)
    baselines = for_judge(case.baselines(decision))
    judgement = replay(decision, enclosed, evidence, case.plans(decision, evidence), baselines)
    artifacts = layout.published(judgement)
    case.subjects(decision, record, evidence, artifacts)
    # 8. Enough people approved, at the time of the release.
    approvers = case.approvals(decision, enclosed, record)
    # 9. Card and bill of materials describe this decision.
    check_description(case.read(layout.CARD), case.read(layout.BOM), record, decision, artifacts)
    check_folders(bundle, (file.path for file in files.files), error=VerificationError)
    # 10. All is intact. Was it signed by whom we trust?
    case.raise_unknown()
    # 11. Nothing concerned has been revoked.
    checked = case.revocations(revocations, state, decision, [*approvers, publisher or ""])
    # 12. The verifier's own policy would have opened it too.
    own = None if policy is None else _own(policy, decision, evidence, baselines)
    # 13. The decision still holds.
    check_expiry(decision, now)
    notes = [] if checked is not None else ["revocation not checked"]
    serial, latest = state.latest(decision.signers, checkpoint=decision.checkpoint, policy=decision.policy.name)
    notes += [f"a newer decision has been seen on this machine, {latest}"] if serial > decision.serial else []
    notes += [enclosed.notice] if enclosed.notice else []
    notes += ["the policy lets the decider approve"] if enclosed.self_approval else []
    return Verified(
        bundle=bundle,
        decision=decision,
        judgement=judgement,
        record=record,
        evidence=evidence,
        policy=enclosed,
        publisher=publisher or "",
        approvers=approvers,
        files=files,
        revocations=checked,
        own=own,
        notes=tuple(notes),
    )


def open_released(verified: Verified) -> Checkpoint:
    """The checkpoint inside a bundle that holds: what ``verify --remeasure`` scores again.

    Opening the folder itself would count the files that the release added, and give another digest.
    """
    manifest = verified.decision.manifest
    places = {file.path: verified.bundle / file.path for file in manifest.files}
    weights = read_weights(verified.bundle, places, locate=places.__getitem__)
    facts = read_facts(verified.bundle, places, weights, None, locate=places.__getitem__)
    return Checkpoint(verified.bundle.resolve(), manifest, facts, None, places)


class _Case:
    """One bundle under verification. Small files are read once, and are the bytes that were hashed."""

    def __init__(self, bundle: Path, trust: Trust, now: datetime) -> None:
        self.bundle = bundle
        self.trust = trust
        self.now = now
        self.digests: dict[str, str] = {}
        self.unknown: SignerUnknown | None = None

    def known(self, check: Callable[[], T]) -> T | None:
        """What ``check`` returns; None where only trust in a key is missing, which is raised once all is intact."""
        try:
            return check()
        except SignerUnknown as error:
            self.unknown = self.unknown or error
            return None

    def raise_unknown(self) -> None:
        if self.unknown is None:
            return
        reason = self.unknown.message if self.trust.roles else "no trust file was given"
        raise SignerUnknown(
            f"intact, signer unknown: {reason}", where=self.unknown.where, remedy=self.unknown.remedy
        ) from self.unknown

    def hash(self, progress: Progress | None) -> Manifest:
        found = list_bundle(self.bundle, error=VerificationError)
        names = {file.name for file in found}
        for name in layout.REQUIRED:
            if name not in names:
                raise VerificationError("missing", where=name, remedy="this is no whole bundle; get it again")
        try:
            files = hash_files(found, progress=progress)
        except CheckpointError as cause:  # a file changed while it was read
            raise VerificationError(cause.message, where=cause.where) from cause
        self.digests = {file.path: file.sha256 for file in files.files}
        return files

    def read(self, name: str) -> bytes:
        with refused(name):
            data = read(self.bundle / name, limit=oms.MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != self.digests[name]:
            raise VerificationError("changed while it was verified", where=name)
        return data

    def signature(self) -> str | None:
        signature = oms.parse(self.read(oms.SIGNATURE_FILE))
        signed_for = {name: sha256 for name, sha256 in self.digests.items() if name != oms.SIGNATURE_FILE}
        oms.check_files(signature, signed_for)
        key = self.known(lambda: oms.check_signer(signature, self.trust))
        return None if key is None else key.keyid

    def decision(self) -> Decision:
        data = self.read(layout.DECISION)
        decision = self.known(lambda: verify_decision(data, self.trust, where=layout.DECISION))
        if decision is None:  # well-formed, but by nobody we know: the rest is checked as it says
            envelope = dsse.parse(data, where=layout.DECISION)
            statement = Statement.from_bytes(envelope.payload, where=layout.DECISION)
            decision = Decision.from_statement(statement, where=layout.DECISION)
            decision = replace(decision, signers=tuple(one.keyid for one in envelope.signatures))
        if decision.tier != "open":
            raise VerificationError(f"grants {decision.tier!r}, and weights lie open here", where=layout.DECISION)
        return decision

    def record(self, decision: Decision, publisher: str | None) -> ReleaseRecord:
        where = layout.RECORD
        with refused(where):
            record = ReleaseRecord.parse(self.read(where), where=where)
        if (record.decision, record.checkpoint) != (decision.id, decision.checkpoint):
            raise VerificationError("is about another decision or checkpoint", where=where)
        if publisher is not None and record.publisher != publisher:
            raise VerificationError(
                f"names the publisher {record.publisher[:16]}, {publisher[:16]} signed", where=where
            )
        if record.released_at - self.now > SKEW:
            raise VerificationError(f"released at {format_time(record.released_at)}, in the future", where=where)
        if decision.decided_at - record.released_at > SKEW or record.released_at >= decision.expires_at:
            raise VerificationError("released outside the time for which the decision held", where=where)
        return record

    def subjects(
        self, decision: Decision, record: ReleaseRecord, evidence: Sequence[Evidence], artifacts: Mapping[str, str]
    ) -> None:
        """Each file is the decision's, ours by name, an artifact that the policy lets out (path -> SHA-256), or one
        that a licence duty asks for."""
        subjects = {file.path: file for file in decision.manifest.files}
        with refused(layout.RECORD):
            expected = additions(licence_of(evidence), list(subjects))
        if record.added != expected:
            raise VerificationError("names other added files than the licence duties ask for", where=layout.RECORD)
        added = {**artifacts, **{one.path: one.sha256 for one in expected}}
        allowed = {*layout.REQUIRED, *(layout.evidence_path(one.question.digest) for one in evidence)}
        allowed |= {layout.import_path(one.digest) for one in evidence if one.question.settings.get("imported")}
        allowed |= {layout.succession_path(one.digest) for one in evidence if is_succession(one)}
        allowed |= {layout.baseline_path(ref.name, record) for ref in decision.baselines for record in ref.records}
        allowed |= {layout.plan_path(one) for one in named_plans(decision.plan, evidence)}
        allowed |= set(self.approval_files())
        for name in sorted(self.digests.keys() | subjects.keys() | added.keys()):
            if name not in self.digests:
                raise VerificationError("missing", where=name, remedy="get the bundle again")
            sha256 = subjects[name].sha256 if name in subjects else added.get(name)
            if sha256 is None and name not in allowed:
                raise VerificationError("an extra file, in no decision", where=name)
            if name in subjects and (layout.own_name(name) or name in added):
                raise VerificationError("a name of the bundle's own among the decision's subjects", where=name)
            if sha256 is not None and sha256 != self.digests[name]:
                raise VerificationError("not the file that was decided on", where=name)

    def policy(self) -> Policy:
        with refused(layout.POLICY):
            data = self.read(layout.POLICY)
            policy = policies.load(data, where=layout.POLICY)
            if canonical.dumps(policy.to_json()) != data:
                raise InputError("not in canonical form", where=layout.POLICY)
        return policy

    def evidence(self, decision: Decision) -> tuple[Evidence, ...]:
        records = []
        for name in sorted(name for name in self.digests if name.startswith(layout.EVIDENCE)):
            with refused(name):
                record = from_bytes(self.read(name), where=name)
            if name != layout.evidence_path(record.question.digest):
                raise VerificationError("its name is not the digest of its question", where=name)
            if record.question.checkpoint != decision.checkpoint:
                raise VerificationError("evidence of another checkpoint", where=name)
            records.append(record)
            if record.question.settings.get("imported"):
                self.imported(record)
            if is_succession(record):
                self.succession(record)
        return tuple(records)

    def plans(self, decision: Decision, evidence: Sequence[Evidence]) -> list[Plan]:
        plans = []
        for name in map(layout.plan_path, named_plans(decision.plan, evidence)):
            if name not in self.digests:
                raise VerificationError("missing, and a decision or record names it", where=name, remedy=_AGAIN)
            with refused(name):
                plan = read_plan(self.read(name), where=name)
            if name != layout.plan_path(plan.digest):
                raise VerificationError("its name is not its digest", where=name, remedy=_AGAIN)
            plans.append(plan)
        return plans

    def baselines(self, decision: Decision) -> list[Weighed]:
        def load(name: str) -> bytes | None:
            path = f"{layout.BASELINES}/{name}"
            return self.read(path) if path in self.digests else None

        return kept(decision.baselines, load, where=layout.BASELINES)

    def imported(self, record: Evidence) -> None:
        name = layout.import_path(record.digest)
        if name not in self.digests:
            raise VerificationError("imported evidence without its signed import", where=name)
        data, checkpoint = self.read(name), record.question.checkpoint
        self.known(
            lambda: verify_import(
                data, self.trust, checkpoint=checkpoint, record=record.digest, at=self.now, where=name
            )
        )

    def succession(self, record: Evidence) -> None:
        name = layout.succession_path(record.digest)
        if name not in self.digests:
            raise VerificationError("evidence of a successor without its signed decision", where=name)
        data = self.read(name)
        self.known(lambda: check_succession(record, data, self.trust, where=name))

    def approval_files(self) -> list[str]:
        """The files of approvals, which are numbered from 1 without a gap."""
        found = [name for name in self.digests if name.startswith(layout.APPROVALS)]
        return [f"{layout.APPROVALS}{number}.json" for number in range(1, len(found) + 1)]

    def approvals(self, decision: Decision, policy: Policy, record: ReleaseRecord) -> tuple[str, ...]:
        names = self.approval_files()
        for name in names:
            if name not in self.digests:
                raise VerificationError("missing among the approvals", where=name)
        envelopes = [self.read(name) for name in names]
        counted = self.known(
            lambda: verify_approvals(
                envelopes,
                decision,
                self.trust,
                needed=policy.approvals["open"],
                self_approval=policy.self_approval,
                at=record.released_at,
            )
        )
        if counted is not None:
            return tuple(sorted({keyid for one in counted for keyid in one.signers}))
        # Nobody we know: still, each must be an approval of this decision, and there must be enough of them.
        if len(names) < policy.approvals["open"]:
            raise VerificationError(f"{len(names)} approvals, too few", where=layout.APPROVALS)
        for name, data in zip(names, envelopes, strict=True):
            statement = Statement.from_bytes(dsse.parse(data, where=name).payload, where=name)
            if statement.predicate_type != APPROVAL or statement.predicate.get("decision") != decision.id:
                raise VerificationError("no approval of this decision", where=name)
        return ()

    def revocations(
        self, data: bytes | None, state: State, decision: Decision, signers: Sequence[str]
    ) -> RevocationList | None:
        if data is None:
            return None
        revokers = self.trust.keyids("revoker")
        revocations = verify_revocations(data, self.trust, state.last_serial(revokers), at=self.now)
        check_not_revoked(decision, revocations, signers)
        return revocations


def _own(policy: Policy, decision: Decision, evidence: Sequence[Evidence], baselines: Baselines) -> Judgement:
    """The verifier's policy compares with the models that the decider compared with, and no others."""
    judgement = judge_again(decision, policy, evidence, baselines)
    outcome = judgement.outcome("open")
    if outcome == "met":
        return judgement
    lines = [
        f"{leaf.metric}{f' on {leaf.suite}' if leaf.suite else ''}: {leaf.reason}"
        for tier in judgement.tiers
        for verdict in tier.own
        if verdict.outcome == outcome
        for leaf in verdict.leaves()
        if leaf.outcome == outcome
    ]
    error = UndecidedInTheWay if outcome == "undecided" else StricterThanRequired
    raise error(
        f"the bundle holds, but this policy grants {judgement.tier}, not open: {lines[0] if lines else outcome}",
        where=policy.name,
        remedy="do not use the weights under this policy, or measure what it asks for",
    )
