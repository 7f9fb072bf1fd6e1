"""Keys: made once, kept private, read strictly; signatures in one encoding only."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from trust_world import key, keyid
from weighbridge.errors import InputError, StorageError, VerificationError
from weighbridge.trust.keys import PASSPHRASE_VARIABLE, PrivateKey, PublicKey, load_private, load_public, new_key

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pem_of(private: Any, encryption: Any = None, form: Any = serialization.PrivateFormat.PKCS8) -> bytes:
    data: bytes = private.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())
    return data


def private_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_a_new_key_signs_and_its_public_half_verifies(tmp_path: Path) -> None:
    public = new_key(tmp_path / "keys" / "release.pem")
    private = load_private(tmp_path / "keys" / "release.pem")
    assert private.public == public == load_public(tmp_path / "keys" / "release.pem.pub")
    public.verify(private.sign(b"data"), b"data")
    with pytest.raises(VerificationError):
        public.verify(private.sign(b"data"), b"other data")


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        new_key(tmp_path / "keys" / "release.pem")
    finally:
        os.umask(old)
    assert mode(tmp_path / "keys" / "release.pem") == 0o600
    assert mode(tmp_path / "keys") == 0o700
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["release.pem", "release.pem.pub"]


@pytest.mark.parametrize("taken", ["release.pem", "release.pem.pub"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(InputError, match="not overwritten"):
        new_key(tmp_path / "release.pem")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "release.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="not overwritten"):
        new_key(tmp_path / "release.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:  # the public half, file and directory, still fit
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        new_key(tmp_path / "release.pem")
    assert list(tmp_path.iterdir()) == []


def test_keys_are_pem_pkcs8_and_spki(tmp_path: Path) -> None:
    public = new_key(tmp_path / "a")
    new_key(tmp_path / "b", "secret")
    assert (tmp_path / "a").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (tmp_path / "b").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert (tmp_path / "a.pub").read_text() == public.pem
    library = serialization.load_pem_public_key(public.pem.encode())
    assert (
        library.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        == public.pem
    )


def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "release.pem"
    public = new_key(path, lambda: "päss")
    assert load_private(path, "päss").public == public
    assert load_private(path, lambda: "päss").public == public
    for wrong in ("pass", "", lambda: "other"):
        with pytest.raises(InputError):
            load_private(path, wrong)
    with pytest.raises(InputError, match="encrypted") as caught:
        load_private(path)
    assert PASSPHRASE_VARIABLE in str(caught.value.remedy)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "päss")
    assert load_private(path).public == public
    with pytest.raises(InputError):
        load_private(path, "what is given goes before the environment")


def test_nobody_is_asked_for_the_passphrase_of_a_plain_key(tmp_path: Path) -> None:
    public = new_key(tmp_path / "release.pem")

    def ask() -> str:
        raise AssertionError("asked")

    assert load_private(tmp_path / "release.pem", ask).public == public


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        new_key(tmp_path / "release.pem", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wide", [0o644, 0o640, 0o604, 0o660, 0o601, 0o700, 0o4600])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, wide: int) -> None:
    new_key(tmp_path / "release.pem")
    (tmp_path / "release.pem").chmod(wide)
    with pytest.raises(InputError, match=f"{wide:04o}") as caught:
        load_private(tmp_path / "release.pem")
    assert "chmod 600" in str(caught.value.remedy)


def test_a_narrower_mode_is_fine(tmp_path: Path) -> None:
    public = new_key(tmp_path / "release.pem")
    (tmp_path / "release.pem").chmod(0o400)
    assert load_private(tmp_path / "release.pem").public == public


@pytest.mark.parametrize("wide", [0o777, 0o720, 0o702])
def test_a_directory_where_others_may_write_is_refused(tmp_path: Path, wide: int) -> None:
    folder = tmp_path / "keys"
    new_key(folder / "release.pem")
    folder.chmod(wide)
    with pytest.raises(InputError, match="others may write"):
        load_private(folder / "release.pem")
    with pytest.raises(InputError, match="others may write"):
        new_key(folder / "second.pem")
    (tmp_path / "link").symlink_to(folder / "release.pem")
    with pytest.raises(InputError, match="others may write"):  # the directory of the file, not of the link
        load_private(tmp_path / "link")


def test_a_sticky_directory_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(0o1777)
    public = new_key(folder / "release.pem")
    assert load_private(folder / "release.pem").public == public


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", tmp_path / "missing" / "key", Path("a\0b")):
        with pytest.raises((InputError, StorageError)):
            load_private(path)
    for path in (private_file(tmp_path / "file", b"") / "release.pem", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(StorageError):
            new_key(path)


def test_a_huge_file_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="larger"):
        load_private(private_file(tmp_path / "key", b"x" * 100_000))


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    p256 = ec.generate_private_key(ec.SECP256R1())
    others = {
        "p384": pem_of(ec.generate_private_key(ec.SECP384R1())),
        "ed25519": pem_of(ed25519.Ed25519PrivateKey.generate()),
        "sec1": pem_of(p256, form=serialization.PrivateFormat.TraditionalOpenSSL),
        "openssh": pem_of(p256, form=serialization.PrivateFormat.OpenSSH),
        "two": pem_of(p256) + pem_of(p256),
        "text before": b"hello\n" + pem_of(p256),
        "damaged": pem_of(p256).replace(b"M", b"N", 1),
        "empty": b"",
    }
    for name, data in others.items():
        with pytest.raises(InputError):
            load_private(private_file(tmp_path / name, data))
    assert load_private(private_file(tmp_path / "right", pem_of(p256)))


def test_a_private_key_is_no_public_key(tmp_path: Path) -> None:
    new_key(tmp_path / "release.pem")
    with pytest.raises(InputError, match="private key"):
        load_public(tmp_path / "release.pem")
    with pytest.raises(InputError):
        load_private(private_file(tmp_path / "copy", (tmp_path / "release.pem.pub").read_bytes()))


@pytest.mark.parametrize("other", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_public_keys_are_refused(other: Any) -> None:
    data = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InputError, match="P-256"):
        PublicKey.from_pem(data, where="key.pub")


def test_a_compressed_point_is_the_same_key() -> None:
    point = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(),
        serialization.load_der_public_key(key("a").public.der).public_bytes(  # type: ignore[union-attr]
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        ),
    )
    data = point.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.from_pem(data, where="key.pub").keyid == keyid("a")


@given(st.binary(max_size=300) | st.just(key("a").public.pem.encode()).flatmap(
    lambda pem: st.integers(0, len(pem) - 1).map(lambda i: pem[:i] + pem[i + 1 :])
))  # fmt: skip
def test_any_bytes_are_a_public_key_or_a_typed_error(data: bytes) -> None:
    with suppress(InputError):
        assert PublicKey.from_pem(data, where="key.pub").keyid == keyid("a")  # a newline less changes nothing


def test_signatures_are_low_s_strict_and_repeatable() -> None:
    for number in range(64):
        data = b"data %d" % number
        signature = key("a").sign(data)
        r, s = decode_dss_signature(signature)
        assert s <= ORDER // 2
        assert signature == key("a").sign(data)
        high = encode_dss_signature(r, ORDER - s)
        with pytest.raises(VerificationError):
            key("a").public.verify(high, data)  # a valid ECDSA signature, but not the one encoding


@pytest.mark.parametrize(
    "change",
    [
        lambda sig: sig + b"\0",
        lambda sig: sig[:-1],
        lambda sig: b"\x30\x81" + sig[1:],  # the length in long form
        lambda sig: b"\x30" + bytes([sig[1] + 1, 2, sig[3] + 1]) + b"\0" + sig[4:],  # a leading zero in r
        lambda _: encode_dss_signature(0, 1),
        lambda _: encode_dss_signature(1, 0),
        lambda _: encode_dss_signature(ORDER, 1),
        lambda _: bytes.fromhex("30060201ff020101"),  # r = -1
        lambda _: b"",
    ],
)
def test_any_other_encoding_of_a_signature_is_refused(change: Any) -> None:
    with pytest.raises(VerificationError):
        key("a").public.verify(change(key("a").sign(b"data")), b"data")


@given(st.binary(max_size=100))
def test_any_bytes_are_no_signature(signature: bytes) -> None:
    with pytest.raises(VerificationError):
        key("a").public.verify(signature, b"data")


def test_without_deterministic_signing_a_signature_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm

    real = ec.ECDSA

    def old_openssl(algorithm: Any, deterministic_signing: bool = False) -> ec.ECDSA:
        if deterministic_signing:
            raise UnsupportedAlgorithm("not in this OpenSSL")
        return real(algorithm)

    monkeypatch.setattr(ec, "ECDSA", old_openssl)
    key("a").public.verify(key("a").sign(b"data"), b"data")


def test_a_private_key_shows_nothing_of_itself() -> None:
    secret = ec.derive_private_key(123456789, ec.SECP256R1())
    assert "123456789" not in f"{PrivateKey(secret)!r}"
    assert repr(PrivateKey(secret)) == f"PrivateKey({PrivateKey(secret).public.keyid[:16]})"


def test_importing_trust_is_light() -> None:
    code = (
        "import sys, weighbridge.trust, weighbridge.decision\n"
        "heavy = {'cryptography', 'torch', 'transformers', 'numpy', 'securesystemslib'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
