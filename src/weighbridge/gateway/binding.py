"""What may be served: a signed decision, bound to the bytes on disk at start and for as long as they are served.

Whoever can write the checkpoint's folder must not be able to have other weights served under its decision (they are
neither root nor the gateway's user: docs/enforcement.md). So the files are hashed once, and from then on their
identity is watched: device, inode, size, modification and change time, of which the last cannot be set back.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weighbridge.checkpoint.files import FoundFile, list_checkpoint
from weighbridge.checkpoint.hashing import hash_file, hash_files
from weighbridge.decision import Decision, check_expiry
from weighbridge.errors import CheckpointError, InputError, StorageError, VerificationError
from weighbridge.trust import RevocationList, Trust, check_not_revoked, load_decision, load_public, load_trust
from weighbridge.trust.trust_file import Role, RoleKeys

SERVABLE_TIERS = ("api", "gated", "open")  # a more open tier allows what a stricter one does
GGUF = ".gguf"
ARTIFACT = "model.gguf"
_COPIED = 16 * 1024 * 1024  # bytes at a time


@dataclass(frozen=True)
class Bound:
    """A decision and the files that it lets be served.

    ``files``: each with the stamp that it had before it was hashed; ``artifact``: the one GGUF file among them,
    None where there is none (the embedded engine then cannot serve it). All paths are resolved.
    """

    decision: Decision
    root: Path
    files: tuple[FoundFile, ...]
    artifact: Path | None

    def check_files(self) -> None:
        """Raises ``VerificationError`` if a file is no longer the one that was hashed. Stats only: cheap."""
        for file in self.files:
            try:
                info = file.path.stat(follow_symlinks=False)
            except OSError as cause:
                raise _changed(file, cause.strerror or str(cause)) from cause
            stamp = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
            if stamp != file.stamp or not stat.S_ISREG(info.st_mode):
                raise _changed(file, "its identity, size or times are others")

    def copy_artifact(self, folder: Path) -> Path:
        """A copy of the artifact in ``folder``, hashed there: what the engine is to load.

        Whoever can write the original may have mapped it, and writes through an old mapping leave its times as they
        are. Nobody but the gateway's user can write the copy. Raises ``VerificationError`` if its bytes are not those
        that were decided on, ``StorageError`` if there is no room.
        """
        assert self.artifact is not None
        copy = folder / ARTIFACT
        try:
            with self.artifact.open("rb") as source, copy.open("xb") as target:
                shutil.copyfileobj(source, target, _COPIED)
            copy.chmod(0o400)
        except OSError as cause:
            raise StorageError(
                f"the private copy cannot be made: {cause.strerror or cause}",
                where=str(copy),
                remedy="free space there, or name another folder for temporary files with TMPDIR",
            ) from cause
        if hash_file(copy) not in _single_files(self.decision):
            raise _other(self.artifact, "is not the file that was decided on")
        return copy

    def check_hashes(self) -> None:
        """Raises ``VerificationError`` if the bytes are no longer those that were decided on. Reads them all."""
        self.check_files()
        _compare(self.decision, self.root, self.files)

    def check_decision(self, now: datetime, revocations: RevocationList | None) -> None:
        """Raises ``DecisionExpired`` or ``VerificationError`` if the decision no longer holds."""
        check_decision(self.decision, now, revocations)


def pinned_trust(pins: Sequence[Path], revokers: Sequence[Path] = ()) -> Trust:
    """Whose decisions (and revocation lists) count: public keys, or trust files, that the operator names.

    Several public keys are alternatives: each of them may sign alone. Raises ``InputError``.
    """
    files = [load_trust(pin) for pin in pins if _is_trust_file(pin)]
    if files and (len(pins) > 1 or revokers):
        raise InputError("a trust file stands alone", where=str(pins[0]), remedy="name one trust file, or public keys")
    if files:
        return files[0]
    if not pins:
        raise InputError(
            "nobody is trusted to decide", where="--trust", remedy="name the decider's public key: --trust decider.pub"
        )
    roles: dict[Role, RoleKeys] = {"decider": _any_of(pins)}
    if revokers:
        roles["revoker"] = _any_of(revokers)
    return Trust(roles, "--trust")


def check_decision(decision: Decision, now: datetime, revocations: RevocationList | None) -> None:
    """Raises unless ``decision``, already verified, may be served at ``now``: tier, expiry, revocation."""
    if decision.tier not in SERVABLE_TIERS:
        raise VerificationError(
            f"the decision says {decision.tier}, which may not be served",
            where=f"decision {decision.id}",
            remedy="only a decision for api, gated or open serves; see the reasons in its report",
        )
    check_expiry(decision, now)
    if revocations is not None:
        check_not_revoked(decision, revocations)


def bind(
    checkpoint: Path,
    decision: Path,
    trust: Trust,
    *,
    now: datetime,
    revocations: RevocationList | None,
) -> Bound:
    """Verify the decision and hash the files of ``checkpoint`` against it.

    ``checkpoint``: a folder whose files are exactly the decision's subjects, or a GGUF file that is one of them or
    is the source that they were converted from (the decision is signed over its hash, and the conversion compared
    every tensor with it). Raises ``VerificationError`` (``SignerUnknown``, ``DecisionExpired``) where it may not be
    served, ``CheckpointError`` or ``StorageError`` where it cannot be read.
    """
    signed = load_decision(decision, trust)
    check_decision(signed, now, revocations)
    files = _files(checkpoint)
    root = checkpoint.resolve() if checkpoint.is_dir() else checkpoint.resolve().parent
    _compare(signed, root, files)
    artifacts = [file.path for file in files if file.name.lower().endswith(GGUF)]
    bound = Bound(signed, root, files, artifacts[0] if len(artifacts) == 1 else None)
    bound.check_files()
    return bound


def _files(checkpoint: Path) -> tuple[FoundFile, ...]:
    if checkpoint.is_dir():
        return tuple(list_checkpoint(checkpoint))
    try:
        path = checkpoint.resolve(strict=True)
        info = path.stat()
    except (OSError, RuntimeError) as cause:
        raise CheckpointError("there is nothing here", where=str(checkpoint), remedy="check the path") from cause
    if not stat.S_ISREG(info.st_mode) or path.suffix.lower() != GGUF:
        raise CheckpointError(
            "neither a folder nor a GGUF file", where=str(checkpoint), remedy="give a model folder, or a .gguf file"
        )
    return (FoundFile(path.name, path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev),)


def _compare(decision: Decision, root: Path, files: Sequence[FoundFile]) -> None:
    """Hash ``files`` and raise ``VerificationError`` for the first that is not what ``decision`` was made on."""
    found = hash_files(files)
    if len(files) == 1 and files[0].path.parent == root and files[0].name.lower().endswith(GGUF):
        if found.files[0].sha256 not in _single_files(decision):
            raise _other(
                files[0].path, "is neither a subject of the decision nor what its subjects were converted from"
            )
        return
    theirs, ours = decision.manifest.by_path, found.by_path
    for name in sorted({*theirs, *ours}):
        if name not in ours:
            raise _other(root / name, "is missing")
        if name not in theirs:
            raise _other(root / name, "is no subject of the decision")
        if theirs[name] != ours[name]:
            raise _other(root / name, "is not the file that was decided on")


def _single_files(decision: Decision) -> set[str]:
    """SHA-256 of the files that may be served alone: a GGUF carries weights, tokenizer, config and template."""
    alone = {file.sha256 for file in decision.manifest.files}
    source = (decision.origin or {}).get("sha256")
    return alone | {source} if isinstance(source, str) else alone


def _other(path: Path, message: str) -> VerificationError:
    return VerificationError(message, where=str(path), remedy="serve the files that were weighed, or weigh these")


def _changed(file: FoundFile, how: str) -> VerificationError:
    return VerificationError(
        f"changed while it was served: {how}", where=str(file.path), remedy="weigh it again, or restore it and restart"
    )


def _any_of(keys: Sequence[Path]) -> RoleKeys:
    return RoleKeys(tuple({key.keyid: key for key in map(load_public, keys)}.values()))


def _is_trust_file(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml", ".json")
