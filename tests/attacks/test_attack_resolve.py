"""From a name or a file to a battery; what a user's own data adds; roughly how long an attack takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weighbridge.attacks.battery import BATTERIES, DEFAULT, Attack, Battery
from weighbridge.attacks.data import Shelf, own_data
from weighbridge.attacks.resolve import resolve_battery, seconds_to_make, with_data
from weighbridge.errors import InputError, SuiteError, WeighbridgeError


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "my data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {n}.", "response": str(n)}) + "\n" for n in range(30)))
    return path


def test_built_in_names_and_files(tmp_path: Path) -> None:
    assert {name: resolve_battery(name) for name in BATTERIES} == BATTERIES
    own = Battery("own", (Attack("one", "decoding", {"prefill": "Yes"}),))
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own.to_json()))
    assert resolve_battery(str(path)) == own
    named = resolve_battery(str(path), name="theirs")
    assert (named.name, named.digest) == ("theirs", own.digest)


def test_a_file_of_data_stands_for_the_default_battery_and_fine_tuning_on_it(mine: Path) -> None:
    battery = resolve_battery(str(mine), name="mine")
    assert battery.attacks[: len(DEFAULT.attacks)] == DEFAULT.attacks
    added = battery.attacks[len(DEFAULT.attacks) :]
    assert [(attack.id, attack.kind) for attack in added] == [
        ("lora-own-my-data", "lora"),
        ("full-own-my-data", "full"),
    ]
    assert {attack.parameters["epochs"] for attack in added} == {4}, "a hundred examples are seen at least"
    assert all(attack.parameters["data"] == own_data(mine).to_json() for attack in added)
    assert battery.digest != DEFAULT.digest
    mine.write_text(mine.read_text() + '{"prompt": "a", "response": "b"}\n')
    assert resolve_battery(str(mine), name="mine").digest != battery.digest


def test_data_that_a_battery_names_already_adds_nothing(mine: Path) -> None:
    battery = with_data(DEFAULT, [mine])
    assert battery.name == "default+my data"
    assert with_data(battery, [mine]) == battery


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nowhere", None),
        ("nowhere.json", None),
        ("nowhere.jsonl", None),
        ("list.json", "[]"),
        ("broken.json", "{"),
        ("empty.json", '{"name": "own", "attacks": []}'),
        ("taken.json", json.dumps({"name": "default", "attacks": [Attack("none", "none").to_json()]})),
        ("odd.json", json.dumps({"name": "own", "attacks": [{**Attack("a", "none").to_json(), "kind": "magic"}]})),
        ("rows.jsonl", '{"prompt": "a"}\n'),
        ("none.jsonl", "\n"),
    ],
)
def test_what_is_no_battery_is_refused_with_its_place(tmp_path: Path, name: str, content: str | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises((InputError, SuiteError, WeighbridgeError)) as caught:
        resolve_battery(str(path) if content is not None or "." in name else name)
    assert caught.value.where


def test_making_takes_longer_for_larger_models_and_more_data(mine: Path) -> None:
    shelf = Shelf([mine])
    small, large = 135_000_000, 7_000_000_000
    for attack in with_data(DEFAULT, [mine]).attacks:
        seconds = [seconds_to_make(attack, shelf, parameters) for parameters in (small, large)]
        assert seconds[0] < seconds[1] if attack.tampers else seconds == [0.0, 0.0]
    chosen, given = (seconds_to_make(DEFAULT[name], shelf, small) for name in ("ablation", "ablation-depth-60"))
    assert chosen > given, "trying layers takes its time"
