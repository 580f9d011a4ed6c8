"""`bundle-loader ledger export`."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption, SinceOption
from bundle_loader.cli.output import jsonable
from bundle_loader.cli.since import moment
from bundle_loader.errors import LedgerError, RequestError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.reports import pages
from bundle_loader.sources.home import ledger_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Format = Literal["jsonl", "csv"]

TABLES: Final = {
    "delegations": (
        "id", "parent", "root", "depth", "agent", "tier", "profile", "stage", "role", "decided_by", "bundle", "bundle_hash",
        "started", "latency", "outcome", "provider", "model", "reason", "simulated", "rejected",
    ),
    "attempts": (
        "id", "delegation", "number", "provider", "model", "pattern", "started", "latency", "outcome", "kind", "reason",
    ),
    "calls": (
        "id", "attempt", "delegation", "root", "agent", "tier", "profile", "stage", "role", "tags", "provider", "family",
        "pattern", "asked", "answered", "started", "latency", "first_token", "input_tokens", "output_tokens",
        "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "estimated", "cost", "cost_source", "outcome", "reason",
        "simulated",
    ),
}  # fmt: skip
"""What is written of each kind of record."""
_COLUMNS: Final = ("record", *dict.fromkeys(column for columns in TABLES.values() for column in columns))
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@app.command()
def export(
    format: Annotated[Format, typer.Option("--format", help="JSON lines, or CSV with one header for all records.")] = "jsonl",
    since: SinceOption = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write here; it must not exist yet.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="The ledger of simulated work.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Write delegations, attempts and calls as JSON lines or CSV; never a prompt or a text.

    Each record says what it is under 'record'. In CSV a text that a spreadsheet would take for a formula (it begins with =,
    +, -, @, a tab or a line end) gets a ' in front. --json is the same as --format jsonl.
    """
    if json and format == "csv":
        raise typer.BadParameter("--json writes JSON lines; leave it out with --format csv", param_hint="--json")
    start = moment(since, "--since")
    path = ledger or ledger_file(os.environ, simulated=simulated)
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}")
    with closing(Ledger(path)) as opened, _opened(output) as file:
        write = _write_csv if format == "csv" else _write_lines
        count = write(file, _records(opened, start))
    if output is not None:
        typer.echo(f"{count} records written to {output}", err=True)


def _opened(output: Path | None) -> Any:
    if output is None:
        return nullcontext(sys.stdout)
    try:
        return output.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise RequestError(f"{output} is there already; name a new file") from None
    except OSError as error:
        raise RequestError(f"{output} cannot be written: {error.strerror}") from None


def _records(opened: Ledger, since: float | None) -> Iterator[dict[str, Any]]:
    opened.flush()
    for table, columns in TABLES.items():
        for page in pages(opened.peek, table, since=since):
            for row in page:
                yield {"record": table.removesuffix("s"), **{column: row[column] for column in columns}}


def _write_lines(file: TextIO, records: Iterator[dict[str, Any]]) -> int:
    count = 0
    for record in records:
        for key in ("rejected", "tags"):
            if key in record:
                record[key] = json.loads(record[key] or "[]")
        for key in ("simulated", "estimated"):
            if key in record:
                record[key] = bool(record[key])
        file.write(json.dumps(jsonable(record), ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_csv(file: TextIO, records: Iterator[dict[str, Any]]) -> int:
    writer = csv.writer(file)  # lines end in CR LF, so that either of them within a cell is quoted
    writer.writerow(_COLUMNS)
    count = 0
    for record in records:
        plain = jsonable(record)
        writer.writerow([_cell(plain.get(column)) for column in _COLUMNS])
        count += 1
    return count


def _cell(value: Any) -> Any:
    """A value that no spreadsheet runs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
