"""Which licence families concern a model, and how: its own licence, its parents', and what its files hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from weighbridge.measures.licensing.lineage import Lineage, Relation
from weighbridge.measures.licensing.sources import Sources, TextFile
from weighbridge.measures.licensing.table import Family, Reach, Table, fold
from weighbridge.measures.licensing.texts import Recognition, recognise

CONFLICT, UNDECIDED = "conflict", "undecided"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong (``conflict``), or something that cannot be told (``undecided``), with a stable code."""

    kind: str
    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent with its family, or None where that is not known. ``relation`` None: not said."""

    model: str
    relation: Relation | None
    family: Family | None
    where: str

    @property
    def reach(self) -> Reach:
        """How the parent's licence reaches this model. What is not said counts as a derivative, which is stricter."""
        return "outputs" if self.relation == "outputs" else "derivative"


@dataclass(frozen=True, slots=True)
class FoundText:
    """A file and the families whose texts it holds word for word, or that a person says it holds (``stated``)."""

    file: TextFile
    families: tuple[str, ...]
    stated: bool = False


@dataclass
class Identified:
    """The model's own family (None: unknown), its parents, its texts, and what was wrong on the way."""

    own: Family | None = None
    own_where: str = ""
    parents: list[Parent] = field(default_factory=list)
    texts: list[FoundText] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def text_of(self, family: str) -> str | None:
        """The file that holds the licence text of ``family``."""
        return next((found.file.path for found in self.texts if family in found.families), None)

    def concerned(self) -> list[tuple[Family, Reach, str]]:
        """Every family that reaches this model, how, and the field that says so; the own licence first."""
        found = [] if self.own is None else [(self.own, _own(), self.own_where)]
        found += [(parent.family, parent.reach, parent.where) for parent in self.parents if parent.family is not None]
        return found


def identify(sources: Sources, lineage: Lineage, table: Table) -> Identified:
    """Put together what metadata, texts, lineage and statement say. Contradictions are problems, not choices."""
    result = Identified()
    _texts(result, sources, lineage, table)
    _parents(result, sources, lineage, table)
    _own_licence(result, sources, table)
    _signs(result, sources, lineage, table)
    return result


def _texts(result: Identified, sources: Sources, lineage: Lineage, table: Table) -> None:
    for file in sources.texts:
        stated = lineage.texts.get((file.path, file.sha256))
        if stated is not None:
            family = table.by_id(stated)
            if family is None:
                result.problems.append(
                    Problem(UNDECIDED, "unknown-licence", lineage.where, f"{stated!r} is not in the table")
                )
            else:
                result.texts.append(FoundText(file, (family.id,), stated=True))
            continue
        seen = Recognition() if file.text is None else recognise(file.text, table.known)
        if seen.verbatim and seen.problem is None:
            result.texts.append(FoundText(file, seen.verbatim))
        elif file.kind == "licence":
            result.problems.append(Problem(UNDECIDED, "unknown-text", file.path, _unreadable(file, seen, table)))
    for (path, sha256), _ in lineage.texts.items():
        if not any((file.path, file.sha256) == (path, sha256) for file in sources.texts):
            result.problems.append(
                Problem(UNDECIDED, "statement-out-of-date", lineage.where, f"{path} is not the file that was read")
            )


def _unreadable(file: TextFile, seen: Recognition, table: Table) -> str:
    remedy = "read it, and state what it is in a lineage statement"
    if file.text is None:
        return f"cannot be read as text; {remedy}"
    if seen.verbatim:
        return f"holds the {table.families[seen.verbatim[0]].name}, but {seen.problem}; {remedy}"
    if seen.like:
        return f"reads like the {table.families[seen.like[0]].name}, but is not its published text; {remedy}"
    return f"is the text of no licence in the table; {remedy}"


