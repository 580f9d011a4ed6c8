"""SDKs are imported beside the loop: what else runs there goes on, and whoever gives up takes nothing from the others."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.providers.sdk_import import imported
from tests.support.vendors import World, served_in_thread

FRESH = """
import asyncio, json, os, sys, time
from bundle_loader.providers.live import live_providers

async def main(names):
    providers = live_providers(dict(os.environ))
    assert not {"anthropic", "openai", "google.genai", "ollama"} & set(sys.modules)
    gaps, ended = [], {}
    done = False

    async def tick():
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def ask(name):
        models = await providers[name].list_models()
        ended[name] = time.perf_counter() - began
        assert models

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    await asyncio.gather(*map(ask, names))
    whole = time.perf_counter() - began
    done = True
    await ticking
    for name in names:
        await providers[name].aclose()
    print(json.dumps({"whole": whole, "ended": ended, "longest": max(gaps), "ticks": len(gaps)}))

asyncio.run(main(sys.argv[1:]))
"""


def fresh(environment: dict[str, str], *names: str) -> Any:
    """What a process of its own finds that asks these providers for their lists as its first act."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *names],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "google", "ollama"])
def test_the_loop_goes_on_while_a_provider_is_first_used(vendor: str) -> None:
    world = World()
    with served_in_thread(world) as base:
        found = fresh(world.environment(base), vendor)
    # building a client stays on the loop, which is some tens of milliseconds of certificates
    assert found["longest"] < max(0.6 * found["whole"], 0.25), found
    assert found["ticks"] > 20


def test_imports_overlap_with_the_waiting_of_others() -> None:
    world = World()
    names = ("ollama", "anthropic", "openai", "google")
    with served_in_thread(world) as base:
        found = fresh(world.environment(base), *names)
    ended = sorted(found["ended"].values())
    assert found["longest"] < max(0.5 * found["whole"], 0.25), found
    assert ended[0] < 0.75 * ended[-1], "the first is done while others are still imported"


def module(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(body)


@pytest.fixture
def found_here(tmp_path: Path) -> Any:
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))


async def test_one_who_gives_up_takes_nothing_from_the_others(found_here: Path) -> None:
    body = "import time, builtins\ntime.sleep(0.3)\nbuiltins.times_d1 = getattr(builtins, 'times_d1', 0) + 1\n"
    module(found_here, "slow_sdk_of_d1", body)
    leaves, stays = (asyncio.create_task(imported("slow_sdk_of_d1")) for _ in range(2))
    await asyncio.sleep(0.05)
    leaves.cancel()
    await stays
    assert leaves.cancelled()
    assert sys.modules["slow_sdk_of_d1"]
    await imported("slow_sdk_of_d1")
    import builtins

    assert builtins.times_d1 == 1  # type: ignore[attr-defined]


def test_a_loop_that_ended_meanwhile_does_not_matter(found_here: Path) -> None:
    module(found_here, "slow_sdk_of_d2", "import time\ntime.sleep(0.3)\n")

    async def leave() -> None:
        waiting = asyncio.create_task(imported("slow_sdk_of_d2"))
        await asyncio.sleep(0.05)
        waiting.cancel()

    asyncio.run(leave())
    asyncio.run(imported("slow_sdk_of_d2"))
    assert not [thread for thread in threading.enumerate() if "slow_sdk_of_d2" in thread.name]


async def test_an_import_that_fails_is_told_and_tried_again(found_here: Path) -> None:
    module(found_here, "sdk_of_d3", "raise RuntimeError('not today')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not today"):
            await imported("sdk_of_d3")
    module(found_here, "sdk_of_d3", "value = 1\n")
    os.utime(found_here / "sdk_of_d3.py", (1.0, 1.0))
    await imported("sdk_of_d3", ("no_such_module_of_d3",))
    with pytest.raises(ModuleNotFoundError):
        await imported("no_such_module_of_d3")
