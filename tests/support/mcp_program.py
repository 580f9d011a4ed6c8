"""A real MCP server for tests, run by its path: tools with effects that are counted on disk. `--http PORT` listens instead."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

server = MCPServer("effects", log_level="CRITICAL")


def _note(name: str, line: str) -> None:
    with Path(os.environ.get("EFFECTS", "."), name).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def pay(what: str) -> str:
    """Pay for something; each payment is a line in the file `payments`."""
    _note("payments", what)
    return f"paid for {what}"


@server.tool()
async def pay_and_die(what: str) -> str:
    """Pay, and be killed before the answer is out."""
    _note("payments", what)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool()
async def slow(seconds: float) -> str:
    """Take a while."""
    _note("slow", "begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _note("slow", "cancelled")
        raise
    _note("slow", "done")
    return "done"


@server.tool()
async def variables() -> list[str]:
    """The names of the variables that the server was given."""
    return sorted(os.environ)


@server.tool()
async def variable(name: str) -> str:
    """The value of a variable."""
    return os.environ.get(name, "not set")


@server.tool()
async def fails(why: str) -> str:
    """Fail as a tool does."""
    raise ToolError(why)


@server.tool()
async def picture() -> CallToolResult:
    """A picture and words."""
    image = ImageContent(data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
    return CallToolResult(content=[TextContent(text="One pixel."), image])


@server.tool()
async def weather(city: str) -> dict[str, Any]:
    """Structured content."""
    return {"city": city, "sky": "overcast-7731"}


def main() -> None:
    """Note that the server has started, and serve."""
    _note("starts", str(os.getpid()))
    logging.disable(logging.CRITICAL)
    if "--mute" in sys.argv:
        signal.pause()
    if "--http" in sys.argv:
        port = int(sys.argv[sys.argv.index("--http") + 1])
        server.run("streamable-http", host="127.0.0.1", port=port)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
