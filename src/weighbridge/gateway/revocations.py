"""The revocation list that a gateway obeys: read again all the time, never an older one than the ledger remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weighbridge.files import read
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.trust import RevocationList, Trust, verify_revocations

MAX_BYTES = 16 * 1024 * 1024
_NAME = "revocation serial of "


@dataclass(frozen=True)
class RevocationFile:
    """Where the signed list lies, and whose signature it needs."""

    path: Path
    trust: Trust

    def read(self, recorded: int, now: datetime) -> RevocationList:
        """The list as it is now.

        Raises ``VerificationError`` for a lower serial than ``recorded``, a list past its next update, one that is
        not signed by the pinned key, or that revokes that key; ``InputError`` where it cannot be read.
        """
        data = read(self.path, limit=MAX_BYTES)
        return verify_revocations(data, self.trust, recorded, at=now, where=str(self.path))


def recorded_serial(transaction: Transaction, revokers: Iterable[str]) -> int:
    """The highest serial that any gateway of this ledger has seen from these keys (fingerprints); 0 if none."""
    rows = transaction.among("SELECT value FROM meta WHERE name IN", [_NAME + keyid for keyid in sorted(revokers)])
    return max((int(row[0]) for row in rows), default=0)


def record_serial(transaction: Transaction, revokers: Iterable[str], serial: int) -> None:
    """Remember ``serial``, unless a higher one is remembered already."""
    for keyid in sorted(revokers):
        if recorded_serial(transaction, [keyid]) < serial:
            transaction.insert(
                "meta", [(_NAME + keyid, str(serial))], " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            )
