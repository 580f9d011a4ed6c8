"""The shipped JSON Schemas: `python -m bundle_loader.sources.schemas` writes them, `--check` says whether they are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bundle_loader.declared.schema import SCHEMAS

FOLDER = Path(__file__).resolve().parent.parent / "declared" / "schemas"


def texts() -> dict[Path, str]:
    """Each shipped schema file and what it should hold."""
    return {FOLDER / f"{name}.json": json.dumps(schema(), indent=2) + "\n" for name, schema in SCHEMAS.items()}


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` give 1 when one is not current."""
    stale = [path for path, text in texts().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is not current; run 'make schemas'\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(texts()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
