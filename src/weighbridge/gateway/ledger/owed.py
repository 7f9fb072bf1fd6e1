"""What waits in memory for a ledger that is gone: seals of what was in flight, and admissions to void."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from weighbridge.gateway.ledger.database import LedgerGone
from weighbridge.gateway.ledger.operations import Void
from weighbridge.gateway.rules.idempotency import LARGEST_COPY
from weighbridge.gateway.rules.terms import Seal

LARGEST = 100_000
LARGEST_COPIES = 32
"""Seals that are kept at most, and how many of them with the copy of their answer, of up to 1 MB."""

_GROUP = 256


class Owed:
    """Bounded. ``lost`` counts what found no room or was refused by the ledger; ``overflowed`` until it is cleared."""

    def __init__(self) -> None:
        self._waiting: deque[Seal | Void] = deque()
        self._copies = 0
        self.lost = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Seal | Void) -> None:
        if len(self._waiting) >= LARGEST:
            self.lost += 1
            self.overflowed = True
            return
        if isinstance(work, Seal) and work.retained is not None:
            if self._copies >= LARGEST_COPIES or len(work.retained.body) > LARGEST_COPY:
                work = replace(work, retained=None)
            else:
                self._copies += 1
        self._waiting.append(work)

    def pay(self, commit: Callable[[list[Seal | Void]], object]) -> None:
        """Give everything to ``commit``, in groups and in order. Stops where it raises ``LedgerGone``.

        What is impossible in a group is tried alone, and counted as lost if it is impossible alone.
        """
        while self._waiting:
            some = [self._waiting[index] for index in range(min(len(self._waiting), _GROUP))]
            try:
                commit(some)
            except LedgerGone:
                raise
            except Exception:
                for one in some:
                    self._pay_alone(commit, one)
            for _ in some:
                self._waiting.popleft()
        self._copies = 0
        self.overflowed = False

    def _pay_alone(self, commit: Callable[[list[Seal | Void]], object], one: Seal | Void) -> None:
        try:
            commit([one])
        except LedgerGone:
            raise
        except Exception:
            self.lost += 1
