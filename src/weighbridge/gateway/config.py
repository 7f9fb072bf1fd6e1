"""The configuration of a gateway: a YAML file, or what the options of ``weighbridge serve`` amount to.

    version: 1
    listen: 127.0.0.1:8321
    ledger: ledger.db                     # or postgresql://user@host/database
    prices: [prices.yaml]
    trust: [keys/decider.pub]
    revocations: {file: revoked.json, trust: [keys/revoker.pub]}
    models:
      smol:
        checkpoint: models/smol.gguf
        decision: weighing/decision.json
        engine: {context: 2048, parallel: 4, threads: 2}
      large:
        decision: large/decision.json
        upstream: {url: "http://10.0.0.7:8000", binding: declared, name: org/large, context: 32768, dialect: vllm}

Paths are relative to the file. An unknown field is an error. docs/serving.md describes every field.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from weighbridge import strict_yaml
from weighbridge.errors import InputError
from weighbridge.files import read
from weighbridge.gateway.backend.engine import Flags
from weighbridge.gateway.ledger.upkeep import is_postgres

VERSION = 1
MAX_BYTES = 1024 * 1024
DEFAULT_LISTEN = "127.0.0.1:8321"
DEFAULT_LEDGER = "ledger.db"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Flags of the embedded engine; see ``engine.Flags``."""

    context: int = 2048
    parallel: int = 4
    threads: int = 0  # 0: every core of this machine
    embeddings: bool = False

    @property
    def flags(self) -> Flags:
        threads = self.threads or len(os.sched_getaffinity(0))
        return Flags(self.context, self.parallel, threads, self.embeddings)


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server that somebody else runs, or a command that the gateway runs with ``{socket}`` in its arguments.

    ``binding`` must be ``declared``: what bytes it serves is its operator's word. ``name``: what it calls the model.
    ``key_variable``: the environment variable that holds its API key. ``dialect``: how it reports usage while it
    streams. ``context``: tokens of one request. ``max_prompt``: bytes of text above which a prompt is refused unasked.
    """

    binding: Literal["declared"]
    context: int
    max_prompt: int | None = None
    name: str | None = None
    url: str | None = None
    command: list[str] | None = None
    key_variable: str | None = None
    dialect: Literal["openai", "vllm", "llama.cpp"] = "openai"
    embeddings: bool = False


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One served model. Exactly one of ``engine`` (the default) and ``upstream`` answers for it."""

    decision: str
    checkpoint: str | None = None
    engine: EngineConfig | None = None
    upstream: UpstreamConfig | None = None
    in_flight: int = 64


class RevocationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed list that is read again whenever it changes, and the public keys that may sign it."""

    file: str
    trust: list[str] = []


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """PEM files."""

    certificate: str
    key: str


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. ``folder`` is where relative paths begin."""

    version: int
    models: dict[str, ModelConfig]
    trust: list[str]
    listen: str = DEFAULT_LISTEN
    ledger: str = DEFAULT_LEDGER
    secret: str | None = None
    prices: list[str] = []
    revocations: RevocationConfig | None = None
    tls: TlsConfig | None = None
    behind_proxy: bool = False
    admin_listen: str = "127.0.0.1:0"  # a free port, which the admin file says; name one for Prometheus
    admin_file: str | None = None
    currency: str = "USD"
    folder: str = "."

    def path(self, text: str) -> Path:
        """``text`` as a path; relative ones begin at the configuration file's folder."""
        return Path(self.folder) / text

    @property
    def ledger_url(self) -> str:
        """The ledger's path, or its ``postgresql://`` address."""
        return self.ledger if is_postgres(self.ledger) else str(self._ledger_path)

    @property
    def secret_path(self) -> Path:
        """The file with the key of all keyed hashes; by default beside an SQLite ledger."""
        return self.path(self.secret) if self.secret else self._beside("gateway.key")

    @property
    def admin_path(self) -> Path:
        """The file that says where the admin listener is, and its token; by default beside an SQLite ledger."""
        return self.path(self.admin_file) if self.admin_file else self._beside("gateway.admin.json")

    def _beside(self, name: str) -> Path:
        return self.path(name) if is_postgres(self.ledger) else self._ledger_path.with_name(name)

    @property
    def _ledger_path(self) -> Path:
        """Where the SQLite file really lies: one file has one lock, whatever links lead to it."""
        return self.path(self.ledger).resolve()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return split_address(self.listen, where="listen")


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ``InputError`` naming the field."""
    value = strict_yaml.load(read(path, limit=MAX_BYTES), where=str(path))
    if isinstance(value, dict) and "folder" in value:
        raise InputError("unknown field 'folder'", where=f"{path} at $", remedy="see docs/serving.md")
    config = msgspec.structs.replace(from_json(value, where=str(path)), folder=str(path.resolve().parent))
    check_config(config, where=str(path))
    return config


def from_json(value: Any, *, where: str) -> Config:
    """What a parsed file says, or options amount to. Raises ``InputError`` naming the field."""
    try:
        return msgspec.convert(value, Config)
    except msgspec.ValidationError as cause:
        message, _, place = str(cause).partition(" - at ")
        raise InputError(
            message, where=f"{where} at {place.strip('`') or '$'}", remedy="see docs/serving.md"
        ) from cause


def check_config(config: Config, *, where: str) -> None:
    """Raises ``InputError`` for what does not fit together. Opens no file."""
    if config.version != VERSION:
        raise InputError(
            f"version {config.version} is unknown",
            where=f"{where} at $.version",
            remedy=f"this weighbridge reads {VERSION}",
        )
    if not config.models:
        raise InputError("no model is served", where=f"{where} at $.models", remedy="name at least one")
    if not config.trust:
        raise InputError(
            "nobody is trusted to decide", where=f"{where} at $.trust", remedy="name the decider's public key"
        )
    host, _ = split_address(config.listen, where=f"{where} at $.listen")
    if not is_loopback(host) and config.tls is None and not config.behind_proxy:
        raise InputError(
            f"{host} is no loopback address, and keys would cross the network in the clear",
            where=f"{where} at $.listen",
            remedy="set tls, or behind_proxy: true where a proxy in front of it ends TLS",
        )
    if not is_loopback(split_address(config.admin_listen, where=f"{where} at $.admin_listen")[0]):
        raise InputError(
            "the admin listener is for this machine alone", where=f"{where} at $.admin_listen", remedy="127.0.0.1:0"
        )
    for name, model in config.models.items():
        _check_model(name, model, f"{where} at $.models.{name}")


def split_address(text: str, *, where: str) -> tuple[str, int]:
    """``host:port`` in its parts. Raises ``InputError``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"{text!r:.80} is no address", where=where, remedy="write it like 127.0.0.1:8321")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_model(name: str, model: ModelConfig, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError("no name of a model", where=where, remedy="use letters, digits and . _ : / -")
    if not 1 <= model.in_flight <= 10_000:
        raise InputError(f"{model.in_flight} is not between 1 and 10000", where=f"{where}.in_flight")
    upstream = model.upstream
    if upstream is None:
        if model.checkpoint is None:
            raise InputError("the checkpoint is missing", where=f"{where}.checkpoint", remedy="name its folder or file")
        _ = (model.engine or EngineConfig()).flags  # checks their ranges
        return
    if model.engine is not None:
        raise InputError("either engine or upstream, not both", where=where)
    if (upstream.url is None) == (upstream.command is None):
        raise InputError("exactly one of url and command", where=f"{where}.upstream")
    if not 1 <= upstream.context <= 1 << 24:
        raise InputError(f"{upstream.context} is no number of tokens", where=f"{where}.upstream.context")
    if upstream.max_prompt is not None and upstream.max_prompt < 1:
        raise InputError(f"{upstream.max_prompt} is no number of bytes", where=f"{where}.upstream.max_prompt")
    if upstream.url is not None:
        url = urlsplit(upstream.url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
            raise InputError(f"{upstream.url!r:.120} is no http address", where=f"{where}.upstream.url")
    elif upstream.command is not None:
        if model.checkpoint is None:
            raise InputError(
                "a command serves a checkpoint of this machine", where=f"{where}.checkpoint", remedy="name it"
            )
        if not any("{socket}" in argument for argument in upstream.command):
            raise InputError(
                "no argument holds {socket}",
                where=f"{where}.upstream.command",
                remedy="have it listen on the unix socket that it is given, e.g. --uds {socket}",
            )
