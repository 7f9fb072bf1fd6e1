"""Text that people read and others wrote: what must not hide in it, and how it is shown all the same. Pure."""

from __future__ import annotations

import unicodedata

from weighbridge.errors import InputError

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that show nothing, move the cursor or reorder their neighbours."""

_UNSHOWN = INVISIBLE | {"Co", "Cn"}  # in addition: private and unassigned, which look different everywhere
_PROSE = "\n\t\u200c\u200d"  # lines; and the joiners that some scripts cannot be written without


def check_visible(text: str, *, where: str, error: type[InputError] = InputError, prose: bool = False) -> str:
    """``text`` if every character of it shows; raises ``error`` otherwise. ``prose`` may have several lines."""
    for char in text:
        if unicodedata.category(char) in INVISIBLE and not (prose and char in _PROSE):
            raise error(
                f"holds the control or invisible character U+{ord(char):04X}",
                where=visible(where),
                remedy="remove it" if prose else "write it on one line, without control or invisible characters",
            )
    return text


def visible(text: str) -> str:
    """``text`` with everything visible: control characters, bidirectional overrides and other characters that show
    nothing or reorder their neighbours are written as ``\\u{...}``, so that a name looks like what it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{{{ord(char):04x}}}" if char not in "\n\t" and unicodedata.category(char) in _UNSHOWN else char
        for char in text
    )
