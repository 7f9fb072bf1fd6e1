"""Signals of copying: what is flagged, what is not, and that no text stays."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from weighbridge.gateway.api.observing import Finished
from weighbridge.gateway.api.requests import Request, parse_chat, parse_completion, parse_embedding
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.terms import Admitted, Outcome, Usage
from weighbridge.gateway.watch.guard import HEAD, MAX_KEYS, SLOTS, WINDOW, Flag, Guard, Repeats, Sketches, Thresholds

SECRET = Secret(b"g" * 32)
TEMPLATE = (
    "You are given a function of a library. Explain step by step what {} does, give an example of its use with inputs "
    "and outputs, then write three tests for it and say which cases they leave out."
)
WORDS = [f"word{n}" for n in range(4000)]


def chat(text: str, *, before: str = "Be brief.") -> Request:
    said = [{"role": "system", "content": before}, {"role": "user", "content": text}]
    return parse_chat(msgspec.json.encode({"model": "m", "messages": said}))


def admitted(key: str) -> Admitted:
    return Admitted("req", "acme", key, 10, 1, None, None)


def finished(key: str, output: int) -> Finished:
    return Finished("req", "/v1/x", 200, 0.1, key_id=key, outcome=Outcome.COMPLETED, usage=Usage(1, output))


class Watch:
    """A guard with a clock, and what it flagged."""

    def __init__(self, **thresholds: Any) -> None:
        self.now = 1_800_000_000.0
        self.flags: list[Flag] = []
        limits = Thresholds(**thresholds) if thresholds else None
        self.guard = Guard(SECRET, thresholds=limits, on_flag=self.flags.append, clock=lambda: self.now)

    def ask(self, key: str, text: str) -> None:
        self.guard.admitted(chat(text), admitted(key))

    def row(self, key: str) -> dict[str, Any]:
        return next(one for one in self.guard.signals()["keys"] if one["key"] == key)

    def said(self) -> list[tuple[str, str]]:
        return [(flag.signal, flag.subject) for flag in self.flags]


def prose(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_a_key_that_fills_in_a_template_is_flagged_once() -> None:
    watch = Watch()
    for n in range(400):
        watch.ask("copier", TEMPLATE.format(f"function_{n} of module_{n % 7}"))
    assert watch.said() == [("template", "copier")]
    assert watch.row("copier")["similar"] > 380


def test_ordinary_prompts_are_not_flagged() -> None:
    watch = Watch()
    for n in range(2000):
        watch.ask("reader", prose(n))
        watch.ask("chatty", "hello")  # short texts repeat without meaning anything
    assert watch.said() == []
    assert watch.row("reader")["similar"] <= 20
    assert watch.row("chatty")["sketched"] == 0


def test_one_template_spread_over_keys_is_flagged_across_them() -> None:
    watch = Watch()
    for n in range(400):
        watch.ask(f"account{n % 20}", TEMPLATE.format(prose(n, 3)))
        watch.ask(f"bystander{n % 20}", prose(n + 10_000))
    signals = {signal for signal, _ in watch.said()}
    assert signals == {"shared_template"}  # 20 requests a key are too few to flag one alone


def test_volume_is_flagged_and_forgotten_with_its_window() -> None:
    watch = Watch(output_tokens=1000)
    watch.ask("big", "x")
    watch.guard.finished(finished("big", 999))
    assert watch.said() == []
    watch.guard.finished(finished("big", 1))
    watch.guard.finished(finished("big", 500))
    assert watch.said() == [("volume", "big")]
    watch.now += WINDOW
    watch.ask("big", "x")
    assert watch.row("big")["output"] == 0
    watch.guard.finished(finished("big", 1000))
    assert watch.said() == [("volume", "big")] * 2


def test_similarity_follows_the_share_of_common_text() -> None:
    sketches = Sketches(b"k" * 32)
    shared = {10: 0, 90: 0}
    for percent in shared:
        for n in range(200):
            common = prose(n, percent * 26 // 100)
            one, other = (f"{common} {prose(m, 26 - percent * 26 // 100)}" for m in (n + 1000, n + 2000))
            first, second = sketches.features(one), sketches.features(other)
            assert first is not None
            assert second is not None
            shared[percent] += sum(a == b for a, b in zip(first, second, strict=True))
    assert shared[10] < 0.15 * 800  # Jaccard 0.05
    assert shared[90] > 0.65 * 800  # Jaccard 0.8


def test_another_secret_names_templates_otherwise() -> None:
    text = prose(1)
    (one, other) = (Sketches(bytes([n]) * 32) for n in (1, 2))
    first, second = one.features(text), other.features(text)
    assert first is not None
    assert first != second
    assert one.name(first[0]) != other.name(first[0])


def test_no_text_stays() -> None:
    watch = Watch()
    for n in range(300):
        watch.ask("copier", TEMPLATE.format(f"zeppelin{n}"))
    from pickle import dumps

    guard = watch.guard
    kept = dumps((guard.flags, guard._keys, guard._said, guard._repeats._features, guard._repeats._counts))
    assert b"zeppelin" not in kept
    assert b"library" not in kept


def test_memory_is_bounded() -> None:
    watch = Watch()
    for n in range(MAX_KEYS + 50):
        watch.ask(f"key{n}", "hello")
    assert len(watch.guard._keys) == MAX_KEYS
    assert watch.guard.untracked == 50
    repeats = Repeats()
    for n in range(SLOTS):
        repeats.add(random.Random(n).getrandbits(63), 1)
    assert len(repeats._counts) == SLOTS


def test_a_frequent_feature_keeps_its_slot() -> None:
    repeats = Repeats()
    for _ in range(10):
        repeats.add(5, 1)
    assert repeats.add(5 + SLOTS, 2) == (0, 0)
    assert repeats.add(5, 4) == (10, 5)


@pytest.mark.parametrize(
    "request_",
    [
        parse_completion(b'{"model": "m", "prompt": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]}'),
        parse_completion(b'{"model": "m", "prompt": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}'),
        parse_completion(b'{"model": "m", "prompt": "one two three four five six seven eight nine"}'),
        parse_embedding(b'{"model": "m", "input": ["one two three four five six seven eight nine"]}'),
        parse_chat(
            b'{"model": "m", "messages": [{"role": "user", "content":'
            b' [{"type": "text", "text": "one two three four five six seven eight nine"}]}]}'
        ),
        chat("w " * HEAD),
    ],
)
def test_every_form_of_prompt_is_read(request_: Request) -> None:
    watch = Watch()
    watch.guard.admitted(request_, admitted("key"))
    assert watch.row("key")["sketched"] == 1


def test_only_the_newest_message_of_a_conversation_counts() -> None:
    """A conversation sends its past again with each turn; that is no template."""
    watch = Watch()
    past: list[dict[str, str]] = []
    for n in range(50):
        past.append({"role": "user", "content": prose(n)})
        watch.guard.admitted(parse_chat(msgspec.json.encode({"model": "m", "messages": past})), admitted("talker"))
        past.append({"role": "assistant", "content": prose(n + 500)})
    assert watch.row("talker")["similar"] == 0
