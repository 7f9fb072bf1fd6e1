"""Parsers of what a bundle holds: anything that is not ours is refused in order, and nothing crashes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_world import digest
from weighbridge import canonical
from weighbridge.errors import EvidenceError, InputError, VerificationError
from weighbridge.evidence import Evidence, Question
from weighbridge.release import layout
from weighbridge.release.description import check_description
from weighbridge.release.duties import additions, licence_of
from weighbridge.release.layout import Added, ReleaseRecord

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
RECORD = ReleaseRecord(
    name="Tiny",
    decision=digest("decision"),
    checkpoint=digest("checkpoint"),
    released_at=datetime(2026, 3, 1, tzinfo=UTC),
    publisher="0" * 64,
    added=(Added("LICENSE", "1" * 64, "include-licence-text", "apache-2.0"),),
    producer="0.1.0",
)


def licensing(facts: dict[str, Any]) -> Evidence:
    return Evidence(Question("licensing", digest("checkpoint")), "exact", "2026-03-01T00:00:00Z", facts=facts)


def test_the_record_survives_its_own_form() -> None:
    assert ReleaseRecord.parse(RECORD.encode(), where=layout.RECORD) == RECORD


def test_the_form_of_the_record_is_fixed() -> None:
    """Byte for byte: a bundle of today must verify in years."""
    assert RECORD.encode() == (
        b'{"added":[{"duty":"include-licence-text","license":"apache-2.0","path":"LICENSE","sha256":"'
        + b"1" * 64
        + b'"}],"checkpoint":"'
        + digest("checkpoint").encode()
        + b'","decision":"'
        + digest("decision").encode()
        + b'","name":"Tiny","producer":"0.1.0","publisher":"'
        + b"0" * 64
        + b'","released_at":"2026-03-01T00:00:00Z","version":1}'
    )


@given(st.binary(max_size=200) | JSON.map(canonical.dumps))
def test_any_other_record_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        ReleaseRecord.parse(data, where=layout.RECORD)


@given(st.sampled_from(sorted(canonical.loads(RECORD.encode(), where="record"))), JSON)
def test_any_other_value_in_the_record_is_refused_or_kept(field: str, value: Any) -> None:
    changed = canonical.dumps({**canonical.loads(RECORD.encode(), where="record"), field: value})
    try:
        parsed = ReleaseRecord.parse(changed, where=layout.RECORD)
    except InputError:
        return
    assert parsed.encode() == changed


@given(
    st.dictionaries(
        st.sampled_from(["license", "license_name", "license_link", "name", "parents", "texts", "duties"]), JSON
    )
)
def test_any_facts_of_licensing_are_read_or_refused(facts: dict[str, Any]) -> None:
    try:
        licence = licence_of([licensing(facts)])
    except EvidenceError:
        return
    additions(licence, ["LICENSE"])


@given(JSON, JSON)
def test_any_card_and_bill_are_refused(front: Any, bill: Any) -> None:
    class Decision:
        id = digest("decision")
        checkpoint = digest("checkpoint")

    card = b"---\nweighbridge: " + canonical.dumps(front) + b"\n---\n"
    with pytest.raises(VerificationError):
        check_description(card, canonical.dumps(bill), RECORD, Decision(), {})  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_as_a_card_are_refused(data: bytes) -> None:
    class Decision:
        id = digest("decision")
        checkpoint = digest("checkpoint")

    with pytest.raises(VerificationError):
        check_description(data, b"{}", RECORD, Decision(), {})  # type: ignore[arg-type]


def test_two_records_that_disagree_are_refused() -> None:
    with pytest.raises(EvidenceError, match="different licences"):
        licence_of([licensing({"license": "mit"}), licensing({"license": "apache-2.0"})])


def test_names_that_are_taken() -> None:
    duty = {"code": "include-licence-text", "license": "apache-2.0", "by": "file", "detail": "sha256:" + "1" * 64}
    licence = licence_of([licensing({"duties": [{**duty, "message": ""}]})])
    assert [one.path for one in additions(licence, ["config.json"])] == ["LICENSE"]
    assert [one.path for one in additions(licence, ["license"])] == ["LICENSE-apache-2.0"]
    assert [one.path for one in additions(licence, ["LICENSE", "License-Apache-2.0"])] == ["LICENSE-apache-2.0-2"]


def test_the_record_fits_its_schema() -> None:
    import json
    from pathlib import Path

    import jsonschema

    schema = json.loads((Path(__file__).parents[2] / "docs/schemas/release.v1.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    value = json.loads(RECORD.encode())
    validator.validate(value)
    assert not validator.is_valid({**value, "more": 1})
    assert not validator.is_valid({**value, "decision": "abc"})
