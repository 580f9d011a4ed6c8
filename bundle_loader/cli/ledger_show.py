"""`bundle-loader ledger show`."""

from __future__ import annotations

import json as jsonlib
import os
from contextlib import closing
from typing import Annotated, Any

import typer

from bundle_loader.cli.ledger import cost_text
from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, utc
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.reports import begin_with
from bundle_loader.ledger.trees import DelegationTree, delegation_tree
from bundle_loader.sources.home import ledger_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_MOST_NAMED = 5


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The delegation's id, or as much of its beginning as is unique.")],
    simulated: Annotated[bool, typer.Option("--simulated", help="The ledger of simulated work.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show one delegation: its children, every attempt, call and rejection, and what it cost.

    Its own cost is that of its own calls; the cost with children adds all that it delegated.
    """
    path = ledger or ledger_file(os.environ, simulated=simulated)
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}")
    with closing(Ledger(path)) as opened:
        found = begin_with(opened.query, id, _MOST_NAMED + 1)
        exact = [row for row in found if row["id"] == id] or found
        if not exact:
            raise LedgerError(f"no delegation in {path} has an id that begins with '{id}'; 'bundle-loader ledger' lists them")
        if len(exact) > 1:
            names = ", ".join(row["id"] for row in exact[:_MOST_NAMED])
            more = ", ..." if len(exact) > _MOST_NAMED else ""
            raise LedgerError(f"several delegations begin with '{id}': {names}{more}; write more of it")
        tree = delegation_tree(opened.peek, exact[0]["root"], exact[0]["id"])
    if json:
        as_json({"ledger": str(path), "delegation": _plain(tree)})
        return
    for line in _lines(tree):
        typer.echo(line)


def _plain(tree: DelegationTree) -> dict[str, Any]:
    return {
        **tree.row,
        "rejected": tree.rejected,
        "own_cost": tree.own,
        "cost_with_children": tree.inclusive,
        "attempts": [{**attempt, "calls": calls} for attempt, calls in tree.attempts],
        "children": [_plain(child) for child in tree.children],
    }


def _lines(tree: DelegationTree, indent: str = "") -> list[str]:
    row = tree.row
    lines = [f"{indent}{row['id']}  {row['agent']}{_who(row)}"]
    inner = indent + "  "
    when = utc(row["started"])
    if row["outcome"] is None:
        lines.append(f"{inner}{when}, not recorded: it is under way, or its process died")
    else:
        said = [
            f"{when}, {row['latency']:.2f} s",
            f"decided by {row['decided_by']}",
            f"bundle {row['bundle']} ({row['bundle_hash']})",
        ]
        said += [f"{key} {row[key]}" for key in ("tier", "profile", "stage", "role") if row[key]]
        lines.append(inner + ", ".join(said))
        if row["parent"] and not indent:
            lines.append(f"{inner}delegated by {row['parent']}, in the tree of {row['root']}")
    lines.append(f"{inner}own cost {cost_text(tree.own)}, with children {cost_text(tree.inclusive)}")
    lines += [f"{inner}x {provider}/{pattern}: {reason}" for provider, pattern, reason in tree.rejected]
    for attempt, calls in tree.attempts:
        lines.append(f"{inner}{_attempt(attempt)}")
        lines += [f"{inner}   {_call(call)}" for call in calls]
    for child in tree.children:
        lines += _lines(child, inner + "  ")
    return lines


def _who(row: dict[str, Any]) -> str:
    simulated = " [simulated]" if row["simulated"] else ""
    if row["model"]:
        return f" -> {row['provider']}/{row['model']}{simulated}"
    return f": {row['outcome'] or 'under way'}{': ' + row['reason'] if row['reason'] else ''}{simulated}"


def _attempt(attempt: dict[str, Any]) -> str:
    text = f"{attempt['number']}. {attempt['provider']}/{attempt['model']} ({attempt['pattern']}) {attempt['outcome']}"
    return f"{text} after {attempt['latency']:.2f} s{': ' + attempt['reason'] if attempt['reason'] else ''}"


def _call(call: dict[str, Any]) -> str:
    kinds = {"cache_read_tokens": "cached", "cache_write_tokens": "written to a cache", "reasoning_tokens": "reasoning"}
    more = [f"{call[key]} {word}" for key, word in kinds.items() if call[key]]
    kinds_of = f" ({', '.join(more)})" if more else ""
    tokens = f"{call['input_tokens'] or 0} + {call['output_tokens'] or 0} tokens{kinds_of}"
    source = f" ({call['cost_source']})" if call["cost_source"] and call["cost"] is not None else ""
    said = [tokens + (", estimated" if call["estimated"] else ""), f"{cost_text({**call, 'estimated': 0})}{source}"]
    said.append(f"{call['latency']:.2f} s" + (f", first token {call['first_token']:.2f} s" if call["first_token"] else ""))
    said += [f"answered as {call['answered']}"] if call["answered"] and call["answered"] != call["asked"] else []
    said += [f"tags {', '.join(jsonlib.loads(call['tags']))}"] if call["tags"] else []
    said += [call["outcome"] + (f": {call['reason']}" if call["reason"] else "")] if call["outcome"] != "answered" else []
    return f"call {call['id'].rpartition('-')[2]}: " + "; ".join(said)
