"""The configuration file: what it may say, and where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.errors import InputError
from weighbridge.gateway.config import load_config

GOOD: dict[str, Any] = {
    "version": 1,
    "trust": ["decider.pub"],
    "models": {
        "smol": {"checkpoint": "smol.gguf", "decision": "decision.json", "engine": {"context": 512}},
        "org/large:1": {
            "decision": "large.json",
            "upstream": {"url": "http://10.0.0.7:8000/v1", "binding": "declared", "context": 4096, "dialect": "vllm"},
        },
    },
}


def write(tmp_path: Path, value: Any) -> Path:
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "gateway.yaml"


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one field set; None removes it."""
    copy = yaml.safe_load(yaml.safe_dump(GOOD))
    at = copy
    *above, last = path.split("|")
    for step in above:
        at = at.setdefault(step, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return copy


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.path(config.models["smol"].decision) == tmp_path / "decision.json"
    assert config.path("/elsewhere/x") == Path("/elsewhere/x")
    assert config.address == ("127.0.0.1", 8321)
    assert config.models["smol"].engine is not None
    assert config.models["smol"].engine.flags.context == 512


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("version", 2, "$.version"),
        ("extra", 1, "$"),
        ("folder", "/", "$"),
        ("trust", [], "$.trust"),
        ("models", {}, "$.models"),
        ("listen", "0.0.0.0:8321", "$.listen"),
        ("listen", "8321", "$.listen"),
        ("listen", "127.0.0.1:99999", "$.listen"),
        ("models|bad name", {"checkpoint": "a", "decision": "b"}, "$.models.bad name"),
        ("models|smol|checkpoint", None, ".checkpoint"),
        ("models|smol|decision", None, "$.models"),
        ("models|smol|in_flight", 0, ".in_flight"),
        ("models|smol|engine|lora", "x.gguf", "$.models"),
        ("models|smol|engine|chat_template", "x", "$.models"),
        ("models|smol|engine|context", 1, "engine.context"),
        ("models|smol|engine|context", "512", "$.models"),
        ("models|smol|upstream", GOOD["models"]["org/large:1"]["upstream"], "$.models.smol"),
        ("models|org/large:1|upstream|binding", "verified", "$.models"),
        ("models|org/large:1|upstream|url", "ftp://x", ".url"),
        ("models|org/large:1|upstream|url", "http://user:pass@x", ".url"),
        ("models|org/large:1|upstream|url", None, ".upstream"),
        ("models|org/large:1|upstream|command", ["vllm", "{socket}"], ".upstream"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, path: str, value: Any, place: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, changed(path, value)))
    assert caught.value.where is not None
    assert place in caught.value.where
    assert caught.value.remedy or caught.value.message


@pytest.mark.parametrize("guard", [{"behind_proxy": True}, {"tls": {"certificate": "c.pem", "key": "k.pem"}}])
def test_other_machines_are_let_in_with_tls_or_behind_a_proxy(tmp_path: Path, guard: dict[str, Any]) -> None:
    assert load_config(write(tmp_path, {**GOOD, "listen": "0.0.0.0:8321", **guard})).address == ("0.0.0.0", 8321)


@pytest.mark.parametrize("command", [["vllm", "serve"], []])
def test_a_command_is_given_its_socket(tmp_path: Path, command: list[str]) -> None:
    upstream = {"command": command, "binding": "declared", "context": 4096}
    with pytest.raises(InputError, match="socket"):
        load_config(write(tmp_path, changed("models|x", {"checkpoint": "x", "decision": "d", "upstream": upstream})))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"version: 1\nversion: 1", b"a: &a [*a]"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "g.yaml").write_bytes(data)
    with pytest.raises(InputError):
        load_config(tmp_path / "g.yaml")
