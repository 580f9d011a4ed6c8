"""The order of model names: real catalogues, each known trap, and laws that hold for every list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_names import (
    OrderPolicy,
    family,
    is_pattern,
    matches,
    model_info,
    nearest_ids,
    newest_models,
    same_model,
    snapshots_of,
)

CASES = [json.loads(line) for line in (Path(__file__).parent / "data" / "model_names.jsonl").read_text("utf-8").splitlines()]
SCORED = [case for case in CASES if not case["ambiguous"]]


def order(pattern: str, models: Sequence[str | Mapping[str, object]], provider: str = "anywhere") -> list[str]:
    entries = [{"id": model} if isinstance(model, str) else model for model in models]
    return [info.id for info in newest_models(pattern, entries, provider=provider)]


def day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def stamped(stamps: Mapping[str, str]) -> list[dict[str, object]]:
    return [{"id": model_id, "created": day(text)} for model_id, text in stamps.items()]


def is_right(case: dict[str, Any], found: Sequence[str]) -> bool:
    return found[0] in case["acceptable"] if found and case["expected"] else not found and case["expected"] is None


def test_at_least_99_percent_of_the_real_cases_are_right() -> None:
    answers = [(case, order(case["pattern"], case["models"], case["provider"])) for case in SCORED]
    wrong = [
        f"{case['id']} {case['pattern']}: {found[:2]}, not {case['expected']}"
        for case, found in answers
        if not is_right(case, found)
    ]
    assert len(answers) == 247
    assert len(wrong) / len(answers) <= 0.01, "\n".join(wrong)


def test_with_previews_allowed_the_newest_preview_leads_in_98_percent() -> None:
    right = 0
    for case in SCORED:
        found = newest_models(case["pattern"], case["models"], provider=case["provider"], policy=OrderPolicy(ga_first=False))
        wanted = case["expected_if_preview_ok"]
        right += (found[0].id if found else None) in (case["acceptable"] if wanted == case["expected"] and wanted else [wanted])
    assert right / len(SCORED) >= 0.98


def test_without_any_created_the_names_alone_reach_96_percent() -> None:
    right = 0
    for case in SCORED:
        bare = [{key: value for key, value in model.items() if key != "created"} for model in case["models"]]
        right += is_right(case, order(case["pattern"], bare, case["provider"]))
    assert right / len(SCORED) >= 0.96


@pytest.mark.requirement("AGT-18")
def test_a_digit_class_matches_exactly_one_digit() -> None:
    minors = [f"gpt-5.{digit}" for digit in range(10)]
    others = ["gpt-5", "gpt-5.10", "gpt-5.0-mini", "gpt-5.2-codex", "gpt-5.2-2025-12-11", "gpt-5x2", "my-gpt-5.2"]
    assert order("gpt-5.[0-9]", [*others, *minors]) == minors[::-1]


@pytest.mark.requirement("AGT-19")
def test_a_haiku_glob_matches_aliases_and_dated_ids() -> None:
    haikus = ["claude-haiku-4-5", "claude-haiku-4-5-20251001", "claude-haiku-5", "claude-haiku-latest"]
    assert set(order("claude-haiku-*", [*haikus, "claude-opus-5", "claude-sonnet-4-5-20250929"])) == set(haikus)


@pytest.mark.requirement("AGT-20")
def test_a_flash_glob_covers_flash_lite_and_previews_and_flash_leads() -> None:
    editions = ("flash", "flash-lite", "flash-preview-09-2025", "flash-lite-preview-06-17")
    flash = [f"gemini-2.5-{edition}" for edition in editions]
    assert order("gemini-2.5-flash*", [*flash[::-1], "gemini-2.5-pro", "gemini-2.0-flash"]) == flash


@pytest.mark.requirement("AGT-22")
@pytest.mark.parametrize(
    ("pattern", "descending"),
    [
        ("claude-opus-*", ["claude-opus-4-10", "claude-opus-4-9", "claude-opus-4-7"]),
        ("claude-opus-*", ["claude-opus-4-1-20250805", "claude-opus-4-20250514"]),
        ("claude-opus-*", ["claude-opus-4-1-20250805", "claude-opus-4-20260514"]),
        ("claude-sonnet-*", ["claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250901", "claude-sonnet-4-4-20251231"]),
        ("gpt-*", ["gpt-6.1", "gpt-6", "gpt-5.10", "gpt-5.9", "gpt-5.2-2027-01-01", "gpt-5"]),
        ("claude-*", ["claude-opus-6", "claude-opus-5-5", "claude-opus-5", "claude-3-5-sonnet-20241022"]),
    ],
)
def test_the_newest_version_leads_and_dates_only_break_ties(pattern: str, descending: list[str]) -> None:
    assert order(pattern, descending[::-1]) == descending


@pytest.mark.requirement("AGT-23")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gpt-6*", ["gpt-6.1", "gpt-6.1-mini", "gpt-6.2-preview"]),
        ("gpt-6*mini*", ["gpt-6.1-mini"]),
        ("gpt-6*preview*", ["gpt-6.2-preview"]),
        ("gpt-7*", ["gpt-7", "gpt-7-anything"]),
        ("gemini-*-pro*", ["gemini-2.5-pro", "gemini-3-pro-preview"]),
        ("claude-opus-*", ["claude-opus-4.5", "claude-opus-4.6-fast"]),
        ("*-fast", ["claude-opus-4.6-fast"]),
        ("grok-4-1*", ["grok-4-1-fast-reasoning", "grok-4-1-fast-non-reasoning"]),
    ],
)
def test_released_and_plain_models_lead_unless_the_glob_names_the_other(pattern: str, expected: list[str]) -> None:
    listed = ["gpt-6.2-preview", "gpt-6.1-mini", "gpt-6.1", "gpt-7-anything", "gpt-7", "gemini-3-pro-preview", "gemini-2.5-pro"]
    listed += ["claude-opus-4.6-fast", "claude-opus-4.5", "grok-4-1-fast-non-reasoning", "grok-4-1-fast-reasoning"]
    assert order(pattern, listed) == expected


def test_the_policies_can_be_turned() -> None:
    models = [ModelInfo("m-1:8b"), ModelInfo("m-1:70b"), ModelInfo("m-2-mini:8b"), ModelInfo("m-3-preview:8b")]
    by_default = newest_models("*", models, provider="p")
    turned = newest_models("*", models, provider="p", policy=OrderPolicy(ga_first=False, base_first=False, larger_first=False))
    assert [info.id for info in by_default] == ["m-1:70b", "m-1:8b", "m-2-mini:8b", "m-3-preview:8b"]
    assert [info.id for info in turned] == ["m-3-preview:8b", "m-2-mini:8b", "m-1:8b", "m-1:70b"]


def test_opus_41_is_4_1_beside_4_x() -> None:
    descending = ["claude-opus-4.5", "claude-opus-41", "claude-opus-4"]
    assert order("claude-opus-*", descending[::-1]) == descending
    assert order("gpt-1*", ["gpt-10", "gpt-1", "gpt-9"]) == ["gpt-10", "gpt-1"]


def test_a_decimal_minor_and_a_counted_minor_are_told_apart_by_created() -> None:
    grok = stamped({"grok-4.20": "2026-03-09", "grok-4.3": "2026-04-17", "grok-4": "2025-07-09"})
    gpt = stamped({"gpt-5.10": "2027-03-01", "gpt-5.9": "2027-01-10", "gpt-5": "2025-08-07"})
    assert order("grok-*", grok) == ["grok-4.3", "grok-4.20", "grok-4"]
    assert order("gpt-*", gpt) == ["gpt-5.10", "gpt-5.9", "gpt-5"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("gpt-4-0314", "gpt-4-0613"),
        ("mistral-small-2503", "mistral-small-2506"),
        ("gemini-2.5-flash-preview-04-17", "gemini-2.5-flash-preview-05-20"),
        ("command-r-03-2024", "command-r-08-2024"),
        ("gemini-1.5-pro-001", "gemini-1.5-pro-002"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5@20260101"),
        ("deepseek/deepseek-r1", "deepseek/deepseek-r1-0528"),
    ],
)
def test_every_form_of_date_is_read(older: str, newer: str) -> None:
    assert order("*", [older, newer]) == [newer, older]


def test_a_date_is_no_version() -> None:
    assert order("claude-*", ["claude-opus-4-20250514", "claude-opus-4-5-20251101"])[0] == "claude-opus-4-5-20251101"
    assert order("grok-*", ["grok-4-0709", "grok-4.3"])[0] == "grok-4.3"
    assert (
        order("mistral-medium-*", ["mistral-medium-2604", "mistral-medium-3-9", "mistral-medium-3-10"])[0]
        == "mistral-medium-3-10"
    )


def test_tags_are_sizes_on_ollama_and_editions_behind_a_vendor() -> None:
    assert order("llama3*", ["llama3.3:70b", "llama3.2:3b", "llama3.3:latest"]) == [
        "llama3.3:latest",
        "llama3.3:70b",
        "llama3.2:3b",
    ]
    assert order("qwen*", ["qwen2.5-coder:32b", "qwen2.5:7b", "qwen2.5:0.5b"]) == [
        "qwen2.5:7b",
        "qwen2.5:0.5b",
        "qwen2.5-coder:32b",
    ]
    assert order("a/m-*", ["a/m-2:free", "a/m-1", "a/m-2:batch", "a/m-1:free"])[0] == "a/m-1"
    assert order("a/m-*:free", ["a/m-2:free", "a/m-1", "a/m-1:free"]) == ["a/m-2:free", "a/m-1:free"]


def test_kinds_that_do_not_chat_come_last_unless_named() -> None:
    listed: list[str | dict[str, object]] = ["gpt-5-tts", "gpt-realtime-9", "gpt-4", {"id": "gpt-8", "kind": "embedding"}]
    assert order("gpt-*", listed)[0] == "gpt-4"
    assert order("gpt-*tts", listed) == ["gpt-5-tts"]
    assert order("*realtime*", [*listed, "gpt-realtime-10"])[0] == "gpt-realtime-10"
    assert order("*", [{"id": "m-2", "methods": ["embedContent"]}, "m-1"])[0] == "m-1"


def test_what_the_provider_tells_of_the_stage_counts() -> None:
    models = [ModelInfo("m-3", stage="preview"), ModelInfo("m-2", stage="stable"), ModelInfo("m-4", stage="retired")]
    assert [info.id for info in newest_models("*", models, provider="p")] == ["m-2", "m-3", "m-4"]


def test_an_unversioned_pointer_loses_to_a_concrete_id() -> None:
    assert order("gemini-*flash*", ["gemini-flash-latest", "gemini-2.5-flash", "gemini-2.0-flash"])[-1] == "gemini-flash-latest"
    assert order("kimi-*", ["kimi-latest", "kimi-k2.5"])[0] == "kimi-k2.5"
    assert order("*-latest", ["gemini-flash-latest", "gemini-1.5-flash-latest"]) == [
        "gemini-1.5-flash-latest",
        "gemini-flash-latest",
    ]


def test_an_alias_leads_its_snapshots() -> None:
    listed = ["claude-haiku-4-5-20251001", "claude-haiku-4-5", "claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"]
    assert order("*", listed) == [
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-3-5-haiku-latest",
        "claude-3-5-haiku-20241022",
    ]


def test_a_declared_alias_has_the_release_of_its_target() -> None:
    listed: list[dict[str, object]] = [
        {"id": "mistral-small", "aliases": ["mistral-small-2312"]},
        {"id": "mistral-small-2312", "aliases": ["mistral-small"]},
        {"id": "mistral-small-2506", "aliases": ["mistral-small-latest"]},
        {"id": "mistral-small-latest", "aliases": ["mistral-small-2506"]},
    ]
    assert order("mistral-small*", listed) == [f"mistral-small{end}" for end in ("-latest", "-2506", "", "-2312")]


def test_created_is_not_believed_when_it_cannot_be_a_release() -> None:
    same = [{"id": f"m-{version}", "created": 1_787_142_600 + 9 - version} for version in range(1, 9)]
    assert order("*", same)[0] == "m-8"
    pulled = [
        {"id": f"m{version}:8b", "created": day(f"2026-0{9 - version}-01"), "digest": f"d{version}"} for version in range(1, 9)
    ]
    assert order("*", pulled)[0] == "m8:8b"
    placeholder = [
        {"id": f"m-{version}", "created": day(f"2026-0{version}-01") if version < 4 else 1_693_721_698} for version in range(1, 9)
    ]
    assert order("*", placeholder)[0] == "m-8"
    rewritten = [*stamped({"a-1": "2025-01-01", "a-2": "2025-06-01"}), {"id": "a-1-2025-01-01", "created": day("2026-02-24")}]
    assert order("*", rewritten)[0] == "a-2"


def test_a_new_id_without_created_is_placed_by_its_version() -> None:
    listed = [{"id": f"m-{version}", "created": day(f"2025-{version:02}-01")} for version in range(1, 13)]
    assert order("*", [*listed, {"id": "m-13"}])[:2] == ["m-13", "m-12"]


def test_by_created_an_alias_is_as_new_as_its_newest_snapshot_and_a_pointer_still_comes_last() -> None:
    listed = stamped({"a-1": "2024-01-01", "a-1-2024-11-20": "2024-11-20", "b-2": "2024-06-01", "a-latest": "2025-01-01"})
    assert order("*", listed) == ["a-1", "a-1-2024-11-20", "b-2", "a-latest"]
    assert order("*", stamped({"gpt-4": "2023-03-01", "gpt-4-turbo": "2024-04-09"}))[0] == "gpt-4-turbo"


def test_without_versions_the_living_brand_leads() -> None:
    assert order("*embedding*", ["text-embedding-004", "gemini-embedding-001", "gemini-2.5-flash"])[0] == "gemini-embedding-001"


@pytest.mark.parametrize(
    "created",
    ["2026-01-02T03:04:05Z", 1_767_323_045, 1_767_323_045.0, 1_767_323_045_000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)],
)
def test_created_is_read_in_every_form(created: object) -> None:
    assert model_info({"id": "m", "created": created}).created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("created", ["soon", "", True, -1, 0, float("nan"), float("inf"), 1e300, None, [2026]])
def test_created_that_cannot_be_read_is_absent(created: object) -> None:
    assert model_info({"id": "m", "created": created}).created is None


def test_a_model_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        newest_models("*", [{"created": 1}], provider="p")


def test_matching_is_fnmatch_without_case_or_the_models_prefix() -> None:
    assert matches("Gemini-*", "models/gemini-3-pro")
    assert matches("models/gemini-*", "GEMINI-3-pro")
    assert matches("gpt-[!4]*", "gpt-5")
    assert not matches("gpt-5", "gpt-5.1")
    assert not matches("claude", "claude-opus-5")
    assert [is_pattern(text) for text in ("gpt-*", "gpt-?", "gpt-[45]", "gpt-4.1")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("claude-haiku-4-5-20251001", "claude-haiku"),
        ("claude-3-5-haiku-latest", "claude-haiku"),
        ("claude-opus-41", "claude-opus"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gemini-2.5-flash", "gemini-flash"),
        ("models/gemini-2.5-flash-lite-preview-06-17", "gemini-flash-lite"),
        ("anthropic/claude-haiku-4.5:batch", "claude-haiku"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet"),
        ("llama3.3:70b", "llama"),
    ],
)
def test_family(model_id: str, expected: str) -> None:
    assert family(model_id) == expected


def test_same_model() -> None:
    assert same_model("claude-haiku-4-5", "claude-haiku-4-5-20251001")
    assert same_model("claude-haiku-4-5@20251001", "claude-haiku-4.5")
    assert same_model("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022")
    assert same_model("openai/gpt-4o", "openai/gpt-4o-2024-11-20")
    assert same_model("llama3.3", "llama3.3:latest")
    assert not same_model("gpt-4o-2024-08-06", "gpt-4o-2024-11-20")
    assert not same_model("gpt-4o", "gpt-4o-mini")
    assert not same_model("claude-opus-4", "claude-opus-4-1-20250805")
    assert not same_model("deepseek/deepseek-r1", "deepseek/deepseek-r1-0528")
    assert not same_model("kimi-latest", "kimi-0711")


def test_what_an_undated_or_latest_id_stands_for() -> None:
    ids = [
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5-20260101",
        "claude-haiku-5-5",
        "claude-sonnet-4-5-20250929",
        "claude-haiku-latest",
    ]
    assert snapshots_of("claude-haiku-4-5", ids) == ["claude-haiku-4-5-20260101", "claude-haiku-4-5-20251001"]
    assert snapshots_of("claude-haiku-latest", ids) == [
        "claude-haiku-5-5",
        "claude-haiku-4-5-20260101",
        "claude-haiku-4-5-20251001",
    ]
    assert snapshots_of("claude-sonnet-4-5-latest", ids) == ["claude-sonnet-4-5-20250929"]
    assert snapshots_of("claude-haiku-4-5-20251001", ids) == []
    assert snapshots_of("claude-haiku-4", ids) == []


def test_nearest_ids() -> None:
    ids = ["gpt-5-mini", "gpt-4.1-mini", "claude-opus-5", "openai/gpt-5"]
    assert nearest_ids("gpt5-mini", ids, count=2) == ["gpt-5-mini", "gpt-4.1-mini"]
    assert nearest_ids("GPT-5", ids, count=1) == ["openai/gpt-5"]
    assert nearest_ids("zzzzzz", ids) == []


WORDS = ["gpt", "claude", "opus", "mini", "pro", "preview", "latest", "tts", "8b"]
NUMBERS = ["4", "5", "41", "4o", "5.10", "2025-06-01", "20250601", "0613", "001"]
NAMES = st.lists(st.sampled_from(WORDS + NUMBERS), min_size=1, max_size=5).map("-".join)
VENDORS, TAGS = st.sampled_from(["", "openai/", "x-ai/", "models/"]), st.sampled_from(["", ":free", ":8b", ":latest"])
TAGGED = st.tuples(VENDORS, NAMES, TAGS).map("".join)
MODELS = st.builds(
    ModelInfo,
    id=st.one_of(TAGGED, st.text(min_size=1, max_size=8)),
    created=st.none() | st.sampled_from([datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]),
    kind=st.none() | st.sampled_from(["chat", "embedding"]),
    stage=st.none() | st.sampled_from(["stable", "preview", "retired"]),
    aliases=st.lists(TAGGED, max_size=2).map(tuple),
    digest=st.none() | st.sampled_from(["a", "b"]),
)
LISTS = st.lists(MODELS, max_size=12)
PATTERNS = st.sampled_from(["*", "gpt-*", "*mini*", "claude-?-*", "*[0-9]", "*/*", "*:free", "*preview*", "gpt-4o*"])


@given(PATTERNS, LISTS, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_given(pattern: str, models: list[ModelInfo], random: Random) -> None:
    shuffled = list(models)
    random.shuffle(shuffled)
    assert newest_models(pattern, models, provider="p") == newest_models(pattern, shuffled, provider="p")


@given(PATTERNS, LISTS)
def test_all_that_match_are_returned_once_and_nothing_else(pattern: str, models: list[ModelInfo]) -> None:
    found = [info.id.removeprefix("models/") for info in newest_models(pattern, models, provider="p")]
    assert sorted(found) == sorted({info.id.removeprefix("models/") for info in models if matches(pattern, info.id)})


@given(PATTERNS, LISTS)
def test_ordering_the_same_list_again_changes_nothing(pattern: str, models: list[ModelInfo]) -> None:
    everything = newest_models("*", models, provider="p")
    once = newest_models(pattern, models, provider="p")
    assert newest_models(pattern, everything, provider="p") == once
    assert newest_models(pattern, [*models, *once], provider="p") == once


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_an_id(first: str, second: str) -> None:
    assert isinstance(family(first), str)
    assert same_model(first, second) == same_model(second, first)
    assert same_model(first, first)
    assert snapshots_of(first, [second]) in ([], [second])
