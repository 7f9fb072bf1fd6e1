"""Each command by itself: help with an example, JSON, errors that say where and what to do, and quick starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge import api
from weighbridge.cli.app import COMMANDS
from weighbridge.cli.weigh import _default_folder
from weighbridge.engines.torch_settings import _torch_has_cuda

Run = Callable[..., tuple[int, str, str]]
HEAVY = ("torch", "transformers", "lm_eval", "xllamacpp", "numpy", "httpx", "cryptography", "jinja2", "rich", "yaml")


@pytest.mark.parametrize(
    "words",
    [*([name] for name in COMMANDS), ["policy", "check"], ["signer", "new"], ["signer", "show"],
     ["evidence", "list"], ["evidence", "show"], ["evidence", "import"]],
)  # fmt: skip
def test_help_shows_an_example(wb: Run, words: list[str]) -> None:
    code, out, _ = wb(*words, "--help")
    assert code == 0
    assert "Example:" in out
    assert "weighbridge " + words[0] in out


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["weigh", "--help"], ["verify", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys, contextlib, io\n"
        "from weighbridge.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = main({words!r})\n"
        f"print(code, *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    allowed = {"yaml"} if words[0] in ("weigh", "verify") else set()
    loaded = set(result.stdout.split()[1:]) - allowed
    assert result.stdout.split()[0] == "0"
    assert not loaded


def test_importing_the_package_loads_no_framework() -> None:
    program = f"import sys, weighbridge\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["weigh", "nowhere"], "nowhere"),
        (["weigh", "."], "config"),
        (["weigh", ".", "--policy", "missing.yaml"], "missing.yaml"),
        (["weigh", ".", "--sign", "missing.key"], "missing.key"),
        (["decide", "--evidence", "nowhere"], "no weighing here"),
        (["verify", "nowhere"], "nowhere"),
        (["policy", "check", "missing.yaml"], "missing.yaml"),
        (["evidence", "list", "nowhere"], "no weighing here"),
        (["evidence", "show", "missing.json"], "missing.json"),
        (["measure", "beauty", "."], "unknown measure"),
        (["measure", "capability", "."], "needs --suite"),
        (["measure", "integrity", ".", "--suite", "general"], "takes no --suite"),
        (["measure", "integrity", ".", "--limit", "3"], "takes no --complete, --limit"),
        (["measure", "licensing", ".", "--samples", "x.jsonl"], "takes no --complete, --limit"),
        (["measure", "integrity", ".", "--out", "nope/x.json"], "no folder nope"),
        (["measure", "capability", ".", "--suite", "general", "--samples", "nope/x.jsonl"], "no folder nope"),
        (["weigh"], "Missing argument"),
        (["fly"], "No such command"),
        (["approve", "missing.json", "--sign", "missing.key"], "missing"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    wb: Run, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    code, _, err = wb(*words)
    assert code == 2, err
    assert says in err
    assert "Traceback" not in err
    code, out, _ = wb(*words, "--json")
    assert code == 2
    assert json.loads(out)["error"]["exit_code"] == 2


def test_a_policy_error_points_into_the_file(wb: Run, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nname: p\nerror_rate: 0.05\nexpires_after: 30d\n"
                    "tiers: {open: [{measure: capability.accuracy, suite: general, at_least: 0.2}]}\n")  # fmt: skip
    code, _, err = wb("policy", "check", path)
    assert code == 2
    assert "$.tiers.open[0].at_least" in err
    assert "chance" in err
    assert f"{path} at $." in err, "the file is named, as for every other error in it"


def test_a_policy_is_shown_with_its_reasons(wb: Run) -> None:
    code, out, _ = wb("policy", "check", "default")
    assert code == 0
    policy = api.load_policy("default")
    reasons = [line.why for lines in policy.tiers.values() for line in lines]
    assert len(reasons) > 3
    assert all(" ".join(why.split()) in out for why in reasons)


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_the_built_in_policies_are_good(wb: Run, name: str) -> None:
    code, out, _ = wb("policy", "check", name, "--json")
    assert code == 0
    assert json.loads(out)["policy"]["name"] == name


def test_a_plan_shows_what_would_run_and_writes_nothing(wb: Run, tiny: Path, tmp_path: Path) -> None:
    code, out, _ = wb("weigh", tiny, "--plan", "--out", tmp_path / "w", "--json")
    assert code == 0
    answer = json.loads(out)
    asked = {
        (step["question"]["suite"] or {"name": step["question"]["measure"]})["name"] for step in answer["plan"]["steps"]
    }
    assert asked == {"integrity", "licensing", "general", "unsafe", "harmless", "texts"}
    assert all(seconds >= 0 for seconds in answer["seconds"])
    assert not (tmp_path / "w").exists()
    named = dict(
        zip((step["question"]["measure"] for step in answer["plan"]["steps"]), answer["seconds"], strict=False)
    )
    assert named["integrity"] >= 2, "to begin takes time too, however small the model"
    assert min(seconds for step, seconds in zip(answer["plan"]["steps"], answer["seconds"], strict=True)
               if step["question"]["suite"]) >= 2  # fmt: skip
    code, out, _ = wb("weigh", tiny, "--plan", "--out", tmp_path / "w")
    assert "at most" in out


@pytest.mark.parametrize(("name", "folder"), [
    ("Llama-3.1-8B", "weighing-Llama-3.1-8B"), ("m.Q4_1.gguf", "weighing-m.Q4_1"), ("M.GGUF", "weighing-M"),
])  # fmt: skip
def test_each_checkpoint_has_a_folder_of_its_own_by_default(name: str, folder: str) -> None:
    assert str(_default_folder(Path("models") / name)) == folder


@pytest.mark.skipif(_torch_has_cuda(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_a_wrong_input_and_nothing_is_measured(
    wb: Run, tiny: Path, tmp_path: Path
) -> None:
    code, _, err = wb("weigh", tiny, "--device", "cuda", "--out", tmp_path / "w")
    assert (code, "no CUDA device" in err) == (2, True)
    assert not (tmp_path / "w" / "evidence").exists()


def test_measure_with_a_limit_writes_samples_in_file_order(wb: Run, tiny: Path, tmp_path: Path) -> None:
    samples, out_file = tmp_path / "s.jsonl", tmp_path / "e.json"
    code, out, _ = wb("measure", "capability", tiny, "--suite", "general", "--limit", "5", "--samples", samples,
                      "--out", out_file, "--json")  # fmt: skip
    assert code == 0
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(lines) == 5
    assert {"id", "choices", "value", "cluster", "slice", "failed"} <= set(lines[0])
    assert {"loglikelihood", "greedy"} == set(lines[0]["choices"][0])
    answer = json.loads(out)
    assert (answer["asked"], answer["items"]) == ("limit", 5)
    code, out, _ = wb("evidence", "show", out_file)
    assert code == 0
    assert "5 of 5 items" in out


def test_measure_stops_when_the_interval_is_narrow(wb: Run, tiny: Path) -> None:
    code, out, _ = wb("measure", "capability", tiny, "--suite", "general", "--precision", "0.3", "--json")
    answer = json.loads(out)
    low, high = answer["metrics"]["accuracy"]["interval"]
    assert code == 0
    assert answer["items"] < 627
    assert float(high) - float(low) <= 0.6


@pytest.mark.parametrize("measure", ["integrity", "licensing"])
def test_exact_measures_alone(wb: Run, tiny: Path, measure: str) -> None:
    code, out, _ = wb("measure", measure, tiny, "--json")
    assert code == 0
    assert set(json.loads(out)["counts"]) in ({"findings"}, {"conflicts", "duties"})


def test_signer_show_takes_either_half(wb: Run, tmp_path: Path) -> None:
    wb("signer", "new", tmp_path / "k" / "a.key")
    private = json.loads(wb("signer", "show", tmp_path / "k" / "a.key", "--json")[1])
    public = json.loads(wb("signer", "show", tmp_path / "k" / "a.key.pub", "--json")[1])
    assert private == public
    code, _, err = wb("signer", "new", tmp_path / "k" / "a.key")
    assert (code, "not overwritten" in err) == (2, True)


def test_the_python_api_in_five_lines(tiny: Path, tmp_path: Path) -> None:
    checkpoint = api.open_checkpoint(tiny)
    policy = api.load_policy("tutorial")
    outcome = api.weigh(checkpoint, policy, tmp_path / "w", budget=1)
    assert outcome.decision.tier in ("open", "api", "held", "undecided")
    assert api.decide(tmp_path / "w", policy).judgement.tier == outcome.judgement.tier
