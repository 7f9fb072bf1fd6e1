"""Whether tokenizer and model have the same vocabulary: every token needs a row in the embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weighbridge.checkpoint.facts import CONFIG
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.checkpoint.weights import read_json
from weighbridge.errors import CheckpointError
from weighbridge.measures.integrity.notes import Notes

TOKENIZER = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_FIELD_1_BYTES = 1 << 3 | 2
_MAX_PIECES_BYTES = 256 * 1024 * 1024
# Embeddings are padded to round sizes (the largest known: 2.3 %). A tokenizer that leaves a quarter of the rows
# without a token was made for another model.
_FEWEST = 0.75


def check_vocabulary(checkpoint: Checkpoint, notes: Notes) -> None:
    """Findings where the tokenizer's tokens and the config's vocabulary cannot belong together."""
    names = set(checkpoint.manifest.by_path)
    config = read_json(checkpoint.locate(CONFIG), where=CONFIG)
    size = checkpoint.facts.vocabulary
    if size is None:
        notes.undecided(CONFIG, "states no vocab_size, so that the tokenizer cannot be compared with it")
        return
    tokens = _tokens(checkpoint, names, notes)
    if tokens is None:
        return
    file, ids = tokens
    notes.count("tokens", len(ids))
    if not ids:
        raise CheckpointError("holds no tokens", where=file)
    highest = max(ids.values())
    if highest >= size:
        notes.find("tokenizer-differs", file, f"has token {highest}, config.json a vocabulary of {size}")
    elif len(ids) < _FEWEST * size:
        notes.find("tokenizer-differs", file, f"has {len(ids)} tokens, config.json a vocabulary of {size}")
    _check_special_ids(config, CONFIG, size, notes)
    if "generation_config.json" in names:
        generation = read_json(checkpoint.locate("generation_config.json"), where="generation_config.json")
        _check_special_ids(generation, "generation_config.json", size, notes)
    if "tokenizer_config.json" in names:
        settings = read_json(checkpoint.locate("tokenizer_config.json"), where="tokenizer_config.json")
        _check_settings(settings, ids, highest, size, notes)
    if file == TOKENIZER and "vocab.json" in names:
        _check_twin(read_json(checkpoint.locate("vocab.json"), where="vocab.json"), ids, notes)


def _tokens(checkpoint: Checkpoint, names: set[str], notes: Notes) -> tuple[str, Mapping[str, int]] | None:
    """(file, token -> id) of the tokenizer that a loader takes; None, and undecided, if there is none to read."""
    if TOKENIZER in names:
        return TOKENIZER, fast_tokens(read_json(checkpoint.locate(TOKENIZER), where=TOKENIZER))
    extra: dict[str, int] = {}
    if "added_tokens.json" in names:
        extra = _ids(read_json(checkpoint.locate("added_tokens.json"), where="added_tokens.json"), "added_tokens.json")
    if "vocab.json" in names:
        vocabulary = read_json(checkpoint.locate("vocab.json"), where="vocab.json")
        return "vocab.json", {**_ids(vocabulary, "vocab.json"), **extra}
    if _SENTENCEPIECE in names:
        pieces = sentencepiece_pieces(checkpoint.locate(_SENTENCEPIECE))
        return _SENTENCEPIECE, {**{piece: index for index, piece in enumerate(pieces)}, **extra}
    notes.undecided("tokenizer", "no tokenizer file that is understood (tokenizer.json, vocab.json, tokenizer.model)")
    return None


def fast_tokens(value: Mapping[str, Any]) -> dict[str, int]:
    """Token -> id of a ``tokenizer.json``, added tokens included. Raises ``CheckpointError``."""
    model = value.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # unigram: [piece, score] in the order of ids
        if not all(isinstance(item, list) and item and isinstance(item[0], str) for item in vocabulary):
            raise CheckpointError("not a list of pieces", where=f"{TOKENIZER} at $.model.vocab")
        ids = {item[0]: index for index, item in enumerate(vocabulary)}
    else:
        ids = _ids(vocabulary, f"{TOKENIZER} at $.model.vocab")
    added = value.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(item, dict) for item in added):
        raise CheckpointError("not a list of tokens", where=f"{TOKENIZER} at $.added_tokens")
    ids.update(_ids({item.get("content"): item.get("id") for item in added}, f"{TOKENIZER} at $.added_tokens"))
    return ids


def sentencepiece_pieces(path: Path) -> list[str]:
    """The pieces of a SentencePiece model, in the order of their ids: field 1 of each field 1 of the protocol buffer.

    Raises ``CheckpointError`` for a file that is no such model.
    """
    data = read_bytes(path, limit=_MAX_PIECES_BYTES, where=path.name)
    pieces = []
    for key, begin, end in _fields(data, 0, len(data), path.name):
        if key == _FIELD_1_BYTES:
            texts = [data[one:other] for name, one, other in _fields(data, begin, end, path.name) if name == key]
            try:
                pieces.append(texts[0].decode("utf-8") if texts else "")
            except UnicodeDecodeError as cause:
                raise CheckpointError("a piece is not UTF-8", where=path.name) from cause
    return pieces


def _fields(data: bytes, position: int, end: int, where: str) -> Iterator[tuple[int, int, int]]:
    """(key, begin, end) of each field of a protocol buffer message."""
    while position < end:
        key, position = _varint(data, position, where)
        begin = position
        kind = key & 7
        if kind == 0:
            _, position = _varint(data, position, where)
        elif kind == 2:
            length, begin = _varint(data, position, where)
            position = begin + length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise CheckpointError("not a SentencePiece model", where=where)
        if position > end:
            raise CheckpointError("a truncated SentencePiece model", where=where)
        yield key, begin, position


def _varint(data: bytes, position: int, where: str) -> tuple[int, int]:
    result = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise CheckpointError("a truncated SentencePiece model", where=where)


def _ids(value: Any, where: str) -> dict[str, int]:
    if not isinstance(value, dict) or not all(
        isinstance(token, str) and type(index) is int and 0 <= index < 2**31 for token, index in value.items()
    ):
        raise CheckpointError("does not map tokens to ids", where=where)
    return value


def _check_special_ids(config: Mapping[str, Any], where: str, size: int, notes: Notes) -> None:
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
        value = config.get(key)
        for item in value if isinstance(value, list) else [value]:
            # Old Llama configs say -1 for "none".
            if item is not None and (type(item) is not int or not -1 <= item < size):
                notes.find(
                    "tokenizer-differs", f"{where} at $.{key}", f"{str(item)[:40]} is not in a vocabulary of {size}"
                )


def _check_settings(settings: Mapping[str, Any], ids: Mapping[str, int], highest: int, size: int, notes: Notes) -> None:
    """Tokens that ``tokenizer_config.json`` adds: same ids as elsewhere, and rows for those that are new."""
    where = "tokenizer_config.json"
    known = dict(ids)
    decoder = settings.get("added_tokens_decoder") or {}
    for key, item in decoder.items() if isinstance(decoder, dict) else ():
        content = item.get("content") if isinstance(item, dict) else None
        if not isinstance(content, str) or not key.isdecimal():
            raise CheckpointError("not an id and its token", where=f"{where} at $.added_tokens_decoder.{key[:40]}")
        if known.get(content, int(key)) != int(key):
            message = f"{content[:40]!r} is {int(key)} here, {known[content]} in the tokenizer"
            notes.find("tokenizer-differs", f"{where} at $.added_tokens_decoder", message)
        elif int(key) >= size:
            message = f"has token {int(key)}, config.json a vocabulary of {size}"
            notes.find("tokenizer-differs", f"{where} at $.added_tokens_decoder", message)
        known[content] = int(key)
    for role in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        value = settings.get(role)
        text = value.get("content") if isinstance(value, dict) else value
        # A special token that the tokenizer lacks is appended to it when it is loaded.
        if isinstance(text, str) and text and text not in known and highest + 1 >= size:
            notes.find("tokenizer-differs", f"{where} at $.{role}", f"{text[:40]!r} is not in the vocabulary")


def _check_twin(vocabulary: Mapping[str, Any], ids: Mapping[str, int], notes: Notes) -> None:
    """Some loaders read vocab.json instead: it must give the same ids."""
    other = _ids(vocabulary, "vocab.json")
    differing = sum(ids.get(token, index) != index for token, index in other.items())
    if differing:
        notes.find("tokenizer-differs", "vocab.json", f"{differing} tokens have another id than in {TOKENIZER}")
