"""The engine's own process: llama.cpp's server on a unix socket, and nothing else. Run with ``python -m``.

It dies with the gateway that started it, so that no engine is left that nobody meters.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from weighbridge.gateway.backend.processes import end_with


def main() -> None:
    """Load the model, listen, and wait for a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--embeddings", action="store_true")
    arguments = parser.parse_args()
    end_with(arguments.parent, signal.SIGKILL)

    from xllamacpp import CommonParams, Server  # type: ignore[import-untyped]

    parameters = CommonParams()
    parameters.model.path = arguments.model
    parameters.hostnames = [arguments.socket]
    parameters.n_ctx = arguments.context * arguments.parallel  # llama.cpp divides it among the slots
    parameters.n_parallel = arguments.parallel
    parameters.cpuparams.n_threads = arguments.threads
    parameters.embedding = arguments.embeddings
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.ui = False
    parameters.use_jinja = True
    server = Server(parameters)
    if server.listening_address != f"unix://{arguments.socket}" or not Path(arguments.socket).is_socket():
        sys.exit(f"llama.cpp listens on {server.listening_address}, not on the socket that it was given")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # closing a server that is busy waits for its requests; the gateway has drained them


if __name__ == "__main__":
    main()
