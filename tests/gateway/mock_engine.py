"""The mock upstream as a command that listens on the unix socket it is given: ``mock_engine.py SOCKET [PACE]``."""

from __future__ import annotations

import asyncio
import sys

from mock_upstream import Behaviour, MockUpstream


async def main() -> None:
    pace = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    words = ("word ",) * 400 if pace else ("One", " two")
    engine = MockUpstream(Behaviour(words=words, pace=pace))
    await engine.start(sys.argv[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
