"""What a checkpoint says of itself: architecture, size, context, licence. Read from its files, without a framework.

Config values are taken as stated; parameters are counted from the weights' headers. Each fact that people argue
about (licence, lineage, training compute) names the file and field that it came from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from weighbridge.canonical import Json
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.origin import Origin
from weighbridge.checkpoint.weights import Weights, read_json
from weighbridge.errors import CheckpointError
from weighbridge.evidence import to_json

CARD = "README.md"
CONFIG = "config.json"
_MAX_CARD_BYTES = 4 * 1024 * 1024

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
_FLOP_KEYS = ("training_flop", "training_flops", "training_compute_flop", "training_compute_flops")
_TIED_BY_DEFAULT = frozenset({"gpt2", "gemma", "gemma2", "gemma3", "gemma3_text", "cohere", "cohere2"})


@dataclass(frozen=True)
class Facts:
    """Facts of a checkpoint. None or empty where nothing is stated.

    ``parameters``: numbers stored in the weights, a tied output embedding counted once (None without safetensors);
    ``context`` in tokens; ``dtype`` of most parameters, in torch's words; ``dtypes``: dtype -> parameters;
    ``vocabulary``: rows of the embedding as configured; ``tokenizer``: its class; ``training_flop``: total floating
    point operations of training, as stated; ``license``: as declared (``apache-2.0``); ``base_model``: declared
    lineage; ``sources``: field -> where it was read.
    """

    architecture: str | None
    model_type: str
    parameters: int | None = None
    tensors: int = 0
    context: int | None = None
    dtype: str | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    vocabulary: int | None = None
    tied_embeddings: bool = False
    quantization: str | None = None
    tokenizer: str | None = None
    chat_template: bool = False
    special_tokens: Mapping[str, Json] = field(default_factory=dict)
    training_flop: float | None = None
    name: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    base_model: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The JSON form. Large integers stay exact: canonical JSON holds them up to 2**53."""
        result: dict[str, Json] = to_json(self)
        return result


def read_facts(
    root: Path,
    names: Iterable[str],
    weights: Weights | None,
    origin: Origin | None,
    *,
    locate: Callable[[str], Path] | None = None,
) -> Facts:
    """Facts of the checkpoint in ``root``, whose files are ``names`` (``CARD`` is looked for besides).

    Raises ``CheckpointError`` if ``config.json`` is missing or any file read here is malformed.
    """
    names = set(names)
    locate = locate or (lambda name: root / name)
    if CONFIG not in names:
        raise CheckpointError(
            "no config.json", where=str(root), remedy="give a Hugging Face model folder, or a GGUF file"
        )
    config = read_json(locate(CONFIG), where=CONFIG)
    generation = _optional("generation_config.json", names, locate)
    tokenizer = _optional("tokenizer_config.json", names, locate)
    card = read_card(root / CARD)
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    merged = {**text, **config} if text else config
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise CheckpointError("no model_type", where=f"{CONFIG} at $.model_type", remedy="add the model's type")
    architectures = config.get("architectures")
    tied = _tied(merged, model_type, weights)
    parameters, dtypes = _count(weights, tied)
    main = max(dtypes, key=lambda key: dtypes[key]) if dtypes else None
    sources: dict[str, str] = {}
    declared = _Declared(card, origin, config, sources)
    return Facts(
        architecture=next(iter(_as_texts(architectures)), None),
        model_type=model_type,
        parameters=parameters,
        tensors=len(weights.tensors) if weights else 0,
        context=_first(merged, _CONTEXT_KEYS),
        dtype=_DTYPES.get(main, main) if main else None,
        dtypes=dtypes,
        vocabulary=_first(merged, ("vocab_size",)),
        tied_embeddings=tied,
        quantization=_quantization(config),
        tokenizer=_text(tokenizer.get("tokenizer_class")) or ("tokenizer.json" if "tokenizer.json" in names else None),
        chat_template="chat_template.jinja" in names or "chat_template" in tokenizer or "chat_template.json" in names,
        special_tokens={
            key: generation.get(key, merged.get(key))
            for key in ("bos_token_id", "eos_token_id", "pad_token_id")
            if _is_ids(generation.get(key, merged.get(key)))
        },
        training_flop=declared.flop(),
        name=declared.name(),
        license=declared.text("license", "license", "general.license"),
        license_name=declared.text("license_name", "license_name", "general.license.name"),
        license_link=declared.text("license_link", "license_link", "general.license.link"),
        base_model=declared.base_model(),
        languages=declared.texts("languages", "language", "general.languages"),
        sources=sources,
    )


