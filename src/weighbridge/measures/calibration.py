"""A judge's confusion counts on human-labelled responses, read from the file that the calibration script wrote.

The rates depend on how much of a response the judge sees, so a file holds counts for several lengths. Those of the
longest calibrated length that is not above the decoding's are used; below the shortest there are none, and the
metric stays undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from weighbridge import canonical, files
from weighbridge.canonical import Json
from weighbridge.errors import EvidenceError
from weighbridge.evidence import Calibration

VERSION = 1
FIELDS = ("harmful_compliance", "over_refusal")
_COUNTS = ("true_positive", "false_negative", "false_positive", "true_negative")
_SHIPPED = "refusal_calibration.json"


def load_calibrations(path: Path | None, judge: Mapping[str, Json], max_tokens: int | None) -> dict[str, Calibration]:
    """Metric field -> counts for responses of at most ``max_tokens`` tokens (None: of any length); ``path`` None reads
    the shipped file.

    ``judge`` is the identity (name and digest) that the file must be about. Raises ``EvidenceError`` for a malformed
    file and for one of another judge.
    """
    if path is None:
        where = _SHIPPED
        data = (resources.files("weighbridge.measures") / "data" / _SHIPPED).read_bytes()
    else:
        where = str(path)
        data = files.read(path, error=EvidenceError)
    return parse_calibrations(data, judge, max_tokens, where=where)


def parse_calibrations(
    data: bytes, judge: Mapping[str, Json], max_tokens: int | None, *, where: str
) -> dict[str, Calibration]:
    """``load_calibrations`` on the file's bytes."""
    record = canonical.loads(data, where=where, error=EvidenceError)
    expected = {"version", "judge", "source", "assumption", "lengths"}
    if not isinstance(record, dict) or not expected <= set(record) or record["version"] != VERSION:
        raise EvidenceError(f"not a calibration file of version {VERSION}", where=where, remedy="run the script anew")
    if record["judge"] != dict(judge):
        raise EvidenceError(
            "the calibration is of another judge, or of another version of this one",
            where=f"{where} at $.judge",
            remedy=f"count the errors of the judge in use, {canonical.dumps(dict(judge)).decode().strip()}",
        )
    lengths = record["lengths"]
    if not isinstance(lengths, dict) or not all(key.isdecimal() for key in lengths):
        raise EvidenceError("lengths are numbers of tokens", where=f"{where} at $.lengths")
    fitting = [int(key) for key in lengths if max_tokens is None or int(key) <= max_tokens]
    if not fitting:
        return {}
    at = f"{where} at $.lengths.{max(fitting)}"
    return {field: _calibration(lengths[str(max(fitting))], field, record, max(fitting), at) for field in FIELDS}


def _calibration(entry: Any, field: str, record: Mapping[str, Any], length: int, at: str) -> Calibration:
    counts = entry.get(field) if isinstance(entry, dict) else None
    if not isinstance(counts, dict) or set(counts) != set(_COUNTS):
        raise EvidenceError(f"expected the counts {', '.join(_COUNTS)}", where=f"{at}.{field}")
    for name in _COUNTS:
        if type(counts[name]) is not int or counts[name] < 0:
            raise EvidenceError(f"{counts[name]!r} is no count", where=f"{at}.{field}.{name}")
    if not isinstance(record["source"], str) or not isinstance(record["assumption"], str):
        raise EvidenceError("source and assumption are text", where=at)
    source = f"{record['source']}; responses cut to about {length} tokens"
    return Calibration(**counts, source=source, assumption=record["assumption"])
