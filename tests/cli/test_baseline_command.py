"""Baselines and the review through the real commands, on tiny models: compared, released, looked at again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge import canonical

Run = Callable[..., tuple[int, str, str]]

POLICY = """
version: 1
name: opening
error_rate: 0.05
expires_after: 30d
approvals: {open: 1}
suites: {next: next.yaml}
tiers:
  api:
    - {measure: integrity.findings, at_most: 0}
  gated:
    - {measure: capability.accuracy, suite: next, at_least: {baseline: predecessor, margin: -0.5}}
  open:
    - {measure: capability.accuracy, suite: next, at_least: {baseline: open-frontier, margin: -0.5}}
"""
NEXT = """
task: next
dataset_path: json
dataset_kwargs: {data_files: {test: next.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: q
doc_to_choice: choices
doc_to_target: label
"""
TRUST = """
version: 1
roles:
  decider: {keys: [{path: decider.key.pub}]}
  approver: {keys: [{path: approver.key.pub}]}
  publisher: {keys: [{path: publisher.key.pub}]}
"""


def variant(tiny: Path, root: Path, note: str) -> Path:
    """Another checkpoint that answers as the tiny one does."""
    shutil.copytree(tiny, root)
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"note": note}))
    return root


@pytest.fixture
def desk(tmp_path: Path, tiny: Path, wb: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys, a policy that compares, a suite, and three checkpoints: v1 and v2 of one's own, and one of others."""
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    for role in ("decider", "approver", "publisher"):
        assert wb("signer", "new", f"{role}.key")[0] == 0
    rows = [{"q": f"What comes after {n}?", "choices": [str(n + 1), str(n)], "label": n % 2} for n in range(32)]
    Path("next.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("next.yaml").write_text(NEXT)
    Path("policy.yaml").write_text(POLICY)
    Path("trust.yaml").write_text(TRUST)
    for name in ("v1", "v2", "theirs"):
        variant(tiny, desk / name, name)
    return desk


def add(wb: Run, name: str, path: str, *more: object) -> tuple[int, str, str]:
    return wb("baseline", "add", name, path, "--policy", "policy.yaml", *more)


def weigh(wb: Run, *more: object) -> tuple[int, str, str]:
    return wb("weigh", "v2", "--policy", "policy.yaml", "--out", "weighing", "--sign", "decider.key", *more)


def rows(out: str) -> list[dict[str, object]]:
    return json.loads(out)["rows"]  # type: ignore[no-any-return]


def test_from_baselines_to_a_release_that_is_reviewed(wb: Run, desk: Path) -> None:
    # 1. A predecessor of one's own, weighed in two sittings; the frontier has nobody in it yet.
    code, out, _ = add(wb, "predecessor", "v1", "--own", "--budget", "0.001", "--json")
    assert (code, json.loads(out)["complete"]) == (4, False)
    code, out, err = add(wb, "predecessor", "v1", "--json")
    assert code == 0, err
    value = json.loads(out)
    assert (value["opened_by"], value["set"], value["complete"]) == ("own", None, True)
    assert value["questions"] == [{"question": "capability on next", "items": 32, "of": 32, "undecided": []}]
    code, out, _ = weigh(wb, "--require", "open")
    assert code == 4
    assert "no model is on record as the baseline 'open-frontier'" in out
    code, out, _ = wb("review", "weighing", "--json")
    (row,) = rows(out)
    assert (row["given"], row["state"]) == ("gated", "current")
    assert row["missing"][0]["command"].startswith("weighbridge baseline add NAME PATH --set open-frontier")  # type: ignore[index]

    # 2. Others open a model: the review says that this one may open, and measures nothing.
    assert add(wb, "theirs", "theirs", "--set", "open-frontier", "--since", "2026-01-31")[0] == 0
    before = {path: path.read_bytes() for path in Path("weighing").rglob("*") if path.is_file()}
    code, out, _ = wb("review", ".", "--html", "review.html", "--require-current")
    assert code == 0
    assert "may open" in out
    assert "the open frontier passed it" in out
    assert "may open" in Path("review.html").read_text()
    assert before == {path: path.read_bytes() for path in Path("weighing").rglob("*") if path.is_file()}

    # 3. Decided again, it is opened; the bundle verifies where there is no registry.
    code, _, err = wb("decide", "--policy", "policy.yaml", "--evidence", "weighing", "--sign", "decider.key",
                      "--require", "open")  # fmt: skip
    assert code == 0, err
    assert (
        wb("approve", "weighing/decision.json", "--sign", "approver.key", "--trust", "trust.yaml", "--out", "a.json")[0]
        == 0
    )
    shutil.move("baselines", "elsewhere")
    code, _, err = wb("release", "weighing", "--checkpoint", "v2", "--approval", "a.json", "--to", "bundle", "--sign",
                      "publisher.key", "--trust", "trust.yaml")  # fmt: skip
    assert code == 0, err
    assert wb("verify", "bundle", "--trust", "trust.yaml")[0] == 0
    code, out, _ = wb("review", "weighing", "--require-current", "--json")
    assert (code, rows(out)[0]["state"]) == (4, "unproven"), "nothing is on record to compare with"

    # 4. The model is one's own now: it does not join the frontier, under no name, and is compared with no longer.
    code, _, err = add(wb, "mine", "v2", "--set", "open-frontier", "--baselines", "elsewhere")
    assert code == 2
    assert "ratchet" in err
    code, out, _ = wb("review", "weighing", "--baselines", "elsewhere", "--trust", "trust.yaml", "--require-current",
                      "--json")  # fmt: skip
    assert (code, rows(out)[0]["state"]) == (0, "current")

    # 5. A predecessor that is harder to match, and a policy that asks for more: the release is to be withdrawn.
    Path("harder.yaml").write_text(POLICY.replace("predecessor, margin: -0.5", "predecessor, margin: 0.9"))
    harder = ("review", "weighing", "--baselines", "elsewhere", "--policy", "harder.yaml")
    code, out, _ = wb(*harder, "--require-current")
    assert code == 3
    assert "weights that are out stay out" in out
    assert "--policy harder.yaml" in out
    assert wb(*harder)[0] == 0, "to look is no failure"


def test_an_older_model_opens_when_its_successor_is_served(wb: Run, desk: Path) -> None:
    text = POLICY[: POLICY.index("suites:")] + POLICY[POLICY.index("tiers:") : POLICY.index("  gated:")]
    Path("policy.yaml").write_text(text)
    Path("older.yaml").write_text(text + "  open:\n    - {measure: release.successor_served, at_least: 1}\n")
    decide = ("decide", "--policy", "older.yaml", "--evidence", "older", "--sign", "decider.key", "--require", "open")
    assert weigh(wb, "--budget", "0.001")[0] == 0
    wb("weigh", "v1", "--policy", "older.yaml", "--out", "older", "--sign", "decider.key", "--budget", "0.001")
    assert wb(*decide)[0] == 4
    successor = "weighing/decision.json"
    code, out, _ = wb("review", "older", "--successor", f"older={successor}", "--trust", "trust.yaml", "--json")
    assert code == 0
    assert rows(out)[0]["states"] == ["may open", "superseded"]
    code, _, err = wb(*decide, "--successor", successor)
    assert (code, "--trust" in err) == (2, True)
    code, _, err = wb(*decide, "--successor", successor, "--trust", "trust.yaml")
    assert code == 0, err
    assert wb("review", "older", "--successor", f"elsewhere={successor}", "--trust", "trust.yaml")[0] == 2
    assert wb("review", "older", "--successor", "nonsense")[0] == 2


@pytest.mark.parametrize("name", ["open-frontier", "../up", ".hidden", "a b", "source", "x" * 65])
def test_names_that_are_none(wb: Run, desk: Path, name: str) -> None:
    code, _, err = add(wb, name, "v1")
    assert (code, "no name for a baseline" in err) == (2, True)
    assert not Path("baselines").exists()


def test_what_does_not_fit_is_refused_before_anything_is_measured(wb: Run, desk: Path) -> None:
    for more, said in (
        (("--own", "--set", "open-frontier"), "ratchet"),
        (("--since", "2999-01-01"), "future"),
        (("--since", "last week"), "no day"),
        (("--set", "best"), "Invalid value"),
        (("--budget", "0"), "Invalid value"),
    ):
        code, _, err = add(wb, "theirs", "theirs", *more)
        assert (code, said in err) == (2, True), (more, err)
    assert add(wb, "theirs", "nowhere")[0] == 2
    assert not Path("baselines").exists()
    assert wb("baseline", "list", "--baselines", "nowhere")[0] == 2
    code, out, _ = wb("baseline", "list")
    assert (code, "no baselines" in out) == (0, True)
    assert wb("baseline", "remove", "theirs")[0] == 2


def test_a_damaged_registry_stops_whoever_would_compare_with_it(wb: Run, desk: Path) -> None:
    Path("baselines").mkdir()
    Path("baselines/registry.json").write_bytes(canonical.dumps({"version": 1, "baselines": [{"name": "a"}]}))
    (desk / "weighing").mkdir()
    for command in (
        ("baseline", "list"),
        ("baseline", "add", "theirs", "theirs", "--policy", "policy.yaml"),
        ("weigh", "v2", "--policy", "policy.yaml", "--out", "weighing"),
    ):
        code, _, err = wb(*command)
        assert (code, "registry.json" in err) == (2, True), (command, err)


def test_a_review_says_what_it_cannot_read_and_looks_at_the_rest(wb: Run, desk: Path) -> None:
    plain = POLICY[: POLICY.index("suites:")] + POLICY[POLICY.index("tiers:") : POLICY.index("  gated:")]
    Path("policy.yaml").write_text(plain)
    assert weigh(wb, "--budget", "0.001")[0] == 0
    shutil.copytree("weighing", "records/good")
    shutil.copytree("weighing", "records/bad")
    Path("records/bad/decision.json").write_bytes(b"{}")
    code, out, _ = wb("review", "records", "--json", "--html", "review.html")
    assert code == 5
    value = json.loads(out)
    assert [row["folder"] for row in value["rows"]] == ["records/good"]
    assert [one["folder"] for one in value["broken"]] == ["records/bad"]
    assert "records/bad" in Path("review.html").read_text()
    code, _, err = wb("review", "v1")
    assert (code, "no decision on record" in err) == (2, True)
    assert wb("review", "nowhere")[0] == 2
