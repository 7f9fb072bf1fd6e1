"""Baselines: models weighed for comparison. One folder, the registry, says who they are and holds their evidence.

registry.json      who they are: see ``Entry``; one canonical form, written whole or not at all
<name>/            the weighing of each (see ``workspace``): manifest, plans and evidence; nothing is decided there

A weighing keeps copies of the records that it compared with, ``baselines/<name>/<record>.json`` beside its decision, so
that whoever judges again needs no registry. The decision names every one by its digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from weighbridge import canonical, structure
from weighbridge.decision import FRONTIER, BaselineModel, BaselineRef
from weighbridge.errors import EvidenceError, InputError, VerificationError
from weighbridge.evidence import Baseline, Evidence, Question, from_bytes, to_json
from weighbridge.files import read, unwritable, write_atomic
from weighbridge.judge import Baselines
from weighbridge.plan import Plan, check_plans
from weighbridge.policy import Policy
from weighbridge.requirements import Bound
from weighbridge.statement import check_version, refused
from weighbridge.times import parse_time
from weighbridge.trust import State
from weighbridge.workspace import Workspace

VERSION = 1
DEFAULT = Path("baselines")
REGISTRY = "registry.json"
KEPT = "baselines"
"""The folder of the copies that a weighing keeps."""


@dataclass(frozen=True)
class Entry(BaselineModel):
    """One baseline of a registry; ``added`` is when it was entered (RFC 3339)."""

    added: str

    def __post_init__(self) -> None:
        BaselineModel.__post_init__(self)
        parse_time(self.added, where=f"added of {self.name}")


@dataclass(frozen=True)
class Weighed:
    """A baseline with the records of its evidence that a policy compares with."""

    model: BaselineModel
    evidence: tuple[Evidence, ...]

    @property
    def ref(self) -> BaselineRef:
        """How a decision names it."""
        model = self.model
        records = tuple(sorted(record.digest for record in self.evidence))
        return BaselineRef(model.name, model.checkpoint, model.opened_by, model.set, model.since, records)


@dataclass(frozen=True)
class _Form:
    version: int
    baselines: tuple[Entry, ...]


class Registry:
    """The baselines in a folder. A folder that is not there has none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / REGISTRY

    def entries(self) -> tuple[Entry, ...]:
        """Every baseline, by name. Raises ``InputError`` for a file that is not what ``add`` and ``remove`` write."""
        if not self.path.exists() and not self.path.is_symlink():
            return ()
        where = str(self.path)
        form = structure.parse(_Form, canonical.loads_canonical(read(self.path), where=where), where=where)
        check_version(form.version, VERSION, where=f"{where} at $.version")
        _check_together(form.baselines, where)
        return form.baselines

    def check(self) -> None:
        """Raises ``InputError`` if there is no registry here."""
        if not self.path.is_file():
            raise InputError("no registry of baselines here", where=str(self.folder), remedy="weighbridge baseline add")

    def get(self, name: str) -> Entry | None:
        """The baseline of this name, if there is one."""
        return next((one for one in self.entries() if one.name == name), None)

    def workspace(self, name: str) -> Workspace:
        """Where the weighing of a baseline lies. Raises ``InputError`` where a link stands in its place."""
        folder = self.folder / name
        if folder.is_symlink():
            raise InputError("a link in the place of a baseline's folder", where=str(folder), remedy="remove the link")
        return Workspace(folder)

    def add(self, entry: Entry) -> Entry:
        """Enter ``entry``; returns what is on record, which keeps the time at which it was first entered.

        Raises ``InputError`` if the name, but for upper and lower case, stands for something else already.
        """
        with self._locked():
            known = self.entries()
            for one in known:
                if one.name.lower() != entry.name.lower():
                    continue
                if asdict(one) == asdict(entry) | {"added": one.added}:
                    return one
                raise InputError(
                    f"the name is taken, {_told(one)}",
                    where=f"{self.path}, {one.name}",
                    remedy="say the same of it as before, take another name, or remove it: weighbridge baseline remove",
                )
            entries = sorted([*known, entry], key=lambda one: one.name)
            _check_together(entries, str(self.path))
            self._write(entries)
        return entry

    def remove(self, name: str) -> Entry:
        """Take a baseline off the record, then remove its folder. Raises ``InputError`` if there is none."""
        with self._locked():
            known = self.entries()
            found = next((one for one in known if one.name == name), None)
            if found is None:
                raise InputError("no such baseline", where=f"{self.path}, {name}", remedy="weighbridge baseline list")
            workspace = self.workspace(name)
            if not workspace.folder.exists():
                self._write([one for one in known if one.name != name])
                return found
            with workspace.store.lock():  # nobody measures into what is removed
                self._write([one for one in known if one.name != name])
                try:
                    shutil.rmtree(workspace.folder)
                except OSError as cause:
                    raise unwritable(cause, workspace.folder) from cause
        return found

    def weighed(self, policy: Policy) -> list[Weighed]:
        """The baselines that lines of ``policy`` compare with, by name or set, with the records they are about.

        Raises ``InputError`` (``EvidenceError``) for files that are not what they say.
        """
        names = set(policy.baselines)
        if not names:
            return []
        return [self._weighed(one, policy) for one in self.entries() if {one.name, one.set} & names]

    def _weighed(self, entry: Entry, policy: Policy) -> Weighed:
        workspace = self.workspace(entry.name)
        if not (workspace.folder / "manifest.json").exists():  # entered, and not yet measured
            return Weighed(entry, ())
        if workspace.manifest().digest != entry.checkpoint:
            raise InputError(
                "holds the weighing of another checkpoint than the registry says",
                where=str(workspace.folder),
                remedy=f"weighbridge baseline remove {entry.name}, then add it again",
            )
        records = workspace.store.load()
        check_plans(workspace.plans(), None, records)
        for record in records:
            if record.question.checkpoint != entry.checkpoint:
                where = str(workspace.store.path(record.question))
                raise EvidenceError("is about another checkpoint", where=where, remedy="remove it")
        lines = _comparing(policy, entry)
        return Weighed(entry, tuple(one for one in records if any(_concerns(line, one.question) for line in lines)))

    def _write(self, entries: Sequence[Entry]) -> None:
        write_atomic(self.path, canonical.dumps({"version": VERSION, "baselines": [asdict(one) for one in entries]}))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time; another one waits."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / ".lock").open("wb")
        except OSError as cause:
            raise unwritable(cause, self.folder) from cause
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def compared_with(policy: Policy, model: BaselineModel, plan: Plan) -> Plan:
    """The sampled questions of ``plan`` that lines of ``policy`` compare with ``model``, to be asked in whole; all that
    a line names, where none compares with it."""
    lines = _comparing(policy, model)
    steps = [step for step in plan.steps if step.named and step.question.suite is not None]
    if lines:
        steps = [step for step in steps if any(_concerns(line, step.question) for line in lines)]
    return Plan(plan.policy, plan.checkpoint, tuple(replace(step, items=None) for step in steps))


