"""Ask some items again: whether recorded values are what the weights at hand give. For who verifies a bundle.

A signature proves who says it, not that it was measured. The verifier chooses the items, so the decider could not know
which ones would be asked.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weighbridge.assemble import Workbench, suite_of
from weighbridge.errors import StorageError, SuiteError, VerificationError
from weighbridge.evidence import Evidence, Observation
from weighbridge.policy import Policy
from weighbridge.shipped import SUITES
from weighbridge.suites.interface import Suite
from weighbridge.suites.resolve import resolve_suite

TOLERATED = {"multiple_choice": 20, "generate_until": 5, "prompts": 5}
"""One item in so many may differ: another machine rounds otherwise, and a near tie may fall the other way. A generated
text goes another way for good once one of its tokens does."""


@dataclass(frozen=True)
class Remeasured:
    """How many items of a suite were asked again, and how many gave the recorded values. ``why_not`` says why none."""

    measure: str
    suite: str
    asked: int
    agreed: int
    why_not: str | None = None


def remeasure(
    bench: Workbench,
    evidence: Sequence[Evidence],
    items: int,
    chooser: random.Random,
    *,
    policy: Policy | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[Remeasured]:
    """Ask ``items`` items of every sampled record again on the checkpoint of ``bench``; ``chooser`` draws them.

    Suites that are not built in come from ``sources`` (a record's name for one -> file, or ``lm-eval:NAME``) or from
    the verifier's own ``policy``, never from what the evidence says of itself: names chosen by a stranger open no file
    and load no task.

    Raises ``VerificationError`` where more items differ than ``TOLERATED`` allows. Suites that are not at hand in the
    recorded version, and records of other settings, are said to be left out.
    """
    results = []
    for record in evidence:
        named = record.question.suite
        if record.kind != "sampled" or named is None:
            continue
        suite = _at_hand(record, bench, policy, sources or {})
        if isinstance(suite, str):
            results.append(Remeasured(record.question.measure, named.name, 0, 0, suite))
            continue
        measure = bench.sampled(record.question.measure, suite)
        if measure.question.settings != record.question.settings:
            why = "it was measured under other settings: give the same device, dtype, decoding and judge"
            results.append(Remeasured(record.question.measure, named.name, 0, 0, why))
            continue
        chosen = chooser.sample(list(record.observations), min(items, len(record.observations)))
        wanted = {item.item for item in chosen}
        clusters = [tuple(one for one in suite.items if one.id == name) for name in sorted(wanted)]
        now = {one.observation.item: one.observation for answers in measure.ask(clusters) for one in answers}
        agreed = sum(_same(item, now[item.item]) for item in chosen)
        results.append(Remeasured(record.question.measure, named.name, len(chosen), agreed))
        if len(chosen) - agreed > len(chosen) // TOLERATED.get(suite.format, 20):
            raise VerificationError(
                f"{len(chosen) - agreed} of {len(chosen)} items, asked again, give other values than recorded",
                where=f"evidence {record.question.digest[7:19]} ({record.question.measure} on {named.name})",
                remedy="do not trust this evidence; ask the decider how it was measured",
            )
    return results


def _at_hand(record: Evidence, bench: Workbench, policy: Policy | None, sources: Mapping[str, str]) -> Suite | str:
    """The suite of a record in the recorded version, or why it cannot be had."""
    if record.question.settings.get("imported"):
        return "it was imported from another harness"
    named = record.question.suite
    if named is None:
        return "it has no suite"
    if "attack" in record.question.settings:
        return "it is of an attacked model, which only weighing makes"
    if "artifact" in record.question.settings:
        return "it is of another file than the checkpoint"
    name, tasks = named.name, bench.setup.lm_eval_tasks
    try:
        if name in sources:
            suite = replace(resolve_suite(sources[name], lm_eval_tasks=tasks), name=name)
        elif name in SUITES:
            suite = resolve_suite(name)
        elif policy is not None and name in _names(policy):
            suite = suite_of(name, policy, tasks)
        else:
            return "it is not built in: say where your copy of it is, --suite NAME=FILE, or give a policy that does"
    except (SuiteError, StorageError) as error:
        return f"the suite is not at hand: {error.message}"
    return suite if suite.ref.digest == named.digest else "the suite at hand is another version"


def _names(policy: Policy) -> set[str]:
    return {*policy.suites, *(name for bound, _ in policy.bounds() for name in bound.suites)}


def _same(recorded: Observation, now: Observation) -> bool:
    return (dict(recorded.values), recorded.failed is None) == (dict(now.values), now.failed is None)
