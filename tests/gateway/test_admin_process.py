"""Commands and the admin listener against a gateway that is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from process_world import Served, run, serving, start

WORDS = tuple(f" word{n}" for n in range(600))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("gateway")) as one:
        yield one


def test_revoked_elsewhere_nothing_is_admitted_and_streams_end(served: Served) -> None:
    key = served.command("keys", "create", "--name", "acme")["key"]
    served.mock.behaviour.words, served.mock.behaviour.pace = WORDS, 0.1  # a minute of stream
    ended: list[tuple[float, str]] = []

    def read() -> None:
        body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        headers = {"authorization": f"Bearer {key}"}
        with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as reply:
            text = "".join(reply.iter_text())
        ended.append((time.monotonic(), text))

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: len(served.mock.journal) > 0)
    done = run(served.folder, "keys", "revoke", key)  # the key itself does for its id
    returned = time.monotonic()
    asked = len(served.mock.journal)
    served.mock.behaviour.pace = 0.0
    assert done.returncode == 0, done.stderr
    refused = served.ask(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert len(served.mock.journal) == asked
    reader.join(30)
    ((at, text),) = ended
    assert at - returned < 5.0
    assert "word1" in text
    assert "word599" not in text
    assert '"code":"invalid_api_key"' in text
    served.mock.behaviour.words = (" ok",)


def test_a_key_and_its_budget_from_the_command_to_the_refusal(served: Served) -> None:
    made = served.command("keys", "create", "--name", "small-shop", "--budget", "0.0001", "--label", "till 3")
    assert (made["project"], made["budget"], made["label"], made["state"]) == (
        "small-shop",
        "0.0001",
        "till 3",
        "active",
    )
    refused = served.ask(made["key"])  # 4 tokens at most cost more than 100,000 nano-units
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    other = served.command("keys", "create", "--name", "small-shop", "--models", "small", "--expires", "90d")
    assert served.ask(other["key"]).status_code == 200
    served.command("keys", "project", "budget", "small-shop", "0.00001")
    assert served.ask(other["key"]).status_code == 429
    served.command("keys", "project", "budget", "small-shop", "none")
    assert served.ask(other["key"]).status_code == 200
    shown = served.command("keys", "show", other["id"])
    assert float(shown["billed"]) > 0
    assert "key" not in shown
    listed = served.command("keys", "list", "--project", "small-shop")["keys"]
    assert {one["id"] for one in listed} == {made["id"], other["id"]}


def test_a_rotated_key_is_followed_by_its_successor(served: Served) -> None:
    old = served.command("keys", "create", "--name", "turner")
    new = served.command("keys", "rotate", old["id"], "--overlap", "0s")
    assert served.ask(old["key"]).status_code == 401
    assert served.ask(new["key"]).status_code == 200
    assert new["replaces"]["id"] == old["id"]


def test_an_unknown_request_is_corrected_through_the_gateway(served: Served) -> None:
    key = served.command("keys", "create", "--name", "fixer")["key"]
    served.mock.behaviour.usage = "none"
    request = served.ask(key).headers["x-request-id"]
    served.mock.behaviour.usage = "end"
    words = ("--input", "100", "--output", "50", "--by", "ada", "--reason", "engine log")
    done = served.command("ledger", "correct", request, *words)
    assert done == {"request": request, "billed": "0.0002", "change": "0.0002", "currency": "USD"}
    assert served.command("ledger", "check")["discrepancies"] == []


def test_the_admin_listener_is_closed_to_others(served: Served) -> None:
    office = served.office
    status = (served.folder / "gateway.admin.json").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert office["address"].startswith("127.0.0.1:")
    assert served.admin("/keys", token="x" * 43).status_code == 401
    assert httpx.get(f"http://{office['address']}/keys").status_code == 401
    assert httpx.get(f"http://{office['address']}/signals").status_code == 401
    for path in ("/keys", "/metrics", "/readyz"):
        assert served.admin(path, headers={"host": "attacker.example"}).status_code == 421
    port = office["address"].rpartition(":")[2]
    assert served.admin("/keys", headers={"host": f"localhost:{port}"}).status_code == 200
    assert httpx.get(f"{served.url}/metrics").status_code == 404  # not on the public side
    assert httpx.get(f"{served.url}/readyz").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/keys", b"[]", 400),
        ("POST", "/keys", b"\xff{", 400),
        ("POST", "/keys", b"[" * 5000, 400),
        ("POST", "/keys", b'{"name": "acme", "admin": true}', 400),
        ("POST", "/keys", b'{"name": 7}', 400),
        ("POST", "/keys", b'{"name": "acme", "label": "\\ud800"}', 400),
        ("POST", "/keys", b'{"name": "../acme"}', 400),
        ("POST", "/keys", b'{"name": "acme", "budget": "-1"}', 400),
        ("POST", "/keys", b'{"name": "acme", "expires": "2020-01-01T00:00:00Z"}', 400),
        ("POST", "/keys", b'{"name": "acme", "rpm": 0}', 400),
        ("POST", "/keys", b'{"name": "' + b"a" * 70_000 + b'"}', 413),
        ("POST", "/keys/nobody/revoke", b"", 400),
        ("POST", "/projects/nobody/budget", b'{"budget": "5"}', 400),
        ("GET", "/keys?mode=all", b"", 400),
        ("GET", "/nothing", b"", 404),
        ("DELETE", "/keys", b"", 404),
        ("POST", "/metrics", b"", 405),
    ],
)
def test_bad_requests_are_refused_with_a_reason(
    served: Served, method: str, path: str, content: bytes, status: int
) -> None:
    before = served.admin("/keys").json()
    reply = served.admin(path, method=method, content=content)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]
    assert served.admin("/keys").json() == before


def test_metrics_and_readiness(served: Served) -> None:
    key = served.command("keys", "create", "--name", "meter")["key"]
    assert served.ask(key).status_code == 200
    page = httpx.get(f"http://{served.office['address']}/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    from prometheus_client.parser import text_string_to_metric_families

    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    place = {"model": "small", "binding": "declared"}
    where = {"route": "/v1/chat/completions", "status": "200", "outcome": "completed", "stream": "no"}
    assert values["weighbridge_requests_total", tuple(sorted((place | where).items()))] >= 1
    assert values["weighbridge_model_state", tuple(sorted((place | {"state": "serving"}).items()))] == 1
    assert values["weighbridge_in_flight", tuple(sorted(place.items()))] == 0
    assert values["weighbridge_ledger_operations_total", ()] >= 2
    assert key.split("_")[1] not in page.text
    ready = httpx.get(f"http://{served.office['address']}/readyz")
    state = ready.json()
    assert ready.status_code == 200
    assert (state["models"]["small"]["state"], state["models"]["small"]["binding"]) == ("serving", "declared")
    assert state["revocation_list"] == "revocation list: not configured"


def test_the_log_has_every_request_and_no_secret_or_text(served: Served) -> None:
    key = served.command("keys", "create", "--name", "scribe")["key"]
    said = "an unmistakable sentence about zeppelins and marmalade in the small hours"
    reply = served.ask(key, messages=[{"role": "user", "content": said}])
    refused = served.ask(key, messages=said)  # a body that is malformed
    assert (reply.status_code, refused.status_code) == (200, 400)
    wanted = {reply.headers["x-request-id"], refused.headers["x-request-id"]}
    until(lambda: wanted <= {line.get("request_id") for line in served.log()})
    text = (served.folder / "log").read_text()
    assert "zeppelins" not in text
    assert key.split("_")[2] not in text
    assert served.office["token"] not in text
    ledger = b"".join(path.read_bytes() for path in served.folder.glob("ledger.db*"))
    assert b"zeppelins" not in ledger
    assert key.split("_")[2].encode() not in ledger


def test_without_a_server_commands_open_the_ledger(tmp_path: Path) -> None:
    made = json.loads(run(tmp_path, "keys", "create", "--name", "acme", "--json").stdout)
    with serving(tmp_path) as served:
        assert served.ask(made["key"]).status_code == 200
        admin_file = tmp_path / "gateway.admin.json"
        hidden = admin_file.rename(tmp_path / "elsewhere")
        done = run(tmp_path, "keys", "list")
        assert done.returncode == 2
        assert "a gateway runs on this ledger" in done.stderr
        hidden.rename(admin_file)

        os.kill(served.process.pid, signal.SIGKILL)  # its file stays, and says nothing any more
        served.process.wait(10)
        assert admin_file.exists()
        assert run(tmp_path, "keys", "revoke", made["id"]).returncode == 0
        served.process = again = start_anew(tmp_path)
        try:
            assert served.ask(made["key"]).status_code == 401
        finally:
            again.terminate()
            assert again.wait(40) == 0
        assert not admin_file.exists()  # removed in the end


def start_anew(folder: Path):  # type: ignore[no-untyped-def]
    (folder / "gateway.admin.json").unlink()
    return start(folder)


def until(condition, seconds: float = 15.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
