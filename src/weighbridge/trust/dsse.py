"""DSSE envelopes: bytes in, bytes or typed errors out. Pure; knows neither trust nor what a statement means.

A signature file must equal its own canonical re-encoding: canonical JSON, strict base64, signatures sorted by
keyid and each key once. What two readers could understand differently is refused.
Source of the form: https://github.com/secure-systems-lab/dsse (envelope.md, protocol.md, version 1.0)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from weighbridge import canonical, structure
from weighbridge.errors import InputError
from weighbridge.statement import check_keyid, refused
from weighbridge.trust.keys import Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 32


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: the fingerprint of the key that is said to have made it, and the DER bytes."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its signatures, parsed but not verified."""

    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are over."""
        return pae(PAYLOAD_TYPE, self.payload)

    def encode(self) -> bytes:
        """The canonical bytes of the file."""
        return canonical.dumps(
            {
                "payload": base64.b64encode(self.payload).decode("ascii"),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [
                    {"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode("ascii")} for one in self.signatures
                ],
            }
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE: binds the payload and its type unambiguously."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """The envelope file of ``payload``, signed by each of ``signers``. Raises ``InputError`` if a key comes twice."""
    if not signers:
        raise InputError("nobody signs", where="envelope", remedy="give at least one key")
    envelope = Envelope(payload, ())
    for signer in signers:
        envelope = _with(envelope, signer, "envelope")
    return envelope.encode()


def cosign(data: bytes, signer: Signer, *, where: str) -> bytes:
    """The envelope file ``data`` with one more signature. The signatures that it has are kept, not verified."""
    return _with(parse(data, where=where), signer, where).encode()


def parse(data: bytes, *, where: str) -> Envelope:
    """The envelope in ``data``. Raises ``VerificationError`` unless ``data`` is the one way to write it."""
    with refused(where):
        form = structure.parse(_Form, canonical.loads(data, where=where), where=where)
        if form.payloadType != PAYLOAD_TYPE:
            raise InputError(f"the payload type {form.payloadType!r:.80} is not {PAYLOAD_TYPE}", where=where)
        if not 1 <= len(form.signatures) <= MAX_SIGNATURES:
            raise InputError(f"has {len(form.signatures)} signatures, not 1 to {MAX_SIGNATURES}", where=where)
        signatures = tuple(
            Signature(check_keyid(one.keyid, where=f"{where} at $.signatures"), _decode(one.sig, where))
            for one in form.signatures
        )
        if any(before.keyid >= after.keyid for before, after in pairwise(signatures)):
            raise InputError("signatures are out of order, or a key stands twice", where=where)
        envelope = Envelope(_decode(form.payload, where), signatures)
        if envelope.encode() != data:
            raise InputError("not in canonical form", where=where, remedy="it was changed after it was signed")
    return envelope


@dataclass(frozen=True)
class _FormSignature:
    keyid: str
    sig: str


@dataclass(frozen=True)
class _Form:
    payload: str
    payloadType: str  # noqa: N815  (the field's name in DSSE)
    signatures: tuple[_FormSignature, ...]


def _with(envelope: Envelope, signer: Signer, where: str) -> Envelope:
    keyid = signer.public.keyid
    if any(one.keyid == keyid for one in envelope.signatures):
        raise InputError(f"the key {keyid[:16]} has signed already", where=where, remedy="use another key")
    signature = Signature(keyid, signer.sign(envelope.signed_bytes))
    return Envelope(envelope.payload, tuple(sorted((*envelope.signatures, signature), key=lambda one: one.keyid)))


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise InputError("not base64", where=where) from cause
