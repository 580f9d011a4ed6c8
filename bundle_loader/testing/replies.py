"""Short ways to write the answers of a script."""

from __future__ import annotations

import json
from typing import Any

from bundle_loader.messages import Usage
from bundle_loader.providers.simulated import Reply
from bundle_loader.providers.simulated_faults import SimulatedFault, parse_fault


def calls(tool: str, /, **arguments: Any) -> Reply:
    """A model that asks for one tool: `calls("read_file", path="a.md")`. For several at once, `Reply(tool_calls=[...])`."""
    return Reply(tool_calls=[(tool, arguments)])


def structured(value: Any, *, usage: Usage | None = None) -> Reply:
    """A structured answer: `value` as the JSON that a model writes for an `output_schema`, whether it fits or not."""
    return Reply(json.dumps(value, ensure_ascii=False), usage=usage)


def fails(fault: SimulatedFault | str, *, text: str = "", latency: float | None = None) -> Reply:
    """A request that fails: an HTTP status (`503`, `429:7` with the seconds to wait) or a word of `FAULT_WORDS`.

    `text` is what is shown before a `cut`. Raises RequestError for a fault that cannot be read.
    """
    return Reply(text, fault=parse_fault(fault) if isinstance(fault, str) else fault, latency=latency)
