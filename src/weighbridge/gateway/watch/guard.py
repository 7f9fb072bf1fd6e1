"""Signals of systematic copying, for each key and across keys: volume, and prompts that follow one template.

Recording only: a signal is a flag in the metrics, the log and ``GET /signals``; no request is refused or slowed by it.
No prompt is stored. Of the last user message at most ``HEAD + TAIL`` characters are read, and what stays is four keyed
64-bit numbers in a table of fixed size, which say whether a similar text was seen and not what it said. Nothing
outlives its window of an hour but the flags, and a number in a flag is hashed once more with the gateway's secret. How
well this detects anything is not known: the thresholds are not calibrated.
"""

from __future__ import annotations

import struct
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from heapq import nlargest
from math import log
from typing import Any, Literal

from weighbridge.gateway.api.observing import Finished
from weighbridge.gateway.api.requests import ChatBody, CompletionBody, EmbeddingBody, Request, TextPart
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.terms import Admitted

WINDOW = 3600  # seconds
HEAD, TAIL = 192, 48
"""Characters of a text that are read: templates live at its begin and end."""
SHORTEST = 8
"""Words; shorter texts ("hello") repeat without meaning anything, and are not sketched."""
SIMILAR = 2
"""A text resembles earlier ones if so many of its features are repeated, each seen ``SEEN`` times before it."""
SEEN = 3
SLOTS = 1 << 16
MAX_KEYS = 10_000
MAX_FLAGS = 1_000
LISTED = 100

