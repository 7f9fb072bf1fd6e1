"""The main job as functions: what the command line does, for Python. Here the clock is read and files are opened.

What measures or publishes is imported when it is used, so that judging again takes no longer than judging.

checkpoint = open_checkpoint("my-model")
outcome = weigh(checkpoint, load_policy("default"), "weighing", budget=600, key=load_private(Path("decider.key")))
print(outcome.decision.tier, outcome.judgement.outcome("open"))
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weighbridge import checkpoint as checkpoints
from weighbridge import policy as policies
from weighbridge.baselines import (
    DEFAULT,
    Entry,
    Registry,
    Weighed,
    check_frontier,
    compared_with,
    decided_here,
    for_judge,
)
from weighbridge.checkpoint import Checkpoint
from weighbridge.decision import Decision
from weighbridge.desk import Desk, Outcome
from weighbridge.errors import InputError, PolicyError, VerificationError
from weighbridge.files import read, write_atomic
from weighbridge.imports import check_imports
from weighbridge.judge import judge
from weighbridge.on_record import Reviewed, Today, review_folders
from weighbridge.plan import Plan, check_plans, make_plan
from weighbridge.policy import Policy
from weighbridge.successors import check_successions, keep_succession, read_succession
from weighbridge.times import format_time, parse_day
from weighbridge.trust import (
    RevocationList,
    Signer,
    State,
    Trust,
    load_state,
    load_trust,
    update_state,
    verify_revocations,
)
from weighbridge.workspace import Workspace

if TYPE_CHECKING:
    from weighbridge.asking import Progress
    from weighbridge.assemble import Setup
    from weighbridge.emitted import Exporting
    from weighbridge.release.bundle import Bundle
    from weighbridge.release.verify import Verified
    from weighbridge.remeasure import Remeasured

__all__ = [
    "BUILTIN_POLICIES",
    "Outcome",
    "add_baseline",
    "decide",
    "load_policy",
    "now",
    "open_checkpoint",
    "plan",
    "release",
    "remeasure",
    "review",
    "verify",
    "weigh",
]

BUILTIN_POLICIES = ("default", "tutorial")


def now() -> datetime:
    """The wall clock in UTC."""
    return datetime.now(UTC)


def load_policy(source: str | Path) -> Policy:
    """A policy from a file, or a built-in one by name (``default``, ``tutorial``). Raises ``PolicyError``."""
    if str(source) in BUILTIN_POLICIES:
        data = (package_files("weighbridge") / "policies" / f"{source}.yaml").read_bytes()
        return policies.load(data, where=f"{source}.yaml")
    data = read(Path(source), error=PolicyError, limit=policies.MAX_BYTES)
    return policies.load(data, where=str(source), base=str(Path(source).parent))


def open_checkpoint(
    path: str | Path, folder: str | Path | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Checkpoint:
    """The checkpoint at ``path``: a Hugging Face folder, or a GGUF file.

    ``folder`` is where hashes are remembered and where a GGUF file is converted (it needs one). ``progress`` is told
    (bytes hashed, of how many). Raises ``CheckpointError``.
    """
    cache = None if folder is None else Path(folder) / "hashes.json"
    convert_to = None if folder is None else Path(folder) / "checkpoint"
    return checkpoints.open_checkpoint(Path(path), cache=cache, convert_to=convert_to, progress=progress)


def add_baseline(
    registry: Registry,
    name: str,
    checkpoint: Checkpoint,
    policy: Policy,
    *,
    opened_by: Literal["others", "own"] | None = None,
    in_set: str | None = None,
    since: str | None = None,
    trust: Trust | None = None,
    budget: float | None = None,
    setup: Setup | None = None,
    state_path: Path | None = None,
    listen: Callable[[Progress], None] = lambda _: None,
) -> tuple[Entry, dict[str, str]]:
    """Enter ``checkpoint`` in ``registry`` under ``name`` and ask every item of what ``policy`` compares with it.

    What is not said of it, but was before, holds (``opened_by``: ``others`` where nobody said).
    A policy that compares nothing with it has all that it asks measured. ``budget`` is in seconds; work that was cut
    short resumes when it is called again. ``trust`` says whose decisions are one's own: without it, all that were seen
    on this machine. Returns the entry and what broke (question digest -> message). Raises ``InputError`` and
    ``StorageError``.
    """
    from weighbridge.asking import Clocks
    from weighbridge.assemble import Workbench
    from weighbridge.weigh import weigh_whole

    at = now()
    known = registry.get(name)
    if known is not None and known.checkpoint == checkpoint.digest:  # to go on, nothing needs to be said again
        opened_by, in_set, since = opened_by or known.opened_by, in_set or known.set, since or known.since
    entry = Entry(name, checkpoint.digest, opened_by or "others", in_set, since, format_time(at))
    if since is not None and parse_day(since, where="since") > at.date():
        raise InputError(f"{since} lies in the future", where="since", remedy="add it once its weights are open")
    check_frontier([entry], decided_here(_seen(state_path), _own_keys(trust, None)))
    bench = Workbench(checkpoint, setup)
    measures = bench.measures(policy)
    asked = compared_with(policy, entry, make_plan(policy, checkpoint.digest, measures.questions))
    entry = registry.add(entry)
    workspace = registry.workspace(name)
    with workspace.store.lock():
        workspace.write_checkpoint(checkpoint)
        workspace.write_plan(asked)
        try:
            clocks = Clocks(now, time.monotonic)
            problems = weigh_whole(asked, measures.sampled, workspace.store, clocks, budget=budget, listen=listen)
        finally:
            bench.close()
    return entry, problems


def plan(checkpoint: Checkpoint, policy: Policy, setup: Setup | None = None) -> tuple[Plan, list[float]]:
    """What ``weigh`` would ask, and roughly how many seconds each step takes at most."""
    from weighbridge.assemble import Workbench

    bench = Workbench(checkpoint, setup)
    measures = bench.measures(policy)
    planned = make_plan(policy, checkpoint.digest, measures.questions)
    suites = {one.question.digest: one.suite for one in measures.sampled}
    return planned, [bench.estimate(step, suites.get(step.question.digest)) for step in planned.steps]


def weigh(
    checkpoint: Checkpoint,
    policy: Policy,
    out: str | Path,
    *,
    key: Signer | None = None,
    trust: Trust | None = None,
    baselines: str | Path = DEFAULT,
    successor: str | Path | None = None,
    budget: float | None = None,
    setup: Setup | None = None,
    state_path: Path | None = None,
    listen: Callable[[Progress], None] = lambda _: None,
    exporting: Exporting = lambda _: nullcontext(),
) -> Outcome:
    """Plan, measure and decide; everything is written to the folder ``out``.

    ``budget`` is in seconds of measuring: what it leaves unsettled is undecided. Without a ``key`` the decision is a
    draft, which never replaces a signed one. ``trust`` says who may sign imports; without it, ``key``. ``baselines``
    is the registry of the models that lines compare with, ``successor`` the file of a decision by which a successor is
    served, which ``trust`` must vouch for. ``state_path`` remembers the serials of signed decisions. ``listen`` is told
    of each question's progress, ``exporting`` of each artifact's. Work that was interrupted resumes. Raises
    ``InputError`` and ``StorageError``.
    """
    from weighbridge.asking import Clocks
    from weighbridge.assemble import Workbench
    from weighbridge.weigh import weigh as run_weighing

    bench = Workbench(checkpoint, setup)
    workspace = Workspace(Path(out))
    measures = bench.measures(policy)
    with workspace.store.lock():  # before anything is written: a second weighing must not change the first one's plan
        workspace.write_checkpoint(checkpoint)
        at = now()
        desk = Desk(workspace, policy, key, trust, state_path, at=at)
        if successor is not None:
            _succeed(workspace, Path(successor), trust, at)
        records = workspace.store.load()
        check_imports(workspace.store, records, _importers(trust, key), at=at)
        check_successions(workspace.store, records, _importers(trust, key))
        check_plans(workspace.plans(), None, records)  # now, not after hours of measuring
        weighed = _weighed(Path(baselines), policy, checkpoint.digest, state_path, _own_keys(trust, key))
        try:
            measures, unmade = bench.with_artifacts(measures, policy, workspace.artifacts, exporting=exporting)
            workspace.write_plan(make_plan(policy, checkpoint.digest, measures.questions))
            clocks = Clocks(now, time.monotonic)
            result = run_weighing(
                policy,
                checkpoint.digest,
                measures,
                workspace.store,
                clocks,
                baselines=for_judge(weighed),
                budget=budget,
                listen=listen,
            )
        finally:
            bench.close()
        return desk.conclude(result.judgement, workspace.store.load(), result.problems | unmade, weighed)


def decide(
    folder: str | Path,
    policy: Policy,
    *,
    out: str | Path | None = None,
    key: Signer | None = None,
    trust: Trust | None = None,
    baselines: str | Path = DEFAULT,
    successor: str | Path | None = None,
    state_path: Path | None = None,
) -> Outcome:
    """Judge the evidence in ``folder`` again; nothing is measured. With ``out``, in a copy of that folder.

    Without a ``key`` the decision is a draft, which never replaces a signed one. ``trust`` says who may sign imports;
    without it, the key that signs the decision. ``baselines`` is the registry of the models that lines compare with,
    ``successor`` the file of a decision by which a successor is served, which ``trust`` must vouch for. ``state_path``
    remembers the serials of signed decisions. Raises ``InputError``.
    """
    workspace = Workspace(Path(folder))
    workspace.check()
    if out is not None and Path(out).resolve() != workspace.folder.resolve():
        workspace = _copied(workspace, Path(out))
    at = now()
    desk = Desk(workspace, policy, key, trust, state_path, at=at)
    if successor is not None:
        with workspace.store.lock():
            _succeed(workspace, Path(successor), trust, at)
    records = workspace.store.load()
    check_imports(workspace.store, records, _importers(trust, key), at=at)
    check_successions(workspace.store, records, _importers(trust, key))
    digest = workspace.manifest().digest
    weighed = _weighed(Path(baselines), policy, digest, state_path, _own_keys(trust, key))
    judgement = judge(policy, records, checkpoint=digest, at=format_time(at), baselines=for_judge(weighed))
    return desk.conclude(judgement, records, {}, weighed)


def release(
    folder: str | Path,
    checkpoint: str | Path,
    approvals: Sequence[str | Path],
    to: str | Path,
    *,
    key: Signer,
    trust_file: str | Path,
    revocations: str | Path | None = None,
    state_path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bundle:
    """Carry out the open decision in ``folder``: write the bundle ``to``, signed with the publisher's ``key``.

    ``state_path`` remembers the latest time and the serials of revocation lists and decisions. Opening cannot be
    undone. Raises ``VerificationError`` for anything but an approved, valid ``open`` decision; then there is no folder
    ``to``.
    """
    from weighbridge.release.bundle import write_bundle

    at = now()
    trust = load_trust(Path(trust_file))
    state = load_state(state_path) if state_path else State()
    revoked = None
    if revocations is not None:
        last = state.last_serial(trust.keyids("revoker"))
        revoked = verify_revocations(read(Path(revocations)), trust, last, at=at, where=str(revocations))
    bundle = write_bundle(
        weighing=Workspace(Path(folder)).folder,
        checkpoint=open_checkpoint(checkpoint),
        approvals=[Path(path) for path in approvals],
        to=Path(to),
        publisher=key,
        trust=trust,
        now=at,
        revocations=revoked,
        state=state,
        progress=progress,
    )
    _remember(state_path, at, trust, revoked, bundle.decision)
    return bundle


def verify(
    bundle: str | Path,
    *,
    trust_file: str | Path | None = None,
    policy: Policy | None = None,
    revocations: str | Path | None = None,
    state_path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Check ``bundle`` as its downstream user: signatures, files, approvals, and the judging itself.

    Raises ``VerificationError`` on the first thing that is wrong; ``SignerUnknown`` where all is intact, but no
    trusted key says so; ``DecisionExpired`` where all holds, but the decision has since expired.
    """
    from weighbridge.release.verify import verify_bundle

    at = now()
    trust = load_trust(Path(trust_file), bundle=Path(bundle)) if trust_file is not None else None
    state = load_state(state_path) if state_path else State()
    listed = None if revocations is None else read(Path(revocations))
    try:
        verified = verify_bundle(
            Path(bundle), now=at, trust=trust, policy=policy, revocations=listed, state=state, progress=progress
        )
    except VerificationError:
        if state_path and listed is not None and trust is not None:
            _remember_list(state_path, at, trust, state, listed)
        raise
    _remember(state_path, at, trust, verified.revocations, verified.decision)
    return verified


