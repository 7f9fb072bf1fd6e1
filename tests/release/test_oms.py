"""The model signature: understood by the library of its makers, and held to more than that library asks."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_world import key, trust
from weighbridge import canonical
from weighbridge.errors import SignerUnknown, VerificationError
from weighbridge.release import oms

FILES = {"config.json": b"{}", "weights/a.safetensors": b"abc", "weights.json": b"{}", "README.md": b"# A model"}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    for name, data in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / oms.SIGNATURE_FILE).write_bytes(oms.sign_model("model", DIGESTS, key("publisher")))
    (tmp_path / "publisher.pub").write_text(key("publisher").public.pem)
    return root


def library_verifies(root: Path) -> None:
    from model_signing import verifying

    verifier = verifying.Config().use_elliptic_key_verifier(public_key=root.parent / "publisher.pub")
    verifier.verify(root, root / oms.SIGNATURE_FILE)


def test_the_library_verifies_what_we_sign(bundle: Path) -> None:
    library_verifies(bundle)


def test_its_command_line_does_too(bundle: Path) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(bundle / oms.SIGNATURE_FILE), "--public_key", str(bundle.parent / "publisher.pub")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (bundle / "extra.txt").write_text("extra")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_our_statement_is_the_one_that_the_library_makes(bundle: Path) -> None:
    from model_signing import hashing
    from model_signing._signing.signing import Payload

    ignoring = hashing.Config().set_ignored_paths(paths=[bundle / oms.SIGNATURE_FILE], ignore_git_paths=False)
    theirs = json.loads(_message(Payload(ignoring.hash(bundle)).statement.pb))
    ours = json.loads(oms.statement("model", DIGESTS))
    theirs["predicate"]["serialization"]["ignore_paths"] = [oms.SIGNATURE_FILE]  # theirs is relative to the process
    assert ours == theirs


def _message(message: Any) -> str:
    from google.protobuf import json_format

    return str(json_format.MessageToJson(message))


def test_a_good_signature() -> None:
    signature = oms.parse(oms.sign_model("model", DIGESTS, key("publisher")))
    oms.check_files(signature, DIGESTS)
    assert oms.check_signer(signature, trust()) == key("publisher").public


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (DIGESTS | {"extra.bin": "00" * 32}, "extra.bin: an extra file"),
        ({name: value for name, value in DIGESTS.items() if name != "README.md"}, "README.md: signed for, but missing"),
        (DIGESTS | {"README.md": "00" * 32}, "README.md: not the file that was signed"),
        (
            DIGESTS | {"config.json": DIGESTS["README.md"], "README.md": DIGESTS["config.json"]},
            "README.md: not the file",
        ),
    ],
)
def test_other_files_are_refused_by_name(files: dict[str, str], message: str) -> None:
    signature = oms.parse(oms.sign_model("model", DIGESTS, key("publisher")))
    with pytest.raises(VerificationError) as caught:
        oms.check_files(signature, files)
    assert str(caught.value).startswith(message)


def test_swapped_names_are_refused_although_the_root_digest_is_the_same() -> None:
    same = "11" * 32
    signature = oms.parse(oms.sign_model("model", {"a": same, "b": same}, key("publisher")))
    with pytest.raises(VerificationError):
        oms.check_files(signature, {"a": same, "c": same})


def test_keys() -> None:
    signature = oms.parse(oms.sign_model("model", DIGESTS, key("stranger")))
    with pytest.raises(SignerUnknown):
        oms.check_signer(signature, trust())
    with pytest.raises(SignerUnknown):
        oms.check_signer(oms.parse(oms.sign_model("model", DIGESTS, key("decider"))), trust())
    forged = oms.ModelSignature(signature.payload, signature.sig, oms.hint(key("publisher").public))
    with pytest.raises(VerificationError, match="does not hold"):
        oms.check_signer(forged, trust())
    ours = oms.parse(oms.sign_model("model", DIGESTS, key("publisher")))
    renamed = oms.ModelSignature(ours.payload, ours.sig, "00" * 32)
    with pytest.raises(VerificationError, match="under the name of another"):
        oms.check_signer(renamed, trust())


def test_the_other_half_of_a_signature_is_refused() -> None:
    """ECDSA holds for (r, n - s) too; the library takes it, we do not."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    good = oms.parse(oms.sign_model("model", DIGESTS, key("publisher")))
    r, s = decode_dss_signature(good.sig)
    with pytest.raises(VerificationError):
        oms.check_signer(oms.ModelSignature(good.payload, encode_dss_signature(r, order - s), good.hint), trust())


def _verify(data: bytes) -> None:
    signature = oms.parse(data)
    oms.check_files(signature, DIGESTS)
    oms.check_signer(signature, trust())


def test_every_byte_of_the_file_counts() -> None:
    data = oms.sign_model("model", DIGESTS, key("publisher"))
    _verify(data)
    for position in range(len(data)):
        mask = (0x01, 0x20)[position % 2]
        changed = data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]
        with pytest.raises(VerificationError):
            _verify(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: data.replace(b'"keyid":""', b'"keyid":"x"'),
        lambda data: data.replace(b'"tlogEntries":[]', b'"tlogEntries":[{}]'),
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + data,
    ],
)
def test_loose_encodings_are_refused(change: Any) -> None:
    with pytest.raises(VerificationError):
        oms.parse(change(oms.sign_model("model", DIGESTS, key("publisher"))))


def test_loose_base64_is_refused() -> None:
    data = oms.sign_model("model!", DIGESTS, key("publisher"))
    value = json.loads(data)
    payload = value["dsseEnvelope"]["payload"]
    for loose in (payload + "====", payload.rstrip("="), payload[:-4] + "\n" + payload[-4:]):
        if loose == payload:
            continue
        value["dsseEnvelope"]["payload"] = loose
        with pytest.raises(VerificationError):
            oms.parse(canonical.dumps(value))


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"subject":[{"name":"m"}],"predicate":{"resources":[{"name":"a"}]}}',
        oms.statement("model", DIGESTS) + b" ",
        oms.statement("model", DIGESTS).replace(b"v1.0", b"v0.9"),
        oms.statement("model", DIGESTS).replace(b'"sha256","digest"', b'"blake3","digest"'),
    ],
)
def test_other_statements_are_refused_even_from_the_publisher(payload: bytes) -> None:
    publisher = key("publisher")
    signature = oms.ModelSignature(
        payload, publisher.sign(oms.pae(oms.PAYLOAD_TYPE, payload)), oms.hint(publisher.public)
    )
    with pytest.raises(VerificationError):
        oms.check_files(oms.parse(signature.encode()), DIGESTS)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(VerificationError):
        oms.parse(data)


@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(0, 9), lambda x: st.lists(x, max_size=3)))
def test_any_json_in_any_place_is_refused_in_order(value: Any) -> None:
    whole = json.loads(oms.sign_model("model", {"a": "00" * 32}, key("publisher")))
    for change in (
        {**whole, "verificationMaterial": value},
        {**whole, "dsseEnvelope": value},
        {**whole, "dsseEnvelope": {**whole["dsseEnvelope"], "signatures": value}},
        {**whole, "verificationMaterial": {"publicKey": {"hint": value}, "tlogEntries": []}, "more": value},
    ):
        with pytest.raises(VerificationError):
            oms.parse(canonical.dumps(change))


def test_base64_of_the_payload_is_what_is_signed() -> None:
    value = json.loads(oms.sign_model("model", DIGESTS, key("publisher")))
    assert base64.b64decode(value["dsseEnvelope"]["payload"]) == oms.statement("model", DIGESTS)
