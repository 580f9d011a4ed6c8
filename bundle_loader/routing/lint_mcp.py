"""Tool lists that name MCP servers which nobody declares."""

from __future__ import annotations

from fnmatch import fnmatchcase

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.mcp_server import server_of
from bundle_loader.declared.tree import Mapping, Scalar, Sequence
from bundle_loader.errors import Fault, did_you_mean


def unknown_servers(bundle: Bundle) -> list[Fault]:
    """A warning for each entry of a list that is in force and names a server that the bundle and its settings do not have."""
    found: list[Fault] = []
    for agent in bundle.agents.values():
        for key, entries in (("tools", agent.tools or ()), ("deny_tools", agent.deny_tools)):
            for entry in entries:
                name = server_of(entry)
                if name is None or any(fnmatchcase(known, name) for known in bundle.mcp_servers):
                    continue
                if ("mcp_servers", name) in bundle.lost or ("mcp_servers",) in bundle.lost:
                    continue
                near = did_you_mean(name, list(bundle.mcp_servers))
                message = f"no MCP server '{name}' is declared{near}"
                found.append(Fault(*entry_place(bundle, agent.name, key, entry), key, message, "warning", "unknown-server"))
    return found


def entry_place(bundle: Bundle, agent: str, key: str, entry: str) -> tuple[str, int, int]:
    """Where an entry of a list is written, else where the agent is."""
    written = bundle.contributions(agent)
    for one in reversed(written):
        node = one.tree.entries.get(key)
        items = node.items if isinstance(node, Sequence) else [node]
        for item in items:
            if isinstance(item, Scalar) and item.text == entry:
                return item.file, item.line, item.column
    tree: Mapping | None = written[-1].tree if written else None
    return (tree.file, tree.line, tree.column) if tree is not None else (bundle.agents[agent].file, 1, 1)
