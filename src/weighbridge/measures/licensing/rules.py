"""From the families that concern a model to conflicts and duties. Pure: sources in, assessment out.

A *conflict* is a duty that a release of these files would break. A *duty* is one that the release has to carry out;
``by`` says who does: ``file`` (the release adds one), ``card`` (the model card says it) or ``people``.
What cannot be told from files, metadata and statement is *undecided*, never free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weighbridge import canonical
from weighbridge.measures.licensing.identify import CONFLICT, UNDECIDED, Identified, Problem, identify
from weighbridge.measures.licensing.lineage import Lineage
from weighbridge.measures.licensing.sources import Said, Sources
from weighbridge.measures.licensing.table import Duty, Family, Reach, Table, fold
from weighbridge.measures.licensing.texts import contains

By = Literal["file", "card", "people"]


@dataclass(frozen=True, slots=True)
class Owed:
    """A duty that is left for the release. ``detail`` is what carrying it out needs (a phrase, a link, a text or
    the digest of one)."""

    code: str
    family: str
    by: By
    where: str
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A duty of a family that concerns the model: how it reaches, and the field that says so."""

    duty: Duty
    family: Family
    reach: Reach
    where: str


@dataclass
class Assessment:
    """The result. ``met`` are duties that the files fulfil already: (code, family, file or field)."""

    identified: Identified
    name: str | None
    conflicts: list[Problem] = field(default_factory=list)
    undecided: list[Problem] = field(default_factory=list)
    duties: list[Owed] = field(default_factory=list)
    met: list[tuple[str, str, str]] = field(default_factory=list)


def assess(sources: Sources, lineage: Lineage, table: Table) -> Assessment:
    """Apply every duty of every family that concerns the model."""
    identified = identify(sources, lineage, table)
    name = Said(lineage.name, lineage.where) if lineage.name else next(iter(sources.names), None)
    result = Assessment(identified, name.value if name else None)
    for problem in identified.problems:
        (result.conflicts if problem.kind == CONFLICT else result.undecided).append(problem)
    checks = _Checks(sources, lineage, table, result, name)
    for family, reach, where in identified.concerned():
        for duty in family.duties:
            if reach in duty.reaches and (duty.code, family.id) not in checks.done:
                checks.apply(Claim(duty, family, reach, where))
    _inheritance(result)
    return result


def _inheritance(result: Assessment) -> None:
    """What a parent's licence demands of everybody down the line, the declared licence must demand too."""
    own = result.identified.own
    if own is None:
        return
    for parent in result.identified.parents:
        if parent.family is None:
            continue
        dropped = sorted(parent.family.inherited(parent.reach) - own.inherited("own"))
        if not dropped:
            continue
        what = ", ".join(entry.partition(":")[0] for entry in dropped)
        code = "non-commercial-dropped" if "non-commercial" in dropped else "parent-terms-dropped"
        result.conflicts.append(
            Problem(
                CONFLICT,
                code,
                result.identified.own_where,
                f"{own.id} drops what {parent.model} ({parent.family.id}, {parent.where}) passes on: {what}",
            )
        )


