"""Secrets by their documented forms, in any place of a long text; nothing in text that is merely odd."""

from __future__ import annotations

import io
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.measures.integrity import secrets as module
from weighbridge.measures.integrity.secrets import scan

LETTERS = random.Random(1)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Made here, so that no secret-like text stands in this file."""
    return "".join(LETTERS.choice(alphabet) for _ in range(count - 1)) + "7"


UPPER = string.ascii_uppercase + "234567"
SAMPLES = {
    "AWS access key": "AKIA" + letters(16, UPPER),
    "GitHub token": "ghp_" + letters(36),
    "GitLab token": "glpat-" + letters(20),
    "Hugging Face token": "hf_" + letters(34),
    "OpenAI key": "sk-" + letters(20) + "T3BlbkFJ" + letters(20),
    "Anthropic key": "sk-ant-api03-" + letters(93),
    "Google API key": "AIza" + letters(35),
    "Slack token": "xoxb-" + letters(12, "0123456789") + "-" + letters(24),
    "Slack webhook": "https://hooks.slack.com/services/T"
    + letters(8, UPPER)
    + "/B"
    + letters(8, UPPER)
    + "/"
    + letters(24),
    "Stripe key": "sk_live_" + letters(24),
    "npm token": "npm_" + letters(36),
    "PyPI token": "pypi-AgEI" + letters(80),
    "SendGrid key": "SG." + letters(22) + "." + letters(43),
    "Azure storage key": "AccountKey=" + letters(86) + "==",
    "JSON web token": "eyJ" + letters(20) + ".eyJ" + letters(40) + "." + letters(43),
    "password in a URL": "https://someone:" + letters(12) + "@git.example.org/x.git",
    "named credential": '"api_key": "' + letters(32) + '"',
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----\n" + letters(64) + "\n" + letters(64),
}


def kinds(text: str) -> list[str]:
    return [secret.kind for secret in scan(io.BytesIO(text.encode()))]


@pytest.mark.parametrize("kind", SAMPLES)
def test_each_kind_is_found(kind: str) -> None:
    assert kind in kinds(SAMPLES[kind])
    assert kind in kinds(f'some text, "{SAMPLES[kind]}" and more\n')


def test_a_private_key_in_json_is_found() -> None:
    assert kinds('{"key": "-----BEGIN PRIVATE ' + "KEY-----\\n" + letters(64) + '\\n"}') == ["private key"]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE " + "KEY-----",
        '"-----BEGIN", "PRIVATE", "KEY-----": 17',
        "AKIA",
        "xAKIA" + "ABCDEFGH23456777",
        "hf_token, hf_hub_download, hf_" + "x" * 10,
        "sk-learn and sk-proj-short",
        '"bos_token": "<|begin_of_text|>", "eos_token": "<|end|>"',
        '"password": "password"',
        "http://user:pass@host.example",
        "https://huggingface.co/org/model@main",
        "eyJhbGciOi",
        "the api_key: your-key-here",
        "",
    ],
)
def test_text_that_is_merely_odd_passes(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "at", [0, 100, module._CHUNK - 20, module._CHUNK, module._CHUNK + 5, 2 * module._CHUNK - 16_400]
)
def test_a_secret_is_found_once_wherever_it_stands(at: int) -> None:
    secret = SAMPLES["Hugging Face token"]
    text = " " * at + secret + " " * (2 * module._CHUNK + 1000 - at)
    assert [(one.kind, one.offset) for one in scan(io.BytesIO(text.encode()))] == [("Hugging Face token", at)]


def test_vocabularies_of_random_words_pass() -> None:
    source = random.Random(3)
    alphabet = string.ascii_letters + string.digits + "_-/+="
    words = ["".join(source.choices(alphabet, k=source.randint(1, 20))) for _ in range(100_000)]
    assert kinds("{" + ", ".join(f'"{word}": {index}' for index, word in enumerate(words)) + "}") == []


@given(st.binary(max_size=300))
def test_any_bytes_are_scanned(data: bytes) -> None:
    assert all(0 <= secret.offset < len(data) for secret in scan(io.BytesIO(data)))
