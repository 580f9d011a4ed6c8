"""What deriving costs: 10,000 agents under four bundles, against reading and parsing the same files.

`python -m benchmarks.derive [size ...]`. A base holds every agent as a file. Three bundles are laid over it, each with patches
for a tenth of the agents, all tiers written anew, and files of its own that replace one agent in a hundred. The floor
is python-frontmatter with the C loader over the agent files and `yaml.load` with the C loader over the bundles. CPU counts a full
garbage collection after each load; memory is the peak of a process of its own, above what its imports take.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import frontmatter
import yaml

from benchmarks.figures import ROOT, Figure, alternate, paired, report
from benchmarks.load import cpu, write_agents
from bundle_loader import load_bundle
from bundle_loader.declared.bundle import Bundle

SIZES = (1_000, 10_000)
MUST = 1.5
LINEAR = 1.5
REPEATS = 5
LAYERS = ("one", "two", "three")
TIERS = ("budget", "strong", "strong-code", "frontier")
_WAYS = ("ours", "bare")
_STATUS = Path("/proc/self/status")


def write_family(folder: Path, count: int) -> Path:
    """A base of `count` agents and three bundles over it; gives the most derived."""
    below = write_agents(folder, count)
    (folder / ".bundle-loader").mkdir()
    files = sorted((folder / "agents").glob("*.md"))
    for index, layer in enumerate(LAYERS):
        own = folder / layer
        own.mkdir()
        for path in files[index * 31 + 7 :: 100]:
            text = path.read_text("utf-8")
            (own / path.name).write_text(f"{text}\nAs {layer} would have it.\n", "utf-8")
        patches = [f"  {path.stem}: {_patch(number)}" for number, path in enumerate(files[index::10])]
        tiers = [f"  {tier}: [{{provider: ollama, model: {layer}-{tier}}}, base]" for tier in TIERS]
        lines = [
            "format: 1",
            f"bundle: {{name: {layer}}}",
            f"includes: [./{below.name}]",
            "tiers:",
            *tiers,
            "agents:",
            f'  include: ["{layer}/*.md"]',
            *patches,
        ]
        below = folder / f"{layer}.yaml"
        below.write_text("\n".join(lines) + "\n", "utf-8")
    return below


def _patch(number: int) -> str:
    """What a deriver changes: a tier, a limit, a list over the inherited one."""
    return (
        "{tier: strong}",
        "{limits: {max_turns: 7}}",
        "{provider_preferences: [{provider: ollama, model: 'qwen3:*'}, base]}",
    )[number % 3]


def ours(bundle: Path) -> Bundle:
    return load_bundle(bundle, settings=[])


def bare(folder: Path) -> object:
    """The same files, read and parsed by a program that does nothing with them."""
    agents = [path for name in ("agents", *LAYERS) for path in sorted((folder / name).glob("*.md"))]
    posts = [frontmatter.load(str(path)) for path in (folder / "bench.md", *agents)]
    bundles = [yaml.load((folder / f"{name}.yaml").read_bytes(), yaml.CSafeLoader) for name in LAYERS]
    return posts, bundles


def peak(way: str, folder: Path) -> float:
    """MiB that one load takes at its height, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.derive", way, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout)


def measure_here(way: str, folder: Path) -> int:
    """Print the MiB by which this process grows at its height; what its parent took does not count."""
    load_bundle("foundation", settings=[])
    frontmatter.loads("---\na: 1\n---\n")
    before = _kib("VmRSS")
    kept = ours(folder / f"{LAYERS[-1]}.yaml") if way == "ours" else bare(folder)
    sys.stdout.write(f"{(_kib('VmHWM') - before) / 1024:.2f}\n")
    return int(kept is None)


def _kib(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text("ascii").splitlines())
    return int(lines[field].split()[0])


def check_family(bundle: Bundle, size: int) -> None:
    """What was loaded is what was written: nothing got lost, and every layer had its say."""
    assert len(bundle.agents) == size
    assert bundle.layers == ("bench", *LAYERS)
    assert str(bundle.tiers["strong"][0]) == "ollama/three-strong"
    wrote = [len(bundle.contributions(name)) for name in bundle.agents]
    assert sum(wrote) > size * 1.3
    assert len(bundle.hidden) == len(LAYERS) * size // 100


def main() -> int:
    if not yaml.__with_libyaml__:
        sys.stdout.write("PyYAML is here without libyaml, so there is no C loader to compare with\n")
        return 1
    if not _STATUS.exists():
        sys.stdout.write(f"{_STATUS} is not here, so the peak of memory cannot be read\n")
        return 1
    if len(sys.argv) == 3 and sys.argv[1] in _WAYS:
        return measure_here(sys.argv[1], Path(sys.argv[2]))
    sizes = [int(argument) for argument in sys.argv[1:]] or list(SIZES)
    figures: list[Figure] = []
    time_each: dict[int, float] = {}
    memory_each: dict[int, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bundle = write_family(folder, size)
            check_family(ours(bundle), size)
            mine, peer = alternate(REPEATS, partial(cpu, partial(ours, bundle), 1), partial(cpu, partial(bare, folder), 1))
            big, floor = (peak(way, folder) for way in _WAYS)
        time_each[size], memory_each[size] = median(mine) / size, big / size
        must = MUST if size >= SIZES[-1] else None
        what = f"{size:,} agents, four levels"
        times = f"{median(mine) * 1e3:.0f} ms", f"{median(peer) * 1e3:.0f} ms"
        figures.append(Figure(f"{what}, CPU", *times, paired(mine, peer), must))
        figures.append(Figure(f"{what}, peak memory", f"{big:.1f} MiB", f"{floor:.1f} MiB", big / floor, must))
    if all(size in time_each for size in SIZES):
        one, ten = SIZES
        small, large = f"{time_each[one] * 1e6:.0f} us", f"{time_each[ten] * 1e6:.0f} us"
        figures.append(Figure("CPU per agent at 10,000, against 1,000", large, small, time_each[ten] / time_each[one], LINEAR))
        small, large = (f"{memory_each[size] * 1024:.1f} KiB" for size in (one, ten))
        ratio = memory_each[ten] / memory_each[one]
        figures.append(Figure("memory per agent at 10,000, against 1,000", large, small, ratio, LINEAR))
    return report("A bundle of four levels against reading and parsing its files: medians, collection counted", figures)


if __name__ == "__main__":
    sys.exit(main())