def for_judge(weighed: Iterable[Weighed]) -> Baselines:
    """What the judge takes: each baseline under its own name, and under that of its set."""
    groups: dict[str, list[Baseline]] = {}
    for one in weighed:
        model = one.model
        baseline = Baseline(model.name, model.checkpoint, one.evidence)
        for name in (model.name, *([model.set] if model.set else ())):
            groups.setdefault(name, []).append(baseline)
    return groups


def decided_here(state: State, own: frozenset[str] | None) -> frozenset[str]:
    """The digests of the checkpoints that the lab has decided on, as far as this machine has seen.

    ``own`` are the fingerprints of the lab's deciders; without them every decision that was seen counts as its own.
    """
    return frozenset(one.checkpoint for one in state.decisions if own is None or one.key in own)


def check_frontier(models: Iterable[BaselineModel], decided: Collection[str]) -> None:
    """Raises ``InputError`` for a member of ``open-frontier`` among the checkpoints (digests) that the lab ``decided``
    on, the one that is weighed included."""
    for model in models:
        if model.set == FRONTIER and model.checkpoint in decided:
            raise InputError(
                "was weighed or decided here, and a margin against a model of one's own would ratchet",
                where=f"the baseline {model.name} of {FRONTIER}",
                remedy=f"weighbridge baseline remove {model.name}; add an own model outside the set, with --own",
            )


