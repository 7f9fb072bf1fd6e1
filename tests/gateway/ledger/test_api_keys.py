"""API keys and the secret of their hashes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.rules.idempotency import Copies
from weighbridge.gateway.rules.keys import Secret, load_secret, mint
from weighbridge.gateway.rules.terms import Replay, Retained

SECRET = Secret(b"k" * 32)


def test_a_minted_key_is_recognised_by_its_keyed_hash() -> None:
    text, kept = mint(SECRET)
    assert text.startswith(f"wb_{kept.key_id}_")
    assert SECRET.present(text) == kept
    other = Secret(b"o" * 32).present(text)
    assert other is not None
    assert other.key_id == kept.key_id
    assert other.digest != kept.digest
    assert mint(SECRET)[0] != text
    changed = SECRET.present(text[:-1] + ("a" if text[-1] != "a" else "b"))
    assert changed is not None
    assert changed.digest != kept.digest


@pytest.mark.parametrize("token", ["", "wb_", "sk-123", "wb_abc_def", "wb_ABCDEFGHIJKL_" + "a" * 52, "x\0", "wb_é"])
def test_what_is_no_key_presents_nothing(token: str) -> None:
    assert SECRET.present(token) is None
    assert SECRET.present(mint(SECRET)[0] + "\n") is None


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with ThreadPoolExecutor(8) as pool:
        marks = set(pool.map(lambda _: load_secret(path, create=True).derive("x"), range(16)))
    assert len(marks) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]
    path.chmod(0o640)
    with pytest.raises(InputError, match="others may read"):
        load_secret(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(InputError):
        load_secret(path)
    with pytest.raises(StorageError):
        load_secret(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StorageError):
        load_secret(tmp_path / "link")
    assert "k" * 32 not in repr(SECRET)


def test_copies_are_bound_to_their_intent_and_form() -> None:
    copies = Copies(SECRET)
    sealed = copies.seal("one", Retained(200, "text/plain", b"secret words"))
    assert sealed is not None
    assert b"secret words" not in sealed[1]
    assert copies.open("one", 200, "text/plain", *sealed) == Replay("one", 200, "text/plain", b"secret words")
    assert copies.open("two", 200, "text/plain", *sealed) is None
    assert copies.open("one", 201, "text/plain", *sealed) is None
    assert Copies(Secret(b"o" * 32)).open("one", 200, "text/plain", *sealed) is None
    assert copies.header("a") != copies.header("b")
    assert copies.header("\ud800")
