"""A process with the command line loaded, which forks for each command: what runs is a process of its own without its imports.

It reads a line of JSON for each command and answers with a line that holds the exit code.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import bundle_loader.cli
from bundle_loader.__main__ import main

SDKS = ("anthropic", "openai", "google.genai", "ollama", "aiohttp", "jsonschema", "genai_prices", "rich.table", "rich.live")
PATIENCE = 120.0


def load() -> None:
    """Import what commands import."""
    for module in pkgutil.iter_modules(bundle_loader.cli.__path__, "bundle_loader.cli."):
        importlib.import_module(module.name)
    for name in SDKS:
        importlib.import_module(name)


def become(wish: dict[str, Any]) -> None:
    """Turn this process into the command."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    opened = os.open(wish["given"], os.O_RDONLY), os.open(wish["out"], flags, 0o600), os.open(wish["err"], flags, 0o600)
    for wanted, descriptor in enumerate(opened):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wish["environment"])
    time.tzset()
    os.chdir(wish["cwd"])
    sys.path[0] = wish["cwd"]
    sys.argv = [bundle_loader.__path__[0] + "/__main__.py", *wish["arguments"]]


def end(run: Callable[[], None]) -> NoReturn:
    """Run it and leave as an interpreter does, but for taking apart what the server had imported."""
    try:
        run()
        code: object = None
    except SystemExit as left:
        code = left.code
    atexit._run_exitfuncs()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def serve() -> dict[str, Any] | None:
    """Answer wishes until there are no more; in each child, what that child shall become."""
    for line in sys.stdin:
        wish: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return wish
        if signal.sigtimedwait({signal.SIGCHLD}, PATIENCE) is None:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


if __name__ == "__main__":
    load()
    gc.collect()
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    found = serve()
    if found is not None:
        become(found)
        end(main)
