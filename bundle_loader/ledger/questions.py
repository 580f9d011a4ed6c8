"""The questions that a ledger file answers, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TOTALS_BY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agent": "agent",
        "model": "asked",
        "provider": "provider",
        "tier": "tier",
        "family": "family",
        "profile": "profile",
        "day": "date(started, 'unixepoch')",
        "session": "COALESCE((SELECT session FROM resumed WHERE resumed.delegation = calls.delegation), delegation)",
    }
)
"""By what calls can be summed -> the column. A session has the id of the delegation that began it."""

_COUNTED = """
simulated = :simulated AND (:since IS NULL OR started >= :since)
      AND (:bundle IS NULL OR delegation IN (SELECT id FROM delegations WHERE bundle = :bundle))
"""
"""Which calls are summed."""

_TOTALS = f"""
SELECT {{column}} AS name, COUNT(*) AS calls, COALESCE(SUM(input_tokens), 0) AS input_tokens,
       COALESCE(SUM(output_tokens), 0) AS output_tokens, SUM(cost_pico) AS cost_pico,
       SUM(CASE WHEN cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown, SUM(estimated) AS estimated, AVG(latency) AS latency
FROM calls WHERE {_COUNTED}
GROUP BY 1 ORDER BY cost_pico DESC, name
"""

_LATENCY = f"""
WITH ranked AS (
    SELECT {{column}} AS name, latency, ROW_NUMBER() OVER (PARTITION BY {{column}} ORDER BY latency) AS place,
           COUNT(*) OVER (PARTITION BY {{column}}) AS many
    FROM calls WHERE outcome = 'answered' AND {_COUNTED}
)
SELECT name, many AS answered, MAX(CASE WHEN place = (many * 50 + 99) / 100 THEN latency END) AS p50,
       MAX(CASE WHEN place = (many * 95 + 99) / 100 THEN latency END) AS p95,
       MAX(CASE WHEN place = (many * 99 + 99) / 100 THEN latency END) AS p99
FROM ranked GROUP BY name
"""

_INCLUSIVE = f"""
WITH RECURSIVE counted AS (SELECT delegation, agent, cost_pico, estimated FROM calls WHERE {_COUNTED}),
above (delegation, agent, parent, height) AS (
    SELECT working.delegation, working.agent, delegations.parent, 0
    FROM (SELECT DISTINCT delegation, agent FROM counted) AS working
    LEFT JOIN delegations ON delegations.id = working.delegation
    UNION ALL
    SELECT above.delegation, delegations.agent, delegations.parent, height + 1
    FROM above JOIN delegations ON delegations.id = above.parent WHERE height < 100
),
sums AS (
    SELECT delegation, COUNT(*) AS calls, SUM(cost_pico) AS cost_pico, COUNT(*) - COUNT(cost_pico) AS unknown,
           SUM(estimated) AS estimated
    FROM counted GROUP BY delegation
)
SELECT part.agent AS name, SUM(calls) AS calls, SUM(cost_pico) AS cost_pico, SUM(unknown) AS unknown,
       SUM(estimated) AS estimated
FROM (SELECT DISTINCT delegation, agent FROM above) AS part JOIN sums ON sums.delegation = part.delegation
GROUP BY 1
"""

_DELEGATIONS = """
SELECT d.*, COUNT(c.id) AS calls, SUM(c.input_tokens) AS input_tokens, SUM(c.output_tokens) AS output_tokens,
       SUM(c.cost_pico) AS cost_pico, SUM(CASE WHEN c.id IS NOT NULL AND c.cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown,
       COALESCE(SUM(c.estimated), 0) AS estimated
FROM ({chosen}) d LEFT JOIN calls c ON c.delegation = d.id GROUP BY d.id ORDER BY {order}
"""
_CHOSEN = """
SELECT rowid AS place, * FROM delegations WHERE (:bundle IS NULL OR bundle = :bundle) AND {which} ORDER BY {order} LIMIT :limit
"""
_NEWEST = _DELEGATIONS.format(
    chosen=_CHOSEN.format(which="(:since IS NULL OR started >= :since)", order="started DESC, id"), order="d.started DESC, d.id"
)
_AFTER = _DELEGATIONS.format(chosen=_CHOSEN.format(which="rowid > :after", order="rowid"), order="d.place")
_TREE = _DELEGATIONS.format(chosen="SELECT * FROM delegations WHERE root = :root", order="d.started, d.depth, d.id")

_PAGE = """
SELECT rowid AS place, * FROM {table}
WHERE rowid > :after AND (:since IS NULL OR started >= :since) ORDER BY rowid LIMIT :limit
"""

_SCORES = """
SELECT d.provider, d.model, {task} AS agent, COUNT(*) AS count, AVG(f.score) AS mean
FROM feedback f JOIN delegations d ON d.id = f.delegation
WHERE d.simulated = :simulated AND d.provider IS NOT NULL AND d.model IS NOT NULL GROUP BY 1, 2, 3
"""

QUESTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"totals by {name}": _TOTALS.format(column=column) for name, column in TOTALS_BY.items()},
        **{f"latency by {name}": _LATENCY.format(column=column) for name, column in TOTALS_BY.items()},
        "totals with sub-agents": _INCLUSIVE,
        "counted calls by page": f"""
            SELECT rowid AS place, *, date(started, 'unixepoch') AS day FROM calls
            WHERE rowid > :after AND {_COUNTED} ORDER BY rowid LIMIT :limit
        """,
        "delegations": _NEWEST,
        "delegations after": _AFTER,
        "last delegation": "SELECT COALESCE(MAX(rowid), 0) AS place FROM delegations",
        "tree": _TREE,
        "roots of delegations that begin with": """
            SELECT DISTINCT id, root FROM (
                SELECT id, root FROM delegations WHERE id >= :prefix AND substr(id, 1, length(:prefix)) = :prefix
                UNION SELECT delegation, root FROM calls
                WHERE delegation >= :prefix AND substr(delegation, 1, length(:prefix)) = :prefix
            ) ORDER BY id LIMIT :limit
        """,
        "attempts of a tree": """
            SELECT * FROM attempts WHERE delegation IN (SELECT id FROM delegations WHERE root = :root) ORDER BY delegation, number
        """,
        "calls of a tree": """
            SELECT c.* FROM calls c WHERE c.delegation IN (SELECT id FROM delegations WHERE root = :root)
            OR c.delegation = :root ORDER BY c.started, c.id
        """,
        **{f"{table} by page": _PAGE.format(table=table) for table in ("delegations", "attempts", "calls")},
        "hops": "SELECT * FROM hops WHERE delegation = :delegation ORDER BY rowid",
        "resumed": "SELECT delegation FROM resumed WHERE session = :session ORDER BY at, delegation",
        "attempts": "SELECT * FROM attempts WHERE delegation = :delegation ORDER BY number",
        "calls": "SELECT * FROM calls WHERE :delegation IS NULL OR delegation = :delegation ORDER BY started, id",
        "calls after": "SELECT rowid AS place, * FROM calls WHERE rowid > :after ORDER BY rowid LIMIT :limit",
        "calls to fold": """
            SELECT rowid AS place, id, agent, provider, asked, tier, started, latency, outcome, cost_pico, simulated
            FROM calls WHERE rowid > :after ORDER BY rowid LIMIT :limit
        """,
        "call at": "SELECT id FROM calls WHERE rowid = :place",
        "last pruning": "SELECT COALESCE(MAX(id), 0) AS place FROM prunings",
        "scores": f"{_SCORES.format(task='NULL')} UNION ALL {_SCORES.format(task='d.agent')}",
        "last call": "SELECT COALESCE(MAX(rowid), 0) AS place FROM calls",
        "accounts": """
            SELECT account, bucket, settled, reserved FROM accounts
            WHERE :account IS NULL OR account = :account ORDER BY account, bucket
        """,
        "buckets of a budget": """
            SELECT account, bucket, settled, reserved FROM accounts
            WHERE (account = :budget OR (account > :budget || '|' AND account < :budget || '}')) AND bucket >= :since
            AND (NOT :running OR reserved > 0) ORDER BY account, bucket
        """,
        "reservations": "SELECT id, holder, made, entries FROM reservations ORDER BY made",
        "breakers": "SELECT key, provider, model, until, times, reason, refused FROM breakers ORDER BY key",
        "health": """
            SELECT b.key, b.provider, b.model, b.until, b.times, b.reason, b.probe, b.probe_until, r.what, (
                SELECT MIN(at) FROM health h
                WHERE h.provider = b.provider AND h.model IS b.model AND h.state = 'open' AND h.at > (
                    SELECT COALESCE(MAX(at), 0) FROM health c
                    WHERE c.provider = b.provider AND c.model IS b.model AND c.state = 'closed'
                )
            ) AS since
            FROM breakers b LEFT JOIN reservations r ON r.id = b.probe ORDER BY b.provider, b.model, b.key
        """,
        "runs": """
            SELECT id, recipe, bundle, file, started, updated, status, reason, simulated, told, holder, until FROM runs
            WHERE :since IS NULL OR started >= :since ORDER BY started DESC, id LIMIT :limit
        """,
        "runs that begin with": """
            SELECT * FROM runs WHERE id >= :prefix AND substr(id, 1, length(:prefix)) = :prefix ORDER BY id LIMIT :limit
        """,
        "steps of a run": "SELECT * FROM run_steps WHERE run = :run ORDER BY rowid",
        "answers of a run": "SELECT id, yes, note, at FROM run_answers WHERE run = :run",
        "closed": "SELECT key, until, reason FROM closed WHERE until > :now ORDER BY key",
    }
)
