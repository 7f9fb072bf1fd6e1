"""Secrets in text: keys and tokens whose form their issuers document. Pure: bytes in, kinds and places out.

Each pattern begins from literal bytes that are looked for first, so that tokenizer files of many megabytes cost
little. Entropy is not judged: vocabularies are full of random-looking text. A secret itself is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_CHUNK = 4 * 1024 * 1024
_OVERLAP = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    edge: bool = False


# Stands at the front of a pattern in source, and is checked by hand: a look-behind would hide the literal that the
# regular expression engine searches for at memory speed.
_EDGE = "EDGE:"
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_END = r"(?![A-Za-z0-9_-])"


def _kind(name: str, anchors: str, pattern: str, flags: int = 0) -> _Kind:
    edge = pattern.startswith(_EDGE)
    expression = re.compile(pattern.removeprefix(_EDGE).encode(), flags)
    return _Kind(name, tuple(anchors.encode().split(b"|")), expression, edge)


_KINDS = (
    # A PEM header alone may be a token of a vocabulary; with a body it is a key.
    _kind(
        "private key",
        "PRIVATE KEY-----",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?:\\[nr]|[\s\"',+]){1,8}(?:[A-Za-z0-9+/=:, .\r\n-]|\\[nr]){64}",
    ),
    _kind("AWS access key", "AKIA|ASIA", _EDGE + r"(?:AKIA|ASIA)[A-Z2-7]{16}" + _END),
    _kind("GitHub token", "ghp_|gho_|ghu_|ghs_|ghr_", _EDGE + r"gh[pousr]_[A-Za-z0-9]{36,251}" + _END),
    _kind("GitHub token", "github_pat_", _EDGE + r"github_pat_[A-Za-z0-9_]{60,90}" + _END),
    _kind("GitLab token", "glpat-", _EDGE + r"glpat-[A-Za-z0-9_.-]{20,60}" + _END),
    _kind("Hugging Face token", "hf_|api_org_", _EDGE + r"(?:hf_|api_org_)[A-Za-z0-9]{34,40}" + _END),
    _kind("OpenAI key", "T3BlbkFJ", r"sk-(?:[a-z]+-)?[A-Za-z0-9_-]{16,128}T3BlbkFJ[A-Za-z0-9_-]{16,128}"),
    _kind("OpenAI key", "sk-proj-", _EDGE + r"sk-proj-[A-Za-z0-9_-]{40,200}" + _END),
    _kind("Anthropic key", "sk-ant-", r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{80,128}"),
    _kind("Google API key", "AIza", _EDGE + r"AIza[A-Za-z0-9_-]{35}" + _END),
    _kind("Slack token", "xox", _EDGE + r"xox[abeoprs]-[0-9]{8,}-[A-Za-z0-9-]{16,}"),
    _kind(
        "Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"
    ),
    _kind("Stripe key", "k_live_", _EDGE + r"[rs]k_live_[A-Za-z0-9]{20,128}" + _END),
    _kind("npm token", "npm_", _EDGE + r"npm_[A-Za-z0-9]{36}" + _END),
    _kind("PyPI token", "pypi-AgEI", r"pypi-AgEI[A-Za-z0-9_-]{50,}"),
    _kind("SendGrid key", "SG.", _EDGE + r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _END),
    _kind("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{80,}={0,2}"),
    _kind("JSON web token", "eyJ", _EDGE + r"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    _kind(
        "password in a URL",
        "://",
        r"[a-z][a-z0-9+]{1,15}://[^/\s:@\"'<>{}$]{1,64}:[^/\s:@\"'<>{}$*]{8,128}@[\w-]+\.[\w.-]+",
    ),
    _kind(
        "named credential",
        "key|KEY|Key|oken|OKEN|assw|ASSW|ecret|ECRET",
        r"(?:api[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|password|passwd)"
        r"[\"']?\s{0,4}[:=]\s{0,4}[\"'](?=[^\"']{0,64}[0-9])(?=[^\"']{0,64}[A-Za-z])[A-Za-z0-9+/_.-]{20,200}={0,2}[\"']",
        re.IGNORECASE,
    ),
)


@dataclass(frozen=True, slots=True)
class Secret:
    """What kind of secret stands at which byte, and how many bytes it is long. Never the secret."""

    kind: str
    offset: int
    length: int = field(compare=False)


def scan(stream: BinaryIO) -> Iterator[Secret]:
    """Secrets in ``stream``, in order of kind within each stretch of 4 MB; memory is bounded by that."""
    seen: set[tuple[str, int]] = set()
    start = 0
    data = stream.read(_CHUNK)
    while data:
        for kind in _KINDS:
            if not any(anchor in data for anchor in kind.anchors):
                continue
            for match in kind.pattern.finditer(data):
                if kind.edge and match.start() and data[match.start() - 1] in _WORD:
                    continue
                place = (kind.name, start + match.start())
                if place not in seen:
                    seen.add(place)
                    yield Secret(*place, length=match.end() - match.start())
        more = stream.read(_CHUNK - _OVERLAP)
        if not more:
            return
        start += max(0, len(data) - _OVERLAP)
        data = data[-_OVERLAP:] + more
