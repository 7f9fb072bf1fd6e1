"""A small world to test trust in: keys that everyone can compute (for tests only!), and files signed with them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.decision import Decision, make_decision
from weighbridge.trust import (
    PrivateKey,
    Trust,
    make_approval,
    make_import,
    make_revocations,
    sign,
    verify_decision,
)
from weighbridge.trust.trust_file import Role, RoleKeys

DECIDED = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXPIRES = DECIDED + timedelta(days=180)
NOW = DECIDED + timedelta(days=1)


@cache
def key(name: str) -> PrivateKey:
    """A key made from its name. Anyone can make it, so it must never be trusted outside tests."""
    seed = hashlib.sha256(f"weighbridge test key, never to be trusted: {name}".encode()).digest()
    return PrivateKey(ec.derive_private_key(int.from_bytes(seed) >> 1, ec.SECP256R1()))


def keyid(name: str) -> str:
    return key(name).public.keyid


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def trust(thresholds: dict[Role, int] | None = None, **names: list[str]) -> Trust:
    """A trust file's content: role -> names of keys; each role has the key of its own name unless said otherwise."""
    every: dict[Role, list[str]] = {
        "decider": ["decider"],
        "approver": ["approver"],
        "publisher": ["publisher"],
        "revoker": ["revoker"],
    }
    every |= names  # type: ignore[arg-type]
    return Trust(
        {
            role: RoleKeys(tuple(key(name).public for name in listed), (thresholds or {}).get(role, 1))
            for role, listed in every.items()
        },
        "trust.yaml",
    )


def manifest(*extra: str) -> Manifest:
    names = sorted({"config.json", "model.safetensors", "sub/tokenizer.json", *extra})
    return Manifest(tuple(FileEntry(name, 100 + len(name), digest(name)[7:]) for name in names))


POLICY: dict[str, Any] = {
    "version": 1,
    "name": "tutorial",
    "error_rate": "0.05",
    "notice": "not for real release",
    "tiers": {"open": [{"measure": "integrity.findings", "at_most": "0"}]},
}


def arguments(**changes: Any) -> dict[str, Any]:
    """What ``make_decision`` takes, with changes."""
    tier = changes.pop("tier", "open")
    judgement = {
        "tier": tier,
        "tiers": [
            {"tier": "open", "outcome": "met", "own": [{"path": "$.tiers.open[0]", "estimate": "0", "items": 3}]}
        ],
        "evidence": [digest("record 2")],
    }
    return {
        "manifest": manifest(),
        "judgement": judgement,
        "policy": POLICY,
        "evidence": [(digest("question 1"), digest("record 1")), (digest("question 2"), digest("record 2"))],
        "plan": digest("plan"),
        "decided_at": DECIDED,
        "expires_at": EXPIRES,
        "serial": 1,
        "supersedes": None,
        **changes,
    }


def draft(**changes: Any) -> Decision:
    return make_decision(**arguments(**changes))


def signed(*names: str, **changes: Any) -> bytes:
    """The envelope file of a decision, signed by the keys of these names (``decider`` if none)."""
    return sign(draft(**changes).payload, [key(name) for name in names or ("decider",)])


def decided(*names: str, **changes: Any) -> Decision:
    """A verified decision."""
    names = names or ("decider",)
    return verify_decision(signed(*names, **changes), trust(decider=list(names)))


def approval(*names: str, decision: Decision | None = None, at: datetime = NOW, **changes: Any) -> bytes:
    """The envelope file of an approval."""
    statement = make_approval(
        decision or decided(),
        **{"action": "open", "approved_at": at, "expires_at": at + timedelta(days=7), **changes},
    )
    return sign(statement.payload, [key(name) for name in names or ("approver",)])


def revocations(*names: str, **changes: Any) -> bytes:
    """The envelope file of a revocation list."""
    fields = {"serial": 3, "issued": NOW, "next_update": NOW + timedelta(days=30), "decisions": [digest("bad")]}
    statement = make_revocations(**{**fields, "keys": [keyid("lost")], **changes})
    return sign(statement.payload, [key(name) for name in names or ("revoker",)])


def imported(*names: str, **changes: Any) -> bytes:
    """The envelope file of a signed import."""
    fields = {
        "checkpoint": manifest().digest,
        "log": digest("log"),
        "record": digest("record 1"),
        "imported_by": "A. Tester",
        "imported_at": NOW,
    }
    statement = make_import(**{**fields, **changes})
    return sign(statement.payload, [key(name) for name in names or ("decider",)])
