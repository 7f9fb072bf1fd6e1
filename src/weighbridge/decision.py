"""The decision record: which tier a policy grants a checkpoint, with every verdict, digest, reason and expiry. Pure.

A decision is an in-toto statement about every file of the checkpoint. The same input gives the same bytes, so that
anyone may judge again and compare. Unsigned it is a draft, which nothing carries out; ``weighbridge.trust`` signs
and verifies. Times are passed in, and are what the decider says they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from weighbridge import canonical, structure
from weighbridge.canonical import Json
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.errors import DecisionExpired, EvidenceError, InputError, PolicyError, VerificationError
from weighbridge.statement import DECISION, Statement, Subject, check_digest, check_version, refused
from weighbridge.text import check_visible
from weighbridge.times import SKEW, format_time, parse_day, parse_time, whole_seconds

VERSION = 1

DecidedTier = Literal["open", "gated", "api", "held", "undecided"]
DECIDED_TIERS: tuple[DecidedTier, ...] = get_args(DecidedTier)

FRONTIER = "open-frontier"
"""The set of models that others opened: what an attacker has already, whatever this lab decides."""

RESERVED = (FRONTIER, "registry.json", "source")
"""What else stands where a name of a baseline could: a set, the file beside the folders, what artifacts are held to."""

_BASELINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DECIMAL = re.compile(r"0\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """The policy that was applied. ``notice`` is shown wherever the decision is (``not for real release``)."""

    name: str
    digest: str
    notice: str | None


@dataclass(frozen=True, slots=True, order=True)
class EvidenceRef:
    """One record of evidence: the digest of the question, and of the record that answers it."""

    question: str
    record: str


@dataclass(frozen=True)
class BaselineModel:
    """A model that others are compared with, under a ``name`` that is good for a folder's.

    ``opened_by`` says whose it is: of ``others``, or the lab's ``own``. ``set`` is the set of baselines that it stands
    in, if any, ``since`` the day (``2026-01-31``) from which its weights were open. Raises ``InputError``; a model of
    one's own in ``open-frontier`` too, since a margin against oneself would ratchet.
    """

    name: str
    checkpoint: str
    opened_by: Literal["others", "own"]
    set: str | None
    since: str | None

    def __post_init__(self) -> None:
        if not _BASELINE_NAME.fullmatch(self.name) or self.name in RESERVED:
            raise InputError(
                f"{self.name!r:.80} is no name for a baseline",
                where="name",
                remedy=f"1 to 64 letters, digits, '.', '_' and '-', first no sign, none of {', '.join(RESERVED)}",
            )
        check_digest(self.checkpoint, where=f"the baseline {self.name}")
        if self.set not in (None, FRONTIER):
            raise InputError(f"{self.set!r:.80} is no set of baselines", where=self.name, remedy=f"known: {FRONTIER}")
        if self.set == FRONTIER and self.opened_by != "others":
            raise InputError(
                f"a model of one's own does not join {FRONTIER}: a margin against oneself would ratchet",
                where=self.name,
                remedy="add it outside the set, and compare with it by its name",
            )
        if self.since is not None:
            parse_day(self.since, where=f"since of {self.name}")


@dataclass(frozen=True)
class BaselineRef(BaselineModel):
    """A baseline that the checkpoint was compared with: ``records`` are the digests of its evidence that was judged,
    sorted."""

    records: tuple[str, ...]

    def __post_init__(self) -> None:
        BaselineModel.__post_init__(self)
        for digest in self.records:
            check_digest(digest, where=f"the baseline {self.name}")
        if list(self.records) != sorted(set(self.records)):
            raise InputError("its records are out of order, or one stands twice", where=f"the baseline {self.name}")


@dataclass(frozen=True)
class Decision:
    """A decision. ``id`` is the digest of all the rest and is what approvals, successors and revocations name.

    ``manifest`` names the files decided on; ``origin`` says what they were converted from, if they were.
    ``judgement`` is the judge's output, whole. ``error_rate`` is a decimal string. ``baselines`` are the models that
    the checkpoint was compared with; a decision that compares nothing has no such field.
    ``signers`` holds the fingerprints of the trusted keys that signed; a draft has none.
    """

    id: str
    serial: int
    supersedes: str | None
    manifest: Manifest
    origin: Mapping[str, Json] | None
    tier: DecidedTier
    policy: PolicyRef
    error_rate: str
    judgement: Mapping[str, Json]
    evidence: tuple[EvidenceRef, ...]
    plan: str | None
    decided_at: datetime
    expires_at: datetime
    baselines: tuple[BaselineRef, ...] = ()
    signers: tuple[str, ...] = field(default=(), compare=False)

    @property
    def checkpoint(self) -> str:
        """The checkpoint's digest, which is its manifest's."""
        return self.manifest.digest

    @property
    def statement(self) -> Statement:
        """The statement; its payload is what is signed, and is the file of a draft."""
        return Statement(_subjects(self.manifest), DECISION, {"id": self.id, **_rest(self)}, self.signers)

    @property
    def payload(self) -> bytes:
        """The canonical bytes of the statement."""
        return self.statement.payload

    @classmethod
    def from_statement(cls, statement: Statement, *, where: str = "decision") -> Decision:
        """Read a decision back. Raises ``VerificationError`` unless every part of it agrees with every other.

        This checks what is said, not who says it: see ``weighbridge.trust.verify_decision``.
        """
        with refused(where):
            if statement.predicate_type != DECISION:
                raise InputError(f"states {statement.predicate_type}, not a decision", where=where)
            # One that compares nothing is written without the field, as all were before there were baselines.
            form = structure.parse(_Predicate, {"baselines": []} | dict(statement.predicate), where=where)
            check_version(form.version, VERSION, where=where)
            decision = cls(
                id=check_digest(form.id, where=f"{where} at $.predicate.id"),
                serial=form.serial,
                supersedes=form.supersedes,
                manifest=_manifest(statement.subjects, where),
                origin=form.checkpoint.origin,
                tier=form.tier,
                policy=form.policy,
                error_rate=form.error_rate,
                judgement=form.judgement,
                evidence=form.evidence,
                plan=form.plan,
                decided_at=parse_time(form.decided_at, where=f"{where} at $.predicate.decided_at"),
                expires_at=parse_time(form.expires_at, where=f"{where} at $.predicate.expires_at"),
                baselines=form.baselines,
                signers=statement.signers,
            )
            _check(decision, where)
            if form.checkpoint.digest != decision.checkpoint:
                raise InputError("the files that it names are not those of the checkpoint's digest", where=where)
            if _id(decision) != decision.id or decision.payload != statement.payload:
                raise InputError("its parts do not agree with its id", where=where)
        return decision


def make_decision(
    *,
    manifest: Manifest,
    judgement: Mapping[str, Json],
    policy: Mapping[str, Json],
    evidence: Sequence[tuple[str, str]],
    plan: str | None,
    decided_at: datetime | str,
    expires_at: datetime | str,
    serial: int = 1,
    supersedes: str | None = None,
    origin: Mapping[str, Json] | None = None,
    baselines: Iterable[BaselineRef] = (),
) -> Decision:
    """A draft of the decision. The same arguments give the same bytes.

    ``judgement`` is the judge's output with its ``tier``; ``policy`` the policy's canonical JSON, of which name,
    notice, error rate and digest are recorded; ``evidence`` pairs of question and record digest, one for each
    question, in any order; ``baselines`` are the models it was compared with. Raises ``InputError`` (``PolicyError``,
    ``EvidenceError``) for what does not fit.
    """
    where = "decision"
    tier, name, notice = judgement.get("tier"), policy.get("name"), policy.get("notice")
    if tier not in DECIDED_TIERS:
        raise InputError(
            f"the judgement's tier is {tier!r:.80}", where=where, remedy=f"one of {', '.join(DECIDED_TIERS)}"
        )
    if not isinstance(name, str) or not (notice is None or isinstance(notice, str)):
        raise PolicyError("the policy has no name, or a notice that is no text", where=where)
    if len({question for question, _ in evidence}) != len(evidence):
        raise EvidenceError(
            "two records answer one question", where=where, remedy="only the first completed record counts"
        )
    draft = Decision(
        id="",
        serial=serial,
        supersedes=supersedes,
        manifest=manifest,
        # Through canonical JSON and back: what is recorded shares nothing with the caller, and 1.0 is 1.
        origin=None if origin is None else _plain(origin),
        tier=tier,
        policy=PolicyRef(name, canonical.digest(policy), notice),
        error_rate=_decimal(policy.get("error_rate")),
        judgement=_plain(judgement),
        evidence=tuple(sorted(EvidenceRef(question, record) for question, record in evidence)),
        plan=plan,
        decided_at=whole_seconds(decided_at, where=f"{where} at decided_at"),
        expires_at=whole_seconds(expires_at, where=f"{where} at expires_at"),
        baselines=tuple(sorted(baselines, key=lambda one: one.name)),
    )
    _check(draft, where)
    decision = Decision(**{**vars(draft), "id": _id(draft)})
    try:
        return Decision.from_statement(Statement.from_bytes(decision.payload, where=where), where=where)
    except VerificationError as cause:  # nobody is handed a decision that could not be read back
        raise InputError(cause.message, where=cause.where, remedy=cause.remedy) from cause


def check_expiry(decision: Decision, now: datetime) -> None:
    """Raises ``DecisionExpired`` from ``expires_at`` on, ``VerificationError`` for a decision from the future.

    Expiry forbids a new release or serving; what was released before stays authentic.
    """
    if decision.decided_at - now > SKEW:
        raise VerificationError(
            f"decided at {format_time(decision.decided_at)}, which lies in the future",
            where=f"decision {decision.id}",
            remedy="set this machine's clock, or ask the decider about theirs",
        )
    if now >= decision.expires_at:
        raise DecisionExpired(
            f"the decision expired at {format_time(decision.expires_at)}",
            where=f"decision {decision.id}",
            remedy="weigh the checkpoint again",
        )


def check_supersession(decision: Decision, known: Iterable[Decision]) -> None:
    """Raises ``VerificationError`` if a known decision takes the place of this one.

    That is one that names it as superseded, or one for the same checkpoint and policy name with a higher serial,
    or with the same serial and other content. ``known`` must be verified: a draft supersedes nothing.
    """
    for other in known:
        if other.id == decision.id:
            continue
        where = f"decision {decision.id}"
        if other.supersedes == decision.id:
            raise VerificationError(f"superseded by {other.id}", where=where, remedy="carry out the newer decision")
        if (other.checkpoint, other.policy.name) != (decision.checkpoint, decision.policy.name):
            continue
        if other.serial > decision.serial:
            raise VerificationError(
                f"its serial {decision.serial} is lower than {other.serial}, that of {other.id}",
                where=where,
                remedy="carry out the newer decision",
            )
        if other.serial == decision.serial:
            raise VerificationError(
                f"shares its serial {decision.serial} with another decision, {other.id}",
                where=where,
                remedy="ask the decider for a decision with a higher serial",
            )


def successor(
    known: Iterable[Decision], *, checkpoint: str, policy: str, seen: tuple[int, str | None] = (0, None)
) -> tuple[int, str | None]:
    """The serial of the next decision for a checkpoint (digest) and policy (name), and the id that it supersedes.

    ``seen`` are serial and id of the latest decision that was seen elsewhere, (0, None) if there is none.
    """
    ours = [other for other in known if (other.checkpoint, other.policy.name) == (checkpoint, policy)]
    serial, latest = max([seen, *((other.serial, other.id) for other in ours)], key=lambda pair: pair[0])
    return serial + 1, latest


@dataclass(frozen=True)
class _Checkpoint:
    digest: str
    files: int
    origin: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Predicate:
    version: int
    id: str
    serial: int
    supersedes: str | None
    checkpoint: _Checkpoint
    tier: DecidedTier
    policy: PolicyRef
    error_rate: str
    judgement: Mapping[str, Any]
    evidence: tuple[EvidenceRef, ...]
    plan: str | None
    decided_at: str
    expires_at: str
    baselines: tuple[BaselineRef, ...]


@dataclass(frozen=True)
class _Compared:
    name: str
    checkpoint: str
    records: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    baselines: tuple[_Compared, ...]


def _rest(decision: Decision) -> dict[str, Any]:
    """The predicate without its id."""
    compared = [asdict(one) | {"records": list(one.records)} for one in decision.baselines]
    return {
        "version": VERSION,
        "serial": decision.serial,
        "supersedes": decision.supersedes,
        "checkpoint": {
            "digest": decision.checkpoint,
            "files": len(decision.manifest.files),
            "origin": decision.origin,
        },
        "tier": decision.tier,
        "policy": {
            "name": decision.policy.name,
            "digest": decision.policy.digest,
            "notice": decision.policy.notice,
        },
        "error_rate": decision.error_rate,
        "judgement": decision.judgement,
        "evidence": [{"question": one.question, "record": one.record} for one in decision.evidence],
        "plan": decision.plan,
        "decided_at": format_time(decision.decided_at),
        "expires_at": format_time(decision.expires_at),
        **({"baselines": compared} if compared else {}),
    }


def _id(decision: Decision) -> str:
    return canonical.digest(Statement(_subjects(decision.manifest), DECISION, _rest(decision)).to_json())


def _check(decision: Decision, where: str) -> None:
    """What must hold of any decision, whether just made or read."""
    if not 1 <= decision.serial <= 2**53 - 1:
        raise InputError(f"the serial {decision.serial} is not at least 1", where=f"{where} at serial")
    digests = {"checkpoint": decision.checkpoint, "policy": decision.policy.digest}
    digests |= {"supersedes": decision.supersedes} if decision.supersedes is not None else {}
    digests |= {"plan": decision.plan} if decision.plan is not None else {}
    for name, digest in digests.items():
        check_digest(digest, where=f"{where} at {name}")
    for one in decision.evidence:
        check_digest(one.question, where=f"{where} at evidence")
        check_digest(one.record, where=f"{where} at evidence")
    questions = [one.question for one in decision.evidence]
    if questions != sorted(set(questions)):
        raise InputError("evidence is out of order, or answers one question twice", where=f"{where} at evidence")
    names = [one.name for one in decision.baselines]
    if names != sorted(set(names)):
        raise InputError("baselines are out of order, or one stands twice", where=f"{where} at baselines")
    _check_judgement(decision, where)
    if not decision.policy.name.strip():
        raise InputError("the policy has no name", where=f"{where} at policy")
    check_visible(decision.policy.name, where=f"{where} at policy.name")
    check_visible(decision.policy.notice or "", where=f"{where} at policy.notice")
    if not _DECIMAL.fullmatch(decision.error_rate) or not 0 < Decimal(decision.error_rate) <= Decimal("0.5"):
        raise InputError(f"{decision.error_rate!r:.40} is no error rate", where=f"{where} at error_rate")
    if decision.expires_at <= decision.decided_at:
        raise InputError("expires before it is decided", where=f"{where} at expires_at")
    if not decision.manifest.files:
        raise InputError("the checkpoint has no files", where=where)


def _check_judgement(decision: Decision, where: str) -> None:
    """Whatever the judgement says too, it says the same."""
    said: dict[str, Json] = {
        "tier": decision.tier,
        "checkpoint": decision.checkpoint,
        "policy": decision.policy.name,
        "policy_digest": decision.policy.digest,
        "notice": decision.policy.notice,
        "error_rate": decision.error_rate,
        "at": format_time(decision.decided_at),
        "expires_at": format_time(decision.expires_at),
    }
    for name, value in said.items():
        if (name in decision.judgement or name == "tier") and decision.judgement.get(name) != value:
            raise InputError(f"the judgement's {name} is not the decision's", where=f"{where} at judgement.{name}")
    used = decision.judgement.get("evidence", [])
    records = {one.record for one in decision.evidence}
    if not isinstance(used, list) or not all(isinstance(one, str) and one in records for one in used):
        raise InputError("the judgement rests on evidence that is not listed", where=f"{where} at evidence")
    listed = {(one.name, one.checkpoint): set(one.records) for one in decision.baselines}
    compared = structure.parse(_Judged, {"baselines": decision.judgement.get("baselines", [])}, where=where).baselines
    for one in compared:
        if not set(one.records) <= listed.get((one.name, one.checkpoint), set()):
            message = f"the judgement compares with {one.name!r:.80} by records that are not listed"
            raise InputError(message, where=f"{where} at baselines")


def _subjects(manifest: Manifest) -> tuple[Subject, ...]:
    return tuple(Subject(file.path, file.sha256, file.size) for file in manifest.files)


def _manifest(subjects: tuple[Subject, ...], where: str) -> Manifest:
    for subject in subjects:
        if subject.size is None:
            raise InputError(f"the subject {subject.name!r:.120} is no file: it has no size", where=where)
    return Manifest(tuple(FileEntry(one.name, one.size or 0, one.sha256) for one in subjects))


def _plain(value: Mapping[str, Json]) -> dict[str, Json]:
    plain: dict[str, Json] = canonical.loads(canonical.dumps(value), where="decision")
    return plain


def _decimal(value: Json) -> str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise InvalidOperation
        return format(Decimal(str(value)).normalize(), "f")
    except InvalidOperation as cause:
        raise PolicyError(f"the error rate is {value!r:.40}, not a number", where="policy at $.error_rate") from cause
