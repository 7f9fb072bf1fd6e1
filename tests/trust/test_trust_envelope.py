"""Envelopes: one way to write them, and no byte of a signed file that could change and still verify."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as PeerEnvelope
from securesystemslib.signer import SSlibKey

from trust_world import (
    NOW,
    approval,
    decided,
    digest,
    draft,
    imported,
    key,
    keyid,
    manifest,
    revocations,
    signed,
    trust,
)
from weighbridge import canonical
from weighbridge.errors import InputError, SignerUnknown, VerificationError
from weighbridge.statement import APPROVAL, DECISION, STATEMENT_TYPE
from weighbridge.trust import (
    Trust,
    cosign,
    dsse,
    sign,
    verify_approvals,
    verify_decision,
    verify_import,
    verify_revocations,
)
from weighbridge.trust.dsse import Envelope, Signature

DECISION_FILE = signed()


def flips(data: bytes) -> Iterator[bytes]:
    """Every byte changed in its lowest bit, in the bit of letter case and in its highest bit; many dropped, doubled."""
    for index, byte in enumerate(data):
        for bit in (0x01, 0x20, 0x80):
            yield data[:index] + bytes([byte ^ bit]) + data[index + 1 :]
        if index % 8 == 0:
            yield data[:index] + data[index + 1 :]
            yield data[:index] + bytes([byte]) + data[index:]


def verifiers() -> dict[str, tuple[bytes, Callable[[bytes], Any]]]:
    decision = decided()
    record = digest("record 1")
    return {
        "decision": (DECISION_FILE, lambda data: verify_decision(data, trust())),
        "cosigned decision": (
            signed("decider", "second"),
            lambda data: verify_decision(data, trust(decider=["decider", "second"])),
        ),
        "approval": (
            approval(),
            lambda data: verify_approvals([data], decision, trust(), needed=1, self_approval=False, at=NOW),
        ),
        "revocations": (revocations(), lambda data: verify_revocations(data, trust(), at=NOW)),
        "import": (
            imported(),
            lambda data: verify_import(data, trust(), checkpoint=manifest().digest, record=record, at=NOW),
        ),
    }


@pytest.mark.parametrize("name", sorted(verifiers()))
def test_no_byte_of_a_signed_file_can_change(name: str) -> None:
    data, verify = verifiers()[name]
    verify(data)
    for changed in flips(data):
        if changed == data:
            continue
        with pytest.raises(VerificationError):
            verify(changed)


def test_no_byte_of_a_signature_can_be_any_other_character() -> None:
    data, verify = verifiers()["approval"]
    start = data.index(b'"signatures"')
    for index in range(start, len(data)):
        for value in b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_" \\,:{}[]\n\x00\xff':
            if value != data[index]:
                with pytest.raises(VerificationError):
                    verify(data[:index] + bytes([value]) + data[index + 1 :])


def test_the_pre_authentication_encoding_is_that_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"  # the example in the DSSE protocol
    )


def test_another_implementation_accepts_our_envelope() -> None:
    peer = PeerEnvelope.from_dict(json.loads(signed("decider", "second")))
    keys = [
        SSlibKey(keyid(name), "ecdsa", "ecdsa-sha2-nistp256", {"public": key(name).public.pem})
        for name in ("decider", "second")
    ]
    assert set(peer.verify(keys, 2)) == {keyid("decider"), keyid("second")}
    assert peer.pae() == dsse.parse(signed(), where="x").signed_bytes


def test_our_reader_refuses_what_another_left_loose() -> None:
    """The peer stops at the threshold, so a byte of a further signature may change unseen; here it may not."""
    value = json.loads(signed("decider", "second"))
    last = value["signatures"][1]
    last["sig"] = base64.b64encode(b"anything").decode()
    keys = [SSlibKey(last["keyid"], "ecdsa", "ecdsa-sha2-nistp256", {"public": key("decider").public.pem})]
    keys += [
        SSlibKey(keyid(name), "ecdsa", "ecdsa-sha2-nistp256", {"public": key(name).public.pem})
        for name in ("decider", "second")
        if keyid(name) != last["keyid"]
    ]
    assert PeerEnvelope.from_dict(json.loads(json.dumps(value))).verify(keys, 1)
    with pytest.raises(VerificationError):
        verify_decision(canonical.dumps(value), trust(decider=["decider", "second"]))


def test_signing_twice_gives_the_same_file() -> None:
    assert signed() == DECISION_FILE
    assert signed("second", "decider") == signed("decider", "second")


def test_cosigning_is_signing_together() -> None:
    assert cosign(signed("decider"), key("second"), where="x") == signed("decider", "second")
    with pytest.raises(InputError, match="already"):
        cosign(signed("decider"), key("decider"), where="x")
    with pytest.raises(VerificationError):
        cosign(b"{}", key("decider"), where="x")
    with pytest.raises(InputError):
        sign(b"payload", [])
    with pytest.raises(InputError, match="already"):
        sign(b"payload", [key("decider"), key("decider")])


def change(path: str, value: Any) -> bytes:
    envelope: Any = json.loads(DECISION_FILE)
    *parents, last = path.split(".")
    node = envelope
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = value
    return canonical.dumps(envelope)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("payloadType", "application/json"),
        ("payloadType", None),
        ("payload", ""),
        ("payload", "e30"),
        ("payload", "e31="),  # the same bytes as e30=, in base64 with a bit left over
        ("payload", "e30=\n"),
        ("payload", "not base64"),
        ("payload", "ünïcode="),
        ("signatures", []),
        ("signatures", {}),
        ("signatures.0.keyid", ""),
        ("signatures.0.keyid", "0" * 64),
        ("signatures.0.keyid", keyid("decider").upper()),
        ("signatures.0.keyid", keyid("approver")),
        ("signatures.0.sig", ""),
        ("signatures.0.sig", "AAAA"),
        ("signatures.0.cert", key("decider").public.pem),
        ("publicKey", key("decider").public.pem),
    ],
)
def test_other_envelopes_are_refused(path: str, value: Any) -> None:
    with pytest.raises(VerificationError):
        verify_decision(change(path, value), trust())


def test_repeated_or_unordered_signatures_are_refused() -> None:
    one = json.loads(DECISION_FILE)["signatures"]
    two = json.loads(signed("decider", "second"))["signatures"]
    many = [{**one[0], "keyid": f"{number:064x}"} for number in range(33)]
    for signatures in (one * 2, two[::-1], many):
        with pytest.raises(VerificationError):
            verify_decision(change("signatures", signatures), trust(decider=["decider", "second"]))


def test_duplicate_keys_are_refused() -> None:
    doubled = DECISION_FILE.replace(b'"payloadType"', b'"payloadType":"application/vnd.in-toto+json","payloadType"')
    with pytest.raises(VerificationError, match="twice"):
        verify_decision(doubled, trust())


def test_layout_is_part_of_the_file() -> None:
    for text in (json.dumps(json.loads(DECISION_FILE)), DECISION_FILE.decode() + "\n"):
        with pytest.raises(VerificationError, match="canonical"):
            verify_decision(text.encode(), trust())


signatures = st.lists(
    st.builds(Signature, st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}"), st.binary(max_size=80)),
    min_size=1,
    max_size=5,
    unique_by=lambda one: one.keyid,
).map(lambda found: tuple(sorted(found, key=lambda one: one.keyid)))


@given(st.binary(max_size=200), signatures)
def test_round_trip(payload: bytes, found: tuple[Signature, ...]) -> None:
    envelope = Envelope(payload, found)
    assert dsse.parse(envelope.encode(), where="x") == envelope


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near_envelopes = st.fixed_dictionaries(
    {
        "payload": st.just("e30=") | json_values,
        "payloadType": st.just(dsse.PAYLOAD_TYPE) | json_values,
        "signatures": st.lists(
            st.fixed_dictionaries({"keyid": st.just("0" * 64) | json_values, "sig": st.just("AA==") | json_values})
            | json_values,
            max_size=2,
        )
        | json_values,
    },
    optional={"more": json_values},
)


@given(st.binary(max_size=200) | (near_envelopes | json_values).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_envelope_or_a_typed_error(data: bytes) -> None:
    with suppress(VerificationError):
        assert dsse.parse(data, where="x").encode() == data


@given(near_envelopes | json_values)
def test_any_canonical_json_is_an_envelope_or_a_typed_error(value: Any) -> None:
    try:
        data = canonical.dumps(value)
    except InputError:
        return
    with suppress(VerificationError):
        assert dsse.parse(data, where="x").encode() == data


@given(st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_signed_payload_is_a_statement_or_a_typed_error(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        verify_decision(sign(payload, [key("decider")]), trust())


class TestWhoSigned:
    def test_signers_are_those_who_signed(self) -> None:
        assert verify_decision(DECISION_FILE, trust()).signers == (keyid("decider"),)
        both = verify_decision(signed("decider", "second"), trust(decider=["decider", "second"]))
        assert both.signers == tuple(sorted([keyid("decider"), keyid("second")]))

    def test_an_unknown_key(self) -> None:
        with pytest.raises(SignerUnknown) as caught:
            verify_decision(signed("stranger"), trust())
        assert keyid("stranger")[:16] in str(caught.value)

    def test_without_a_trust_file_nobody_is_known(self) -> None:
        with pytest.raises(SignerUnknown):
            verify_decision(DECISION_FILE, Trust.nobody())
        with pytest.raises(VerificationError) as caught:
            verify_decision(DECISION_FILE + b" ", Trust.nobody())
        assert not isinstance(caught.value, SignerUnknown)

    def test_a_key_of_another_role(self) -> None:
        for name in ("approver", "publisher", "revoker"):
            with pytest.raises(VerificationError, match=f"trusted as {name}") as caught:
                verify_decision(signed(name), trust())
            assert not isinstance(caught.value, SignerUnknown)

    def test_a_known_key_under_a_foreign_name(self) -> None:
        renamed = change("signatures.0.keyid", keyid("stranger"))
        with pytest.raises(VerificationError, match="under the name of another") as caught:
            verify_decision(renamed, trust())
        assert not isinstance(caught.value, SignerUnknown)

    def test_a_stranger_under_a_trusted_name(self) -> None:
        value = json.loads(signed("stranger"))
        value["signatures"][0]["keyid"] = keyid("decider")
        with pytest.raises(VerificationError, match="does not hold"):
            verify_decision(canonical.dumps(value), trust())

    def test_a_signature_that_cannot_be_checked_spoils_the_file(self) -> None:
        with pytest.raises(SignerUnknown):
            verify_decision(signed("decider", "stranger"), trust())

    def test_a_threshold(self) -> None:
        two = trust({"decider": 2}, decider=["decider", "second", "third"])
        assert len(verify_decision(signed("decider", "third"), two).signers) == 2
        with pytest.raises(VerificationError, match="1 of the 2"):
            verify_decision(signed("decider"), two)

    def test_a_signature_over_something_else(self) -> None:
        value = json.loads(DECISION_FILE)
        value["payload"] = base64.b64encode(draft(serial=2).payload).decode()
        with pytest.raises(VerificationError, match="does not hold"):
            verify_decision(canonical.dumps(value), trust())

    def test_another_payload_type_is_not_what_was_signed(self) -> None:
        payload = draft().payload
        signature = Signature(keyid("decider"), key("decider").sign(dsse.pae("text/plain", payload)))
        with pytest.raises(VerificationError, match="does not hold"):
            verify_decision(Envelope(payload, (signature,)).encode(), trust())


def test_another_predicate_type_is_refused() -> None:
    """A decider's import is no decision, though the same key may sign both."""
    with pytest.raises(VerificationError, match="belongs"):
        verify_decision(imported(), trust())
    everyone = trust(approver=["decider"])
    with pytest.raises(VerificationError, match="belongs"):
        everyone.verify(DECISION_FILE, "approver", APPROVAL)


def test_an_unknown_predicate_type_is_refused_though_trusted() -> None:
    payload = canonical.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
            "predicateType": "urn:weighbridge:predicate:decision:v2",
            "predicate": {},
        }
    )
    with pytest.raises(VerificationError, match="unknown"):
        trust().verify(sign(payload, [key("decider")]), "decider", DECISION)
