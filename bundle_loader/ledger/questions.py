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
    }
)
"""By what calls can be summed -> the column."""

_TOTALS = """
SELECT {column} AS name, COUNT(*) AS calls, COALESCE(SUM(input_tokens), 0) AS input_tokens,
       COALESCE(SUM(output_tokens), 0) AS output_tokens, SUM(cost_pico) AS cost_pico,
       SUM(CASE WHEN cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown, AVG(latency) AS latency
FROM calls
WHERE simulated = :simulated AND (:since IS NULL OR started >= :since)
      AND (:bundle IS NULL OR delegation IN (SELECT id FROM delegations WHERE bundle = :bundle))
GROUP BY 1 ORDER BY cost_pico DESC, name
"""

_DELEGATIONS = """
SELECT d.*, COUNT(c.id) AS calls, SUM(c.input_tokens) AS input_tokens, SUM(c.output_tokens) AS output_tokens,
       SUM(c.cost_pico) AS cost_pico, SUM(CASE WHEN c.id IS NOT NULL AND c.cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown
FROM delegations d LEFT JOIN calls c ON c.delegation = d.id
WHERE (:bundle IS NULL OR d.bundle = :bundle) AND (:since IS NULL OR d.started >= :since)
GROUP BY d.id ORDER BY d.started DESC, d.id LIMIT :limit
"""

QUESTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"totals by {name}": _TOTALS.format(column=column) for name, column in TOTALS_BY.items()},
        "delegations": _DELEGATIONS,
        "attempts": "SELECT * FROM attempts WHERE delegation = :delegation ORDER BY number",
        "calls": "SELECT * FROM calls WHERE :delegation IS NULL OR delegation = :delegation ORDER BY started, id",
        "calls after": "SELECT rowid AS place, * FROM calls WHERE rowid > :after ORDER BY rowid LIMIT :limit",
        "last call": "SELECT COALESCE(MAX(rowid), 0) AS place FROM calls",
        "accounts": """
            SELECT account, bucket, settled, reserved FROM accounts
            WHERE :account IS NULL OR account = :account ORDER BY account, bucket
        """,
        "reservations": "SELECT id, holder, made, entries FROM reservations ORDER BY made",
        "closed": "SELECT key, until, reason FROM closed WHERE until > :now ORDER BY key",
    }
)
