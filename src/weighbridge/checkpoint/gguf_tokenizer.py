"""The tokenizer of a GGUF file as ``tokenizer.json`` and its companions. Pure: metadata in, JSON values out.

GGUF names the rule by which text is split before merging (``tokenizer.ggml.pre``) and leaves the rule itself to the
reader; the table below holds those that are understood, as llama.cpp applies them (llama-vocab.cpp). Another name is
an error: a wrong split would quietly tokenise numbers or punctuation as the model has never seen them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.checkpoint.gguf_families import REMEDY
from weighbridge.checkpoint.gguf_header import GgufHeader
from weighbridge.errors import CheckpointError

# tokenizer.ggml.token_type (llama.h, llama_token_type)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_WORDS_AND_NUMBERS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Split:
    """How text is cut before merging. ``digits``: every digit alone, then GPT-2's rule; ``pattern``: this rule."""

    pattern: str | None = None
    digits: bool = False
    nfc: bool = False
    whole_words: bool = False  # a word that is in the vocabulary is taken as it is
    bos: bool = False  # where the file does not say whether a sequence begins with the BOS token

    def pre_tokenizer(self) -> dict[str, Any]:
        """This rule in ``tokenizer.json``'s words."""
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": not self.pattern}
        if self.digits:
            return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]}
        if self.pattern:
            split = {"type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": False}
            return {"type": "Sequence", "pretokenizers": [split, level]}
        return level


_LLAMA3 = Split(_WORDS_AND_NUMBERS.replace("NUMBERS", r"\p{N}{1,3}"), whole_words=True, bos=True)
_QWEN2 = Split(_WORDS_AND_NUMBERS.replace("NUMBERS", r"\p{N}"), nfc=True)
SPLITS: Mapping[str, Split] = {
    "gpt-2": Split(),
    "smollm": Split(digits=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


@dataclass(frozen=True, slots=True)
class TokenizerPlan:
    """The files to write: ``tokenizer.json``, ``tokenizer_config.json``, ``generation_config.json``; and the
    vocabulary (id -> token) that the first must turn out to have."""

    tokenizer: dict[str, Any]
    tokenizer_config: dict[str, Any]
    generation_config: dict[str, Any]
    vocabulary: list[str]


def plan_tokenizer(header: GgufHeader, *, context: int, where: str) -> TokenizerPlan:
    """Raises ``CheckpointError`` for a tokenizer that is incomplete, contradicts itself or is not understood."""
    source = _Source(header, where)
    model = source.metadata.get("tokenizer.ggml.model")
    if model == "gpt2":
        tokenizer, bos = _byte_level(source)
    elif model == "llama":
        from weighbridge.checkpoint.gguf_sentencepiece import sentencepiece_tokenizer

        tokenizer, bos = sentencepiece_tokenizer(source.tokens, source.types, source.scores(), source.metadata), True
    else:
        raise source.error("tokenizer.ggml.model", f"the tokenizer {str(model)[:40]!r} is not converted")
    add_bos = source.flag("tokenizer.ggml.add_bos_token", bos)
    add_eos = source.flag("tokenizer.ggml.add_eos_token", False)
    tokenizer["added_tokens"] = source.added_tokens()
    tokenizer["post_processor"] = _template(
        tokenizer.pop("post_processor", None), source.special("bos") if add_bos else None,
        source.special("eos") if add_eos else None,
    )  # fmt: skip
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": add_bos,
        "add_eos_token": add_eos,
    }
    generation: dict[str, Any] = {}
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        if (special := source.special(key)) is not None:
            config[f"{role}_token"] = special[1]
            if role != "unk":
                generation[f"{role}_token_id"] = special[0]
    ends = [special[0] for key in ("eos", "eot", "eom") if (special := source.special(key)) is not None]
    if len(set(ends)) > 1:
        generation["eos_token_id"] = sorted(set(ends))
    return TokenizerPlan(tokenizer, config, generation, source.tokens)


def _byte_level(source: _Source) -> tuple[dict[str, Any], bool]:
    name = source.metadata.get("tokenizer.ggml.pre")
    split = SPLITS.get(name) if isinstance(name, str) else None
    if split is None:
        raise source.error("tokenizer.ggml.pre", f"the splitting rule {str(name)[:40]!r} is not known")
    merges = source.texts("tokenizer.ggml.merges")
    pairs = [merge.split(" ") for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise source.error("tokenizer.ggml.merges", "a merge is not two tokens")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": {"type": "NFC"} if split.nfc else None,
        "pre_tokenizer": split.pre_tokenizer(),
        "post_processor": byte_level | {"trim_offsets": False},
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": split.whole_words,
            "vocab": {token: index for index, token in enumerate(source.tokens)},
            "merges": pairs,
        },
    }, split.bos


