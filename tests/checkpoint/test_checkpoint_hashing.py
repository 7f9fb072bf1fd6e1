"""Manifest and hashing: right, only what changed, never of a file that changes underneath."""

from __future__ import annotations

import hashlib
import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge import canonical
from weighbridge.checkpoint import FileEntry, Manifest, hash_file, hash_files
from weighbridge.checkpoint import hashing as hashing_module
from weighbridge.checkpoint.files import list_checkpoint
from weighbridge.errors import CheckpointError, EvidenceError

ABC = hashlib.sha256(b"abc").hexdigest()


def settle() -> None:
    """Files younger than two clock ticks are not remembered; see the cache."""
    time.sleep(0.03)


def test_every_byte_is_hashed_whatever_the_size(tmp_path: Path) -> None:
    window = hashing_module._WINDOW
    sizes = [0, 1, 4096, window - 1, window, window + 1, 2 * window + 4097]
    for size in sizes:
        (tmp_path / f"{size:09}").write_bytes(os.urandom(size))
    manifest = hash_files(list_checkpoint(tmp_path), threads=3)
    assert [file.size for file in manifest.files] == sizes
    for file in manifest.files:
        assert file.sha256 == hashlib.sha256((tmp_path / file.path).read_bytes()).hexdigest()
        assert hash_file(tmp_path / file.path) == file.sha256


def test_a_kernel_that_cannot_fill_a_window_is_read_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(os.urandom(hashing_module._WINDOW + 5))
    monkeypatch.setattr(hashing_module, "_POPULATE_READ", 9999)
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_progress_counts_bytes_to_the_end_in_the_calling_thread(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").write_bytes(b"y" * 500)
    seen: list[tuple[int, int]] = []
    hash_files(list_checkpoint(tmp_path), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 1500)
    assert seen[-1] == (1500, 1500)
    assert seen == sorted(seen)


def test_progress_may_stop_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_files(list_checkpoint(tmp_path), progress=stop)


def test_only_what_changed_is_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "model", tmp_path / "state" / "hashes.json"
    root.mkdir()
    for name in "abc":
        (root / name).write_text(name)
    settle()
    hashed: list[str] = []
    original = hashing_module._hash_file
    monkeypatch.setattr(
        hashing_module, "_hash_file", lambda file, counter: hashed.append(file.name) or original(file, counter)
    )

    def run() -> Manifest:
        hashed.clear()
        return hash_files(list_checkpoint(root), cache=cache)

    first = run()
    assert sorted(hashed) == ["a", "b", "c"]
    assert run() == first
    assert hashed == []

    (root / "b").write_text("x")  # same size
    changed = run()
    assert hashed == ["b"]
    assert changed.digest != first.digest

    # Restoring size and mtime does not hide a change: the change time cannot be set back.
    settle()
    before = (root / "c").stat()
    (root / "c").write_text("z")
    os.utime(root / "c", ns=(before.st_atime_ns, before.st_mtime_ns))
    run()
    assert "c" in hashed


def test_a_file_as_young_as_the_cache_is_not_remembered(tmp_path: Path) -> None:
    root, cache = tmp_path / "model", tmp_path / "hashes.json"
    root.mkdir()
    (root / "old").write_text("old")
    settle()
    (root / "young").write_text("young")
    hash_files(list_checkpoint(root), cache=cache)
    assert [Path(name).name for name in json.loads(cache.read_bytes())["files"]] == ["old"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":1}', b'{"version":1,"files":{"x":[1]}}', b"\xff"])
def test_a_broken_cache_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    root, cache = tmp_path / "model", tmp_path / "hashes.json"
    root.mkdir()
    (root / "a").write_text("abc")
    cache.write_bytes(content)
    assert hash_files(list_checkpoint(root), cache=cache).files == (FileEntry("a", 3, ABC),)


def test_checkpoints_share_a_cache(tmp_path: Path) -> None:
    cache = tmp_path / "hashes.json"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    settle()
    for name in ("one", "two"):
        hash_files(list_checkpoint(tmp_path / name), cache=cache)
    assert len(json.loads(cache.read_bytes())["files"]) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_changes_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    found = list_checkpoint(tmp_path)
    (tmp_path / "a").write_text("abcd")
    with pytest.raises(CheckpointError, match="changed while being read") as caught:
        hash_files(found)
    assert caught.value.where == "a"


def test_a_file_that_shrinks_while_it_is_hashed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    window = hashing_module._WINDOW
    path.write_bytes(bytes(4 * window))
    found = list_checkpoint(tmp_path)
    original = hashing_module._Counter.add

    def shrink(self: hashing_module._Counter, count: int) -> None:
        os.truncate(path, window + 10)
        original(self, count)

    monkeypatch.setattr(hashing_module._Counter, "add", shrink)
    with pytest.raises(CheckpointError, match="changed while being read"):
        hash_files(found)


def test_a_pipe_in_a_files_place_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("abc")
    found = list_checkpoint(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="changed"):
        hash_files(found)


def test_a_vanished_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    found = list_checkpoint(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        hash_files(found)
    assert caught.value.where == "a"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(512 * 1024 * 1024)  # sparse
    found = list_checkpoint(tmp_path)
    tracemalloc.start()
    hash_files(found)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_the_digest_covers_names_and_hashes() -> None:
    one = Manifest((FileEntry("a", 3, ABC), FileEntry("b", 3, "0" * 64)))
    swapped = Manifest((FileEntry("a", 3, "0" * 64), FileEntry("b", 3, ABC)))
    assert one.digest != swapped.digest
    assert one.digest == canonical.digest(
        {"version": 1, "files": [{"path": "a", "size": 3, "sha256": ABC}, {"path": "b", "size": 3, "sha256": "0" * 64}]}
    )
    assert one.size == 6


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4})?", fullmatch=True), st.binary(max_size=8), max_size=5))
def test_manifests_survive_json(files: dict[str, bytes]) -> None:
    entries = [FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items())]
    manifest = Manifest(tuple(entries))
    again = Manifest.from_json(canonical.loads(canonical.dumps(manifest.to_json()), where="x"))
    assert again == manifest
    assert again.digest == manifest.digest


GOOD = {"path": "a", "size": 3, "sha256": ABC}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"version": 1},
        {"version": 2, "files": []},
        {"version": True, "files": []},
        {"version": 1, "files": {}},
        {"version": 1, "files": [], "extra": 1},
        {"version": 1, "files": [GOOD | {"extra": 1}]},
        {"version": 1, "files": [GOOD | {"size": -1}]},
        {"version": 1, "files": [GOOD | {"size": True}]},
        {"version": 1, "files": [GOOD | {"size": 1.0}]},
        {"version": 1, "files": [GOOD | {"sha256": ABC.upper()}]},
        {"version": 1, "files": [GOOD | {"sha256": ABC[:-1]}]},
        {"version": 1, "files": [GOOD | {"path": "../a"}]},
        {"version": 1, "files": [GOOD | {"path": 1}]},
        {"version": 1, "files": [GOOD, GOOD]},
        {"version": 1, "files": [GOOD | {"path": "b"}, GOOD]},
    ],
)
def test_malformed_manifests_are_refused(value: object) -> None:
    with pytest.raises(EvidenceError):
        Manifest.from_json(value, error=EvidenceError)
