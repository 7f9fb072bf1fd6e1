"""The schemas in docs/ describe what the code writes and reads: no field more, no field less."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema import Draft202012Validator
from make_trust_fixtures import FOLDER

from trust_world import decided, digest, draft
from weighbridge import evidence
from weighbridge.baselines import Entry
from weighbridge.decision import BaselineRef
from weighbridge.evidence import Calibration, Evidence, Finding, Observation, PlanRef, Question, SuiteRef
from weighbridge.plan import Plan, Step
from weighbridge.trust import dsse

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((SCHEMAS / f"{name}.v1.schema.json").read_text("utf-8"))
    return value


def sampled() -> Evidence:
    suite = SuiteRef("general", digest("suite"), 400, 300, 4, "0.25", "multiple_choice")
    return Evidence(
        question=Question("capability", digest("checkpoint"), suite, {"engine": "torch"}),
        kind="sampled",
        made="2026-03-01T12:00:00Z",
        observations=(
            Observation("1", digest("1"), "a", "law", {"accuracy": 1.0}),
            Observation("2", digest("2"), "b", "law", {}, failed="NaN"),
        ),
        calibrations={"harmful_compliance": Calibration(90, 10, 5, 95, "labels", "the same kind of answers")},
        plan=PlanRef(digest("plan"), digest("policy")),
        producer={"torch": "2.13.0"},
        cost={"seconds": 1.5},
    )


def exact() -> Evidence:
    return Evidence(
        question=Question("integrity", digest("checkpoint")),
        kind="exact",
        made="2026-03-01T12:00:00Z",
        metrics=("findings",),
        findings=(Finding("findings", "pickled-weights", "model.bin", "runs code when it is loaded"),),
        undecided={"conflicts": "unknown licence"},
        facts={"files": 3},
    )


def examples() -> Iterator[tuple[str, Any]]:
    for name, kind in {
        "decision.json": "decision",
        "approval.json": "approval",
        "revocations.json": "revocation",
        "import.json": "import",
    }.items():
        data = (FOLDER / name).read_bytes()
        yield "envelope", json.loads(data)
        yield kind, json.loads(dsse.parse(data, where=name).payload)
    yield (
        "decision",
        json.loads(draft(tier="undecided", plan=None, origin={"kind": "gguf"}, supersedes=digest("older")).payload),
    )
    compared = [
        BaselineRef("Old-1.0", digest("old"), "others", "open-frontier", "2026-01-31", (digest("record 3"),)),
        BaselineRef("predecessor", digest("mine"), "own", None, None, ()),
    ]
    yield "decision", json.loads(draft(baselines=compared).payload)
    yield "trust-file", yaml.safe_load((FOLDER / "trust.yaml").read_text())
    for record in (sampled(), exact()):
        yield "evidence", evidence.to_json(record)
    theirs = Entry("Old-1.0", digest("old"), "others", "open-frontier", "2026-01-31", "2026-03-01T12:00:00Z")
    yield "registry", {"version": 1, "baselines": [dataclasses.asdict(theirs)]}
    asked = (Step(sampled().question, True, 50), Step(exact().question, False, None))
    yield "plan", Plan(digest("policy"), digest("checkpoint"), asked).to_json()


EXAMPLES = [pytest.param(name, value, id=f"{name}-{number}") for number, (name, value) in enumerate(examples())]


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_a_schema_is_a_schema_and_is_listed(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))
    assert path.name in (SCHEMAS / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "value"), EXAMPLES)
def test_what_is_written_fits_its_schema(name: str, value: Any) -> None:
    Draft202012Validator(schema(name)).validate(value)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in ``value`` whose fields are fixed by a format: free-form ones are left out."""
    free = {
        "judgement",
        "settings",
        "facts",
        "origin",
        "values",
        "undecided",
        "producer",
        "cost",
        "calibrations",
        "roles",
    }
    if isinstance(value, dict):
        yield value
        for key, child in value.items():
            if key not in free:
                yield from objects(child)
    elif isinstance(value, list):
        for child in value:
            yield from objects(child)


@pytest.mark.parametrize(("name", "value"), EXAMPLES)
def test_a_schema_refuses_unknown_and_missing_fields(name: str, value: Any) -> None:
    validator = Draft202012Validator(schema(name))
    optional = {"keyid", "threshold", "annotations", "baselines"}
    for index, original in enumerate(objects(value)):
        changed = copy.deepcopy(value)
        list(objects(changed))[index]["surprise"] = 1
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(changed)
        for key in sorted(set(original) - optional):
            changed = copy.deepcopy(value)
            del list(objects(changed))[index][key]
            with pytest.raises(jsonschema.ValidationError):
                validator.validate(changed)


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    return next((one for one in part.get("anyOf", []) if one.get("type") != "null"), part)


def check_fields(cls: Any, part: dict[str, Any]) -> None:
    """The properties of a schema are the fields of the dataclass, at every depth."""
    part = resolve(part)
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    assert set(part["properties"]) == set(part["required"]) == names
    for name in names:
        child = resolve(part["properties"][name])
        for inner in (hints[name], *typing.get_args(hints[name])):
            if dataclasses.is_dataclass(inner):
                is_map = typing.get_origin(hints[name]) is not None and issubclass_of(hints[name], Mapping)
                check_fields(inner, child["additionalProperties"] if is_map else child.get("items", child))


def issubclass_of(hint: Any, cls: type) -> bool:
    origin = typing.get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, cls)


def test_the_schema_of_evidence_has_the_fields_of_the_code() -> None:
    check_fields(Evidence, schema("evidence"))


def test_the_schema_of_a_registry_has_the_fields_of_the_code() -> None:
    check_fields(Entry, schema("registry")["properties"]["baselines"]["items"])


def test_the_schema_of_a_decision_has_the_fields_of_the_code() -> None:
    predicate = schema("decision")["properties"]["predicate"]["properties"]
    compared = BaselineRef("old", digest("checkpoint"), "others", None, None, ())
    assert set(predicate) == set(decided(baselines=[compared]).statement.predicate)
    check_fields(BaselineRef, predicate["baselines"]["items"])
