"""A SentencePiece vocabulary with scores, as GGUF stores it, rewritten as byte-pair merges. Pure.

SentencePiece's BPE joins, again and again, the neighbouring pieces whose union has the highest score. That is what a
list of merges does when it is ordered by the score of the union, best first; ties go to the piece that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NORMAL, _UNKNOWN, _BYTE = 1, 2, 6
_SPACE = "\u2581"


def sentencepiece_tokenizer(
    tokens: Sequence[str], types: Sequence[int], scores: Sequence[float], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The ``tokenizer.json`` value, without added tokens and post-processor."""
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True) is not False
    space = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == _UNKNOWN), None)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": {
            "type": "Sequence",
            "normalizers": ([{"type": "Prepend", "prepend": _SPACE}] if prefix else []) + [space],
        },
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": _BYTE in types,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": _merges(tokens, types, scores),
        },
    }


def _merges(tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]) -> list[list[str]]:
    normal = {token: index for index, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == _NORMAL}
    ranked: list[tuple[float, int, int, str, str]] = []
    for token, index in normal.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in normal and right in normal:
                ranked.append((-scores[index], index, cut, left, right))
    ranked.sort()
    return [[left, right] for _, _, _, left, right in ranked]
