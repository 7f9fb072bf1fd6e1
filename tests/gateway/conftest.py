"""PostgreSQL is skipped, with the reason, where none answers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
from gateway_world import World, running

POSTGRES = os.environ.get("WEIGHBRIDGE_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of its own, dropped afterwards."""
    psycopg = pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.Error as cause:
        pytest.skip(f"no PostgreSQL at {POSTGRES} (set WEIGHBRIDGE_POSTGRES): {str(cause).splitlines()[0]}")
    name = f"wb_{secrets.token_hex(6)}"
    connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{name}"
    finally:
        connection.execute(f"DROP SCHEMA {name} CASCADE")
        connection.close()


@pytest.fixture
def world() -> Iterator[World]:
    with running() as world:
        yield world
        world.at_rest()