def _remember_list(path: Path, at: datetime, trust: Trust, state: State, listed: bytes) -> None:
    """A valid list counts as seen although the bundle fails: or an older one would pass next time."""
    try:
        revoked = verify_revocations(listed, trust, state.last_serial(trust.keyids("revoker")), at=at)
    except VerificationError:
        return
    _remember(path, at, trust, revoked)


def remeasure(
    verified: Verified,
    items: int,
    setup: Setup | None = None,
    *,
    policy: Policy | None = None,
    suites: Mapping[str, str] | None = None,
) -> list[Remeasured]:
    """Ask ``items`` items of every suite at hand again, drawn here and now, on a verified bundle's own weights.

    At hand are the built-in suites, those in ``suites`` (name -> file, or ``lm-eval:NAME``) and those that your own
    ``policy`` names. Raises ``VerificationError`` where they do not give the recorded values.
    """
    from weighbridge.assemble import Workbench
    from weighbridge.release.verify import open_released
    from weighbridge.remeasure import remeasure as ask_again

    bench = Workbench(open_released(verified), setup)
    try:
        return ask_again(bench, verified.evidence, items, random.SystemRandom(), policy=policy, sources=suites)
    finally:
        bench.close()


def _remember(
    path: Path | None,
    at: datetime,
    trust: Trust | None,
    revoked: RevocationList | None,
    decision: Decision | None = None,
) -> None:
    if path is not None:
        revokers = trust.keyids("revoker") if trust is not None and revoked is not None else ()
        serial = None if revoked is None else revoked.serial
        update_state(path, now=at, revokers=revokers, serial=serial, decision=decision)


