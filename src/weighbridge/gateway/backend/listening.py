"""Whether a process listens on the network: the negative probe of the engine's start. Linux only.

An engine that can be reached past the gateway is neither metered nor bound to a decision.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from weighbridge.errors import EngineError
from weighbridge.gateway.backend.processes import PROC, below

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def listeners(pid: int) -> list[str]:
    """Addresses (hex, as the kernel writes them) on which any process of the group ``pid``, or a descendant of its
    leader, listens in TCP or is bound in UDP.

    Raises ``EngineError`` where that cannot be told: what cannot be proved is not served.
    """
    members = below(pid)
    if not members:
        raise EngineError("the engine's processes cannot be seen", where=f"process group {pid}")
    found = []
    for process in (PROC / str(member) for member in members):
        sockets = _sockets(process)
        for protocol in ("tcp", "tcp6", "udp", "udp6"):
            with contextlib.suppress(FileNotFoundError):  # no IPv6
                for line in (process / "net" / protocol).read_text().splitlines()[1:]:
                    columns = line.split()
                    if columns[9] in sockets and (columns[3] == _LISTEN or protocol.startswith("udp")):
                        found.append(f"{protocol} {columns[1]}")
    return found


def _sockets(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if match := _SOCKET.fullmatch(str(descriptor.readlink())):
                    found.add(match[1])
    except FileNotFoundError:
        return set()
    except OSError as cause:
        raise EngineError(f"its sockets cannot be listed: {cause}", where=f"process {process.name}") from cause
    return found
