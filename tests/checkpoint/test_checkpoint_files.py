"""Listing the files of a folder: links, special files, what is no part of a checkpoint."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from weighbridge.checkpoint import list_bundle
from weighbridge.checkpoint.files import list_checkpoint
from weighbridge.errors import CheckpointError, VerificationError


def names(root: Path) -> list[str]:
    return [file.name for file in list_checkpoint(root)]


def write(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_are_sorted_and_descriptions_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "b.json",
        "a/z.txt",
        "README.md",
        ".gitattributes",
        ".git/config",
        ".cache/x/y",
        "weighbridge/decision.json",
    )
    write(tmp_path, "a/README.md", "readme.md", ".gitmodules")
    assert names(tmp_path) == [".gitmodules", "a/README.md", "a/z.txt", "b.json", "readme.md"]


def test_a_hub_cache_is_resolved(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0f3a"
    write(blobs, "abc")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    [file] = list_checkpoint(snapshot)
    assert (file.name, file.path, file.size) == ("config.json", (blobs / "abc").resolve(), 3)


def test_a_link_to_the_folder_itself_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", "config.json")
    (tmp_path / "link").symlink_to("real")
    assert names(tmp_path / "link") == ["config.json"]


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "one/a.json")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "b.json").symlink_to("one/a.json")
    assert names(tmp_path) == ["b.json", "one/a.json", "two/a.json"]


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.txt", "/etc"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    write(tmp_path, "outside.txt", "in/config.json")
    (tmp_path / "in" / "LICENSE").symlink_to(target)
    with pytest.raises(CheckpointError, match="leaves the checkpoint") as caught:
        list_checkpoint(tmp_path / "in")
    assert caught.value.where == "LICENSE"
    assert caught.value.remedy


def test_broken_and_circular_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="nowhere or in a circle"):
        list_checkpoint(tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(CheckpointError, match="nowhere or in a circle"):
        list_checkpoint(tmp_path)


def test_a_link_to_a_folder_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to("..")
    with pytest.raises(CheckpointError, match="above it"):
        list_checkpoint(tmp_path)


def test_pipes_and_sockets_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe, socket or device"):
        list_checkpoint(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(CheckpointError, match="pipe, socket or device"):
            list_checkpoint(tmp_path)


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff")).write_text("x")
    with pytest.raises(CheckpointError, match="UTF-8"):
        list_checkpoint(tmp_path)


def test_a_bundle_holds_files_only(tmp_path: Path) -> None:
    write(tmp_path, "README.md", "weighbridge/decision.json", "config.json")
    assert [file.name for file in list_bundle(tmp_path)] == ["README.md", "config.json", "weighbridge/decision.json"]
    (tmp_path / "x").symlink_to("config.json")
    with pytest.raises(VerificationError, match="symbolic link"):
        list_bundle(tmp_path, error=VerificationError)
    (tmp_path / "x").unlink()
    write(tmp_path, "CONFIG.json")
    with pytest.raises(VerificationError, match="collides"):
        list_bundle(tmp_path, error=VerificationError)


def test_nothing_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing here"):
        list_checkpoint(tmp_path / "absent")
    write(tmp_path, "file")
    with pytest.raises(CheckpointError, match="not a folder"):
        list_checkpoint(tmp_path / "file")


def test_too_deep_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "/".join(["d"] * 40) + "/x")
    with pytest.raises(CheckpointError, match="deep"):
        list_checkpoint(tmp_path)