Signal = Literal["volume", "template", "shared_template"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is flagged within one window. ``output_tokens``: of one key. ``template_share`` of a key's requests resemble
    earlier ones, once it made ``template_requests``. One template from ``shared_keys`` keys, ``shared_requests`` times.
    """

    output_tokens: int = 1_000_000
    template_requests: int = 200
    template_share: float = 0.9
    shared_keys: int = 5
    shared_requests: int = 200


@dataclass(frozen=True, slots=True)
class Flag:
    """One signal, said once in a window. ``subject``: the key's id, or the template's number.
    ``at`` in seconds since 1970; ``value`` and ``threshold`` in the signal's unit (tokens, share, requests)."""

    at: int
    signal: Signal
    subject: str
    value: float
    threshold: float


@dataclass(slots=True)
class Volume:
    """What a key did within the window. ``sketched``: requests whose text was long enough; ``similar``: of these, the
    ones that resemble earlier texts of whatever key."""

    project: str
    bit: int  # stands for the key in a set of 64
    requests: int = 0
    sketched: int = 0
    similar: int = 0
    input: int = 0
    output: int = 0


class Sketches:
    """Keyed MinHash of a text's word triples.

    The hashes of all triples, sorted, form a ring; a feature is the first at or after one of four secret points, so
    two texts share a feature with the probability of their Jaccard similarity.
    """

    def __init__(self, key: bytes) -> None:
        self._points: tuple[int, ...] = struct.unpack("<4q", blake2b(key, digest_size=32).digest())
        self._key = key

    def features(self, text: str) -> list[int] | None:
        """Four numbers of 64 bits, or None for a text that is too short. They mean nothing to another process."""
        if len(text) > HEAD + TAIL:
            text = f"{text[:HEAD]} {text[-TAIL:]}"
        words = text.split()
        if len(words) < SHORTEST:
            return None
        # Python hashes text with SipHash and a key of this process: quick, and nobody outside can foresee it
        ring = sorted(map(hash, zip(words, words[1:], words[2:], strict=False)))
        size = len(ring)
        return [ring[bisect_left(ring, point) % size] for point in self._points]

    def name(self, feature: int) -> str:
        """What a feature is called outside: keyed again, so that it cannot be compared with a guess."""
        return blake2b(feature.to_bytes(8, "little", signed=True), digest_size=8, key=self._key).hexdigest()


class Repeats:
    """How often each feature was seen, and by about how many keys, in a fixed number of slots.

    Where two features want one slot, the more frequent one keeps it: each visit of the other takes one from its count.
    """

    def __init__(self) -> None:
        self._features = array("q", bytes(8 * SLOTS))
        self._counts = array("I", bytes(4 * SLOTS))
        self._keys = array("Q", bytes(8 * SLOTS))

    def add(self, feature: int, bit: int) -> tuple[int, int]:
        """Count ``feature`` for the key of this ``bit``: how often it was seen by now, and the bits of its keys."""
        slot = feature & (SLOTS - 1)
        count = self._counts[slot]
        if count and self._features[slot] != feature:
            self._counts[slot] = count - 1
            return 0, 0
        if not count:
            self._features[slot] = feature
            self._keys[slot] = 0
        self._counts[slot] = count = count + 1
        self._keys[slot] = keys = self._keys[slot] | bit
        return count, keys


class Guard:
    """Told of each request by the observer, on the event loop. ``on_flag`` is called for each new flag."""

    def __init__(
        self,
        secret: Secret,
        *,
        thresholds: Thresholds | None = None,
        on_flag: Callable[[Flag], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self.flags: deque[Flag] = deque(maxlen=MAX_FLAGS)
        self.untracked = 0  # requests of keys for which this window had no room
        self._sketches = Sketches(secret.derive("guard"))
        self._on_flag = on_flag
        self._clock = clock
        self._window = 0
        self._turn(int(clock()) // WINDOW)

    def admitted(self, request: Request, admitted: Admitted) -> None:
        """Count the request, and sketch its text."""
        window = int(self._clock()) // WINDOW
        if window != self._window:
            self._turn(window)
        volume = self._keys.get(admitted.key_id)
        if volume is None:
            if len(self._keys) >= MAX_KEYS:
                self.untracked += 1
                return
            volume = self._keys[admitted.key_id] = Volume(admitted.project, 1 << (hash(admitted.key_id) & 63))
        volume.requests += 1
        features = self._sketches.features(_text(request))
        if features is None:
            return
        volume.sketched += 1
        bit = volume.bit
        seen = [self._repeats.add(feature, bit) for feature in features]
        if sum(count > SEEN for count, _ in seen) < SIMILAR:
            return
        volume.similar += 1
        limits = self.thresholds
        if volume.sketched >= limits.template_requests:
            share = volume.similar / volume.sketched
            if share >= limits.template_share:
                self._flag("template", admitted.key_id, share, limits.template_share)
        self._look_across(features, seen)

    def finished(self, finished: Finished) -> None:
        """Add up what the request used."""
        usage = finished.usage
        if usage is None or finished.key_id is None:
            return
        volume = self._keys.get(finished.key_id)
        if volume is None:
            return
        volume.input += usage.input
        volume.output += usage.output
        if volume.output >= self.thresholds.output_tokens:
            self._flag("volume", finished.key_id, volume.output, self.thresholds.output_tokens)

    def signals(self) -> dict[str, Any]:
        """As ``GET /signals`` shows them: flags, newest first, and this window's busiest keys."""
        busiest = nlargest(LISTED, self._keys.items(), key=lambda item: item[1].requests)
        return {
            "response": "flag",
            "window": {"begin": self._window * WINDOW, "seconds": WINDOW},
            "thresholds": asdict(self.thresholds),
            "flags": [asdict(flag) for flag in reversed(self.flags)],
            "keys": [{"key": key, **_shown(volume)} for key, volume in busiest],
            "untracked_requests": self.untracked,
        }

    def _look_across(self, features: Sequence[int], seen: Sequence[tuple[int, int]]) -> None:
        """Whether many keys share this text's template, by the feature that was seen most."""
        count, keys, feature = max(
            (count, keys, feature) for feature, (count, keys) in zip(features, seen, strict=True)
        )
        limits = self.thresholds
        if count >= limits.shared_requests and _distinct(keys) >= limits.shared_keys:
            self._flag("shared_template", self._sketches.name(feature), count, limits.shared_requests)

    def _flag(self, signal: Signal, subject: str, value: float, threshold: float) -> None:
        if (signal, subject) in self._said or len(self._said) >= MAX_FLAGS:
            return
        self._said.add((signal, subject))
        flag = Flag(int(self._clock()), signal, subject, value, threshold)
        self.flags.append(flag)
        self._on_flag(flag)

    def _turn(self, window: int) -> None:
        self._window = window
        self._keys: dict[str, Volume] = {}
        self._repeats = Repeats()
        self._said: set[tuple[Signal, str]] = set()


def _shown(volume: Volume) -> dict[str, Any]:
    return {name: value for name, value in asdict(volume).items() if name != "bit"}


def _distinct(bits: int) -> float:
    """About how many keys set these bits: linear counting in 64 (Whang, Vander-Zanden and Taylor, 1990)."""
    empty = 64 - bits.bit_count()
    return -64 * log(max(empty, 1) / 64)


def _text(request: Request) -> str:
    """The newest text of the user. What went before it in a conversation was read when it was new."""
    body = request.body
    if isinstance(body, ChatBody):
        for message in reversed(body.messages):
            if message.role == "user":
                content = message.content
                if isinstance(content, str):
                    return content
                parts = content if isinstance(content, list) else ()
                return " ".join(part.text for part in parts if isinstance(part, TextPart))
        return ""
    if isinstance(body, CompletionBody | EmbeddingBody):
        prompt = body.prompt if isinstance(body, CompletionBody) else body.input
        if isinstance(prompt, str):
            return prompt
        first = prompt[0] if prompt else ""
        if isinstance(first, str):
            return first
        return " ".join(map(str, (first if isinstance(first, list) else prompt)[:HEAD]))
    return ""
