"""Carry out an ``open`` decision: write the bundle. Measures nothing.

The order of making is: subjects -> decision -> approval -> card and bill of materials -> model signature over every
file but itself. The steps are numbered as in docs/bundle.md. Opening weights cannot be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import weighbridge
from weighbridge import canonical
from weighbridge.baselines import for_judge, kept_in
from weighbridge.checkpoint import Checkpoint, FileEntry, check_names
from weighbridge.decision import Decision, check_expiry, check_supersession
from weighbridge.errors import InputError, StorageError, VerificationError
from weighbridge.evidence import Evidence, to_json
from weighbridge.files import read
from weighbridge.imports import check_imports, import_path
from weighbridge.plan import named_plans
from weighbridge.release import layout
from weighbridge.release.bom import make_bom
from weighbridge.release.card import make_card
from weighbridge.release.described import Described
from weighbridge.release.duties import contents, licence_of
from weighbridge.release.layout import ReleaseRecord
from weighbridge.release.oms import SIGNATURE_FILE, sign_model
from weighbridge.release.replay import replay
from weighbridge.release.staging import Progress, copy_files, staged, write_file
from weighbridge.successors import check_successions, is_succession, succession_path
from weighbridge.times import whole_seconds
from weighbridge.trust import (
    PublicKey,
    RevocationList,
    Signer,
    State,
    Trust,
    check_clock,
    check_latest,
    check_not_revoked,
    read_decision_unverified,
    verify_approvals,
    verify_decision,
)
from weighbridge.verdicts import Judgement
from weighbridge.workspace import Workspace

IRREVERSIBLE = "Opening weights cannot be undone: whoever has copied them keeps them."

_MARGIN = 64 * 1024 * 1024  # room for what is written beside the checkpoint and the evidence


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written: where, under which decision, and its files (the signature file included). ``withheld``
    are the artifacts that were weighed and are not in it: name -> verdict."""

    path: Path
    record: ReleaseRecord
    decision: Decision
    files: tuple[FileEntry, ...]
    withheld: Mapping[str, str]


