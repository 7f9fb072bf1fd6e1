"""The room that attacks are tried in: what comes out, what never does, and that nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_attacked import CHAT, classify, make_tiny

from weighbridge.attacks.battery import DEFAULT, NONE
from weighbridge.attacks.workshop import Workshop
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.errors import EngineError, StorageError

USUAL = Decoding(6)


def workshop(root: Path, parent: Path, **options: Any) -> Workshop:
    return Workshop(root, classify=classify, decoding=USUAL, device="cpu", parent=parent, **options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_no_attack_and_attacks_on_the_asking_need_no_weights(tiny: Path, tmp_path: Path) -> None:
    with workshop(tiny, tmp_path) as shop:
        plain = shop.tampered(NONE)
        assert (plain.outcome, plain.decodings) == ("tampered", (USUAL,))
        for name in ("prefill", "raw-template", "sampling"):
            made = shop.tampered(DEFAULT[name])
            assert made.outcome == "tampered"
            assert made.engine is plain.engine
            assert made.decodings == DEFAULT[name].decodings(USUAL)
            assert made.cost(1000).flop == 0
        assert not list((next(tmp_path.iterdir())).iterdir()), "nothing was written"
    with pytest.raises(EngineError, match="closed"):
        plain.engine.chat(["a"], USUAL)  # type: ignore[union-attr]
    with pytest.raises(EngineError, match="closed"):
        shop.tampered(NONE)


def test_what_does_not_apply_is_the_model_as_it_is_and_says_so(tiny: Path, tmp_path: Path) -> None:
    with workshop(tiny, tmp_path) as shop:
        made = shop.tampered(DEFAULT["no-system-prompt"])
        assert made.outcome == "tampered", "this template writes an empty system prompt where it is given one"
    default = CHAT.replace(
        "{% for", "{% if messages[0]['role'] != 'system' %}<s>system\nBe good.</s>\n{% endif %}{% for"
    )
    for template, why in (
        (
            CHAT.replace(
                "{% for", "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% for"
            ),
            "takes",
        ),
        (
            CHAT.replace("<s>{{", "{{ '' if message['role'] == 'system' and not message['content'] else '<s>' }}{{"),
            None,
        ),
        (default, None),
    ):
        root = make_tiny(tmp_path / f"m{len(list(tmp_path.iterdir()))}", template=template)
        with workshop(root, tmp_path) as shop:
            made = shop.tampered(DEFAULT["no-system-prompt"])
            assert made.outcome == ("unchanged" if why else "tampered")
            assert why is None or why in str(made.why)
    base = make_tiny(tmp_path / "base", template=None)
    with workshop(base, tmp_path) as shop:
        made = shop.tampered(DEFAULT["raw-template"])
        assert (made.outcome, made.decodings) == ("unchanged", (USUAL,))
        assert "no chat template" in str(made.why)


def test_an_engine_that_was_lent_is_not_closed(tiny: Path, tmp_path: Path) -> None:
    engine = TorchEngine(tiny, device="cpu")
    with workshop(tiny, tmp_path, source=lambda: engine) as shop:
        assert shop.tampered(DEFAULT["prefill"]).engine is engine
    assert engine.chat(["a"], USUAL)
    engine.close()


def test_the_room_is_private_and_goes(tiny: Path, tmp_path: Path) -> None:
    with workshop(tiny, tmp_path):
        (room,) = tmp_path.iterdir()
        assert room.stat().st_mode & 0o777 == 0o700
        (room / "weights").write_bytes(b"x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), workshop(tiny, tmp_path):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_leftover_goes_and_a_room_in_use_stays(tiny: Path, tmp_path: Path) -> None:
    left = tmp_path / "weighbridge-tampered-left"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"x")
    (tmp_path / "weighbridge-tampered-link").symlink_to(tiny)
    (tmp_path / "other").mkdir()
    with workshop(tiny, tmp_path), workshop(tiny, tmp_path):
        rooms = {path.name for path in tmp_path.iterdir()}
        assert left.name not in rooms
        assert len(rooms) == 4, "two in use, and two that are none of ours"
    assert {path.name for path in tmp_path.iterdir()} == {"weighbridge-tampered-link", "other"}
    assert (tiny / "config.json").exists()


def test_where_nothing_may_be_written(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError), workshop(tiny, tmp_path / "missing"):
        pass


KILLED = """
import sys, time
from pathlib import Path
from typing import Any
from weighbridge.attacks.workshop import Workshop
from weighbridge.engines.interface import Decoding
with Workshop(Path(sys.argv[1]), classify=str, decoding=Decoding(4), parent=Path(sys.argv[2])):
    (room,) = Path(sys.argv[2]).iterdir()
    (room / "model.safetensors").write_bytes(b"x")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_signals(tiny: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    process.stdout.close()
    if number == signal.SIGKILL:
        assert list(tmp_path.iterdir())
        with workshop(tiny, tmp_path):
            assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
