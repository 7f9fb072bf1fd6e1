"""TLS at both ends: the gateway's own listener, and an upstream behind https; with a certificate made here."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mock_upstream import MockUpstream
from process_world import engine, free_port, run, start, write_world


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A self-signed certificate of an address, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return paths


@contextlib.contextmanager
def behind_tls(inner: int, pair: tuple[Path, Path]) -> Iterator[int]:
    """A port that ends TLS and passes on to ``inner``."""
    started = threading.Event()
    made: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", inner)

        async def one_way(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(one_way(reader, other_writer), one_way(other_reader, writer))

    async def live() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
        server = await asyncio.start_server(passed, "127.0.0.1", 0, ssl=context)
        stop = asyncio.Event()
        made.append((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()[1]))
        started.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert started.wait(10)
    loop, stop, port = made[0]
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@contextlib.contextmanager
def gateway(folder: Path, config: str) -> Iterator[str]:
    """A gateway of this configuration as a process, and a key for it."""
    (folder / "config.yaml").write_text(config)
    process = start(folder)
    try:
        made = run(folder, "keys", "create", "--name", "acme", "--config", "config.yaml", "--json")
        yield json.loads(made.stdout)["key"]
    finally:
        process.terminate()
        assert process.wait(40) == 0


def ask(url: str, key: str, verify: ssl.SSLContext | bool = True, **more: object) -> httpx.Response:
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], **more}
    with httpx.Client(verify=verify, timeout=20) as client:
        return client.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def test_keys_cross_the_network_under_tls_and_the_upstream_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = certificate(tmp_path)
    mock = MockUpstream()
    with engine(mock), behind_tls(mock.port, pair) as secured:
        port = free_port()
        write_world(tmp_path, secured, port=port, more="tls: {certificate: tls.crt, key: tls.key}")
        config = (tmp_path / "config.yaml").read_text().replace("http://", "https://")
        trusting = ssl.create_default_context(cafile=str(pair[0]))
        url = f"https://127.0.0.1:{port}"
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))  # whom the gateway trusts as an upstream
        public = config.replace(f"listen: 127.0.0.1:{port}", f"listen: 0.0.0.0:{port}")  # with TLS it may
        with gateway(tmp_path, public) as key:
            answer = ask(url, key, trusting)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["message"]["content"] == "One two three four five"
            assert "[DONE]" in ask(url, key, trusting, stream=True).text
            with pytest.raises(httpx.ConnectError):
                ask(url, key, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # a client that trusts nobody
            with pytest.raises(httpx.HTTPError):
                ask(url.replace("https", "http"), key)  # nothing is said in the clear
            assert len(mock.journal) == 2

        monkeypatch.delenv("SSL_CERT_FILE")
        with gateway(tmp_path, config) as key:
            refused = ask(url, key, trusting)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
            assert len(mock.journal) == 2  # an upstream that cannot prove who it is, is told nothing


@pytest.mark.parametrize("fault", ["missing", "no PEM", "another's key", "locked"])
def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path, fault: str) -> None:
    paths = certificate(tmp_path)
    if fault == "missing":
        paths[0].unlink()
    elif fault == "no PEM":
        paths[0].write_bytes(b"\xffnothing")
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if fault == "locked":
            lock = serialization.BestAvailableEncryption(b"word")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        paths[1].write_bytes(key.private_bytes(*form))
    write_world(tmp_path, 1, port=free_port(), more="tls: {certificate: tls.crt, key: tls.key}")
    for more in ((), ("--check",)):
        done = run(tmp_path, "serve", "--config", "config.yaml", *more)
        assert done.returncode == 2, done.stderr
        assert "tls" in done.stderr
        assert "Traceback" not in done.stderr
