"""A stand-in for a command line coding agent: one job as JSON on its input, what it does as lines of JSON on its output.

It has no model. It looks at the files that the task names, through the host's tool `read_file` where it is offered one and by
itself where not, and counts their words: enough to show every line of the protocol that `command_line_agent.py` speaks.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def read_file(path: str, number: int, offered: bool) -> str:
    """The file's text, by the host's tool or by itself."""
    if not offered:
        return Path(path).read_text(encoding="utf-8")
    say(call={"id": f"call-{number}", "name": "read_file", "arguments": {"path": path}})
    result = json.loads(sys.stdin.readline())["result"]
    return "" if result["is_error"] else str(result["text"])


def main() -> None:
    job = json.loads(sys.stdin.readline())
    context, allowed = job["context"], job["allowed"]
    model = context["candidate"]["model"]
    offered = any(tool["name"] == "read_file" for tool in context["tools"])
    effort = context["config"].get("reasoning_effort", "as usual")
    say(text=f"{model}, effort {effort}, at most {context['limits']['max_turns']} turns and {allowed['seconds']:.0f} s.\n")
    lines = []
    for number, path in enumerate(re.findall(r"[\w./-]+\.\w+", context["task"]), start=1):
        text = read_file(path, number, offered)
        lines.append(f"{path}: {len(text.split())} words\n")
        say(text=lines[-1])
        say(turn={"input_tokens": len(text) // 4 + 1, "output_tokens": len(lines[-1]) // 4 + 1})
    say(done={"text": "".join(lines) or "The task names no file.", "model": model})


if __name__ == "__main__":
    main()
