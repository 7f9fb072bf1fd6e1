"""Times as files hold them: RFC 3339, UTC, whole seconds (``2026-01-31T09:30:00Z``). Pure; reads no clock."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from weighbridge.errors import InputError

SKEW = timedelta(minutes=5)
"""How far ahead of the reader's clock a time may lie, since clocks differ."""

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def parse_time(text: str, *, where: str) -> datetime:
    """The aware UTC time that ``text`` names. Raises ``InputError`` for any other form than the one above."""
    if not _FORM.fullmatch(text):
        raise InputError(f"{text!r:.60} is not a time", where=where, remedy="write it like 2026-01-31T09:30:00Z")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as cause:
        raise InputError(f"{text!r} is no time of the calendar", where=where) from cause


def parse_day(text: str, *, where: str) -> date:
    """The day that ``text`` names. Raises ``InputError`` for any form but ``2026-01-31``."""
    try:
        day = date.fromisoformat(text)
    except ValueError as cause:
        raise InputError(f"{text!r:.60} is no day", where=where, remedy="write it like 2026-01-31") from cause
    if day.isoformat() != text:
        raise InputError(f"{text!r:.60} is no day", where=where, remedy="write it like 2026-01-31")
    return day


def format_time(time: datetime) -> str:
    """``time`` in the form above, fractions of a second cut off. Raises ``InputError`` if it has no time zone."""
    if time.tzinfo is None:
        raise InputError(f"{time.isoformat()} has no time zone", where="time", remedy="pass an aware datetime")
    try:
        utc = time.astimezone(UTC)
    except OverflowError as cause:
        raise InputError(f"{time.isoformat()} is no year that UTC can name", where="time") from cause
    return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%S}Z"


def format_milliseconds(at: int) -> str:
    """The time ``at`` (milliseconds since 1970, UTC) in the form above, fractions of a second cut off."""
    return format_time(datetime.fromtimestamp(at / 1000, UTC))


def whole_seconds(time: datetime | str, *, where: str) -> datetime:
    """``time``, given either way, as files will hold it: aware, UTC, whole seconds."""
    return parse_time(time if isinstance(time, str) else format_time(time), where=where)
