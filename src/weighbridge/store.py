"""Where evidence lies: one folder, files named by question digest. Interrupted work resumes from its journal.

    <question>.json              the record that counts
    <question>.part.jsonl        the journal of work under way, one line a cluster, and who answered at what cost
    superseded/<record>.json     what a longer record of the same order replaced, kept for replay
    later/<record>.json          a second record that does not continue the first: listed, never selected

Everything a journal holds after its last whole line is dropped on reading; nothing is measured twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from weighbridge import canonical, structure
from weighbridge.errors import EvidenceError, StorageError
from weighbridge.evidence import Evidence, Observation, PlanRef, Question, from_bytes, to_json
from weighbridge.files import read, unreadable, unwritable, write_atomic


class EvidenceStore:
    """Evidence in a folder. Reading needs no lock; whoever measures holds ``lock()``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parsed: dict[str, Evidence] = {}  # by the digest of the file, which is looked at every time

    def path(self, question: Question) -> Path:
        """The file of the record that counts."""
        return self.folder / f"{_hex(question.digest)}.json"

    def load(self) -> list[Evidence]:
        """The records that count, by question digest. Raises ``EvidenceError`` for a file that is not what it says."""
        records = []
        for path in self._files():
            record = self._record(path)
            if path.stem != _hex(record.question.digest):
                raise EvidenceError(
                    "the file name is not the digest of its question", where=str(path), remedy="do not rename evidence"
                )
            records.append(record)
        return records

    def _files(self) -> list[Path]:
        """The files of records. What cannot be listed must not pass for a folder without evidence."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder))
        except FileNotFoundError:
            return []
        except OSError as cause:
            raise unreadable(cause, where=str(self.folder), error=EvidenceError) from cause
        return [self.folder / name for name in names if name.endswith(".json") and not name.startswith(".")]

    def later(self) -> list[Path]:
        """Records that were made after the one that counts and do not continue it."""
        return sorted((self.folder / "later").glob("*.json"))

    def get(self, question: Question) -> Evidence | None:
        """The record that counts for ``question``, if there is one."""
        path = self.path(question)
        return self._record(path) if path.exists() else None

    def _record(self, path: Path) -> Evidence:
        data = read(path, error=EvidenceError)
        digest = canonical.digest_bytes(data)
        if digest not in self._parsed:
            self._parsed[digest] = from_bytes(data, where=str(path))
        return self._parsed[digest]

    def put(self, record: Evidence) -> Evidence:
        """Keep ``record``; returns the one that counts, which is the first unless this one continues it."""
        first = self.get(record.question)
        data = canonical.dumps(to_json(record))
        if first is not None:
            if not record.extends(first):
                write_atomic(self.folder / "later" / f"{_hex(record.digest)}.json", data)
                return first
            if len(record.observations) == len(first.observations):
                return first
            write_atomic(self.folder / "superseded" / f"{_hex(first.digest)}.json", canonical.dumps(to_json(first)))
        write_atomic(self.path(record.question), data)
        return record

    def journal(self, question: Question) -> Journal:
        """The journal of what ``question`` was answered beyond its record, to be used as a context manager."""
        record = self.get(question)
        start = () if record is None else record.observations
        return Journal(self.folder / f"{_hex(question.digest)}.part.jsonl", question, start)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Only one process measures into a folder at a time. Raises ``StorageError`` if another one does."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / ".lock").open("wb")
        except OSError as cause:
            raise unwritable(cause, self.folder) from cause
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as cause:
                raise StorageError(
                    "another process is measuring into this folder", where=str(self.folder), remedy="wait for it"
                ) from cause
            yield


_SAID = {"producer", "cost"}


class Journal:
    """Answers of a measurement under way: durable after every ``append``, readable after any kill.

    ``observations`` begins with those of the stored record, ``start``, and grows. ``account`` is what was last said
    about the answers in the journal: ``{"producer": {...}, "cost": {...}, "plan": {...}, "facts": {...}}``, or empty;
    ``plan`` is the plan that they were given under.
    """

    def __init__(self, path: Path, question: Question, start: Sequence[Observation]) -> None:
        self.path = path
        self.observations = list(start)
        self.account: dict[str, Any] = {}
        self.plan: PlanRef | None = None
        self._header = {"question": question.digest, "after": len(start)}
        self._stream: FileIO | None = None

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("a+b", buffering=0)  # nothing is left to be written on closing
            self._stream.seek(0)
            data = self._stream.read()
            whole = data.rfind(b"\n") + 1
            kept = self._parse(data[:whole])
            if kept is None:  # a kill came between storing the record and dropping its journal
                whole, kept, self.account, self.plan = 0, [], {}, None
            self._stream.truncate(whole)
            if not whole:
                self._write([canonical.dumps(self._header)])
            self.observations += kept
        except OSError as cause:
            raise unwritable(cause, self.path) from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def append(self, clusters: Sequence[Sequence[Observation]], account: Mapping[str, Any] | None = None) -> None:
        """Keep the observations of whole clusters, in order. On disk when this returns. Raises ``StorageError``."""
        said = [] if account is None else [canonical.dumps(dict(account))]
        try:
            self._write([*said, *(canonical.dumps(to_json(list(cluster))) for cluster in clusters)])
        except OSError as cause:
            raise StorageError(
                f"cannot be written: {cause.strerror}",
                where=str(self.path),
                remedy="free space, then run again: it resumes",
            ) from cause
        self.observations.extend(item for cluster in clusters for item in cluster)

    def remove(self) -> None:
        """Drop the journal, once its record is stored."""
        self.path.unlink(missing_ok=True)

    def _write(self, lines: Sequence[bytes]) -> None:
        if self._stream is None:
            raise ValueError("the journal is not open")
        data = memoryview(b"".join(line + b"\n" for line in lines))
        while data:
            data = data[self._stream.write(data) :]
        os.fsync(self._stream.fileno())

    def _parse(self, data: bytes) -> list[Observation] | None:
        """The observations in a journal; None if it does not continue the stored record."""
        kept: list[Observation] = []
        for number, line in enumerate(data.splitlines(), start=1):
            where = f"{self.path}:{number}"
            value = canonical.loads(line, where=where, error=EvidenceError)
            if number == 1:
                if value != self._header:
                    return None
                continue
            if isinstance(value, dict) and _SAID <= set(value) <= {*_SAID, "plan", "facts"}:
                self.account = value
                said = value.get("plan")
                self.plan = None if said is None else structure.parse(PlanRef, said, where=where, error=EvidenceError)
                continue
            if not isinstance(value, list):
                raise EvidenceError("expected an array of observations", where=where, remedy="delete the journal")
            kept.extend(structure.parse(Observation, item, where=where, error=EvidenceError) for item in value)
        return kept


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