def keep(folder: Path, weighed: Iterable[Weighed]) -> None:
    """Copy the records into the weighing ``folder``. They are named by digest, so nothing is ever replaced."""
    for one in weighed:
        for record in one.evidence:
            write_atomic(folder / KEPT / kept_name(one.model.name, record.digest), canonical.dumps(to_json(record)))


def kept_name(baseline: str, record: str) -> str:
    """Where the copy of a record lies among the copies."""
    return f"{baseline}/{record.removeprefix('sha256:')}.json"


def kept(refs: Sequence[BaselineRef], load: Callable[[str], bytes | None], *, where: str) -> list[Weighed]:
    """The baselines that a decision names, from their copies in ``where``. ``load`` gives the bytes of one by its
    ``kept_name``, None if there is none.

    Raises ``VerificationError`` naming the file for a copy that is missing or is not the record that the decision
    names.
    """
    weighed = []
    for ref in refs:
        records = []
        for digest in ref.records:
            name = kept_name(ref.name, digest)
            data, place = load(name), f"{where}/{name}"
            if data is None:
                raise VerificationError("missing, and the decision names it", where=place, remedy=_AGAIN)
            if canonical.digest_bytes(data) != digest:
                raise VerificationError("not the record that the decision names", where=place, remedy=_AGAIN)
            with refused(place):
                record = from_bytes(data, where=place)
            if record.question.checkpoint != ref.checkpoint:
                raise VerificationError("evidence of another checkpoint than the baseline's", where=place)
            records.append(record)
        weighed.append(Weighed(ref, tuple(records)))
    return weighed


def kept_in(folder: Path, refs: Sequence[BaselineRef]) -> list[Weighed]:
    """``kept`` from the copies in the weighing ``folder``."""

    def load(name: str) -> bytes | None:
        path = folder / KEPT / name
        return read(path) if path.exists() else None

    return kept(refs, load, where=str(folder / KEPT))


_AGAIN = "put the file back as it was, or decide again: weighbridge decide"


def _comparing(policy: Policy, model: BaselineModel) -> list[Bound]:
    """The lines of ``policy`` that compare with ``model``, by its name or its set."""
    return [bound for bound, _ in policy.bounds() if bound.baseline in {model.name, model.set} - {None}]


def _concerns(line: Bound, question: Question) -> bool:
    """Whether a question is of the measure and on a suite that a line is about, in whatever version and under whatever
    settings: the judge says which ones fit. An import binds a log to a candidate, so it is no baseline's."""
    if question.suite is None or question.settings.get("imported"):
        return False
    return question.measure == line.spec.measure and question.suite.name in line.suites


def _check_together(entries: Sequence[Entry], where: str) -> None:
    """What must hold of the entries of one registry."""
    names = [one.name for one in entries]
    own = {one.checkpoint: one.name for one in entries if one.opened_by == "own"}
    for one in entries:
        if one.set == FRONTIER and one.checkpoint in own:
            raise InputError(
                f"the same checkpoint stands as one's own, under {own[one.checkpoint]}",
                where=f"{where}, {one.name} of {FRONTIER}",
                remedy="a model of one's own does not join it: a margin against oneself would ratchet",
            )
    if names != sorted(names) or len({name.lower() for name in names}) != len(names):
        raise InputError(
            "baselines are out of order, or two have one name, but for upper and lower case",
            where=f"{where} at $.baselines",
            remedy="such a file is written by this program, never by hand",
        )


def _told(entry: Entry) -> str:
    parts = [f"by {entry.checkpoint}", f"opened by {entry.opened_by}"]
    parts += [f"in {entry.set}"] if entry.set else []
    parts += [f"open since {entry.since}"] if entry.since else []
    return ", ".join(parts)
