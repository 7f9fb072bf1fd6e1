"""``python -m weighbridge.measures.licensing FILE``: what a licence text is, and its digest for the table."""

from __future__ import annotations

import sys
from pathlib import Path

from weighbridge.measures.licensing.table import load_table
from weighbridge.measures.licensing.texts import body_digest, recognise, words


def main(arguments: list[str]) -> int:
    """Print one line for each file."""
    if not arguments:
        print("usage: python -m weighbridge.measures.licensing FILE...", file=sys.stderr)
        return 2
    table = load_table()
    for name in arguments:
        text = Path(name).read_text(encoding="utf-8")
        seen = recognise(text, table.known)
        found = words(text)
        what = ", ".join(seen.verbatim) or (f"like {', '.join(seen.like)}" if seen.like else "unknown")
        print(f"{name}: {what}{f' ({seen.problem})' if seen.problem else ''}")
        print(f"  first: {' '.join(found[:8])}\n  last: {' '.join(found[-8:])}\n  digests: [{body_digest(found)}]")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
