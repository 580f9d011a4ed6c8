"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import typer

from bundle_loader.errors import one_line
from bundle_loader.masking import masked


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Aligned columns; on a terminal they fit its width, elsewhere nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else one_line(masked(str(cell)), "\N{REPLACEMENT CHARACTER}")) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 100_000, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def say(text: str, *, err: bool = False) -> None:
    """One line to read: what others wrote in it moves no cursor, and what looks like a key is left out."""
    typer.echo(one_line(masked(text)), err=err)


def as_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


def without_keys(value: Any) -> Any:
    """What `jsonable` gives, with all text left out that looks like a key: what a file declares may hold one by mistake."""
    plain = jsonable(value)
    if isinstance(plain, str):
        return masked(plain)
    if isinstance(plain, dict):
        return {masked(key): without_keys(item) for key, item in plain.items()}
    return [without_keys(item) for item in plain] if isinstance(plain, list) else plain


def jsonable(value: Any) -> Any:
    """Frozen values as JSON's own types; money as text, so that nothing is rounded."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value) if field.repr}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def money(cost: Decimal | None) -> str:
    """`$0.000111`, or `cost unknown`."""
    return "cost unknown" if cost is None else f"${cost.normalize():f}" if cost else "$0"


def utc(at: float) -> str:
    """Epoch seconds as `2026-11-01 08:30:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
