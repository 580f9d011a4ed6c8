"""A real llama.cpp server with a tiny model, in a process of its own.

    with tiny_llama(tmp_path, reply="Hello from the tiny model.") as server:
        openai.AsyncOpenAI(base_url=server.openai_url, api_key="any")
        anthropic.AsyncAnthropic(base_url=server.base_url, api_key="any")

It speaks OpenAI's and Anthropic's protocols. Do not send `tool_choice: required`: with this model llama.cpp aborts.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tiny_gguf import write_tiny_model

DEFAULT_REPLY = "Hello from the tiny model."
DEFAULT_TOOL_CALL: tuple[str, Mapping[str, Any]] = ("delegate", {"agent": "git-ops"})
_READY = "READY "
_PROGRAM = Path(__file__).with_name("llama_process.py")


@dataclass(frozen=True, slots=True)
class TinyServer:
    """A running server. `process.kill()` is an outage."""

    base_url: str
    process: subprocess.Popen[str]
    alias: str
    reply: str

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's protocol."""
        return f"{self.base_url}/v1"


@contextlib.contextmanager
def tiny_llama(
    folder: Path,
    reply: str = DEFAULT_REPLY,
    alias: str = "tiny-llama",
    tool_call: tuple[str, Mapping[str, Any]] = DEFAULT_TOOL_CALL,
    api_key: str | None = None,
) -> Iterator[TinyServer]:
    """Make the model in `folder`, serve it, and end the process at the end. RuntimeError with its log if it does not start."""
    model, log = folder / f"{alias}.gguf", folder / f"{alias}.log"
    write_tiny_model(model, reply=reply, tool_call=tool_call)
    command = [sys.executable, str(_PROGRAM), str(model), "--alias", alias]
    command += [] if api_key is None else ["--api-key", api_key]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            base_url = _wait_until_ready(process, log)
            yield TinyServer(base_url, process, alias, reply)
        finally:
            process.kill()
            process.communicate()


def _wait_until_ready(process: subprocess.Popen[str], log: Path, seconds: float = 30.0) -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
    finally:
        watchdog.cancel()
        watchdog.join()
    raise RuntimeError(f"the tiny llama server did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
