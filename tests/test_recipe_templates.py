"""Conditions and templates of recipes: how they are read, and that any text is read or refused."""

from __future__ import annotations

import json
from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.recipe_condition import Both, Comparison, ConditionError, Not, Text, Variable, parse_condition
from bundle_loader.declared.recipe_expression import read_condition
from bundle_loader.declared.recipe_finish import read_recipe
from bundle_loader.declared.recipe_template import read_template


def test_conditions_bind_as_they_are_read() -> None:
    a, b, c = (Variable((name,)) for name in "abc")
    assert parse_condition("{{a}} or {{b}} and not {{c}}") == Both("or", a, Both("and", b, Not(c)))
    assert parse_condition("({{a}} or {{b}}) and {{c}}") == Both("and", Both("or", a, b), c)
    assert parse_condition("{{a.x[0]}} not in 'it\\'s'") == Comparison("not in", Variable(("a", "x", "0")), Text("it's", True))
    assert parse_condition("3.5 >= {{a}}") == Comparison(">=", Text("3.5", False), a)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "==",
        "a ==",
        "a == b == c",
        "(a",
        "a)",
        "a b",
        "not",
        "'a",
        "{{a}",
        "a && b",
        "a | b",
        "(" * 99,
        "not " * 99 + "a",
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        parse_condition(text)
    with pytest.raises(ConditionError):
        parse_condition(" or ".join(["a"] * 999))


@pytest.mark.parametrize(
    "text",
    ["{{ a | }}", "{{a}} }} {{b | c", "a | length }} b", "{{a | length}} = 3", "{% if a %}b{% endif %}", "a is", "a | nofilter",
     "{{ a.__class__ | string }}", "'{{a | length' == 3", " or ".join(["a | b"] * 3000), " or ".join(["a"] * 999),
     "not " * 99 + "a"],
)  # fmt: skip
def test_what_is_no_expression_either_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        read_condition(text)


def test_reading_a_template_works_nothing_out() -> None:
    spent = process_time()
    for text in (
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' * 10**9 ~ 'b' }}",
        "{% set x = 9**9**9 %}{% if 'a' * 10**9 == x %}{{ x }}{% endif %}",
    ):
        assert read_template(text).faults == ()
    assert process_time() - spent < 0.5
    assert read_template("{{ a | b }}" * 6000).faults[0].message.endswith("more than 5000 tags and expressions")


@settings(max_examples=300, deadline=None)
@given(st.text("{}'\" ()=!<>andortxi.1\\|\n", max_size=60))
def test_any_condition_is_read_or_refused(text: str) -> None:
    with suppress(ConditionError):
        parse_condition(text)
    with suppress(ConditionError):
        read_condition(text)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["{{", "}}", "{%", "%}", "{#", "#}", " if ", " for x in ", "endif", "a", ".b", "|", "(", "'", "\n"]))
)
def test_any_prompt_is_read_or_its_faults_are_told(pieces: list[str]) -> None:
    text = "Look at it: " + "".join(pieces)
    found = read_recipe(read_yaml_document(f"name: x\nsteps: [{{id: a, agent: b, prompt: {json.dumps(text)}}}]\n", "r.yaml"))
    assert all(fault.line == 2 and fault.column >= 1 for fault in found.faults if fault.rule == "template")
    assert found.recipe is not None or any(fault.level == "error" for fault in found.faults)
