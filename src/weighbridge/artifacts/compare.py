"""Whether a GGUF file is its source: read back with the project's own reader, and compared in everything.

Settings, tokenizer and chat templates must be equal; numbers in float32 and float16 equal to the last bit, quantised
ones as near as their type allows. The reader shares the writer's tables of names; that llama.cpp computes the same
from them is what the tests show, on logits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from weighbridge.artifacts.quantise import LOSS, relative_error
from weighbridge.artifacts.source import Source
from weighbridge.checkpoint.gguf_convert import slices, target_rows
from weighbridge.checkpoint.gguf_families import ROPE_FACTORS, Target, plan_config, plan_tensors
from weighbridge.checkpoint.gguf_header import GgufHeader, read_gguf_header
from weighbridge.checkpoint.gguf_tensors import read_rows
from weighbridge.checkpoint.gguf_tokenizer import UNUSED, plan_tokenizer
from weighbridge.checkpoint.hashing import Progress
from weighbridge.errors import CheckpointError

_ROLES = ("bos", "eos", "unk", "pad")

PROBES = (
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?\n\n\tdef f(x):  return x**2  # 1234567 -> 3.14",
    "Gr\u00fc\u00dfe aus K\u00f6ln; \u00e7a et l\u00e0; \u041f\u0440\u0438\u0432\u0435\u0442! \u4f60\u597d\uff0c\u3002 "
    "\uc548\ub155 \U0001f600\U0001f469\u200d\U0001f467 e\u0301 \u00a0\u200b \ufb01n \u00bd \u2461",
    " leading and trailing   spaces  \r\n\r\n I'LL we've CAN'T 'tis <unk> [INST] <|im_start|>user\n<|eot_id|>",
)
"""Texts that splitting rules cut differently: case, digits, scripts, combining marks, white space, special tokens."""


def compare(path: Path, source: Source, *, progress: Progress | None = None, where: str | None = None) -> None:
    """Raise ``CheckpointError`` unless the file at ``path`` is ``source`` in GGUF.

    ``progress(done, total)`` counts numbers compared.
    """
    where = where or path.name
    header = read_gguf_header(path, where=where)
    _compare_config(header, path, source, where)
    compare_tokenizer(header, source, where)
    if header.templates() != source.templates:
        raise _differs("its chat templates", where)
    targets = plan_tensors(header, source.model.config, where=where)
    written = {target.name for target in targets}
    if written != {name for part in source.model.parts for name in part.sources}:
        raise _differs("its set of tensors", where)
    total, done = sum(target.elements for target in targets), 0
    with ThreadPoolExecutor(2, thread_name_prefix="compare") as pool:
        for target, same in pool.map(lambda one: _compare_tensor(path, source, one), targets):
            if not same:
                raise _differs(f"the tensor {target.name}", where)
            done += target.elements
            if progress is not None:
                progress(done, total)


def compare_tokenizer(header: GgufHeader, source: Source, where: str) -> None:
    """Raise ``CheckpointError`` unless tokens, merges, special tokens and splitting rule are the source's."""
    context = int(source.model.config["max_position_embeddings"])
    plan = plan_tokenizer(header, context=context, where=where)
    types = header.metadata.get("tokenizer.ggml.token_type")
    unused = {number for number, kind in enumerate(types if isinstance(types, list) else ()) if kind == UNUSED}
    for what, found, expected in (
        ("the number of tokens", len(plan.vocabulary), source.model.config["vocab_size"]),
        ("its tokens", _tokens(plan.tokenizer, unused), _tokens(source.tokenizer, set())),
        ("its merges", _merges(plan.tokenizer), _merges(source.tokenizer)),
        ("its special tokens", _added(plan.tokenizer), _added(source.tokenizer)),
        ("the roles of its tokens", _roles(plan.tokenizer_config), _roles(source.tokenizer_config)),
    ):
        if found != expected:
            raise _differs(what, where)
    ours, theirs = _load(plan.tokenizer, where), _load(source.tokenizer, where)
    for probe in PROBES:
        if ours.encode(probe).ids != theirs.encode(probe).ids:
            raise _differs(f"how it cuts {probe[:20]!r}", where)


def _compare_config(header: GgufHeader, path: Path, source: Source, where: str) -> None:
    factors = None
    if (tensor := header.by_name.get(ROPE_FACTORS)) is not None:
        with path.open("rb") as stream:
            factors = [float(value) for value in read_rows(stream, tensor, tensor.shape[-1], 0, 1)[0]]
    found = plan_config(header, factors, where=where)
    expected = source.model.config
    for key in sorted((found.keys() | expected.keys()) - {"dtype", "bos_token_id", "eos_token_id"}):
        if found.get(key) != expected.get(key):
            raise _differs(f"its {key}: {found.get(key)!r:.60} for {expected.get(key)!r:.60}", where)


def _compare_tensor(path: Path, source: Source, target: Target) -> tuple[Target, bool]:
    """Whether the rows of ``target``, in transformers' order, are the source's."""
    columns = target.matrix[1]
    kind = target.source.type_name
    with path.open("rb") as stream:
        for first, count in slices(target):
            back = target_rows(stream, target, first, count)
            rows = source.rows(target.name, columns, first, count)
            if kind in ("F32", "F16"):
                rows = rows.astype("<f2").astype(np.float32) if kind == "F16" else rows
                if not np.array_equal(back.view(np.uint32), np.ascontiguousarray(rows).view(np.uint32)):
                    return target, False
            elif not relative_error(rows, back) <= LOSS[kind]:
                return target, False
    return target, True


def _tokens(tokenizer: Mapping[str, Any], without: set[int]) -> dict[str, int]:
    vocabulary = dict(tokenizer["model"]["vocab"])
    vocabulary |= {added["content"]: added["id"] for added in tokenizer.get("added_tokens") or ()}
    return {token: number for token, number in vocabulary.items() if number not in without}


def _merges(tokenizer: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The merges in their order. Different ways to one token have one score in SentencePiece: their order says
    nothing, and they are brought into one."""
    pairs = [tuple(one.split(" ")) if isinstance(one, str) else tuple(one) for one in tokenizer["model"]["merges"]]
    if not tokenizer["model"].get("byte_fallback"):
        return pairs
    order: dict[str, int] = {}
    for pair in pairs:
        order.setdefault("".join(pair), len(order))
    return sorted(pairs, key=lambda pair: (order["".join(pair)], pair))


def _added(tokenizer: Mapping[str, Any]) -> set[tuple[int, str, bool]]:
    added: Iterable[Mapping[str, Any]] = tokenizer.get("added_tokens") or ()
    return {(one["id"], one["content"], bool(one.get("special"))) for one in added}


def _roles(config: Mapping[str, Any]) -> dict[str, Any]:
    values = {role: config.get(f"{role}_token") for role in _ROLES}
    return {role: value.get("content") if isinstance(value, Mapping) else value for role, value in values.items()}


def _load(value: Mapping[str, Any], where: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(value))
    except Exception as cause:  # the library raises bare Exception
        raise CheckpointError(f"its tokenizer cannot be loaded: {str(cause)[:200]}", where=where) from cause


def _differs(what: str, where: str) -> CheckpointError:
    return CheckpointError(f"what was written differs from its source in {what}", where=where)
