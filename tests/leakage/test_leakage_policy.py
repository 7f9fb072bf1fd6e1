"""Lines on leakage in a policy: what a weighing asks for them, and whose files it asks about."""

from __future__ import annotations

from pathlib import Path

import planted
import pytest

from tiny_models import make_checkpoint
from weighbridge import shipped
from weighbridge.assemble import Setup, Workbench
from weighbridge.checkpoint import open_checkpoint
from weighbridge.errors import InputError, SuiteError
from weighbridge.evidence import Question
from weighbridge.plan import make_plan
from weighbridge.policy import Policy, load

HEAD = "version: 1\nname: leaks\nerror_rate: 0.05\nexpires_after: 30d\n"
LINES = """
tiers:
  open:
    - {measure: leakage.verbatim, suite: texts, at_most: 0.20}
    - {measure: leakage.excess, suite: training, at_most: 0.05}
    - {measure: leakage.canary_exposed, suite: canaries, at_most: 0.10}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("policy") / "tiny", "llama")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return planted.files(tmp_path_factory.mktemp("data"))


def policy(head: str = "") -> Policy:
    return load((HEAD + head + LINES).encode(), where="leaks.yaml")


def questions(root: Path, of: Policy, setup: Setup) -> list[Question]:
    """What a weighing would ask about leakage, in the order of the plan. No model is loaded."""
    found = open_checkpoint(root)
    bench = Workbench(found, setup)
    try:
        plan = make_plan(of, found.digest, bench.measures(of).questions)
        assert all(bench.estimate(step, None) >= 0 for step in plan.steps)
    finally:
        bench.close()
    return [step.question for step in plan.steps if step.question.measure == "leakage" and step.named]


def test_every_suite_is_asked_before_and_after_the_fine_tune(checkpoint: Path, files: dict[str, Path]) -> None:
    setup = Setup(training_data=files["training"], unseen=files["unseen"], canaries=files["canaries"])
    asked = questions(checkpoint, policy(), setup)
    found = {(question.suite.name, question.settings["attack"]["id"]) for question in asked if question.suite}  # type: ignore[index,call-overload]
    suites, attacks = ("texts", "training", "canaries"), ("none", "lora-harmless")
    assert found == {(suite, attack) for suite in suites for attack in attacks}
    assert len(asked) == 6
    texts = next(question for question in asked if question.suite and question.suite.name == "texts")
    assert texts.suite is not None
    assert texts.suite.digest == shipped.SUITES["texts"]
    assert texts.settings["battery"]["name"] == "leakage"  # type: ignore[index,call-overload]


def test_what_nobody_handed_in_is_not_asked(checkpoint: Path) -> None:
    asked = questions(checkpoint, policy(), Setup())
    assert {question.suite.name for question in asked if question.suite} == {"texts"}


def test_a_policy_may_say_itself_where_the_data_lies(checkpoint: Path, files: dict[str, Path]) -> None:
    own = policy(f"suites: {{training: '{files['training']}', canaries: '{files['canaries']}'}}\n")
    asked = questions(checkpoint, own, Setup(training_data=files["unseen"]))
    assert {question.suite.name for question in asked if question.suite} == {"texts", "training", "canaries"}
    given = Setup(training_data=files["training"]).supplied()["training"]
    assert {one.suite.digest for one in asked if one.suite and one.suite.name == "training"} == {given.ref.digest}


def test_what_was_handed_in_is_asked_though_no_line_names_it(checkpoint: Path, files: dict[str, Path]) -> None:
    plain = load((HEAD + "tiers:\n  open:\n    - {measure: integrity.findings, at_most: 0}\n").encode(), where="p.yaml")
    bench = Workbench(open_checkpoint(checkpoint), Setup(canaries=files["canaries"]))
    try:
        asked = [one.question for one in bench.measures(plain).sampled if one.question.measure == "leakage"]
    finally:
        bench.close()
    assert [one.suite.name for one in asked if one.suite] == ["canaries", "canaries"]


def test_a_policy_may_pin_which_data_counts(checkpoint: Path, files: dict[str, Path]) -> None:
    setup = Setup(training_data=files["training"])
    digest = setup.supplied()["training"].ref.digest
    assert questions(checkpoint, policy(f"suites: {{training: {{digest: '{digest}'}}}}\n"), setup)
    with pytest.raises(SuiteError, match="pins"):
        questions(checkpoint, policy(f"suites: {{training: {{digest: 'sha256:{'0' * 64}'}}}}\n"), setup)


def test_an_unseen_sample_alone_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="compared with training data"):
        Setup(unseen=files["unseen"]).supplied()
