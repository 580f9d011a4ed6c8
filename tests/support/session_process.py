"""A process that delegates with a transcript, to be killed.

`python -m tests.support.session_process FOLDER ENVIRONMENT AGENT TEXT [RESUME]`
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from bundle_loader import Host
from bundle_loader.sources.load import load_bundle


async def main(folder: Path, given: str, agent: str, text: str, resume: str | None) -> None:
    """Tools leave marks on disk; `hang` never comes back, so that the process is killed inside of it."""

    def note(word: str) -> str:
        """Write a word down."""
        with open(folder / "effects", "a", encoding="utf-8") as file:
            file.write(f"{word}\n")
        return f"noted {word}"

    async def hang(word: str) -> str:
        """Take effect, and never come back."""
        note(word)
        (folder / "hanging").write_text(word, encoding="utf-8")
        await asyncio.sleep(60)
        return "never"

    environment = {**os.environ, **json.loads(given)}
    bundle = load_bundle(folder / "team.yaml", strict=True, settings=[])
    async with Host(bundle, ledger=folder / "l.db", environment=environment) as host:
        result = await host.delegate(agent, text, tools=[note, hang], resume=resume)
        sys.stdout.write(json.dumps({"text": result.text, "session": result.session, "id": result.id, "notes": result.notes}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5], sys.argv[5] if len(sys.argv) > 5 else None))