def read_card(path: Path) -> Mapping[str, Any]:
    """The YAML front matter of a model card, or nothing. Raises ``CheckpointError`` if there is one but malformed."""
    if path.is_symlink() and not path.exists():
        return {}
    if not path.is_file():
        return {}
    where = path.name
    try:
        text = read_bytes(path, limit=_MAX_CARD_BYTES, where=where).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise CheckpointError("not UTF-8", where=where) from cause
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    end = next((index for index, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise CheckpointError("its front matter has no end", where=where, remedy="close it with a line ---")
    try:
        value = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, RecursionError, ValueError) as cause:
        raise CheckpointError(f"its front matter is not YAML: {str(cause)[:200]}", where=where) from cause
    return value if isinstance(value, dict) else {}


class _Declared:
    """What the card says, else what the origin says, else what the config says; remembers where."""

    def __init__(
        self, card: Mapping[str, Any], origin: Origin | None, config: Mapping[str, Any], sources: dict[str, str]
    ) -> None:
        self.card = card
        self.origin = origin
        self.config = config
        self.sources = sources

    def texts(self, fact: str, card_key: str, gguf_key: str) -> tuple[str, ...]:
        value = self.card.get(card_key)
        if found := _as_texts(value):
            self.sources[fact] = f"{CARD} at {card_key}"
            return found
        if self.origin is not None and (found := _as_texts(self.origin.metadata.get(gguf_key))):
            self.sources[fact] = f"{self.origin.name} at {gguf_key}"
            return found
        return ()

    def text(self, fact: str, card_key: str, gguf_key: str) -> str | None:
        found = self.texts(fact, card_key, gguf_key)
        if not found and fact == "license" and (stated := _text(self.config.get("license"))):
            self.sources[fact] = f"{CONFIG} at license"
            return stated
        return ", ".join(found) or None

    def base_model(self) -> tuple[str, ...]:
        if found := _as_texts(self.card.get("base_model")):
            self.sources["base_model"] = f"{CARD} at base_model"
            return found
        if self.origin is not None and self.origin.base_model:
            self.sources["base_model"] = f"{self.origin.name} at general.base_model"
            return self.origin.base_model
        return ()

    def name(self) -> str | None:
        if found := _text(self.card.get("model_name")):
            self.sources["name"] = f"{CARD} at model_name"
            return found
        if self.origin is not None and (found := _text(self.origin.metadata.get("general.name"))):
            self.sources["name"] = f"{self.origin.name} at general.name"
            return found
        if found := _text(self.config.get("_name_or_path")):
            self.sources["name"] = f"{CONFIG} at _name_or_path"
            return found
        return None

    def flop(self) -> float | None:
        for where, values in ((CARD, self.card), (CONFIG, self.config)):
            for key in _FLOP_KEYS:
                if key not in values:
                    continue
                try:
                    flop = float(values[key])
                except (TypeError, ValueError, OverflowError):
                    flop = math.nan
                if isinstance(values[key], bool) or not (math.isfinite(flop) and flop > 0):
                    raise CheckpointError(
                        f"{str(values[key])[:40]!r} is no number of operations", where=f"{where} at {key}"
                    )
                self.sources["training_flop"] = f"{where} at {key}"
                return flop
        return None


def _count(weights: Weights | None, tied: bool) -> tuple[int | None, dict[str, int]]:
    if weights is None:
        return None, {}
    counts: Counter[str] = Counter()
    for name, (_, tensor) in weights.tensors.items():
        if tied and name == "lm_head.weight" and any(key.endswith("embed_tokens.weight") for key in weights.tensors):
            continue  # the same matrix, stored twice
        counts[tensor.dtype] += tensor.elements
    return sum(counts.values()), dict(sorted(counts.items()))


def _tied(config: Mapping[str, Any], model_type: str, weights: Weights | None) -> bool:
    stated = config.get("tie_word_embeddings")
    if isinstance(stated, bool):
        return stated
    has_head = weights is not None and "lm_head.weight" in weights.tensors
    return model_type in _TIED_BY_DEFAULT or (weights is not None and not has_head)


def _quantization(config: Mapping[str, Any]) -> str | None:
    value = config.get("quantization_config")
    if not isinstance(value, dict):
        return None
    return _text(value.get("quant_method")) or "unnamed"


def _optional(name: str, names: set[str], locate: Callable[[str], Path]) -> dict[str, Any]:
    return read_json(locate(name), where=name) if name in names else {}


def _first(config: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    for key in keys:
        value = config.get(key)
        if type(value) is int and 0 < value < 2**53:
            return value
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _as_texts(value: Any) -> tuple[str, ...]:
    if (text := _text(value)) is not None:
        return (text,)
    return tuple(value) if _texts(value) else ()


def _is_ids(value: Any) -> bool:
    many = value if isinstance(value, list) else [value]
    return bool(many) and all(type(item) is int and -(2**31) < item < 2**31 for item in many)
