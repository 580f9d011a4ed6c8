"""What loading costs: `load_bundle` of 16, 1,000 and 10,000 agents against bare python-frontmatter over the same files.

`python -m benchmarks.load [size ...]`. The agents are the shipped ones under other names. Every load is followed by a full
garbage collection that is counted, over what the load made and nothing else.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import frontmatter
import yaml

from benchmarks.figures import ROOT, Figure, alternate, paired, report
from bundle_loader import load_bundle

SIZES = (16, 1_000, 10_000)
MUST = 1.3
LINEAR = 1.5
_AT_LEAST = 1_000
"""Agents that one timed run loads at the least; fewer are loaded several times."""


def write_agents(folder: Path, count: int) -> Path:
    """That many agent files, and the bundle that includes them."""
    shipped = sorted((ROOT / "agents").glob("*.md"))
    texts = [(path.stem, path.read_text("utf-8")) for path in shipped if path.stem != "self"]
    agents = folder / "agents"
    agents.mkdir()
    for index in range(count):
        stem, text = texts[index % len(texts)]
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("aliases:")]
        written = "".join(lines).replace(f"name: {stem}\n", f"name: {stem}-{index}\n", 1)
        (agents / f"{stem}-{index}.md").write_text(written, "utf-8")
    foundation = (ROOT / "bundles" / "foundation.md").read_text("utf-8")
    bundle = folder / "bench.md"
    bundle.write_text(foundation.replace("../agents/*.md", "agents/*.md").replace("name: foundation", "name: bench"), "utf-8")
    return bundle


def ours(bundle: Path) -> object:
    return load_bundle(bundle)


def bare(folder: Path) -> object:
    """The same files, the bundle's own included, as a program that only wants header and body would read them."""
    return [frontmatter.load(str(path)) for path in [folder / "bench.md", *sorted(folder.glob("agents/*.md"))]]


def cpu(load: Callable[[], object], times: int) -> float:
    """Seconds of CPU for one load and the collection after it, while what was loaded is alive."""
    gc.collect()
    gc.freeze()
    start = time.process_time()
    for _ in range(times):
        kept = load()
        gc.collect()
        del kept
    spent = time.process_time() - start
    gc.unfreeze()
    return spent / times


def main() -> int:
    if not yaml.__with_libyaml__:
        sys.stdout.write("PyYAML is here without libyaml, so there is no C loader to compare with\n")
        return 1
    sizes = [int(argument) for argument in sys.argv[1:]] or list(SIZES)
    figures: list[Figure] = []
    per_agent: dict[int, float] = {}
    for size in sizes:
        repeats = 5 if size > _AT_LEAST else 9
        times = max(1, _AT_LEAST // size)
        with tempfile.TemporaryDirectory() as name:
            bundle = write_agents(Path(name), size)
            loaded = load_bundle(bundle, strict=True)
            assert len(loaded.agents) == size
            del loaded
            mine, peer = alternate(
                repeats, partial(cpu, partial(ours, bundle), times), partial(cpu, partial(bare, Path(name)), times)
            )
        per_agent[size] = median(mine) / size
        what = f"{size:,} agents ({repeats} x {times})"
        figures.append(Figure(what, f"{median(mine) * 1e3:.1f} ms", f"{median(peer) * 1e3:.1f} ms", paired(mine, peer), MUST))
    if 1_000 in per_agent and 10_000 in per_agent:
        one, ten = per_agent[1_000], per_agent[10_000]
        what = "time per agent at 10,000, against 1,000"
        figures.append(Figure(what, f"{ten * 1e6:.0f} us", f"{one * 1e6:.0f} us", ten / one, LINEAR))
    return report("load_bundle against python-frontmatter with the C loader, collection counted: medians", figures)


if __name__ == "__main__":
    sys.exit(main())