def _importers(trust: Trust | None, key: Signer | None) -> Trust:
    """Whose imports count."""
    if trust is not None:
        return trust
    return Trust.nobody() if key is None else Trust.from_public_key(key.public, ["decider"])


def _succeed(workspace: Workspace, successor: Path, trust: Trust | None, at: datetime) -> None:
    """Keep the decision on a successor as evidence."""
    if trust is None:
        raise InputError("a successor's decision counts by its signature", remedy="give --trust FILE")
    record, data = read_succession(successor, workspace.manifest().digest, trust, at=at)
    keep_succession(workspace.store, record, data)


def _own_keys(trust: Trust | None, key: Signer | None) -> frozenset[str] | None:
    """Whose decisions are the lab's own; None where nobody says so."""
    if trust is None and key is None:
        return None
    return frozenset({*(trust.keyids("decider") if trust else ()), *([key.public.keyid] if key else ())})


def _weighed(
    folder: Path, policy: Policy, checkpoint: str, state_path: Path | None, own: frozenset[str] | None
) -> list[Weighed]:
    """The baselines that ``policy`` compares with, as the registry in ``folder`` has them."""
    registry = Registry(folder)
    if folder != DEFAULT:
        registry.check()
    weighed = registry.weighed(policy)
    check_frontier([one.model for one in weighed], {checkpoint, *decided_here(_seen(state_path), own)})
    return weighed


