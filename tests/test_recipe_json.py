"""JSON in the text of answers and commands: which of several is meant, and that the search stays cheap."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from bundle_loader.recipes.json_text import clean_json, json_in, whole_json

FOUND: list[tuple[str, Any]] = [
    ('{"a": 1}', {"a": 1}),
    (' [1, "x"]\n', [1, "x"]),
    ('"text"', "text"),
    ("7", 7),
    ("null", None),
    ('So: {"a": {"b": [1]}}. Done.', {"a": {"b": [1]}}),
    ('```json\n{"a": 1}\n```', {"a": 1}),
    ('x\n```\n[2]\n```\n```json\n{"a": 1}\n```', {"a": 1}),
    ('x\n```python\nprint({})\n```\n~~~\n{"a": 2}\n~~~', {"a": 2}),
    ('```json\n{"a": }\n```\nbut {"b": 1}', {"b": 1}),
    ('{} and [] and {"c": 3}', {"c": 3}),
    ("only {} here", {}),
    ('as in [1], [2, 3] and {"d": 4}', {"d": 4}),
    ("as in [1] alone", [1]),
    ('a "quoted }" {"e": "}{"}', {"e": "}{"}),
    ('{"n": NaN} then {"f": 5}', {"f": 5}),
    ('{"n": 1e999} then {"f": 6.5}', {"f": 6.5}),
    ('{"g": "\\u00e9\\n"}', {"g": "é\n"}),
]
NONE = ["", "  ", "no", "[-1e999]", "{", "[1,", "{'a': 1}", "```json\nno\n```", "NaN"]


def test_which_json_is_meant() -> None:
    wrong = [f"{text!r}: {found!r}" for text, wanted in FOUND if (found := json_in(text)) != wanted]
    assert not wrong
    for text in NONE:
        with pytest.raises(ValueError, match="no JSON"):
            json_in(text)


def test_the_whole_of_a_text() -> None:
    whole = {
        '{"a": 1}': True,
        " [1]\n": True,
        '```json\n{"a": 1}\n```': False,
        "7": False,
        '{"a": 1} ok': False,
        "{": False,
        "": False,
    }
    assert {text: clean_json(text) is not None for text in whole} == whole
    assert whole_json('```json\n{"a": 1}\n```') == {"a": 1}
    assert whole_json(" ~~~\n[1]\n~~~\n") == [1]
    assert whole_json('```\n{"a": 1}\n```\nmore') is None
    assert whole_json('```\n{"a": 1}\n```\n```\n{}\n```') is None


def test_the_search_stays_cheap() -> None:
    fences = "\n".join("`" * length for length in range(3, 2500))
    texts = ["[" * 5_000_000, '{"a":' * 1_000_000, '[1,["x",' * 600_000, '{"a":1' * 800_000, "```\n" * 1_000_000, fences]
    texts += ["```\n" + " " * 5_000_000, "```json\n[1,\n" * 400_000, "{}" * 2_500_000]
    for text in texts:
        began = time.process_time()
        for read in (clean_json, whole_json):
            read(text)
        with suppress(ValueError):
            json_in(text)
        assert time.process_time() - began < 10, text[:30]