def _parents(result: Identified, sources: Sources, lineage: Lineage, table: Table) -> None:
    stated = {fold(parent.model): parent for parent in lineage.parents or ()}
    for index, parent in enumerate(lineage.parents or ()):
        where = f"{lineage.where} at parents[{index}]"
        result.parents.append(
            Parent(parent.model, parent.relation, _family_of(result, parent.model, parent.license, where, table), where)
        )
    declared: set[str] = set()
    for said in sources.parents:
        if fold(said.model) in stated or fold(said.model) in declared:
            continue
        declared.add(fold(said.model))
        if lineage.parents is not None:
            result.problems.append(
                Problem(
                    CONFLICT, "lineage-disagrees", said.where, f"names {said.model}, which {lineage.where} leaves out"
                )
            )
        family = _family_of(result, said.model, None, said.where, table)
        result.parents.append(Parent(said.model, said.relation, family, said.where))


def _family_of(result: Identified, model: str, stated: str | None, where: str, table: Table) -> Family | None:
    known = table.by_model(model)
    if stated is None:
        if known is None:
            result.problems.append(
                Problem(
                    UNDECIDED,
                    "unknown-parent",
                    where,
                    f"the licence of {model} is not known here; state it in a lineage statement",
                )
            )
        return known
    family = table.by_id(stated)
    if family is None:
        result.problems.append(Problem(UNDECIDED, "unknown-licence", where, f"{stated!r} is not in the table"))
        return known
    if known is not None and known.id != family.id:
        result.problems.append(
            Problem(CONFLICT, "lineage-disagrees", where, f"{model} is under {known.id}, not {family.id}")
        )
        return known
    return family


def _own_licence(result: Identified, sources: Sources, table: Table) -> None:
    """The declared family; without one, the family of the only licence text."""
    named: dict[str, str] = {}
    for said in sources.declared:
        family = table.by_id(said.value)
        if family is None:
            result.problems.append(
                Problem(
                    UNDECIDED, "unknown-licence", said.where, f"the licence {said.value!r:.100} is not in the table"
                )
            )
        else:
            named.setdefault(family.id, said.where)
    held = list(dict.fromkeys(name for found in result.texts for name in found.families))
    if len(named) > 1:
        (first, where), (second, other) = list(named.items())[:2]
        message = f"says {second}, but {where} says {first}"
        result.problems.append(Problem(CONFLICT, "metadata-disagrees", other, message))
    elif not named and not sources.declared:
        if len(held) == 1:
            named = {held[0]: result.text_of(held[0]) or ""}
        else:
            what = (
                f"texts of {len(held)} licences and no metadata that says which" if held else "no licence is declared"
            )
            result.problems.append(Problem(UNDECIDED, "no-licence", "README.md at license", what))
    if named:
        name, where = next(iter(named.items()))
        result.own, result.own_where = table.families[name], where
    _unexplained_texts(result, held, named)


def _unexplained_texts(result: Identified, held: Sequence[str], named: dict[str, str]) -> None:
    """A text of a licence that is neither declared nor a parent's contradicts the metadata."""
    if not named:
        return
    expected = set(named) | {parent.family.id for parent in result.parents if parent.family is not None}
    for name in held:
        if name not in expected:
            declared = next(iter(named.items()))
            result.problems.append(
                Problem(
                    CONFLICT,
                    "text-disagrees",
                    result.text_of(name) or "",
                    f"is the text of {name}, but {declared[1]} says {declared[0]}",
                )
            )


def _signs(result: Identified, sources: Sources, lineage: Lineage, table: Table) -> None:
    """Names and architectures that suggest a family which nothing else mentions: ask, do not guess."""
    if lineage.parents is not None:
        return
    present = {family.id for family, _, _ in result.concerned()}
    for said in sources.hints:
        family = table.by_model(said.value)
        if family is not None and family.id not in present and family.duties:
            present.add(family.id)
            result.problems.append(Problem(UNDECIDED, "lineage-not-stated", said.where, _hint(said.value, family)))
    name = lineage.name or (sources.names[0].value if sources.names else None)
    for family, sign in table.by_sign(name, sources.architectures):
        if family.id not in present:
            present.add(family.id)
            where = sources.names[0].where if sign.startswith("the name") else "config.json at model_type"
            result.problems.append(Problem(UNDECIDED, "lineage-not-stated", where, _hint(sign, family)))


def _hint(sign: str, family: Family) -> str:
    return f"{sign} suggests {family.name}, which no field mentions; state the parents in a lineage statement"


def _own() -> Reach:
    return "own"
