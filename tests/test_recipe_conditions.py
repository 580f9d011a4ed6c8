"""Conditions and texts of recipes: what they come to, and that no value is ever read as a part of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.errors import StepFailed, UnknownVariable
from bundle_loader.recipes.conditions import holds
from bundle_loader.recipes.texts import fill, fill_value, place_within, render_prompt
from bundle_loader.recipes.values import Values

VALUES: dict[str, Any] = {
    "text": "some words", "yes": True, "no": False, "three": 3, "half": 0.5, "digits": "10", "code": 0, "none": None, "empty": "",
    "false_text": " False ", "list": ["a", "b", 3], "map": {"items": [1, 2], "run-it": "true",
    "n": None, "keys": "k"}, "nothing": [],
    "enemy": "' == '' or true or '{{ yes }} {% if yes %} {{ [].__class__ }}",
}  # fmt: skip

TRUE = [
    "{{text}}", "{{yes}}", "{{three}}", "{{list}}", "{{map}}", "not {{no}}", "not {{none}}", "not {{nothing}}", "not {{code}}",
    "not {{false_text}}", "not {{empty}}", "{{enemy}}", "true", "not false", "{{yes}} == true", "{{yes}} == 'true'",
    "{{yes}} == True",
    "{{none}} == ''", "{{none}} == none", "{{none.deep.er}} == ''", "{{three}} == '3'", "{{three}} == 3.0",
    "{{digits}} > {{three}}",
    "'10' > '9'", "'b' > 'a'", "{{half}} < 1", "{{three}} >= 3 and {{three}} <= 3", "{{no}} or {{yes}}", "'a' in {{list}}",
    "'3' in {{list}}", "'c' not in {{list}}", "'word' in {{text}}", "'items' in {{map}}", "'x' not in {{none}}",
    "not ({{none}} > 3)",
    "not ({{none}} < 3)", "{{map.run-it}} == 'true'", "{{map.items[1]}} == 2", "'{{text}}!' == 'some words!'",
    "{{no}} and {{nobody}} or {{yes}}",
    "{{yes}} or {{nobody}}", "{{ three > 2 }}", "{{ list | length }} == 3", "{{ text | upper }} == 'SOME WORDS'",
    "{{ map.items | sum == 3 }}",
    "{{ map.keys }} == 'k'", "{{ 'some' in text and not no }}", "{{ nobody is defined }} or {{ three is defined }}",
    "'{{ text | upper }}' == 'SOME WORDS'",
    "{{ none | default('x', true) }} == 'x'", "{{ list[0] ~ three }} == 'a3'", "{{ map.n }} == ''", "{{ enemy | length > 3 }}",
]  # fmt: skip


@pytest.mark.parametrize("condition", TRUE)
def test_a_condition_holds_and_its_opposite_does_not(condition: str) -> None:
    assert holds(condition, Values(VALUES)) is True
    if "{{ " not in condition:
        assert holds(f"not ({condition})", Values(VALUES)) is False


@given(st.text(max_size=60) | st.sampled_from([VALUES["enemy"], "' or '1' == '1", "}} or {{ yes", "true", "\\' or true"]))
def test_a_value_is_compared_and_never_read(value: str) -> None:
    values = Values({"x": value, "other": value + "z"})
    assert holds("{{x}} == {{x}}", values)
    assert not holds("{{x}} == {{other}}", values)
    assert not holds("{{ x | upper | length < 0 }} or {{x}} == {{other}}", values)
    assert holds("'<{{x}}>' == '<{{x}}>'", values)
    assert holds("{{ x ~ 'z' }} == {{ other }}", values) or "{{ x ~" == ""
    assert fill("a {{x}} b {{x}}", values) == f"a {value} b {value}"
    assert render_prompt("{% if x == x %}{{ x }}{% endif %}", values, ("r.yaml", 1, 1)) == value
    assert fill_value({"a": ["{{x}}", "<{{x}}>", 3]}, values) == {"a": [value, f"<{value}>", 3]}


@pytest.mark.parametrize(("condition", "said"), [
    ("{{nobody}}", "nobody has set 'nobody'"), ("{{map.nothing}}", "has no 'nothing'"), ("{{ nobody | upper }}",
    "nobody has set 'nobody'"),
    ("{{ texd | upper }}", "did you mean 'text'"), ("{{ map.nothing | upper }}", "no.*'nothing'"), ("{{ three > text }}",
    "not supported"),
    ("{{ 'a' * 10 ** 9 }}", "more than"), ("{{ [].append(1) }}", "append"), ("{{ ''.__class__ }}", "__class__"),
    ("{% if yes %}", "wrong"),
    ("{{ three", "wrong"), ("'open", "wrong"), ("{{three}} =", "wrong"), ("{{ three + }}", "wrong"),
])  # fmt: skip
def test_what_cannot_be_worked_out_says_where_and_why(condition: str, said: str) -> None:
    with pytest.raises(StepFailed, match=f"r.yaml:4:7: .*{said}"):
        holds(condition, Values(VALUES), ("r.yaml", 4, 7))


def test_texts_are_filled_in_as_they_are_printed() -> None:
    values = Values(VALUES)
    text = "{{text}}|{{yes}}|{{three}}|{{half}}|{{none}}|{{none.x}}|{{list}}|{{map.run-it}}|{{map.n}}|{{ '{{' }}|{not}|{{.Go}}"
    expected = 'some words|true|3|0.5|||["a","b",3]|true||{{|{not}|{{.Go}}'
    assert fill(text, values) == expected
    assert render_prompt(text, values, ("r.yaml", 1, 1)) == expected
    assert fill_value({"a": "{{list}}", "b": ["{{none}}", " {{three}} ", "x{{three}}"]}, values) == {
        "a": ["a", "b", 3],
        "b": [None, 3, "x3"],
    }


def test_prompts_are_templates_of_the_sandbox() -> None:
    values = Values(VALUES)
    text = (
        "{% for item in map.items %}{{ item }},{% endfor %} {{ yes }} {{ none }} {{ list }} {{ map.n.x }} {{ list | tojson }}\n"
    )
    assert render_prompt(text, values, ("r.yaml", 1, 1)) == '1,2, true  ["a","b",3]  ["a", "b", 3]\n'
    assert render_prompt("{% if enemy %}{{ enemy }}{% endif %}", values, ("r.yaml", 1, 1)) == VALUES["enemy"]
    for wrong, line, said in [
        ("a\n{{ nobody }}", 6, "nobody has set 'nobody'"), ("a\nb\n{{ texd | upper }}", 7, "did you mean 'text'"),
        ("a\n{% if %}", 6, "cannot be read"), ("{{ text | nofilter }}", 5, "nofilter"), ("{{ ''.__class__ | upper }}",
        5, "__class__"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", 5, "range|more than"), ("a\n{{ map.nothing | upper }}", 6, "nothing"),
    ]:  # fmt: skip
        with pytest.raises(StepFailed, match=f"r.yaml:{line}.*({said})"):
            render_prompt(wrong, values, ("r.yaml", 5, 3))
    with pytest.raises(UnknownVariable) as caught:
        render_prompt("a\n  {{nobody}}", values, ("r.yaml", 5, 3))
    assert caught.value.place == ("r.yaml", 6, 5)


def test_places_within_a_text() -> None:
    assert place_within(("r.yaml", 5, 3), "ab\ncd\nef", 7) == ("r.yaml", 7, 4)
    assert place_within(("r.yaml", 5, 3), "ab", 1) == ("r.yaml", 5, 4)
    assert place_within(("", 0, 0), "ab\nc", 3) == ("", 0, 0)
