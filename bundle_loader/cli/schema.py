"""`bundle-loader schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from bundle_loader.cli.options import JsonOption
from bundle_loader.cli.output import as_json, table
from bundle_loader.declared.schema import SCHEMAS
from bundle_loader.errors import did_you_mean
from bundle_loader.sources.schemas import FOLDER

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def schema(
    name: Annotated[str | None, typer.Argument(metavar="|".join(SCHEMAS), help="Which kind of file.")] = None,
    json: JsonOption = False,
) -> None:
    """Print the JSON Schema of a kind of file, for editors; without a name, list them with their files."""
    if name is not None:
        if name not in SCHEMAS:
            near = did_you_mean(name, list(SCHEMAS)) or f"; there are {', '.join(SCHEMAS)}"
            raise typer.BadParameter(f"no schema '{name}'{near}", param_hint="NAME")
        as_json(SCHEMAS[name]())
        return
    rows = [
        {"name": kind, "describes": made()["description"], "file": str(FOLDER / f"{kind}.json")} for kind, made in SCHEMAS.items()
    ]
    if json:
        as_json({"schemas": rows})
    else:
        table(("schema", "describes", "file"), [tuple(row.values()) for row in rows])
