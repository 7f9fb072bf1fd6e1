"""Which files lie in a folder, and which of them are the checkpoint. Reads the directory tree, opens no file.

In a checkpoint that comes in, symlinks are resolved, since a hub cache is made of them: they may lead to another
place in the same folder, or from ``snapshots/<revision>`` to ``blobs`` of the same cache. Anywhere else they are
refused: a link in a downloaded folder must not carry a private file of this machine into a release.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weighbridge.checkpoint.names import check_name, check_names
from weighbridge.errors import CheckpointError, WeighbridgeError
from weighbridge.files import unreadable

ORIGIN_FILE = "weighbridge-origin.json"

# What describes a checkpoint and is no part of it. Only at the top of the folder, only by exactly these names:
# no loader takes weights, code, a tokenizer or a template from any of them.
DESCRIBING_FILES = frozenset({"README.md", ".gitattributes", ".gitignore", ORIGIN_FILE, "model.sig"})
DESCRIBING_FOLDERS = frozenset({".git", ".cache", "weighbridge"})

MAX_DEPTH = 32
MAX_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its name in the checkpoint, where its bytes lie, and what tells whether they changed."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @property
    def stamp(self) -> tuple[int, int, int, int, int]:
        """Changes whenever the content may have changed."""
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode, self.device)


def list_checkpoint(root: Path) -> list[FoundFile]:
    """The files of the checkpoint in ``root``, sorted by name; what only describes it is left out.

    Raises ``CheckpointError`` for a missing or unreadable folder, broken, looping or escaping links, special
    files and names that no manifest may hold.
    """
    found = list_files(root, links=True)
    return [file for file in found if not is_describing(file.name)]


def is_describing(name: str) -> bool:
    """Whether a name belongs to a file that describes the checkpoint and is no part of it."""
    head, _, rest = name.partition("/")
    return head in DESCRIBING_FOLDERS if rest else name in DESCRIBING_FILES


def list_bundle(root: Path, *, error: type[WeighbridgeError] = CheckpointError) -> list[FoundFile]:
    """Every file of a bundle, sorted by name. Refuses links, special files, and names that collide."""
    found = list_files(root, links=False, error=error)
    check_names((file.name for file in found), where=str(root), error=error)
    return found


def check_folders(root: Path, names: Iterable[str], *, error: type[WeighbridgeError] = CheckpointError) -> None:
    """Raises ``error`` for a folder below ``root`` in which none of the files ``names`` lies."""
    needed = {parent for name in names for parent in PurePosixPath(name).parents}
    for folder, _, _ in os.walk(root):
        name = PurePosixPath(Path(folder).relative_to(root).as_posix())
        if name not in needed:
            raise error("an empty folder, which nothing vouches for", where=str(name), remedy="remove it")


def list_files(root: Path, *, links: bool, error: type[WeighbridgeError] = CheckpointError) -> list[FoundFile]:
    """Every regular file below ``root``, sorted by name. ``links``: resolve symlinks, else refuse them."""
    try:
        there, folder = root.exists(), root.is_dir()
    except OSError as cause:
        raise unreadable(cause, where=str(root), error=error) from cause
    except ValueError as cause:  # a null character
        raise error(f"no path: {cause}", where=repr(str(root)), remedy="check the path") from cause
    if not there:
        raise error("there is nothing here", where=str(root), remedy="check the path")
    if not folder:
        raise error("not a folder", where=str(root), remedy="give the folder that holds config.json")
    base = root.resolve()
    walk = _Walk(base, links, error)
    walk.folder(base, "", (), 0)
    return sorted(walk.found, key=lambda file: file.name)


class _Walk:
    def __init__(self, base: Path, links: bool, error: type[WeighbridgeError]) -> None:
        self.base = base
        self.links = links
        self.error = error
        self.found: list[FoundFile] = []
        self.homes = (base, *_hub_blobs(base))

    def folder(self, path: Path, prefix: str, above: tuple[tuple[int, int], ...], depth: int) -> None:
        where = prefix.rstrip("/") or str(path)
        if depth > MAX_DEPTH:
            raise self.error(f"folders nested more than {MAX_DEPTH} deep", where=where)
        try:
            info = path.stat()
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as cause:
            raise self.error(
                f"this folder cannot be read: {cause.strerror}", where=where, remedy="check its permissions"
            ) from cause
        key = (info.st_dev, info.st_ino)
        if key in above:
            raise self.error("a link leads back to a folder above it", where=where, remedy="remove the link")
        for entry in entries:
            name = prefix + entry.name
            if depth == 0 and is_describing(name + ("/." if Path(entry.path).is_dir() else "")) and self.links:
                continue  # not even looked into: a .git folder may be large and hold anything
            check_name(name, where=str(self.base), error=self.error)
            self.entry(Path(entry.path), name, entry.is_symlink(), (*above, key), depth)

    def entry(self, path: Path, name: str, is_link: bool, above: tuple[tuple[int, int], ...], depth: int) -> None:
        target = self.resolve(path, name) if is_link else path
        try:
            info = target.stat() if is_link else path.lstat()
        except FileNotFoundError as cause:
            raise self.error("vanished while being listed", where=name) from cause
        except OSError as cause:
            raise self.error(f"cannot be read: {cause.strerror}", where=name) from cause
        if stat.S_ISDIR(info.st_mode):
            self.folder(target, name + "/", above, depth + 1)
        elif stat.S_ISREG(info.st_mode):
            if len(self.found) >= MAX_FILES:
                raise self.error(f"more than {MAX_FILES} files", where=str(self.base))
            self.found.append(
                FoundFile(name, target, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
            )
        else:
            raise self.error("neither a file nor a folder (a pipe, socket or device)", where=name, remedy="remove it")

    def resolve(self, path: Path, name: str) -> Path:
        if not self.links:
            raise self.error("a symbolic link", where=name, remedy="a bundle holds files only")
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as cause:
            raise self.error(
                "a symbolic link that leads nowhere or in a circle", where=name, remedy="download the file again"
            ) from cause
        if not any(target.is_relative_to(home) for home in self.homes):
            raise self.error(
                f"a symbolic link that leaves the checkpoint, to {target}",
                where=name,
                remedy="put the file itself there (cp, or ln without -s)",
            )
        return target


def _hub_blobs(base: Path) -> tuple[Path, ...]:
    """The ``blobs`` folder of the hub cache that ``base`` is a snapshot of, if it is one."""
    for parent in base.parents:
        if parent.name == "snapshots":
            return ((parent.parent / "blobs").resolve(),)
    return ()


def read_bytes(path: Path, *, limit: int, where: str) -> bytes:
    """The content of a small file. Raises ``CheckpointError`` above ``limit`` bytes or if unreadable."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as cause:
        raise unreadable(cause, where=where, error=CheckpointError) from cause
    if len(data) > limit:
        raise CheckpointError(f"larger than {limit} bytes", where=where, remedy="this is no file of its kind")
    return data