def _template(
    first: dict[str, Any] | None, bos: tuple[int, str] | None, eos: tuple[int, str] | None
) -> dict[str, Any] | None:
    """``first``, then the special tokens around the sequence."""
    if bos is None and eos is None:
        return first
    sequence: dict[str, list[Any]] = {}
    for pair in ("A", "B"):
        pieces: list[Any] = [{"Sequence": {"id": pair, "type_id": 0 if pair == "A" else 1}}]
        kind = 0 if pair == "A" else 1
        if bos is not None:
            pieces.insert(0, {"SpecialToken": {"id": bos[1], "type_id": kind}})
        if eos is not None:
            pieces.append({"SpecialToken": {"id": eos[1], "type_id": kind}})
        sequence[pair] = pieces
    template = {
        "type": "TemplateProcessing",
        "single": sequence["A"],
        "pair": sequence["A"] + sequence["B"],
        "special_tokens": {
            token: {"id": token, "ids": [index], "tokens": [token]} for index, token in filter(None, (bos, eos))
        },
    }
    return {"type": "Sequence", "processors": [first, template]} if first is not None else template


class _Source:
    """The tokenizer's metadata, checked."""

    def __init__(self, header: GgufHeader, where: str) -> None:
        self.metadata = header.metadata
        self._where = where
        self.tokens = self.texts("tokenizer.ggml.tokens")
        if not self.tokens or len(set(self.tokens)) != len(self.tokens):
            raise self.error("tokenizer.ggml.tokens", "the vocabulary is empty, or a token stands twice")
        types = self.metadata.get("tokenizer.ggml.token_type", [1] * len(self.tokens))
        if not isinstance(types, list) or len(types) != len(self.tokens):
            raise self.error("tokenizer.ggml.token_type", "not one type for each token")
        self.types = types

    def error(self, key: str, message: str) -> CheckpointError:
        return CheckpointError(message, where=f"{self._where} at {key}", remedy=REMEDY)

    def texts(self, key: str) -> list[str]:
        value = self.metadata.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "not a list of strings")
        return value

    def scores(self) -> list[float]:
        value = self.metadata.get("tokenizer.ggml.scores")
        if not isinstance(value, list) or len(value) != len(self.tokens):
            raise self.error("tokenizer.ggml.scores", "not one score for each token")
        if not all(isinstance(item, float) for item in value):
            raise self.error("tokenizer.ggml.scores", "not numbers")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.metadata.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "neither true nor false")
        return value

    def special(self, role: str) -> tuple[int, str] | None:
        """(id, token) of a special role, None where the file names none."""
        key = f"tokenizer.ggml.{role}_token_id"
        value = self.metadata.get(key)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < len(self.tokens):
            raise self.error(key, f"{str(value)[:40]} is not a token of the vocabulary of {len(self.tokens)}")
        return value, self.tokens[value]

    def added_tokens(self) -> list[dict[str, Any]]:
        """Tokens that are cut out of text before anything else: control tokens, and those that a user defined."""
        return [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for index, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
