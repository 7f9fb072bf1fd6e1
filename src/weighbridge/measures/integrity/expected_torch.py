"""Which tensors, of which shapes, a config calls for: built by transformers without memory, on torch's meta device.

No code of the checkpoint is run: only architectures that transformers itself defines are built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion

from weighbridge.errors import CheckpointError

Shape = tuple[int, ...]


class Unbuildable(Exception):
    """The expected tensors cannot be derived; says why."""


@dataclass(frozen=True)
class Expected:
    """``required`` tensors, ``optional`` ones (tied to others; a checkpoint may hold them or not), patterns of names
    that a loader ignores, and the prefix that a checkpoint of the bare model lacks."""

    required: Mapping[str, Shape]
    optional: Mapping[str, Shape]
    ignored: tuple[str, ...]
    prefix: str

    def ignores(self, name: str) -> bool:
        """Whether a loader passes over a tensor of this name without a word."""
        return any(re.search(pattern, name) for pattern in self.ignored)


def expected_tensors(config: Mapping[str, Any], stored: int) -> Expected:
    """What a checkpoint with this ``config.json`` holds on disk. ``stored``: how many tensors it does hold.

    Raises ``Unbuildable`` where transformers does not know the architecture, ``CheckpointError`` where the config
    calls for far more layers than there are tensors.
    """
    _check_counts(config, stored)
    name = (config.get("architectures") or [None])[0]
    kind = getattr(transformers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise Unbuildable(f"transformers {transformers.__version__} has no architecture {name!r}")
    model_type = str(config.get("model_type"))
    try:
        built = transformers.AutoConfig.for_model(model_type).__class__.from_dict(dict(config))
    except Exception as error:  # a library's reading of foreign data fails in its own ways
        raise Unbuildable(f"transformers cannot read the config: {type(error).__name__}: {str(error)[:200]}") from error
    if not isinstance(built, kind.config_class or ()):
        raise Unbuildable(f"{name} does not take a config of type {model_type!r}")
    try:
        with torch.device("meta"), torch.no_grad():
            model: transformers.PreTrainedModel = kind._from_config(built)  # type: ignore[no-untyped-call]
            state = revert_weight_conversion(model, dict(model.state_dict()))
    except Exception as error:
        raise Unbuildable(f"{name} cannot be built: {type(error).__name__}: {str(error)[:200]}") from error
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    return Expected(
        required={key: shape for key, shape in shapes.items() if key not in tied},
        optional={key: shape for key, shape in shapes.items() if key in tied},
        ignored=(r"rotary_emb\.inv_freq$", *(model._keys_to_ignore_on_load_unexpected or ())),
        prefix=model.base_model_prefix,
    )


def _check_counts(config: Mapping[str, Any], stored: int) -> None:
    """Building takes time with every layer; refuse absurd numbers first."""
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"):
        for where in (config, config.get("text_config") or {}):
            value = where.get(key)
            if value is not None and (type(value) is not int or not 0 <= value <= max(stored, 1)):
                raise CheckpointError(
                    f"{str(value)[:40]} layers, where the weights are {stored} tensors", where=f"config.json at $.{key}"
                )
