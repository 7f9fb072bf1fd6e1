"""A Hugging Face tokenizer as GGUF keeps it. Pure: JSON values in, keys and values out.

The inverse of ``checkpoint.gguf_tokenizer``, over the same table of splitting rules. A tokenizer whose rules GGUF
cannot say exactly is an error: llama.cpp would quietly cut text otherwise than the model has learnt it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from weighbridge.artifacts.model import REMEDY
from weighbridge.checkpoint.gguf_tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    SPLITS,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
)
from weighbridge.errors import CheckpointError

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
_ROLES = (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
_SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """``tokens`` by number, their ``types`` (llama.h's), and the other keys of ``tokenizer.ggml`` to write."""

    tokens: Sequence[str]
    types: Sequence[int]
    keys: Mapping[str, str | bool | int | Sequence[str] | Sequence[float]]


def plan_vocabulary(
    tokenizer: Mapping[str, Any], config: Mapping[str, Any], *, size: int, ends: Sequence[int]
) -> Vocabulary:
    """Plan the keys from ``tokenizer.json`` and ``tokenizer_config.json``.

    ``size``: rows of the embedding; numbers without a token are filled up with tokens that no text contains.
    ``ends``: the tokens that end a response, as the checkpoint's configs say. Raises ``CheckpointError``.
    """
    tokens, types = _tokens(tokenizer, size)
    numbers = {token: number for number, token in enumerate(tokens)}
    model = tokenizer["model"]
    keys: dict[str, Any]
    if _is_sentencepiece(tokenizer):
        keys = _sentencepiece(tokenizer, tokens, types)
    else:
        keys = {"model": "gpt2", "pre": _rule(tokenizer), "merges": [" ".join(pair) for pair in _pairs(model)]}
    special = _special(config, numbers)
    begins, closes = _around(tokenizer.get("post_processor"))
    for name, found, role in (("add_bos_token", begins, "bos"), ("add_eos_token", closes, "eos")):
        if found and found != special.get(role):
            _refuse(f"puts a token around text that is not the tokenizer's {role}_token", f"{FILE} at $.post_processor")
        if isinstance(config.get(name), bool) and config[name] != bool(found):
            _refuse(f"{name} contradicts the post-processor of {FILE}", CONFIG)
        keys[name] = found is not None
    for role, name in _ROLES:
        if role in special:
            keys[f"{name}_token_id"] = numbers[special[role]]
    keys |= _ends(special, numbers, ends, tokens)
    return Vocabulary(tokens, types, keys)


def _tokens(tokenizer: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    model = tokenizer.get("model")
    if not isinstance(model, Mapping) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        _refuse("no vocabulary for byte-pair merges", f"{FILE} at $.model")
    by_number: dict[int, str] = {}
    for token, number in model["vocab"].items():
        _place(by_number, number, token, size)
    kinds = dict.fromkeys(by_number, NORMAL)
    if _is_sentencepiece(tokenizer):
        kinds |= {number: BYTE for number, token in by_number.items() if _is_byte(token)}
    for added in tokenizer.get("added_tokens") or ():
        number, token = added.get("id"), added.get("content")
        _place(by_number, number, token, size)
        kinds[number] = CONTROL if added.get("special") else USER_DEFINED
        if token == model.get("unk_token"):
            kinds[number] = UNKNOWN
        cuts = added.get("lstrip") or added.get("rstrip") or added.get("single_word")
        if cuts or (added.get("normalized") and _is_sentencepiece(tokenizer)):
            _refuse(f"the token {token[:40]!r} takes the text around it into account", f"{FILE} at $.added_tokens")
    tokens = [by_number.get(number, f"[PAD{number}]") for number in range(size)]
    if len(set(tokens)) != size:
        _refuse("a token stands twice", FILE)
    return tokens, [kinds.get(number, UNUSED) for number in range(size)]


def _place(by_number: dict[int, str], number: Any, token: Any, size: int) -> None:
    if not isinstance(token, str) or type(number) is not int or by_number.get(number, token) != token:
        _refuse(f"{str(token)[:40]!r} has no number of its own", FILE)
    if not 0 <= number < size:
        _refuse(f"the token {token[:40]!r} has the number {number}, the embedding {size} rows", FILE)
    by_number[number] = token


def _pairs(model: Mapping[str, Any]) -> list[list[str]]:
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges") or ()]
    if not all(isinstance(pair, list) and len(pair) == 2 and not any(" " in part for part in pair) for pair in pairs):
        _refuse("a merge is not two tokens", f"{FILE} at $.model.merges")
    return pairs


def _rule(tokenizer: Mapping[str, Any]) -> str:
    """GGUF's name of the rule by which text is split before merging."""
    model = tokenizer["model"]
    normalizer = tokenizer.get("normalizer")
    odd = [name for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout") if model.get(name)]
    if odd or model.get("byte_fallback"):
        _refuse("merges that GGUF cannot say", f"{FILE} at $.model.{[*odd, 'byte_fallback'][0]}")
    for name, split in SPLITS.items():
        if (
            _essence(tokenizer.get("pre_tokenizer")) == _essence(split.pre_tokenizer())
            and normalizer == ({"type": "NFC"} if split.nfc else None)
            and bool(model.get("ignore_merges", False)) == split.whole_words
        ):
            return name
    raise _error("a rule of splitting text that has no name in GGUF here", f"{FILE} at $.pre_tokenizer")


def _essence(value: Any) -> Any:
    """A pre-tokenizer without what does not change the tokens."""
    if isinstance(value, Mapping):
        flat = {key: _essence(inner) for key, inner in value.items() if key != "trim_offsets"}
        if flat.get("type") == "Sequence" and len(flat.get("pretokenizers") or ()) == 1:
            return flat["pretokenizers"][0]
        if flat.get("type") == "ByteLevel":
            flat.setdefault("use_regex", True)
        return flat
    return [_essence(inner) for inner in value] if isinstance(value, list) else value


def _is_sentencepiece(tokenizer: Mapping[str, Any]) -> bool:
    return bool(tokenizer["model"].get("byte_fallback"))


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _sentencepiece(tokenizer: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]) -> dict[str, Any]:
    """Scores that put the merges into the order in which they stand: the first gets the highest."""
    steps = (tokenizer.get("normalizer") or {}).get("normalizers") or []
    prefix = {"type": "Prepend", "prepend": _SPACE}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if tokenizer.get("pre_tokenizer") is not None or steps not in ([space], [prefix, space]):
        _refuse("SentencePiece's rule in a form that is not known", f"{FILE} at $.normalizer")
    order: dict[str, int] = {}
    for left, right in _pairs(tokenizer["model"]):
        order.setdefault(left + right, len(order))
    scores = [
        0.0 if kind != NORMAL else -float(order.get(token, len(order) + number))
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
    ]
    return {"model": "llama", "pre": "default", "scores": scores, "add_space_prefix": prefix in steps}


def _special(config: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, str]:
    """Role -> token, as ``tokenizer_config.json`` names them."""
    result = {}
    for role, _ in _ROLES:
        value = config.get(f"{role}_token")
        token = value.get("content") if isinstance(value, Mapping) else value
        if token is None:
            continue
        if not isinstance(token, str) or token not in numbers:
            _refuse(f"{str(token)[:40]!r} is not a token of the vocabulary", f"{CONFIG} at $.{role}_token")
        result[role] = token
    if "eos" not in result:
        _refuse("no eos_token, without which llama.cpp would take another for it", CONFIG)
    return result


def _around(processor: Any) -> tuple[str | None, str | None]:
    """The tokens that are put before and after a text."""
    steps = processor.get("processors") if isinstance(processor, Mapping) and "processors" in processor else [processor]
    before: list[str] = []
    after: list[str] = []
    for step in steps or ():
        kind = step.get("type") if isinstance(step, Mapping) else None
        if step is None or kind == "ByteLevel":
            continue
        if kind != "TemplateProcessing":
            _refuse(f"a post-processor {str(kind)[:40]!r}", f"{FILE} at $.post_processor")
        side = before
        for piece in step.get("single") or ():
            if "Sequence" in piece:
                side = after
            else:
                side.append(piece["SpecialToken"]["id"])
    if len(before) > 1 or len(after) > 1:
        _refuse("more than one token on a side of the text", f"{FILE} at $.post_processor")
    return next(iter(before), None), next(iter(after), None)


def _ends(
    special: Mapping[str, str], numbers: Mapping[str, int], ends: Sequence[int], tokens: Sequence[str]
) -> dict[str, int]:
    """Where a response may end besides the EOS: GGUF has place for two more, the ends of a turn and of a message."""
    more = sorted(set(ends) - {numbers[special["eos"]]})
    if any(not 0 <= number < len(tokens) for number in more) or len(more) > 2:
        _refuse(f"{len(more) + 1} tokens end a response; GGUF has place for three of the vocabulary", "eos_token_id")
    more.sort(key=lambda number: "eom" in tokens[number])  # Llama 3's end of a message, where there is one
    return dict(zip(("eot_token_id", "eom_token_id"), more, strict=False))


def _error(message: str, where: str) -> CheckpointError:
    return CheckpointError(message, where=where, remedy=REMEDY)


def _refuse(message: str, where: str) -> NoReturn:
    raise _error(message, where)
