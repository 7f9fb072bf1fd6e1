"""Signing keys: ECDSA on P-256 with SHA-256, which OpenSSF model-signing takes too.

A private key is PEM PKCS#8 in a file of mode 0600, encrypted if a passphrase is given; a public key is PEM
SubjectPublicKeyInfo. A key's ``keyid`` is its fingerprint: the SHA-256 of the public key's DER, in hex.

ECDSA signatures are malleable: with (r, s) also (r, n - s) holds, and DER can be written loosely. Here only the
strict DER encoding with s <= n / 2 holds, so that no byte of a signature can change and still verify.
``cryptography`` is imported when a key is first used.
"""

from __future__ import annotations

import base64
import hashlib
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from weighbridge.errors import InputError, VerificationError
from weighbridge.files import read
from weighbridge.trust import private_files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

PASSPHRASE_VARIABLE = "WEIGHBRIDGE_KEY_PASSPHRASE"
PUBLIC_SUFFIX = ".pub"

Passphrase: TypeAlias = str | Callable[[], str]
"""A passphrase, or something that asks for one and is called only when it is needed."""

# The order of the group of P-256 (FIPS 186-5; SEC 2, section 2.4.2).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Signer(Protocol):
    """Whatever can sign: a ``PrivateKey``, or a wrapper of a hardware key."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, data: bytes) -> bytes:
        """An ECDSA P-256 signature over SHA-256 of ``data``, strict DER, s <= n / 2."""
        ...


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key; ``der`` is its SubjectPublicKeyInfo with the point uncompressed."""

    der: bytes

    @classmethod
    def from_pem(cls, data: bytes, *, where: str) -> PublicKey:
        """Parse one PEM SubjectPublicKeyInfo. Raises ``InputError`` for anything else, private keys included."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if b"PRIVATE KEY-----" in data:
            raise InputError(
                "this is a private key where a public one belongs",
                where=where,
                remedy=f"give the file that ends in {PUBLIC_SUFFIX}; if the private key was shared, replace it",
            )
        _check_pem(data, ("PUBLIC KEY",), where)
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as cause:
            raise InputError("not a public key in PEM", where=where) from cause
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _not_p256(where)
        return cls(_spki(key))

    @property
    def keyid(self) -> str:
        """The fingerprint: SHA-256 of ``der``, 64 hex digits."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        """PEM SubjectPublicKeyInfo."""
        lines = textwrap.wrap(base64.b64encode(self.der).decode("ascii"), 64)
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises ``VerificationError`` unless this key made ``signature`` over ``data``, in the one strict encoding."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

        try:
            r, s = decode_dss_signature(signature)
            strict = 0 < r < _ORDER and 0 < s <= _ORDER // 2 and encode_dss_signature(r, s) == signature
            key = serialization.load_der_public_key(self.der)
            if not strict or not isinstance(key, ec.EllipticCurvePublicKey):
                raise InvalidSignature
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature) as cause:
            raise VerificationError(f"the signature of the key {self.keyid[:16]} does not hold") from cause


class PrivateKey:
    """A private key in memory. It signs; it shows nothing of itself."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = PublicKey(_spki(key.public_key()))

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """A signature over ``data``, strict DER, s <= n / 2; the same bytes every time where OpenSSL can (RFC 6979)."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

        try:
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2: a random nonce is as safe, only not repeatable
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        return encode_dss_signature(r, min(s, _ORDER - s))

    def __repr__(self) -> str:
        return f"PrivateKey({self._public.keyid[:16]})"


def new_key(path: Path, passphrase: Passphrase | None = None) -> PublicKey:
    """Make a key: the private half at ``path``, the public half beside it with the suffix ``.pub``.

    The private half is encrypted if a passphrase is given. A missing directory is made for its owner alone.
    Neither file is ever overwritten. Raises ``InputError`` if one exists, if the passphrase is empty or if
    others may write the directory; ``StorageError`` if the disk refuses.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    for wanted in (path, public_path):
        private_files.check_free(wanted)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(_ask(passphrase, path))
    private_files.make_directory(path.parent)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = PublicKey(_spki(key.public_key()))
    private_files.write_new(public_path, public.pem.encode("ascii"), mode=0o644)
    try:
        private_files.write_new(path, pem, mode=0o600)
    except BaseException:
        public_path.unlink(missing_ok=True)  # ours: it did not exist a moment ago
        raise
    return public


def load_private(path: Path, passphrase: Passphrase | None = None) -> PrivateKey:
    """Read a private key from a file of mode 0600 or narrower.

    An encrypted key is opened with ``passphrase`` or, without one, with the environment variable
    ``WEIGHBRIDGE_KEY_PASSPHRASE``. Raises ``InputError`` for a file that others may use, a wrong passphrase,
    another kind of key, or if it cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    where = str(path)
    data = private_files.read_private(path)
    label = _check_pem(data, ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), where)
    password: bytes | None = None
    if label == "ENCRYPTED PRIVATE KEY":
        given = passphrase if passphrase is not None else os.environ.get(PASSPHRASE_VARIABLE)
        if given is None:
            raise InputError("the key is encrypted", where=where, remedy=f"set {PASSPHRASE_VARIABLE}")
        password = _ask(given, path)
    try:
        key = serialization.load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        reason = "the passphrase does not open this key" if password else "not a private key in PEM PKCS#8"
        remedy = f"give the right one, or correct {PASSPHRASE_VARIABLE}" if password else "make one with: signer new"
        raise InputError(reason, where=where, remedy=remedy) from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _not_p256(where)
    return PrivateKey(key)


def load_public(path: Path) -> PublicKey:
    """Read a public key. Raises ``InputError`` if it is anything else."""
    return PublicKey.from_pem(read(path, limit=private_files.MAX_BYTES), where=str(path))


def _ask(passphrase: Passphrase, path: Path) -> bytes:
    text = passphrase if isinstance(passphrase, str) else passphrase()
    if not text:
        raise InputError("the passphrase is empty", where=str(path), remedy="give one, or ask for no encryption")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise InputError("the passphrase is not text", where=str(path)) from cause


def _check_pem(data: bytes, labels: tuple[str, ...], where: str) -> str:
    """The label of the one PEM block that ``data`` is, if it is among ``labels``."""
    text = data.strip()
    for label in labels:
        begin, end = f"-----BEGIN {label}-----\n".encode(), f"\n-----END {label}-----".encode()
        if text.startswith(begin) and text.endswith(end) and text.count(b"-----") == 4:
            return label
    raise InputError(
        f"expected exactly one PEM block, {' or '.join(labels)}", where=where, remedy="make keys with: signer new"
    )


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _not_p256(where: str) -> InputError:
    return InputError("not an ECDSA key on P-256", where=where, remedy="make one with: weighbridge signer new")
