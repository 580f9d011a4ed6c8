"""`bundle-loader ledger` and the commands below it, as processes over ledgers that hold known records."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, SimulatedProvider
from bundle_loader.declared.budget import Budget
from bundle_loader.ledger.accounts import hold_of
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Charge, Reserve, Settle
from bundle_loader.ledger.pruning import running_month
from bundle_loader.ledger.records import FeedbackRecord
from bundle_loader.routing.charged import CallFacts
from bundle_loader.routing.price import FREE
from bundle_loader.sources.load import load_bundle
from tests.support.command import Ran, command
from tests.support.records import attempt_record, call_record, delegation_record

Run = Callable[..., Ran]
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.db"


@pytest.fixture
def run(tmp_path: Path, path: Path) -> Run:
    home = tmp_path / "home"
    home.mkdir()

    def go(*arguments: str) -> Ran:
        return command("ledger", *arguments, "--ledger", str(path), home=home, cwd=tmp_path)

    return go


def filled(path: Path, *records: Any) -> None:
    with closing(Ledger(path)) as ledger:
        for record in records:
            ledger.append(record)


def delegated(id: str, ago: float = 60.0, parent: str | None = None, root: str | None = None, **given: Any) -> list[Any]:
    """A delegation with one attempt and one call, so many seconds ago."""
    started = time.time() - ago
    agent = given.get("agent", "worker")
    tree = root or id
    own = {key: value for key, value in given.items() if key in ("agent", "tier", "bundle", "rejected")}
    call = {key: value for key, value in given.items() if key not in ("bundle", "rejected")}
    return [
        delegation_record(id, started=started, parent=parent, root=tree, depth=int(parent is not None), **own),
        attempt_record(f"{id}-1", delegation=id, started=started),
        call_record(f"{id}-1-1", attempt=f"{id}-1", delegation=id, root=tree, started=started, **{"agent": agent, **call}),
    ]


def flat(*groups: list[Any]) -> list[Any]:
    return [record for group in groups for record in group]


# --- recent and sums


def test_since_leaves_out_what_began_before(run: Run, path: Path) -> None:
    filled(path, *flat(delegated("new", ago=60), delegated("old", ago=3 * HOUR), delegated("older", ago=10 * DAY)))

    def ids(*arguments: str) -> list[str]:
        return [row["id"] for row in run(*arguments, "--json").json["delegations"]]

    assert ids() == ["new", "old", "older"]
    assert ids("--since", "2h") == ["new"]
    assert ids("--since", "7d") == ["new", "old"]
    assert ids("--since", datetime.fromtimestamp(time.time() - 11 * DAY, UTC).date().isoformat()) == ["new", "old", "older"]
    assert ids("--limit", "1") == ["new"]
    assert run("--by", "agent", "--since", "2h", "--json").json["totals"][0]["calls"] == 1
    bad = run("--since", "yesterday")
    assert bad.code == 2
    assert "write how long ago" in bad.err


@pytest.mark.parametrize("by", ["agent", "model", "tier", "provider", "family", "profile", "day"])
def test_sums_by_every_aspect(run: Run, path: Path, by: str) -> None:
    filled(path, *flat(delegated("1", ago=0, family="gpt", profile="cost"), delegated("2", ago=0, family="gpt", profile="cost")))
    (row,) = run("--by", by, "--json").json["totals"]
    names = {"agent": "worker", "model": "gpt-4o", "tier": "budget", "provider": "openai", "family": "gpt", "profile": "cost"}
    assert row["name"] == names.get(by, datetime.now(UTC).date().isoformat())
    assert (row["calls"], row["cost"]) == (2, "0.2")
    assert run("--by", by).out.splitlines()[0].split()[:2] == [by, "calls"]


@pytest.mark.requirement("AGT-55")
def test_cost_by_agent_is_its_own_and_with_all_below_it(run: Run, path: Path) -> None:
    filled(
        path,
        *flat(
            delegated("a", agent="architect", cost=Decimal(1)),
            delegated("b", parent="a", root="a", agent="builder", cost=Decimal(2)),
            delegated("c", parent="b", root="a", agent="git", cost=Decimal(4)),
            delegated("d", parent="c", root="a", agent="builder", cost=Decimal(8)),
            delegated("e", agent="git", cost=None),
        ),
        delegation_record("f", agent="boss", started=time.time()),
        *flat(delegated("g", parent="f", root="f", agent="clerk", cost=Decimal(16))),
    )
    rows = {row["name"]: row for row in run("--by", "agent", "--json").json["totals"]}
    own = {name: (row["known_cost"], row["cost"]) for name, row in rows.items()}
    assert own == {
        "architect": ("1", "1"), "builder": ("10", "10"), "git": ("4", None), "boss": ("0", "0"), "clerk": ("16", "16"),
    }  # fmt: skip
    whole = {name: (row["with_sub_agents"]["known_cost"], row["with_sub_agents"]["calls"]) for name, row in rows.items()}
    # builder's own 2 + 8, and git's 4 below it, each once although builder stands above builder
    assert whole == {"architect": ("15", 4), "builder": ("14", 3), "git": ("12", 3), "boss": ("16", 1), "clerk": ("16", 1)}
    lines = {line.split()[0]: line for line in run("--by", "agent").out.splitlines()}
    assert "with sub-agents" in lines["agent"]
    assert lines["git"].count("at least") == 2, "a part of it is unknown"
    assert [word for word in lines["architect"].split() if word.startswith("$")] == ["$1", "$15"]


@pytest.mark.requirement("AGT-5", "AGT-37")
async def test_latency_is_compared_by_tier(run: Run, path: Path, tmp_path: Path) -> None:
    text = "bundle: {name: b}\ntiers: {budget: [a/haiku-1], frontier: [a/opus-1]}\n"
    text += "agents: {quick: {tier: budget}}\n"
    (tmp_path / "b.yaml").write_text(text, encoding="utf-8")
    provider = SimulatedProvider("a", models=["haiku-1", "opus-1"], latency={"haiku-*": 0.02, "opus-*": 0.2})
    async with Host(load_bundle(tmp_path / "b.yaml"), providers={"a": provider}, ledger=path) as host:
        for _ in range(3):
            await host.delegate("quick", "go")
            await host.delegate("quick", "go", tier="frontier")
    rows = {row["name"]: row for row in run("--by", "tier", "--simulated", "--json").json["totals"]}
    assert rows["frontier"]["times_faster"] == 1.0
    assert rows["budget"]["times_faster"] == pytest.approx(rows["frontier"]["p50"] / rows["budget"]["p50"])
    assert 3 <= rows["budget"]["times_faster"] <= 11
    table = {line.split()[0]: line.split() for line in run("--by", "tier", "--simulated").out.splitlines()}
    assert table["budget"][-1] == f"{rows['budget']['times_faster']:.1f}x"


def test_sums_are_compared_with_another_models_price(run: Run, path: Path) -> None:
    filled(
        path,
        *flat(
            delegated("1", tier="budget", cost=Decimal("0.001")),
            delegated("2", tier="budget", cost=None),
            delegated("3", tier="frontier", cost=Decimal(1)),
        ),
    )
    rows = {row["name"]: row["against"] for row in run("--by", "tier", "--against", "openai/gpt-4o", "--json").json["totals"]}
    # 10 tokens in at 2.50 and 5 out at 10 dollars a million
    assert rows["budget"] | {"times_cheaper": None} == {
        "model": "openai/gpt-4o", "calls": 1, "cost": "0.001", "at_its_price": "0.000075", "times_cheaper": None, "left_out": 1,
    }  # fmt: skip
    assert rows["budget"]["times_cheaper"] == "0.075"
    assert "$0.000075 (1 calls left out)" in run("--by", "tier", "--against", "openai/gpt-4o").out
    unknown = run("--by", "tier", "--against", "openai/nobody-knows-it")
    assert unknown.code == 1
    assert "the price of openai/nobody-knows-it is not known" in unknown.err
    assert run("--against", "openai/gpt-4o").code == 2
    assert run("--by", "tier", "--against", "gpt").code == 2


def test_percentiles_of_latency_are_exact(run: Run, path: Path) -> None:
    now = time.time()
    filled(path, *(call_record(str(number), latency=float(number), started=now) for number in range(1, 202)))
    (row,) = run("--by", "model", "--json").json["totals"]
    assert (row["p50"], row["p95"], row["p99"]) == (101.0, 191.0, 199.0)


# --- show


def test_show_is_the_tree_with_every_attempt_call_and_rejection(run: Run, path: Path) -> None:
    rejected = (("anthropic", "claude-*", "no key: set ANTHROPIC_API_KEY"),)
    filled(
        path,
        *flat(
            delegated("aaaa1", agent="top", rejected=rejected, cost=Decimal("0.5"), cost_source="listed"),
            delegated("aaab2", parent="aaaa1", root="aaaa1", agent="below", cost=Decimal("0.25"), usage=None),
        ),
        attempt_record("aaaa1-2", delegation="aaaa1", number=2, outcome="failed", kind="busy", reason="busy 503: later"),
        call_record("aaaa1-2-1", attempt="aaaa1-2", delegation="aaaa1", root="aaaa1", cost=Decimal(0), outcome="failed"),
    )
    ran = run("show", "aaaa")
    assert ran.code == 0, ran.err
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0] == "aaaa1  top -> openai/gpt-4o"
    assert "own cost $0.5, with children $0.75" in lines
    assert "x anthropic/claude-*: no key: set ANTHROPIC_API_KEY" in lines
    assert "2. openai/gpt-4o (gpt-*) failed after 0.50 s: busy 503: later" in lines
    assert any(line.startswith("call 1: 10 + 5 tokens; $0.5 (listed); 0.50 s, first token 0.10 s") for line in lines)
    assert "    aaab2  below -> openai/gpt-4o" in ran.out.splitlines()
    value = run("show", "aaaa1", "--json").json["delegation"]
    assert (value["own_cost"]["cost"], value["cost_with_children"]["cost"]) == ("0.5", "0.75")
    assert [attempt["number"] for attempt in value["attempts"]] == [1, 2]
    assert [call["id"] for attempt in value["attempts"] for call in attempt["calls"]] == ["aaaa1-1-1", "aaaa1-2-1"]
    assert value["children"][0]["id"] == "aaab2"
    below = run("show", "aaab")
    assert "delegated by aaaa1, in the tree of aaaa1" in below.out
    assert "own cost $0.25, with children $0.25" in below.out


def test_show_wants_a_beginning_that_is_unique(run: Run, path: Path) -> None:
    filled(path, *flat(delegated("aaaa1"), delegated("aaab2"), delegated("aaa")))
    several = run("show", "aaaa", "--json")
    assert several.json["delegation"]["id"] == "aaaa1"
    ran = run("show", "aa")
    assert ran.code == 1
    assert "several delegations begin with 'aa': aaa, aaaa1, aaab2; write more of it" in ran.err
    assert run("show", "aaa", "--json").json["delegation"]["id"] == "aaa", "a whole id is never short of another"
    none = run("show", "b")
    assert (none.code, "no delegation in" in none.err) == (1, True)
    assert run("show", "%").code == 1


def test_ids_are_shown_and_not_taken_for_keys(run: Run, path: Path) -> None:
    ids = ["2f0c9a41e7b84d5c8a63d1e95b7c0f12", "2f0c9a41e7b84d5c8a63d1e95b7c0f13"]
    filled(path, *flat(*map(delegated, ids)))
    assert f"several delegations begin with '2f': {', '.join(ids)}; write more of it" in run("show", "2f").err
    assert f"begins with '{ids[0][:-1]}4'" in run("show", ids[0][:-1] + "4").err


def test_show_tells_of_calls_whose_delegation_was_never_recorded(run: Run, path: Path) -> None:
    filled(path, call_record("lost1-1-1", attempt="lost1-1", delegation="lost1", root="lost1", outcome="lost", cost=None))
    ran = run("show", "lost")
    assert "not recorded: it is under way, or its process died" in ran.out
    assert "own cost cost unknown" in ran.out or "own cost at least" in ran.out
    assert "lost" in ran.out


# --- export


def test_export_gives_every_record_once_in_either_format(run: Run, path: Path, tmp_path: Path) -> None:
    filled(path, *flat(*(delegated(f"d{number}", cost=Decimal("0.000000000001")) for number in range(1200))))
    lines = [json.loads(line) for line in run("export").out.splitlines()]
    kinds = [line["record"] for line in lines]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"delegation": 1200, "attempt": 1200, "call": 1200}
    assert len({(line["record"], line["id"]) for line in lines}) == 3600
    assert lines[-1]["cost"] == "0.000000000001"
    made = run("export", "--format", "csv", "--output", str(tmp_path / "out.csv"))
    assert (made.code, made.out) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 3600
    assert {row["cost"] for row in rows if row["record"] == "call"} == {"0.000000000001"}
    again = run("export", "--output", str(tmp_path / "out.csv"))
    assert (again.code, "is there already" in again.err) == (1, True)


def test_export_since(run: Run, path: Path) -> None:
    filled(path, *flat(delegated("new"), delegated("old", ago=3 * HOUR)))
    ids = {json.loads(line)["id"] for line in run("export", "--since", "1h").out.splitlines()}
    assert {"new", "old"} & ids == {"new"}


@pytest.mark.parametrize("sign", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_an_export_is_a_formula(run: Run, path: Path, sign: str) -> None:
    filled(path, delegation_record("d", started=time.time(), agent=sign))
    (row,) = csv.DictReader(io.StringIO(run("export", "--format", "csv").out, newline=""))
    assert row["agent"] == "'" + sign
    assert json.loads(run("export").out)["agent"] == sign


# --- prune


def old_and_new(path: Path) -> float:
    """Records of this month and of long ago; when the running month began."""
    now = time.time()
    month = running_month(now)
    ago = now - month
    filled(
        path,
        *flat(
            delegated("old", ago=ago + 40 * DAY),
            delegated("old-child", ago=ago + 40 * DAY - 60, parent="old", root="old"),
            delegated("edge", ago=ago - 1),
            delegated("new"),
            delegated("long", ago=ago + 40 * DAY),
            delegated("long-child", parent="long", root="long"),
        ),
        FeedbackRecord(now, "old", 1.0),
        FeedbackRecord(now, "new", 1.0),
    )
    return month


def test_prune_says_what_would_go_and_goes_only_with_yes(run: Run, path: Path) -> None:
    old_and_new(path)
    asked = run("prune", "--before", "1s")
    assert asked.code == 0
    assert "what began in the running month stays" in asked.out
    assert "2 delegations, 2 attempts and 2 calls would go: $0.2" in asked.out
    assert len(run("--json").json["delegations"]) == 6
    done = run("prune", "--before", "1s", "--yes", "--json").json
    assert (done["delegations"], done["attempts"], done["calls"], done["cost"], done["done"]) == (2, 2, 2, "0.2", True)
    left = {row["id"] for row in run("--json").json["delegations"]}
    assert left == {"edge", "new", "long", "long-child"}, "a tree of which a part is new stays whole"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT delegation FROM feedback").fetchall() == [("new",)]
        assert db.execute("SELECT COUNT(*) FROM calls").fetchone() == (4,)
    assert run("prune", "--before", "1s", "--yes", "--json").json["calls"] == 0


def test_prune_before_a_date_keeps_what_came_after(run: Run, path: Path) -> None:
    filled(path, *flat(delegated("1", ago=100 * DAY), delegated("2", ago=90 * DAY)))
    run("prune", "--before", "95d", "--yes", "--vacuum")
    assert [row["id"] for row in run("--json").json["delegations"]] == ["2"]


async def test_prune_keeps_the_accounts_of_windows_that_run(run: Run, path: Path) -> None:
    now = time.time()
    facts = CallFacts("openai", "gpt-4o", "gpt", "worker", "gone")
    with closing(Ledger(path)) as ledger:
        for per, at in (
            ("day", now),
            ("month", now),
            ("minute", now),
            ("day", now - 40 * DAY),
            ("month", now - 70 * DAY),
            ("run", now),
        ):
            one = Budget.model_validate({"id": f"{per}{int(now - at)}", "unit": "requests", "limit": 9, "per": per})
            hold = hold_of(one, facts, at, 1, FREE)
            await ledger.reserve(Reserve(one.id, (hold,), 0, 0))
            await ledger.settle(Settle(one.id, (Charge(hold, 1, 1),)))
        for record in delegated("gone", ago=80 * DAY):
            ledger.append(record)
    run("prune", "--before", "1s", "--yes")
    with closing(sqlite3.connect(path)) as db:
        assert sorted(row[0] for row in db.execute("SELECT account FROM accounts")) == ["day0", "minute0", "month0"]


@pytest.mark.parametrize(
    ("at", "began"),
    [
        ("2026-03-15T12:00", "2026-02-28T10:00"),
        ("2026-03-01T00:30", "2026-02-01T12:00"),
        ("2026-02-28T23:30", "2026-02-01T12:00"),
        ("2026-03-01T12:30", "2026-02-28T10:00"),
    ],
)
def test_the_running_month_is_that_of_every_zone(at: str, began: str) -> None:
    moment, start = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (at, began))
    assert running_month(moment) <= start
    assert running_month(moment) >= start - 3 * DAY


# --- follow


@pytest.fixture
def following(tmp_path: Path, path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def go(*arguments: str) -> subprocess.Popen[str]:
        variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "bundle_loader", "ledger", "--follow", "--ledger", str(path), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, cwd=tmp_path,
        )  # fmt: skip
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def test_follow_shows_what_other_processes_end_until_it_is_stopped(
    following: Callable[..., subprocess.Popen[str]], path: Path
) -> None:
    filled(path, *delegated("before"))
    process = following("--json")
    assert process.stdout is not None
    for number in range(200):
        filled(path, *delegated(f"early{number}"))
        if select.select([process.stdout], [], [], 0.3)[0]:
            break
    while json.loads(process.stdout.readline())["id"] != f"early{number}":
        pass
    for number in range(3):
        filled(path, *delegated(f"new{number}"))
        assert select.select([process.stdout], [], [], 60)[0]
        assert json.loads(process.stdout.readline())["id"] == f"new{number}"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_follow_since_begins_with_what_is_there(following: Callable[..., subprocess.Popen[str]], path: Path) -> None:
    filled(path, *flat(delegated("old", ago=3 * HOUR), delegated("recent")))
    process = following("--since", "1h")
    assert process.stdout is not None
    assert "recent" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130


def test_follow_shows_no_sums(run: Run) -> None:
    assert run("--follow", "--by", "agent").code == 2


# --- files and words


@pytest.mark.parametrize("arguments", [(), ("show", "x"), ("export",), ("prune", "--before", "1d"), ("--by", "agent")])
def test_a_ledger_that_is_not_there_or_no_ledger_is_told(run: Run, path: Path, arguments: tuple[str, ...]) -> None:
    missing = run(*arguments)
    assert (missing.code, f"there is no ledger {path}" in missing.err) == (1, True)
    path.write_text("not a database " * 100)
    wrong = run(*arguments)
    assert (wrong.code, "not a ledger that can be read" in wrong.err) == (1, True)
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE calls (id TEXT)")
        db.execute("PRAGMA user_version = 99")
    newer = run(*arguments)
    assert (newer.code, "newer version" in newer.err) == (1, True)


def test_options_of_a_command_below_come_after_its_name(tmp_path: Path) -> None:
    ran = command("ledger", "--json", "show", "x", home=tmp_path)
    assert ran.code == 2
    assert "come after its name" in ran.json["error"]["message"]


@pytest.mark.slow
def test_a_hundred_thousand_calls_are_summed_and_listed_fast(run: Run, path: Path) -> None:
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        rows = ((f"d{n}", f"d{n}", "worker", 1e9 + n, 0.5, f"m-{n % 7}") for n in range(100_000))
        db.executemany(
            "INSERT INTO delegations (id, root, depth, agent, decided_by, bundle, bundle_hash, started, latency, outcome, model,"
            " provider, simulated) VALUES (?, ?, 0, ?, 'agent', 'b', 'h', ?, ?, 'answered', ?, 'p', 0)",
            rows,
        )
        db.execute(
            "INSERT INTO calls (id, attempt, delegation, root, agent, provider, pattern, asked, started, latency, estimated,"
            " outcome, simulated) SELECT id || '-1-1', id || '-1', id, id, agent, 'p', '*', model, started, latency, 0,"
            " 'answered', 0 FROM delegations"
        )
        db.commit()
    for arguments in ((), ("--by", "agent"), ("--by", "model"), ("show", "d99999")):
        began = time.perf_counter()
        assert run(*arguments).code == 0
        assert time.perf_counter() - began < 8, arguments
