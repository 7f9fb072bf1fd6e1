"""What docs/trust.md shows is what the code does."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trust_world import approval, decided, key, keyid, signed
from weighbridge import trust
from weighbridge.statement import PREDICATE_TYPES
from weighbridge.trust import load_trust

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "trust.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def write_trust(folder: Path) -> Path:
    (folder / "keys").mkdir()
    for name in ("alice", "bob", "carol"):
        (folder / "keys" / f"{name}.pub").write_text(key(name).public.pem)
    lines = key("dave").public.pem.splitlines()[1:-1]
    body = textwrap.indent("\n".join(lines), " " * 10).strip()
    path = folder / "trust.yaml"
    path.write_text(block("yaml").replace("PEM-OF-DAVE", body).replace("KEYID-OF-BOB", keyid("bob")))
    return path


def test_the_trust_file_is_read(tmp_path: Path) -> None:
    found = load_trust(write_trust(tmp_path))
    assert found.keyids("decider") == {keyid("alice"), keyid("bob")}
    assert found.threshold("decider") == 2
    assert found.keyids("revoker") == {keyid("dave")}


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trust(tmp_path)
    monkeypatch.chdir(tmp_path)
    now = datetime.now(UTC)
    names = ("alice", "bob")
    times = {"decided_at": now, "expires_at": now.replace(year=now.year + 1, day=1)}
    Path("decision.json").write_bytes(signed(*names, **times))
    Path("approval.json").write_bytes(approval("carol", decision=decided(*names, **times), at=now))
    scope: dict[str, object] = {}
    exec(block("python"), scope)
    assert scope["decision"] == decided(*names, **times)
    assert isinstance(scope["approvals"], list)
    assert len(scope["approvals"]) == 1


def test_every_predicate_type_is_listed() -> None:
    assert set(re.findall(r"urn:weighbridge:predicate:\w+:v1", TEXT)) == PREDICATE_TYPES


def test_what_is_named_exists() -> None:
    for name in ("read_decision_unverified", "load_trust", "load_decision", "verify_approvals"):
        assert name in TEXT
        assert name in trust.__all__


def test_all_is_what_it_says() -> None:
    for name in trust.__all__:
        assert getattr(trust, name) is not None
    assert trust.__all__ == sorted(trust.__all__, key=lambda name: (not name[0].isupper(), name))
