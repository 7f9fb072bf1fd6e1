"""Makes ``fixtures/v1``: files as version 1 of the formats writes them. Run once for each version of the formats.

    PYTHONPATH=tests python tests/trust/make_trust_fixtures.py

What exists is never written again: later versions of Weighbridge must still verify these files. The keys are made
from their names (see ``tests/trust_world.py``), so everybody has them. They are for tests only.
"""

from __future__ import annotations

from pathlib import Path

from trust_world import approval, draft, imported, key, revocations, signed
from weighbridge.trust.keys import new_key
from weighbridge.trust.trust_file import ROLES

FOLDER = Path(__file__).parent / "fixtures" / "v1"
PASSPHRASE = "for tests only"


def files() -> dict[str, bytes]:
    """Name -> bytes of every fixture that can be made again, byte for byte."""
    trust = "# For tests only: everybody has the private halves of these keys.\nversion: 1\nroles:\n"
    for role in ROLES:
        trust += f"  {role}:\n    threshold: 1\n    keys:\n      - path: {role}.pub\n"
        trust += f"        keyid: {key(role).public.keyid}\n"
    return {
        "trust.yaml": trust.encode(),
        **{f"{role}.pub": key(role).public.pem.encode() for role in ROLES},
        "draft.json": draft().payload,
        "decision.json": signed(),
        "decision-cosigned.json": signed("decider", "second"),
        "approval.json": approval(),
        "revocations.json": revocations(),
        "import.json": imported(),
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(data)
    if not (FOLDER / "encrypted-test-only.pem").exists():
        new_key(FOLDER / "encrypted-test-only.pem", PASSPHRASE)


if __name__ == "__main__":
    main()
