"""The mock upstream as a command on the unix socket it is given: ``mock_engine.py SOCKET [PACE [DIALECT]]``."""

from __future__ import annotations

import asyncio
import sys

from mock_upstream import Behaviour, MockUpstream


async def main() -> None:
    pace = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    words = ("word ",) * 400 if pace else ("One", " two")
    dialect = sys.argv[3] if len(sys.argv) > 3 else None
    engine = MockUpstream(Behaviour(words=words, pace=pace, dialect=dialect))
    await engine.start(sys.argv[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
