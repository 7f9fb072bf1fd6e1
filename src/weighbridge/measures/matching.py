"""Whether one text repeats another: exactly, or nearly. Pure.

Runs of white space count as one space, since wrapping a text anew hides nothing. A generated text is compared as far as
the original goes; what a model says after it does not count.
"""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

NEAR = 0.9
"""From this similarity on, a text is nearly the other: of ten characters, one may differ."""


def plain(text: str) -> str:
    """``text`` with every run of white space as one space, and none at its ends."""
    return " ".join(text.split())


def verbatim(generated: str, original: str) -> bool:
    """Whether ``generated`` begins with ``original``. Nothing repeats an empty original."""
    wanted = plain(original)
    return bool(wanted) and plain(generated).startswith(wanted)


def similarity(generated: str, original: str) -> float:
    """1 - d / n, in [0, 1]: d is the Levenshtein distance in characters between the original, n characters long, and
    the first n characters of what was generated. 0 where the original is empty."""
    wanted = plain(original)
    if not wanted:
        return 0.0
    return 1.0 - Levenshtein.distance(plain(generated)[: len(wanted)], wanted) / len(wanted)


def near(generated: str, original: str) -> bool:
    """Whether ``generated`` is at least ``NEAR`` similar to ``original``."""
    return similarity(generated, original) >= NEAR


def may_become_near(begun: str, original: str) -> bool:
    """Whether a text that begins with ``begun`` can still be near to ``original``, or repeat it.

    An alignment of the whole texts aligns ``begun`` with some beginning of the original, so that the distance is at
    least the smallest one between ``begun`` and a beginning: the last row of the table that Wagner and Fischer (1974)
    fill.
    """
    wanted = plain(original)
    row = list(range(len(wanted) + 1))
    for character in plain(begun)[: len(wanted)]:
        diagonal, row[0] = row[0], row[0] + 1
        for place, other in enumerate(wanted, start=1):
            diagonal, row[place] = row[place], min(diagonal + (character != other), row[place] + 1, row[place - 1] + 1)
    return bool(wanted) and 1.0 - min(row) / len(wanted) >= NEAR
