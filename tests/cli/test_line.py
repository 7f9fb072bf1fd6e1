"""The whole line through the real commands, on a tiny model: checkpoint, evidence, decision, release, verification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from weighbridge import api
from weighbridge.trust import read_decision_unverified

Run = Callable[..., tuple[int, str, str]]

OPENING = """
version: 1
name: opening
error_rate: 0.05
expires_after: 30d
approvals: {open: 1}
tiers:
  api:
    - {measure: integrity.findings, at_most: 0}
  open:
    - {measure: licensing.conflicts, at_most: 0}
"""
DEMANDING = OPENING.replace(
    "  open:\n", "    - {measure: capability.accuracy, suite: general, at_least: 0.9}\n  open:\n"
).replace("name: opening", "name: demanding")
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
  revoker: {keys: [{path: revoker.key.pub}]}
"""


@pytest.fixture
def desk(tmp_path: Path, wb: Run) -> Path:
    """Keys, a trust file and two policies."""
    desk = tmp_path / "desk"
    for role in ("decider", "approver", "publisher", "revoker"):
        assert wb("signer", "new", desk / f"{role}.key")[0] == 0
    (desk / "trust.yaml").write_text(TRUST)
    (desk / "opening.yaml").write_text(OPENING)
    (desk / "demanding.yaml").write_text(DEMANDING)
    return desk


def weigh(wb: Run, desk: Path, tiny: Path, policy: str = "opening", *more: object) -> tuple[int, str, str]:
    return wb("weigh", tiny, "--policy", desk / f"{policy}.yaml", "--out", desk / "weighing", "--sign",
              desk / "decider.key", *more)  # fmt: skip


def release(wb: Run, desk: Path, tiny: Path) -> tuple[int, str, str]:
    approval = desk / "approval.json"
    code, out, err = wb("approve", desk / "weighing" / "decision.json", "--sign", desk / "approver.key", "--trust",
                        desk / "trust.yaml", "--out", approval)  # fmt: skip
    if code:
        return code, out, err
    return wb("release", desk / "weighing", "--checkpoint", tiny, "--approval", approval, "--to", desk / "bundle",
              "--sign", desk / "publisher.key", "--trust", desk / "trust.yaml")  # fmt: skip


def verify(wb: Run, desk: Path, *more: object) -> tuple[int, str, str]:
    return wb("verify", desk / "bundle", *more)


def test_from_checkpoint_to_a_bundle_that_a_stranger_verifies(wb: Run, desk: Path, tiny: Path) -> None:
    code, out, _ = weigh(wb, desk, tiny, "opening", "--require", "open")
    assert code == 0
    assert "decision: open" in out
    assert (desk / "weighing" / "report.html").is_file()
    code, out, err = release(wb, desk, tiny)
    assert code == 0, err
    assert "cannot be undone" in err
    code, out, _ = verify(wb, desk, "--trust", desk / "trust.yaml", "--json")
    assert code == 0
    answer = json.loads(out)
    assert (answer["valid"], answer["tier"]) == (True, "open")
    assert "revocation not checked" in answer["notes"]
    # What was measured beside the policy's lines can be asked again on the bundle's own weights.
    code, out, err = verify(wb, desk, "--trust", desk / "trust.yaml", "--remeasure", "4", "--json")
    assert code == 0, err
    asked = {one["suite"]: one for one in json.loads(out)["remeasured"]}
    assert asked["general"]["asked"] == asked["general"]["agreed"] == 4
    code, out, _ = verify(wb, desk, "--trust", desk / "trust.yaml", "--remeasure", "1", "--dtype", "bfloat16", "--json")
    assert code == 4, "asked to measure again, and nothing was"
    assert "no item could be asked again" in json.loads(out)["notes"]


