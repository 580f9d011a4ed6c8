"""What starting costs: `import bundle_loader` and `bundle-loader --help`, in CPU, against an empty Python.

`python -m benchmarks.import_time` also checks that neither of them loads an SDK or makes a socket.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.figures import ROOT, Figure, alternate, child_cpu, paired, report

REPEATS = 31
SDKS = ("anthropic", "openai", "google.genai", "ollama")

_WATCHED = """
import json, sys
sockets = []
sys.addaudithook(lambda event, _: sockets.append(event) if event.startswith("socket.") else None)
{code}
print(json.dumps({{"sockets": sockets, "modules": sorted(sys.modules)}}), file=sys.stderr)
"""
_HELP = "from bundle_loader.cli.main import run; assert run(['--help']) == 0"


def faults_of(what: str, code: str, unwanted: tuple[str, ...]) -> list[str]:
    """What a piece of code does that it must not: modules it loads, sockets it makes."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED.format(code=code)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    seen = json.loads(done.stderr.splitlines()[-1])
    loaded = [name for name in unwanted if name in seen["modules"]]
    faults = [f"{what} loads {', '.join(loaded)}"] if loaded else []
    if seen["sockets"]:
        faults.append(f"{what} makes sockets: {', '.join(sorted(set(seen['sockets'])))}")
    return faults


def main() -> int:
    python = sys.executable
    script = Path(python).with_name("bundle-loader")
    command = [str(script)] if script.exists() else [python, "-m", "bundle_loader"]
    empty, imported, helped, used = alternate(
        REPEATS,
        partial(child_cpu, python, "-c", "pass"),
        partial(child_cpu, python, "-c", "import bundle_loader"),
        partial(child_cpu, *command, "--help"),
        partial(child_cpu, python, "-c", "from bundle_loader import Host, load_bundle"),
    )
    bare = f"{median(empty) * 1e3:.1f} ms"
    rows = (
        ("import bundle_loader", imported, 4.0),
        ("bundle-loader --help", helped, 9.0),
        ("from bundle_loader import Host, load_bundle", used, None),
    )
    figures = [Figure(name, f"{median(cpu) * 1e3:.1f} ms", bare, paired(cpu, empty), must) for name, cpu, must in rows]
    faults = [
        *faults_of("import bundle_loader", "import bundle_loader", (*SDKS, "pydantic")),
        *faults_of("bundle-loader --help", _HELP, SDKS),
        *faults_of("loading Host and a bundle", "from bundle_loader import Host, load_bundle; load_bundle()", SDKS),
    ]
    return report(f"CPU of a whole process against `python -c pass`, median of {REPEATS} runs each", figures, faults=faults)


if __name__ == "__main__":
    sys.exit(main())
