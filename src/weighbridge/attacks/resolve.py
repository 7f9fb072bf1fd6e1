"""From what a person or a policy writes to the battery that it means, and roughly how long its attacks take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weighbridge import canonical, files
from weighbridge.attacks.battery import BATTERIES, DEFAULT, Attack, Battery, Data, full, lora
from weighbridge.attacks.data import Shelf, own_data
from weighbridge.canonical import Json
from weighbridge.errors import InputError

MAX_BYTES = 1024 * 1024

_SEEN = 100
"""Examples that fine-tuning on a user's data sees at least; a shorter file is gone through more often."""

_RATE = 50e9
"""FLOP/s of training and of long passes, on two cores."""
_DECODING = 3.0
"""How much slower a generated token is than one that is read, where a dozen prompts are answered side by side."""
_AROUND = 20
"""Tokens that a chat template puts around an exchange."""
TOKENS, CANDIDATES = 32, 8
"""Tokens of a response by which ablation chooses a layer, and layers that it tries at most."""
_LOADS = 10.0
"""Seconds to load a small model, write it down and load it again; and about as much for each gigabyte of it."""


def resolve_battery(source: str, *, name: str | None = None) -> Battery:
    """The battery that is meant: a built-in name, a file of attacks (.json), or one of training data (.jsonl), which
    stands for the built-in ``default`` with fine-tuning on that data added.

    ``name`` is what a policy calls it. Raises ``InputError``, and ``SuiteError`` for malformed data.
    """
    if source in BATTERIES:
        return BATTERIES[source]
    path = Path(source)
    if path.suffix == ".jsonl":
        battery = with_data(DEFAULT, [path])
    elif path.suffix == ".json":
        content = files.read(path, error=InputError, limit=MAX_BYTES)
        battery = Battery.from_json(canonical.loads(content, where=source), where=source)
    else:
        raise InputError(
            f"no such battery: {source!r}",
            where="battery",
            remedy=f"name a built-in one ({', '.join(BATTERIES)}), a file of attacks (.json), or one of data (.jsonl)",
        )
    battery = battery if name is None else replace(battery, name=name)
    if battery.name in BATTERIES:
        raise InputError(
            f"the name {battery.name!r} belongs to a built-in battery", where=source, remedy="take another"
        )
    return battery


def with_data(battery: Battery, paths: Sequence[Path]) -> Battery:
    """``battery`` with fine-tuning of both kinds added on each of the user's files that it does not name already, under
    a name of its own. Raises ``SuiteError`` for malformed data."""
    added: list[Attack] = []
    new = [path for path in paths if Shelf([path]).digests.isdisjoint(data_of(battery))]
    for path in new:
        data = own_data(path)
        epochs = max(1, -(-_SEEN // len(Shelf([path]).pairs(data))))
        stem = re.sub(r"[^\w.-]+", "-", path.stem)
        added += [lora(f"lora-own-{stem}", data, epochs=epochs), full(f"full-own-{stem}", data, epochs=epochs)]
    names = "+".join([battery.name, *(path.stem for path in new)])
    return Battery(names, (*battery.attacks, *added)) if added else battery


def data_of(battery: Battery) -> set[str]:
    """The digests of the data that its attacks name."""
    return {
        Data.of(value).digest
        for attack in battery.attacks
        for key, value in attack.parameters.items()
        if key in ("data", "tuning")
    }


def seconds_to_make(attack: Attack, shelf: Shelf, parameters: int) -> float:
    """Roughly what it takes to make the attacked weights of a model of so many parameters, on two cores.

    From the number of tokens, of four characters each, and the work of each (see ``cost``). Raises as ``shelf`` does.
    """
    if not attack.tampers:
        return 0.0
    given = attack.parameters
    if attack.kind == "ablation":
        prompts = [prompt.prompt for prompt in shelf.tuning(Data.of(given["tuning"]))]
        # A quarter of the prompts is answered as it is, and once for each layer that is tried.
        answered = len(prompts) / 4 * (1 if "depth" in given else 1 + CANDIDATES)
        work = 2.0 * (_tokens(prompts) + answered * (_AROUND + _DECODING * TOKENS))
    else:
        most, epochs = _number(given["max_tokens"]), _number(given["epochs"])
        rows = [f"{pair.prompt}{pair.response}" for pair in shelf.pairs(Data.of(given["data"]))]
        work = 6.0 * epochs * sum(min(most, _tokens([row])) for row in rows)
    return _LOADS * (1.0 + 4e-9 * parameters) + work * parameters / _RATE


def _tokens(texts: Sequence[str]) -> float:
    return sum(len(text) / 4 + _AROUND for text in texts)


def _number(value: Json) -> float:
    assert isinstance(value, int | float)
    return float(value)
