"""The process behind `tiny_llama`: serves one GGUF file with llama.cpp's own HTTP server until standard input ends.

Run by its path, so that it starts without the rest of the tests. A fault in llama.cpp's native code ends this process only.
"""

from __future__ import annotations

import argparse
import sys

import xllamacpp  # type: ignore[import-untyped]

_SLOTS = 4
_CONTEXT_OF_A_SLOT = 1024


def main() -> None:
    """Serve, say READY with the address, and end with the process that holds the other end of standard input."""
    parser = argparse.ArgumentParser(description="Serve a GGUF file with llama.cpp's own server.")
    parser.add_argument("model")
    parser.add_argument("--alias", required=True)
    parser.add_argument("--api-key")
    options = parser.parse_args()
    settings = xllamacpp.CommonParams()
    settings.model.path = options.model
    settings.model_alias = {options.alias}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.n_parallel = _SLOTS
    settings.n_ctx = _CONTEXT_OF_A_SLOT * _SLOTS
    settings.n_threads_http = 64  # with the default of a few, clients that keep their connections wait seconds for a thread
    settings.cpuparams.n_threads = 1
    settings.warmup = False
    settings.use_jinja = True
    settings.offline = True
    if options.api_key is not None:
        settings.api_keys = [options.api_key]
    server = xllamacpp.Server(settings)
    sys.stdout.write(f"READY {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