def write_bundle(
    *,
    weighing: Path,
    checkpoint: Checkpoint,
    approvals: Sequence[Path],
    to: Path,
    publisher: Signer,
    trust: Trust,
    now: datetime,
    revocations: RevocationList | None = None,
    state: State | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Write the open bundle of ``checkpoint`` into the new folder ``to``, under the decision in ``weighing``.

    ``trust`` says whose decision and approvals count, and must know the publisher's key. ``revocations`` is a
    verified list; without one, nothing is checked against it. ``state`` is what this machine saw before (times,
    serials).
    ``progress(done, total)`` counts bytes copied.

    Raises ``VerificationError`` for a draft, a tier other than open, a decision that is superseded, revoked or
    (``DecisionExpired``) expired, too few approvals, evidence or policy that are not the decision's;
    ``CheckpointError`` for files that are not those decided on; ``InputError`` if ``to`` exists; ``StorageError`` if
    the disk refuses.
    Whatever is raised, and whenever the process is killed, there is no folder ``to``.
    """
    now = whole_seconds(now, where="now")
    workspace = Workspace(weighing)
    workspace.check()
    # 1. The decision is signed by whom we trust, grants open, and is the one that counts now.
    state = state or State()
    check_clock(now, state.last_seen)
    where = str(workspace.decision_path)
    envelope = read(workspace.decision_path)
    decision = verify_decision(envelope, trust, where=where)
    if decision.tier != "open":
        raise VerificationError(
            f"the decision grants {decision.tier!r}",
            where=where,
            remedy="only an open decision is released",
        )
    check_expiry(decision, now)
    check_supersession(decision, _known(workspace, trust))
    check_latest(decision, state, trust.keyids("decider"))
    # 2. Policy, plans, evidence and baselines are the decision's own, and judging again gives the same judgement.
    policy = workspace.policy()
    evidence = workspace.store.load()
    check_imports(workspace.store, evidence, trust, at=now)
    check_successions(workspace.store, evidence, trust)
    plans = workspace.plans()
    baselines = kept_in(workspace.folder, decision.baselines)
    judgement = replay(decision, policy, evidence, plans, for_judge(baselines))
    # 3. Enough people approved.
    envelopes = [read(path) for path in approvals]
    counted = verify_approvals(
        envelopes,
        decision,
        trust,
        needed=policy.approvals["open"],
        self_approval=policy.self_approval,
        at=now,
    )
    # 4. The publisher is one whose signature the trust file accepts; nothing concerned is revoked.
    if publisher.public.keyid not in trust.keyids("publisher"):
        raise InputError(
            f"the key {publisher.public.keyid[:16]} is no publisher", where=trust.where, remedy="add it to that role"
        )
    if revocations is not None:
        signers = [keyid for one in counted for keyid in one.signers]
        check_not_revoked(decision, revocations, [*signers, publisher.public.keyid])
    # 5. The checkpoint is the one decided on; its names and ours can stand side by side.
    if checkpoint.digest != decision.checkpoint:
        raise VerificationError(
            f"the checkpoint is {checkpoint.digest}, the decision is about {decision.checkpoint}",
            where=str(checkpoint.root),
            remedy="give the checkpoint that was weighed, unchanged",
        )
    names = [file.path for file in decision.manifest.files]
    licence = licence_of(evidence)
    added = contents(licence, names)
    record = ReleaseRecord(
        name=_name(licence.model if licence is not None else None, checkpoint, to),
        decision=decision.id,
        checkpoint=decision.checkpoint,
        released_at=now,
        publisher=publisher.public.keyid,
        added=tuple(one for one, _ in added.values()),
        producer=weighbridge.__version__,
    )
    small = _small_files(workspace, record, envelope, envelopes, policy.to_json(), evidence)
    named = named_plans(decision.plan, evidence)
    small |= {layout.plan_path(one.digest): canonical.dumps(one.to_json()) for one in plans if one.digest in named}
    small |= {
        layout.baseline_path(one.model.name, record.digest): canonical.dumps(to_json(record))
        for one in baselines
        for record in one.evidence
    }
    small |= {path: data for path, (_, data) in added.items()}
    _check_bundle_names(names, [*small, layout.CARD, layout.BOM, SIGNATURE_FILE, *layout.published(judgement)])
    artifacts = _artifacts(workspace, judgement)
    # 6. Card and bill of materials say what was decided.
    described = Described(record, decision, judgement, policy, evidence, counted, checkpoint.facts, licence, artifacts)
    small[layout.CARD] = make_card(described)
    small[layout.BOM] = make_bom(described)
    copied = [*decision.manifest.files, *artifacts]
    size = sum(file.size for file in copied) + sum(map(len, small.values())) + _MARGIN
    with staged(to, size=size) as folder:
        # 7. Copy the subjects and the artifacts, hashing what is written; then everything else.
        places = {one.path: workspace.folder / one.path for one in artifacts}
        copy_files(copied, lambda name: places.get(name) or checkpoint.locate(name), folder, progress)
        written = [write_file(folder, name, data) for name, data in sorted(small.items())]
        # 8. Sign every file but the signature itself, and let model-signing read all of it back from the disk.
        files = sorted([*copied, *written], key=lambda file: file.path)
        data = sign_model(to.name, {file.path: file.sha256 for file in files}, publisher)
        signature = write_file(folder, SIGNATURE_FILE, data)
        check_with_library(folder, publisher.public)
    withheld = {one.name: one.outcome for one in judgement.artifacts.values() if one.outcome != "met"}
    return Bundle(to, record, decision, tuple(sorted([*files, signature], key=lambda file: file.path)), withheld)


def check_with_library(folder: Path, publisher: PublicKey) -> None:
    """Verify the model signature of ``folder`` with the ``model-signing`` library, as its other readers will.

    It reads every file. Raises ``StorageError`` where what lies on the disk is not what was signed.
    """
    import tempfile

    from model_signing import verifying

    with tempfile.NamedTemporaryFile("w", suffix=".pub", encoding="ascii") as key:
        key.write(publisher.pem)
        key.flush()
        try:
            config = verifying.Config()  # type: ignore[no-untyped-call]
            config.use_elliptic_key_verifier(public_key=key.name)
            config.verify(folder, folder / SIGNATURE_FILE)
        except ValueError as cause:
            raise StorageError(
                f"what was written does not read back as signed: {cause}", where=str(folder), remedy="check the disk"
            ) from cause


def _artifacts(workspace: Workspace, judgement: Judgement) -> list[FileEntry]:
    """The artifacts to publish, as they were weighed; copying finds out whether they still are."""
    entries = []
    for path, sha256 in layout.published(judgement).items():
        file = workspace.folder / path
        if not file.is_file():
            raise InputError(
                "the policy lets this artifact out, but it is not in the weighing's folder",
                where=str(file),
                remedy="weigh again: it is made anew, the same bytes, and nothing is measured twice",
            )
        entries.append(FileEntry(path, file.stat().st_size, sha256))
    return entries


def _small_files(
    workspace: Workspace,
    record: ReleaseRecord,
    decision: bytes,
    approvals: Sequence[bytes],
    policy: object,
    evidence: Sequence[Evidence],
) -> dict[str, bytes]:
    files = {
        layout.RECORD: record.encode(),
        layout.DECISION: decision,
        layout.POLICY: canonical.dumps(policy),
    }
    files |= {f"{layout.APPROVALS}{number}.json": data for number, data in enumerate(approvals, 1)}
    for one in evidence:
        files[layout.evidence_path(one.question.digest)] = canonical.dumps(to_json(one))
        if one.question.settings.get("imported"):
            files[layout.import_path(one.digest)] = read(import_path(workspace.store, one))
        if is_succession(one):
            files[layout.succession_path(one.digest)] = read(succession_path(workspace.store, one))
    return files


def _known(workspace: Workspace, trust: Trust) -> Iterable[Decision]:
    """Earlier and later decisions in the same folder that are signed by whom we trust; others supersede nothing.

    Raises ``VerificationError`` for a file that is no decision at all: it may have been the one that counts.
    """
    for path in sorted((workspace.folder / "decisions").glob("*.json")):
        read_decision_unverified(path)
        try:
            yield verify_decision(read(path), trust, where=str(path))
        except VerificationError:
            continue


def _name(licensed: str | None, checkpoint: Checkpoint, to: Path) -> str:
    """The name that licensing examined, since duties may hang on it; else what the checkpoint or folder is called."""
    return licensed or checkpoint.facts.name or to.name


def _check_bundle_names(subjects: Sequence[str], ours: Sequence[str]) -> None:
    check_names([*subjects, *ours], where="the bundle")
    for name in subjects:
        if layout.own_name(name):
            raise InputError("a name that the bundle needs itself", where=name, remedy="rename the file; weigh again")
        if name.partition("/")[0] in layout.UNSIGNED_BY_PEERS:
            raise InputError(
                "a file that other readers of model signatures leave out", where=name, remedy="remove it; weigh again"
            )
