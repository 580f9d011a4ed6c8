"""A server that speaks MCP badly, run by its path: it greets on its standard output, and has two tools of one name."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "wrong", "echo")]


def answer(asked: Any) -> dict[str, Any]:
    """What it says to a request, as the request wants it or not."""
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        return {
            "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}
        }
    if asked["method"] == "tools/list":
        return {"result": {"tools": TOOLS}}
    if asked["method"] == "tools/call":
        sys.stdout.write("working on it\n")
        return {"result": {"content": [{"type": "text", "text": "echo"}] if asked["params"]["name"] == "echo" else "done"}}
    return {"error": {"code": -32601, "message": "no such method"}}


def main() -> None:
    """Answer line by line until the input ends."""
    sys.stdout.write("Welcome!\n{not json\n\n")
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer(asked)}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