class _Checks:
    """One method for each code of duty."""

    def __init__(self, sources: Sources, lineage: Lineage, table: Table, result: Assessment, name: Said | None) -> None:
        self.sources = sources
        self.lineage = lineage
        self.table = table
        self.result = result
        self.name = name
        self.done: set[tuple[str, str]] = set()

    def apply(self, claim: Claim) -> None:
        self.done.add((claim.duty.code, claim.family.id))
        checks: Mapping[str, Callable[[Claim], None]] = {
            "licence-text": self.licence_text,
            "notice-text": self.notice_text,
            "carry-notice": self.carry_notice,
            "name-prefix": self.name_prefix,
            "user-threshold": self.user_threshold,
            "non-commercial": self.non_commercial,
            "eu-multimodal": self.eu_multimodal,
            "same-family-only": self.same_family_only,
        }
        checks.get(claim.duty.code, self.on_the_card)(claim)

    def licence_text(self, claim: Claim) -> None:
        link = claim.duty.parameters.get("link")
        if held := self.result.identified.text_of(claim.family.id):
            self.met(claim, held)
        elif claim.family.file is not None:
            digest = canonical.digest_bytes(self.table.text_of(claim.family.id).encode("utf-8"))
            message = "its text must go with the model; the release adds it"
            self.owe("include-licence-text", claim, "file", message, digest)
        elif link is not None:
            self.owe("link-licence", claim, "card", "its text or a link to it must go with the model", link)
        else:
            message = f"no file holds its text, which must go with the model; add it from {claim.family.link}"
            self.conflict("licence-text-missing", claim, claim.where, message)

    def notice_text(self, claim: Claim) -> None:
        text = claim.duty.parameters["text"]
        for file in self.sources.texts:
            if file.kind == "notice" and file.text is not None and contains(file.text, text):
                self.met(claim, file.path)
                return
        self.owe("include-notice", claim, "file", f"a notice file must say {text!r}; the release adds it", text)

    def carry_notice(self, claim: Claim) -> None:
        if held := next((file.path for file in self.sources.texts if file.kind == "notice"), None):
            self.met(claim, held)
            return
        message = "if the parent came with a NOTICE file, that file must go with the model"
        self.owe("carry-notice", claim, "people", message)

    def name_prefix(self, claim: Claim) -> None:
        prefix = claim.duty.parameters["prefix"]
        if self.name is None:
            self.undecided("no-name", claim, f"the name must start with {prefix!r}, and no name is stated")
            return
        if fold(self.name.value.rpartition("/")[2]).startswith(fold(prefix)) or claim.family.has_model(self.name.value):
            self.met(claim, self.name.where)
            return
        how = ", although only outputs trained it" if claim.reach == "outputs" else ""
        message = f"the name {self.name.value!r} must start with {prefix!r}{how}"
        self.conflict("name-prefix-missing", claim, self.name.where, message)

    def user_threshold(self, claim: Claim) -> None:
        users = f"{int(claim.duty.parameters['users']):,}"
        if self.lineage.publisher.get("monthly_users_over_700m"):
            message = f"a publisher with more than {users} monthly users needs a grant of its own"
            self.conflict("user-threshold-exceeded", claim, self.lineage.where, message)
        message = f"it grants nothing to those with more than {users} monthly users; the card passes it on"
        self.owe("pass-on-user-threshold", claim, "card", message, users)

    def non_commercial(self, claim: Claim) -> None:
        if self.lineage.publisher.get("commercial"):
            message = "the publisher states commercial use, which it does not allow"
            self.conflict("non-commercial-breached", claim, self.lineage.where, message)
        self.owe("pass-on-non-commercial", claim, "card", "it allows no commercial use; the card passes it on")

    def eu_multimodal(self, claim: Claim) -> None:
        if claim.duty.parameters.get("when") != "always" and not self.sources.multimodal:
            return
        in_eu = self.lineage.publisher.get("in_eu")
        if in_eu is None:
            message = (
                "multimodal models are not licensed to those in the European Union, and nothing says whether the "
                "publisher is; state publisher.in_eu in a lineage statement"
            )
            self.undecided("publisher-unknown", claim, message)
            return
        if in_eu:
            message = "it grants nothing to a publisher in the European Union"
            self.conflict("no-grant-in-eu", claim, self.lineage.where, message)
        message = "it grants nothing to those in the European Union; the card passes it on"
        self.owe("pass-on-eu-exclusion", claim, "card", message)

    def same_family_only(self, claim: Claim) -> None:
        parents = self.result.identified.parents
        if any(parent.family is claim.family and parent.reach == "derivative" for parent in parents):
            self.met(claim, claim.where)
            return
        message = "its outputs may not improve a model of another family"
        self.conflict("outputs-forbidden", claim, claim.where, message)

    def on_the_card(self, claim: Claim) -> None:
        """Duties that the model card carries out by saying something."""
        phrase, link = claim.duty.parameters.get("phrase"), claim.duty.parameters.get("link")
        says: Mapping[str, tuple[str, str]] = {
            "shown-phrase": ("show-phrase", f"it must say {phrase!r} where people look; the card does"),
            "use-restrictions": (
                "pass-on-use-restrictions",
                "its use restrictions bind everybody down the line; the card passes them on",
            ),
            "state-changes": ("state-changes", "it must be said that the parent was changed; the card says so"),
            "attribution": ("credit-parent", "the parent and its makers must be named; the card does"),
            "share-alike": ("share-alike", "derivatives stay under the same licence; the card passes it on"),
        }
        if claim.duty.code == "state-changes" and self._only_copies(claim.family):
            self.met(claim, claim.where)
            return
        code, message = says[claim.duty.code]
        self.owe(code, claim, "card", message, phrase or link or "")

    def _only_copies(self, family: Family) -> bool:
        relations = [parent.relation for parent in self.result.identified.parents if parent.family is family]
        return all(relation == "copy" for relation in relations)

    def met(self, claim: Claim, where: str) -> None:
        self.result.met.append((claim.duty.code, claim.family.id, where))

    def owe(self, code: str, claim: Claim, by: By, message: str, detail: str = "") -> None:
        self.result.duties.append(Owed(code, claim.family.id, by, claim.where, _full(claim, message), detail))

    def conflict(self, code: str, claim: Claim, where: str, message: str) -> None:
        self.result.conflicts.append(Problem(CONFLICT, code, where, _full(claim, message)))

    def undecided(self, code: str, claim: Claim, message: str) -> None:
        self.result.undecided.append(Problem(UNDECIDED, code, claim.where, _full(claim, message)))


def _full(claim: Claim, message: str) -> str:
    return f"{claim.family.name}, {claim.duty.source}: {message}"


def facts_of(result: Assessment, lineage: Lineage) -> dict[str, Any]:
    """What the assessment found, as the evidence records it and as the release reads it."""
    found = result.identified
    return {
        "license": None if found.own is None else found.own.id,
        "license_name": None if found.own is None else found.own.name,
        "license_link": None if found.own is None else found.own.link,
        "name": result.name,
        "parents": [
            {
                "model": parent.model,
                "relation": parent.relation,
                "license": None if parent.family is None else parent.family.id,
                "from": parent.where,
            }
            for parent in found.parents
        ],
        "texts": [{"file": one.file.path, "licenses": list(one.families), "stated": one.stated} for one in found.texts],
        "duties": [
            {"code": one.code, "license": one.family, "by": one.by, "detail": one.detail, "message": one.message}
            for one in result.duties
        ],
        "met": [{"duty": code, "license": family, "from": where} for code, family, where in result.met],
        "statement": lineage.digest,
    }
