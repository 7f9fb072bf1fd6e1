"""The OpenAPI document against the gateway that it describes, by schemathesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema
import pytest
import schemathesis
from click.testing import CliRunner
from gateway_world import World, running
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from weighbridge.cli.serve import command
from weighbridge.gateway.api.openapi import BODIES, document
from weighbridge.gateway.api.routes import ROUTES
from weighbridge.gateway.rules.terms import Outcome

DOCUMENT = document()
schema = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with running() as world:
        yield world
        world.at_rest()


@schema.parametrize()
@hypothesis.settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck), database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)  # fmt: skip
def test_whatever_is_asked_is_answered_as_documented(case: Any, shared: World) -> None:
    before = len(shared.ledger.intents)
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "small"  # else no example gets further than the unknown model
    response = case.call(base_url=shared.url, headers={"authorization": f"Bearer {shared.token}"}, timeout=20)
    case.validate_response(response, checks=CHECKS)
    shared.wait(lambda: len(shared.ledger.seals) == len(shared.ledger.intents))
    if response.status_code >= 400:
        assert len(shared.ledger.intents) == before  # refused before dispatch: no row
    elif case.method == "POST":
        assert list(shared.ledger.seals.values())[-1].outcome is Outcome.COMPLETED


def test_requests_were_really_answered(shared: World) -> None:
    """The test above is no good if all it made was refused."""
    routes = {ask.route for ask in shared.ledger.intents.values()}
    assert routes == set(ROUTES)


def test_the_document_is_valid_and_whole() -> None:
    for part in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(part)
    assert {path for path in DOCUMENT["paths"] if not path.startswith("/v1/models")} == set(ROUTES) == set(BODIES)
    text = json.dumps(DOCUMENT)
    for name in ("n_probs", "logit_bias", "prompt_logprobs", "chat_template", "lora", "id_slot"):
        assert name not in text
    for body in BODIES.values():
        assert DOCUMENT["components"]["schemas"][body.__name__]["additionalProperties"] is False


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(command, ["--openapi"])
    assert done.exit_code == 0
    assert json.loads(done.output) == DOCUMENT
