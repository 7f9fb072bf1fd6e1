"""The OpenSSF model signature of a bundle: every file's name and digest, signed by the publisher. Pure.

The form is that of model-signing 1.x (in-toto statement of type ``https://model_signing/signature/v1.0`` in a sigstore
bundle), so its own command line verifies what we sign. Read here, it is held to more:

- the statement must be, byte for byte, the one that the bundle's files make (its root digest covers digests and not
  names, so it is never used alone);
- the file must equal its own canonical re-encoding, and the signature be strict DER with s <= n / 2.

Source of the form: https://github.com/ossf/model-signing-spec and the library's ``signing.Payload``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge import canonical
from weighbridge.errors import InputError, SignerUnknown, VerificationError
from weighbridge.statement import STATEMENT_TYPE, refused
from weighbridge.trust.dsse import PAYLOAD_TYPE, pae
from weighbridge.trust.keys import PublicKey, Signer
from weighbridge.trust.trust_file import Trust

SIGNATURE_FILE = "model.sig"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """A signature file, parsed but not verified. ``hint`` is the fingerprint that the form has for the key."""

    payload: bytes
    sig: bytes
    hint: str

    def encode(self) -> bytes:
        """The canonical bytes of the file."""
        return canonical.dumps(
            {
                "mediaType": MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": self.hint}, "tlogEntries": []},
                "dsseEnvelope": {
                    "payload": base64.b64encode(self.payload).decode("ascii"),
                    "payloadType": PAYLOAD_TYPE,
                    "signatures": [{"sig": base64.b64encode(self.sig).decode("ascii"), "keyid": ""}],
                },
            }
        )


def statement(name: str, files: Mapping[str, str]) -> bytes:
    """The bytes that are signed. ``files``: every name but that of the signature file -> SHA-256 in hex."""
    ordered = sorted(files.items(), key=lambda file: file[0].split("/"))
    root = hashlib.sha256(b"".join(bytes.fromhex(sha256) for _, sha256 in ordered)).hexdigest()
    return canonical.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": root}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [SIGNATURE_FILE],
                },
                "resources": [{"name": path, "algorithm": "sha256", "digest": sha256} for path, sha256 in ordered],
            },
        }
    )


def sign_model(name: str, files: Mapping[str, str], signer: Signer) -> bytes:
    """The signature file of a bundle called ``name``."""
    payload = statement(name, files)
    return ModelSignature(payload, signer.sign(pae(PAYLOAD_TYPE, payload)), hint(signer.public)).encode()


def hint(key: PublicKey) -> str:
    """How the form names a key: the SHA-256 of its PEM, in hex."""
    return hashlib.sha256(key.pem.encode("ascii")).hexdigest()


def parse(data: bytes, *, where: str = SIGNATURE_FILE) -> ModelSignature:
    """The signature in ``data``. Raises ``VerificationError`` unless ``data`` is the one way to write it."""
    with refused(where):
        value = canonical.loads(data, where=where)
        match value:
            case {
                "verificationMaterial": {"publicKey": {"hint": str(named)}},
                "dsseEnvelope": {"payload": str(payload), "signatures": [{"sig": str(sig)}]},
            }:
                parsed = ModelSignature(_decode(payload, where), _decode(sig, where), named)
            case _:
                raise InputError("no model signature made with a key", where=where)
        if parsed.encode() != data:
            raise InputError("not in canonical form", where=where, remedy="it was changed after it was signed")
    return parsed


def check_files(signature: ModelSignature, files: Mapping[str, str], *, where: str = SIGNATURE_FILE) -> None:
    """Raises ``VerificationError`` unless ``files`` (as for ``statement``) are exactly those that were signed.

    The name of the bundle is not compared: whoever downloads it may rename its folder.
    """
    name, listed = _listed(signature.payload, where)
    for path in sorted(listed.keys() | files.keys()):
        if path not in files:
            raise VerificationError("signed for, but missing", where=path, remedy="get the bundle again")
        if path not in listed:
            raise VerificationError("an extra file, not signed for", where=path, remedy="get the bundle again")
        if listed[path] != files[path]:
            raise VerificationError(
                "not the file that was signed: its SHA-256 differs", where=path, remedy="get the bundle again"
            )
    if statement(name, files) != signature.payload:
        raise VerificationError("what was signed is not the statement of these files", where=where)


def check_signer(signature: ModelSignature, trust: Trust, *, where: str = SIGNATURE_FILE) -> PublicKey:
    """The trusted key of the role ``publisher`` that signed.

    Raises ``VerificationError`` where a trusted key is named and the signature does not hold, or it holds under the
    name of another key; ``SignerUnknown`` where no publisher that is trusted signed.
    """
    signed = pae(PAYLOAD_TYPE, signature.payload)
    for key in trust.keys("publisher"):
        if hint(key) == signature.hint:
            try:
                key.verify(signature.sig, signed)
            except VerificationError as cause:
                raise VerificationError(cause.message, where=where) from cause
            return key
    for key in trust.keys("publisher"):
        try:
            key.verify(signature.sig, signed)
        except VerificationError:
            continue
        raise VerificationError(f"signed by the key {key.keyid[:16]} under the name of another", where=where)
    raise SignerUnknown(
        f"signed by a key that {trust.where} does not know as publisher",
        where=where,
        remedy="get the publisher's public key on a way that you trust, and put it into a trust file",
    )


def _listed(payload: bytes, where: str) -> tuple[str, dict[str, str]]:
    """The bundle's name and the files in a statement, as far as it has the form of one."""
    with refused(where):
        value: Any = canonical.loads(payload, where=where)
        match value:
            case {"subject": [{"name": str(name)}], "predicate": {"resources": [*resources]}}:
                pass
            case _:
                raise InputError("what was signed is no statement about files", where=where)
        listed: dict[str, str] = {}
        for resource in resources:
            match resource:
                case {"name": str(path), "digest": str(digest)} if path not in listed:
                    listed[path] = digest
                case _:
                    raise InputError("what was signed names a file twice, or names none", where=where)
    return name, listed


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise InputError("not base64", where=where) from cause
