"""Several gateways on one PostgreSQL ledger: a key that a command revokes has ended in every process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from process_world import Served, run, serving

from weighbridge.gateway import serve

CONFIG = ("--config", "config.yaml")


@dataclass
class Client:
    """Asks ``served`` again and again until it is told to stop; ``answers``: when each was sent, and its status."""

    served: Served
    key: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        while not self.stop.is_set():
            sent = time.monotonic()
            self.answers.append((sent, self.served.ask(self.key).status_code))
            self.stop.wait(0.05)


@dataclass
class Stream:
    served: Served
    key: str
    text: str = ""

    def work(self) -> None:
        body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.served.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=120) as reply:
            for piece in reply.iter_text():
                self.text += piece


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def test_what_one_command_revokes_is_revoked_everywhere(tmp_path: Path, postgres_url: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "bare")]
    for folder in folders:
        folder.mkdir()
    more = f"ledger: {postgres_url}\nsecret: {tmp_path}/gateway.key"
    with serving(folders[0], more=more) as one, serving(folders[1], more=more) as two:
        text = (folders[0] / "config.yaml").read_text()
        (folders[2] / "config.yaml").write_text(text)  # no gateway runs from here: its commands open the ledger
        for where in (folders[0], folders[2]):
            key = one.command("keys", "create", "--name", "acme", *CONFIG)["key"]
            revoked_everywhere(where, key, one, two)
    assert serve.KEYS_SECONDS <= 2.5  # within the 5 s that are promised, a stream's key is looked at twice


def revoked_everywhere(folder: Path, key: str, one: Served, two: Served) -> None:
    asking = [Client(one, key), Client(two, key)]
    for served in (one, two):
        served.mock.behaviour.words, served.mock.behaviour.pace = tuple(f" word{n}" for n in range(600)), 0.1
    streaming = [Stream(one, key), Stream(two, key)]
    threads = [threading.Thread(target=each.work) for each in streaming]
    for thread in threads:
        thread.start()
    until(lambda: all("word2" in each.text for each in streaming))
    more = [threading.Thread(target=each.work) for each in asking]
    for thread in more:
        thread.start()
    until(lambda: all(each.answers for each in asking))

    done = run(folder, "keys", "revoke", key, *CONFIG)
    returned = time.monotonic()
    assert done.returncode == 0, done.stderr
    for served in (one, two):
        assert served.ask(key).json()["error"]["code"] == "invalid_api_key"
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for each in asking:
        each.stop.set()
    for thread in more:
        thread.join(60)

    for each in asking:
        assert 200 in {status for _, status in each.answers}
        late = {status for sent, status in each.answers if sent >= returned}
        assert late == {401}
    for stream in streaming:
        assert '"code":"invalid_api_key"' in stream.text
        assert "[DONE]" not in stream.text
        assert "word599" not in stream.text