def test_a_suite_of_ones_own_is_asked_again_from_the_verifiers_copy(wb: Run, desk: Path, tiny: Path) -> None:
    rows = [{"q": f"What comes after {n}?", "choices": [str(n + 1), str(n)], "label": 0} for n in range(40)]
    theirs, mine = desk / "theirs", desk / "mine"
    for folder in (theirs, mine):
        folder.mkdir()
        (folder / "next.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "next.yaml").write_text(NEXT)
    any_of = OPENING + "    - any_of:\n        - {measure: licensing.conflicts, at_most: 0}\n"
    any_of += "        - {measure: capability.accuracy, suite: next, at_least: 0.9}\n"
    (desk / "own.yaml").write_text(any_of + "suites: {next: theirs/next.yaml}\n")
    (desk / "mine.yaml").write_text(any_of + "suites: {next: mine/next.yaml}\n")
    assert weigh(wb, desk, tiny, "own", "--require", "open")[0] == 0
    code, _, err = release(wb, desk, tiny)
    assert code == 0, err
    shutil.rmtree(theirs)  # what a bundle says of a suite opens nothing

    def again(*more: object) -> dict[str, object]:
        code, out, err = verify(wb, desk, "--trust", desk / "trust.yaml", "--remeasure", "3", *more, "--json")
        assert code == 0, err
        return {one["suite"]: one for one in json.loads(out)["remeasured"]}["next"]  # type: ignore[no-any-return]

    assert "--suite" in str(again()["why_not"])
    for copy in (["--suite", f"next={mine / 'next.yaml'}"], ["--policy", desk / "mine.yaml"]):
        found = again(*copy)
        assert (found["asked"], found["agreed"]) == (3, 3)
    (mine / "next.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    assert "another version" in str(again("--policy", desk / "mine.yaml")["why_not"])
    assert "not at hand" in str(again("--suite", f"next={desk / 'nowhere.yaml'}")["why_not"])
    assert wb("verify", desk / "bundle", "--suite", "next=x.yaml")[0] == 2
    assert wb("verify", desk / "bundle", "--remeasure", "1", "--suite", "next")[0] == 2


def test_a_second_weighing_measures_nothing_and_a_decision_replays(wb: Run, desk: Path, tiny: Path) -> None:
    weigh(wb, desk, tiny)
    records = {path: path.read_bytes() for path in (desk / "weighing" / "evidence").glob("*.json")}
    _, _, err = weigh(wb, desk, tiny)
    assert err.count("already known") == 5
    assert {path: path.read_bytes() for path in (desk / "weighing" / "evidence").glob("*.json")} == records
    code, out, _ = wb("decide", "--policy", desk / "opening.yaml", "--evidence", desk / "weighing", "--json")
    assert code == 0
    judgement = json.loads(out)["judgement"]
    assert judgement["tier"] == "open"
    assert judgement["post_hoc"] is False


def test_exit_codes_of_a_requirement(wb: Run, desk: Path, tiny: Path) -> None:
    assert weigh(wb, desk, tiny, "demanding", "--require", "open")[0] == 3
    undecided = DEMANDING.replace("suite: general, at_least: 0.9", "suite: other, at_least: 0.9")
    (desk / "undecided.yaml").write_text(undecided)
    code, _, _ = wb("decide", "--policy", desk / "undecided.yaml", "--evidence", desk / "weighing", "--require", "api")
    assert code == 4
    assert wb("decide", "--policy", desk / "undecided.yaml", "--evidence", desk / "weighing")[0] == 4


def test_only_an_approved_signed_open_decision_is_released(wb: Run, desk: Path, tiny: Path) -> None:
    weigh(wb, desk, tiny, "demanding")
    code, _, err = release(wb, desk, tiny)
    assert (code, "held" in err) == (2, True), "an approval of something that is not open is refused"
    weigh(wb, desk, tiny)
    code, _, err = wb("release", desk / "weighing", "--checkpoint", tiny, "--to", desk / "bundle", "--sign",
                      desk / "publisher.key", "--trust", desk / "trust.yaml")  # fmt: skip
    assert (code, "approv" in err) == (5, True)
    unsigned = ("decide", "--policy", desk / "opening.yaml", "--evidence", desk / "weighing", "--out", desk / "draft")
    assert wb(*unsigned)[0] == 0
    code, _, err = wb("release", desk / "draft", "--checkpoint", tiny, "--to", desk / "bundle", "--sign",
                      desk / "publisher.key", "--trust", desk / "trust.yaml")  # fmt: skip
    assert (code, "not signed" in err) == (5, True)
    assert not (desk / "bundle").exists()


def test_a_draft_leaves_the_signed_decision_as_it_is(wb: Run, desk: Path, tiny: Path) -> None:
    weigh(wb, desk, tiny)
    kept = {name: (desk / "weighing" / name).read_bytes() for name in ("decision.json", "policy.json", "report.html")}
    code, out, _ = wb("decide", "--policy", desk / "demanding.yaml", "--evidence", desk / "weighing", "--json")
    assert code == 0
    draft = Path(json.loads(out)["folder"])
    assert json.loads(out)["signed"] is False
    assert kept == {name: (desk / "weighing" / name).read_bytes() for name in kept}
    assert all((draft / name).read_bytes() != data for name, data in kept.items())
    assert release(wb, desk, tiny)[0] == 0, "the signed decision is still carried out"


def test_a_draft_has_no_part_in_the_numbering(wb: Run, desk: Path, tiny: Path) -> None:
    draft = ("weigh", tiny, "--policy", desk / "opening.yaml", "--out", desk / "weighing")
    wb(*draft)
    wb(*draft)
    weigh(wb, desk, tiny)
    decision = read_decision_unverified(desk / "weighing" / "decision.json")
    assert (decision.serial, decision.supersedes) == (1, None)


@pytest.mark.parametrize("folder_last", [False, True])
def test_every_approval_that_a_glob_finds_is_taken(wb: Run, desk: Path, tiny: Path, folder_last: bool) -> None:
    (desk / "opening.yaml").write_text(OPENING.replace("{open: 1}", "{open: 2}"))
    (desk / "trust.yaml").write_text(TRUST.replace("[{path: approver.key.pub}]",
                                                   "[{path: approver.key.pub}, {path: revoker.key.pub}]"))  # fmt: skip
    weigh(wb, desk, tiny, "opening", "--budget", "0.1")
    weighing = desk / "weighing"
    own = wb("approve", weighing / "decision.json", "--sign", desk / "decider.key", "--out", desk / "own.json")
    assert (own[0], "this key signed the decision too" in own[1]) == (0, True)
    for who in ("approver", "revoker"):
        code, out, _ = wb("approve", weighing / "decision.json", "--sign", desk / f"{who}.key")
        assert (code, "this key signed" in out) == (0, False)
    options = ("--checkpoint", tiny, "--to", desk / "bundle", "--sign", desk / "publisher.key", "--trust",
               desk / "trust.yaml", "--approval", *sorted(weighing.glob("approval-*.json")))  # fmt: skip
    code, _, err = wb("release", *((*options, weighing) if folder_last else (weighing, *options)))
    assert code == 0, err
    assert len(list((desk / "bundle" / "weighbridge" / "approvals").iterdir())) == 2


def test_an_old_decision_is_refused_although_the_folder_forgot_its_successor(wb: Run, desk: Path, tiny: Path) -> None:
    weigh(wb, desk, tiny)
    weighing = desk / "weighing"
    old = (weighing / "decision.json").read_bytes(), (weighing / "policy.json").read_bytes()
    (desk / "opening.yaml").write_text(OPENING.replace("30d", "29d"))
    weigh(wb, desk, tiny)  # what is put back below was made before this
    shutil.rmtree(weighing / "decisions")
    (weighing / "decision.json").write_bytes(old[0])
    (weighing / "policy.json").write_bytes(old[1])
    code, _, err = release(wb, desk, tiny)
    assert (code, "seen on this machine" in err) == (5, True), "it is not even approved"
    approval = desk / "approval.json"
    wb("approve", weighing / "decision.json", "--sign", desk / "approver.key", "--out", approval)
    code, _, err = wb("release", weighing, "--checkpoint", tiny, "--approval", approval, "--to", desk / "bundle",
                      "--sign", desk / "publisher.key", "--trust", desk / "trust.yaml")  # fmt: skip
    assert (code, "seen on this machine" in err) == (5, True)
    assert not (desk / "bundle").exists()
    # Whoever means it decides again: the next number follows the highest that was seen, not what the folder knows.
    (weighing / "decision.json").unlink()
    (desk / "opening.yaml").write_text(OPENING)
    weigh(wb, desk, tiny)
    assert read_decision_unverified(weighing / "decision.json").serial == 3
    assert release(wb, desk, tiny)[0] == 0


def test_a_changed_checkpoint_is_not_released(wb: Run, desk: Path, tiny: Path, tmp_path: Path) -> None:
    weigh(wb, desk, tiny)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    (other / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    code, _, err = release(wb, desk, other)
    assert (code, "the decision is about" in err) == (5, True)
    code, _, err = wb("weigh", other, "--policy", desk / "opening.yaml", "--out", desk / "weighing")
    assert (code, "another checkpoint" in err) == (2, True)


def test_exit_codes_of_verification(wb: Run, desk: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weigh(wb, desk, tiny)
    assert release(wb, desk, tiny)[0] == 0
    assert verify(wb, desk)[0] == 7
    (desk / "stranger.yaml").write_text(TRUST.replace("decider.key.pub", "revoker.key.pub"))
    assert verify(wb, desk, "--trust", desk / "stranger.yaml")[0] in (5, 7)
    assert verify(wb, desk, "--trust", desk / "trust.yaml", "--policy", desk / "demanding.yaml")[0] == 3
    later = datetime.now(UTC) + timedelta(days=31)
    with monkeypatch.context() as patched:
        patched.setattr(api, "now", lambda: later)
        assert verify(wb, desk, "--trust", desk / "trust.yaml")[0] == 6
    (desk / "bundle" / "config.json").write_bytes(b"{}")
    assert verify(wb, desk, "--trust", desk / "trust.yaml")[0] == 5


def test_a_clock_that_went_backwards_is_refused(
    wb: Run, desk: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weigh(wb, desk, tiny)
    assert release(wb, desk, tiny)[0] == 0
    later = datetime.now(UTC) + timedelta(days=2)
    with monkeypatch.context() as patched:
        patched.setattr(api, "now", lambda: later)
        assert verify(wb, desk, "--trust", desk / "trust.yaml")[0] == 0
    code, _, err = verify(wb, desk, "--trust", desk / "trust.yaml")
    assert (code, "backwards" in err) == (5, True)


def test_revocation(wb: Run, desk: Path, tiny: Path) -> None:
    weigh(wb, desk, tiny)
    assert release(wb, desk, tiny)[0] == 0
    listed = desk / "revocations.json"
    check = ("--trust", desk / "trust.yaml", "--revocations", listed)
    assert wb("revoke", "--list", listed, "--sign", desk / "revoker.key")[0] == 0
    first = listed.read_bytes()
    assert verify(wb, desk, *check)[0] == 0
    wb("revoke", "--decision", desk / "weighing" / "decision.json", "--list", listed, "--sign", desk / "revoker.key")
    code, _, err = verify(wb, desk, *check)
    assert (code, "revoked" in err) == (5, True)
    listed.write_bytes(first)
    code, _, err = verify(wb, desk, *check)
    assert (code, "serial" in err) == (5, True), "an older list than was seen is refused"
