"""The traps in model names, one by one: what must lead, what must follow, and that no other reading of the id gets in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bundle_loader.providers.snapshot import snapshot_models
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_names import newest_models, same_model, snapshots_of

Listed = dict[str, str | None]
"""Id -> the day of its `created`, where the list has one."""


def order(pattern: str, listed: Listed) -> list[str]:
    models = [
        ModelInfo(id, created=datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None) for id, day in listed.items()
    ]
    found = newest_models(pattern, models)
    assert found == newest_models(pattern, models[::-1])
    return [model.id for model in found]


def plain(*ids: str) -> Listed:
    return dict.fromkeys(ids)


TRAPS: list[tuple[str, str, list[str]]] = [
    # trap, pattern, and the whole order of a list without stamps
    ("a date is no version", "claude-opus-*", ["claude-opus-4-5-20251101", "claude-opus-4-1-20250805", "claude-opus-4-20250514"]),
    ("a date is no version, short", "grok-*", ["grok-4.3", "grok-4-0709"]),
    ("a date is no version, after two numbers", "x-*", ["x-4-7", "x-4-5-20290101", "x-4-20300101"]),
    ("a year is no version", "command-*", ["command-3", "command-r-08-2024", "command-r-03-2024"]),
    ("ten is after seven, dashed", "claude-opus-*", ["claude-opus-4-10", "claude-opus-4-9", "claude-opus-4-7"]),
    ("ten is after seven, dotted", "gpt-*", ["gpt-5.10", "gpt-5.9", "gpt-5.1", "gpt-5"]),
    ("ten is after seven, whole", "gpt-*", ["gpt-10", "gpt-9", "gpt-1"]),
    ("ten is after seven, before the point", "gemini-*", ["gemini-10.1-pro", "gemini-9.9-pro"]),
    ("run together", "claude-opus-*", ["claude-opus-4.5", "claude-opus-41", "claude-opus-4"]),
    ("run together, without its whole number", "gpt-*", ["gpt-5", "gpt-41", "gpt-4", "gpt-35-turbo"]),
    ("run together, not at ten", "gpt-*", ["gpt-11", "gpt-10", "gpt-9"]),
    ("run together, not where a number counts on", "m-*", ["m-41", "m-40", "m-39"]),
    ("colon, sizes", "q3:*", ["q3:latest", "q3:70b", "q3:8b", "q3:0.6b"]),
    ("colon, versions before it", "llama*", ["llama3.3:8b", "llama3.2:90b", "llama3:405b"]),
    ("colon, quantisations", "q3:*", ["q3:8b", "q3:8b-q8_0"]),
    ("colon, editions behind a vendor", "a/m-*", ["a/m-1", "a/m-2:free"]),
    ("colon, named", "a/m-*:free", ["a/m-2:free", "a/m-1:free"]),
    ("point and dash are one", "claude-*", ["claude-sonnet-4.6", "claude-sonnet-4-5", "claude-sonnet-4.4"]),
    ("preview", "m-*", ["m-1", "m-3-preview", "m-2-exp"]),
    ("preview, named", "m-*preview*", ["m-3-preview", "m-2-preview-05-20", "m-2-preview-04-17"]),
    ("preview, nothing else", "m-3*", ["m-3.1-preview", "m-3-preview"]),
    ("preview, numbered", "m-*", ["m-1", "m-2-rc10", "m-2-rc2", "m-2-rc1"]),
    ("variant", "gpt-5*", ["gpt-5.2", "gpt-5.2-pro", "gpt-5.1-mini"]),
    ("variant, named", "gpt-*mini*", ["gpt-5.1-mini", "gpt-5-mini", "gpt-5.2-codex-mini"]),
    ("variant, nobody has heard of it", "m-7*", ["m-7", "m-7-quux"]),
    ("variant, two of them", "m-*", ["m-1", "m-2-fast", "m-3-fast-mini"]),
    ("variant, two glued to a version", "glm-*", ["glm-4.5", "glm-4.6v"]),
    ("kind", "gpt-*", ["gpt-4", "gpt-9-realtime", "gpt-8-tts"]),
    ("kind, named", "gpt-*tts*", ["gpt-9-tts", "gpt-8-tts"]),
    ("kind, by another word of it", "*embed*", ["text-embedding-3", "text-embed-2"]),
    ("latest, without a version", "gemini-*flash*", ["gemini-2.5-flash", "gemini-2.0-flash", "gemini-flash-latest"]),
    ("latest, of a version", "claude-3-5-*", ["claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"]),
    ("latest, named", "*-latest", ["gemini-1.5-flash-latest", "gemini-flash-latest"]),
    ("latest, as a tag", "m*", ["m2:latest", "m2:7b", "m1:latest"]),
    ("date behind @", "claude-*", ["claude-haiku-4-5@20260101", "claude-haiku-4-5@20251001", "claude-haiku-3-5@20241022"]),
    ("date behind @, is no version", "claude-opus-*", ["claude-opus-4-1@20250805", "claude-opus-4@20250514"]),
    ("date, MMDD", "gpt-4-*", ["gpt-4-0613", "gpt-4-0314"]),
    ("date, YYMM", "mistral-large-*", ["mistral-large-2512", "mistral-large-2411", "mistral-large-2407"]),
    ("date, MM-DD", "m-2.5-preview*", ["m-2.5-preview-05-20", "m-2.5-preview-04-17"]),
    ("date, MM-YYYY", "m-2.5-preview*", ["m-2.5-preview-01-2026", "m-2.5-preview-09-2025"]),
    ("date, YYMMDD", "m-*", ["m-260131", "m-250715"]),
    ("date, a revision", "gemini-1.5-pro-*", ["gemini-1.5-pro-002", "gemini-1.5-pro-001"]),
    ("date, a month is not a version of two numbers", "m-1-*", ["m-1-2512", "m-1-12-2024"]),
    ("size is no version", "llama-*", ["llama-3.3-8b-instruct", "llama-3.1-405b-instruct"]),
    ("size of experts", "m-*", ["m-8x22b", "m-8x7b", "m-13b"]),
    ("window is no version", "moonshot-*", ["moonshot-v2-8k", "moonshot-v1-128k"]),
    ("letter behind the version", "gpt-4*", ["gpt-4o", "gpt-4"]),
    ("remade behind a version", "whisper-*", ["whisper-large-v3-turbo", "whisper-large-v3", "whisper-large-v2"]),
    ("remade behind a word is an edition", "kimi-*", ["kimi-k2-thinking", "kimi-k2-thinking-turbo"]),
    ("cloud prefixes", "*opus*", ["us.anthropic.claude-opus-4-5-20251101-v1:0", "anthropic.claude-opus-4-1-20250805-v1:0"]),
    ("an undated name behind a vendor is the oldest", "d/r1*", ["d/r1-0528", "d/r1"]),
    ("a whole date behind a vendor is a snapshot", "o/g-4*", ["o/g-4o", "o/g-4o-2024-11-20", "o/g-4o-2024-08-06"]),
]


@pytest.mark.parametrize(("pattern", "descending"), [pytest.param(*case, id=trap) for trap, *case in TRAPS])
def test_trap(pattern: str, descending: list[str]) -> None:
    assert order(pattern, plain(*sorted(descending))) == descending


STAMPED: list[tuple[str, str, dict[str, str], list[str]]] = [
    # trap, pattern, the days of `created`, and the order
    (
        "grok 4.20 is before 4.3",
        "grok-*",
        {"grok-4.20": "2026-03-09", "grok-4.3": "2026-04-17", "grok-4": "2025-07-09"},
        ["grok-4.3", "grok-4.20", "grok-4"],
    ),
    (
        "gpt-5.10 is after 5.9",
        "gpt-*",
        {"gpt-5.10": "2027-03-01", "gpt-5.9": "2027-01-10", "gpt-5": "2025-08-07"},
        ["gpt-5.10", "gpt-5.9", "gpt-5"],
    ),
    (
        "a higher number may be the older model",
        "gpt-4*",
        {"gpt-4.5": "2025-02-26", "gpt-4.1": "2025-04-10", "gpt-4": "2023-06-27"},
        ["gpt-4.1", "gpt-4.5", "gpt-4"],
    ),
    (
        "a stamp that was rewritten is not the release",
        "a-*",
        {"a-1-2024-11-20": "2026-02-12", "a-2": "2025-06-01", "a-1": "2024-05-10"},
        ["a-2", "a-1", "a-1-2024-11-20"],
    ),
    (
        "stamps of one release are days apart",
        "a-*",
        {"a-5-2026-03-17": "2026-03-16", "a-5": "2026-03-14", "a-4": "2025-01-01"},
        ["a-5", "a-5-2026-03-17", "a-4"],
    ),
    (
        "the time of the request is no release",
        "a-*",
        {"a-1": "2026-08-19T10:00:02", "a-2": "2026-08-19T10:00:01", "a-3": "2026-08-19T10:00:00"},
        ["a-3", "a-2", "a-1"],
    ),
]


@pytest.mark.parametrize(("pattern", "stamps", "descending"), [pytest.param(*case, id=trap) for trap, *case in STAMPED])
def test_trap_of_stamps(pattern: str, stamps: dict[str, str], descending: list[str]) -> None:
    assert order(pattern, dict(stamps)) == descending


def test_what_stands_for_what_behind_a_vendor() -> None:
    assert same_model("o/g-4o", "o/g-4o-2024-11-20")
    assert not same_model("d/r1", "d/r1-0528")
    assert not same_model("c/r-plus", "c/r-plus-08-2024"), "a month is no snapshot"
    assert snapshots_of("o/g-4o", ["o/g-4o-2024-08-06", "o/g-4o-2024-11-20", "o/g-4o-mini-2024-07-18"]) == [
        "o/g-4o-2024-11-20",
        "o/g-4o-2024-08-06",
    ]
    assert snapshots_of("d/r1", ["d/r1-0528"]) == []


def test_a_letter_before_a_number_makes_no_brand_of_another_vendors_series() -> None:
    listed = plain("d/deepseek-r1", "d/deepseek-prover-v2", "p/r1-1776", "l/llama-4", "d/deepseek-r1-distill-llama-70b")
    assert order("d/*", listed) == ["d/deepseek-r1", "d/deepseek-prover-v2", "d/deepseek-r1-distill-llama-70b"]


def test_a_kind_that_the_list_does_not_name_is_that_of_the_words() -> None:
    models = [ModelInfo("imagen-3", kind="other"), ModelInfo("imagen-2"), ModelInfo("aqa-4", kind="other"), ModelInfo("gem-1")]
    assert [model.id for model in newest_models("*image*", models)] == ["imagen-3", "imagen-2"]
    assert newest_models("*", models)[0].id == "gem-1"


def test_an_id_without_a_stamp_stands_where_its_version_does() -> None:
    listed: Listed = {f"m-{month}": f"2025-{month:02}-01" for month in range(1, 13)}
    found = order("*", {**listed, "m-1.5": None})
    assert found[-3:] == ["m-2", "m-1.5", "m-1"]


def shipped(provider: str, *more: str) -> list[ModelInfo]:
    return [*snapshot_models(provider), *(ModelInfo(id, created=datetime(2026, 9, 1, tzinfo=UTC)) for id in more)]


@pytest.mark.parametrize(
    ("pattern", "more", "least"),
    [("gpt-*", "gpt-6-pro", "gpt-6-pro"), ("o[0-9]*", "o5-pro", "o5-pro"), ("gpt-*", "gpt-6-pro-2026-09-01", "gpt-6-pro")],
)
def test_an_edition_that_comes_before_its_model_is_still_one(pattern: str, more: str, least: str) -> None:
    before = newest_models(pattern, shipped("openai"))[0].id
    assert newest_models(pattern, shipped("openai", more))[0].id == before
    assert newest_models(f"{least}*", shipped("openai", more))[0].id == more, "a pattern that names it means it"


def test_a_line_that_is_a_series_of_its_own_stays_one() -> None:
    assert newest_models("gemini-*", [*["gemini-2.5-pro", "gemini-2.5-flash"], "gemini-3-pro"])[0].id == "gemini-3-pro"
    later = ["deepseek-v3", "deepseek-v3.1", "deepseek-v3.2", "deepseek-v4-pro", "deepseek-v4-flash"]
    assert newest_models("deepseek-*", later)[0].id.startswith("deepseek-v4"), "nothing shows that pro is an edition here"
    assert newest_models("deepseek-*", [*later, "deepseek-v3.2-pro", "deepseek-v3.1-pro"])[0].id == "deepseek-v4-flash"


@pytest.mark.parametrize("nine", ["claude-opus-49", "claude-opus-4-9"])
def test_a_minor_of_two_digits_that_is_run_together_follows_the_one_before(nine: str) -> None:
    listed = ["claude-opus-4-5", "claude-opus-4-8", nine, "claude-opus-410"]
    assert newest_models("claude-opus-*", listed)[0].id == "claude-opus-410"
    assert newest_models("claude-opus-*", [*listed, "claude-opus-5"])[0].id == "claude-opus-5"
    assert newest_models("x-*", ["x-4.1", "x-4.2", "x-410"])[0].id == "x-4.2", "4.10 does not follow 4.2"
