"""Other people's programs read what we write: in-toto statements, DSSE envelopes, keys of OpenSSF model-signing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import model_signing
import pytest
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement as PeerStatement
from in_toto_attestation.v1.statement_pb2 import Statement as PeerForm

from trust_world import NOW, decided, digest, manifest, revocations
from weighbridge.errors import InputError
from weighbridge.trust import dsse, load_private, make_approval, make_import, new_key


def payloads() -> dict[str, bytes]:
    return {
        "decision": decided().payload,
        "approval": make_approval(decided(), action="open", approved_at=NOW, expires_at="2026-04-01T00:00:00Z").payload,
        "revocations": dsse.parse(revocations(), where="x").payload,
        "import": make_import(
            checkpoint=manifest().digest,
            log=digest("log"),
            record=digest("record"),
            imported_by="A. Tester",
            imported_at=NOW,
        ).payload,
    }


@pytest.mark.parametrize("name", sorted(payloads()))
def test_a_statement_is_an_in_toto_statement(name: str) -> None:
    payload = payloads()[name]
    peer = PeerStatement.copy_from_pb(json_format.Parse(payload, PeerForm()))
    peer.validate()
    assert json_format.MessageToDict(peer.pb) == json.loads(payload)


@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_model_signing_takes_our_keys(tmp_path: Path, passphrase: str | None) -> None:
    model, signature = tmp_path / "model", tmp_path / "model.sig"
    model.mkdir()
    (model / "weights").write_bytes(b"weights")
    new_key(tmp_path / "key.pem", passphrase)
    # model-signing 1.1.1 declares the password as text, but hands it on as it is, and cryptography wants bytes.
    password: Any = passphrase.encode() if passphrase else None
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem", password=password)
    signer.sign(model, signature)
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pem.pub")
    verifier.verify(model, signature)
    (model / "weights").write_bytes(b"other weights")
    with pytest.raises(ValueError, match="mismatch"):
        verifier.verify(model, signature)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_key_that_openssl_encrypted_with_scrypt_is_read(tmp_path: Path) -> None:
    public = new_key(tmp_path / "plain.key")
    command = "openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in plain.key -out scrypt.key -passout pass:secret"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    (tmp_path / "scrypt.key").chmod(0o600)
    assert load_private(tmp_path / "scrypt.key", "secret").public == public
    with pytest.raises(InputError, match="passphrase"):
        load_private(tmp_path / "scrypt.key", "other")