def review(
    folders: Sequence[str | Path],
    policy: Policy | None = None,
    *,
    source: str = "",
    baselines: str | Path = DEFAULT,
    trust: Trust | None = None,
    successors: Mapping[str, str | Path] | None = None,
    state_path: Path | None = None,
) -> Reviewed:
    """Judge every decision in ``folders`` again by today's baselines and clock; nothing is measured or written.

    Each is judged by its own policy, or by ``policy``, which printed commands call ``source``. ``successors`` maps a
    folder to the decision by which a successor of its model is served; ``trust`` must vouch for it. Raises
    ``InputError``; a folder that cannot be read is among the results.
    """
    given = {Path(folder): Path(path) for folder, path in (successors or {}).items()}
    if given and trust is None:
        raise InputError("a successor's decision counts by its signature", remedy="give --trust FILE")
    registry = Registry(Path(baselines))
    if Path(baselines) != DEFAULT:
        registry.check()
    today = Today(registry, now(), policy, source, trust, _seen(state_path), given)
    return review_folders([Path(folder) for folder in folders], today)


def _seen(state_path: Path | None) -> State:
    return load_state(state_path) if state_path else State()


def _copied(workspace: Workspace, out: Path) -> Workspace:
    """The same evidence in another folder, so that two decisions need not share one."""
    target = Workspace(out)
    if (out / "manifest.json").exists() and target.manifest().digest != workspace.manifest().digest:
        raise InputError("holds the weighing of another checkpoint", where=str(out), remedy="name another --out")
    evidence = workspace.folder / "evidence"
    files = [path for path in sorted(evidence.rglob("*.json")) if path.is_file()]
    for plan in reversed(workspace.plans()):  # the current one last
        target.write_plan(plan)
    for path in [*files, workspace.folder / "manifest.json"]:  # the last makes it one
        write_atomic(out / path.relative_to(workspace.folder), read(path))
    return target
