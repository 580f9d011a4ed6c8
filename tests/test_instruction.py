"""An agent's body as a template: variables, the text it extends, and a sandbox without a way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.instruction import render, variables_of
from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.errors import DeclarationError
from tests.support.declared import load, said


def one(folder: Path, text: str, **files: str) -> Agent:
    """The agent `x` of a bundle with a tier `budget`."""
    bundle = "tiers: {budget: [p/m]}\nvars: {colour: red}\nagents: {include: ['agents/*.md']}\n"
    more = {f"agents/{name}.md": content for name, content in files.items()}
    return load(folder, "team.yaml", {"team.yaml": bundle, "agents/x.md": text, **more}).agent("x")


def rendered(folder: Path, body: str, **variables: Any) -> str:
    return render(one(folder, f"---\nname: x\n---\n{body}"), variables)


def not_rendered(folder: Path, body: str, **variables: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        rendered(folder, body, **variables)
    [fault] = said(folder, caught.value.faults, level=False)
    return fault


def test_a_body_is_rendered_with_its_variables(tmp_path: Path) -> None:
    assert rendered(tmp_path, "In {{ workdir }} for {{ who }}.\n", workdir="/w", who="{{ who }}") == "In /w for {{ who }}."
    assert rendered(tmp_path, "{% for f in files %}{{ f }};{% endfor %}", files=["a", "b"]) == "a;b;"
    assert rendered(tmp_path, "{{ a.b }}<&>", a={"b": 1}) == "1<&>"
    assert variables_of(one(tmp_path, "---\n---\n{{ workdir }} {{ topic }}")) == {"workdir", "topic"}


def test_unknown_variables_are_named_with_file_and_line(tmp_path: Path) -> None:
    assert not_rendered(tmp_path, "one\n\n{{ wrkdir }}", workdir="/w") == (
        "agents/x.md:6:4: unknown variable 'wrkdir'; did you mean 'workdir'?; give vars={'wrkdir': ...} (--var wrkdir=...),"
        " or 'vars' in the bundle"
    )
    body = "{{ zz }}\n{{ yy }}\n{% if maybe is defined %}{{ maybe }}{% endif %}{{ other | default(1) }}"
    with pytest.raises(DeclarationError) as caught:
        rendered(tmp_path, body)
    assert said(tmp_path, caught.value.faults, level=False) == [
        "agents/x.md:4:4: unknown variable 'zz'; give vars={'zz': ...} (--var zz=...), or 'vars' in the bundle",
        "agents/x.md:5:4: unknown variable 'yy'; give vars={'yy': ...} (--var yy=...), or 'vars' in the bundle",
    ]


def test_a_variable_that_is_only_asked_after_is_not_unknown(tmp_path: Path) -> None:
    body = "{% if topic is defined %}{{ topic }}{% endif %}{{ other | default('none') }}"
    assert rendered(tmp_path, body) == "none"
    assert not_rendered(tmp_path, body + "\n{{ date.year }}", date="2026-01-01") == (
        "agents/x.md:5: the template cannot be rendered: 'str object' has no attribute 'year'"
    )


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__.__init__}'.format(1) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__ }}",
        "{{ given.append(1) }}",
        "{{ given.__class__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{{ range(10 ** 9) | list }}",
        "{{ 1 / 0 }}",
        "{{ [].pop() }}",
        "{{ 'a' + 1 }}",
    ],
)
def test_the_sandbox_has_no_way_out(body: str, tmp_path: Path) -> None:
    given = [1]
    fault = not_rendered(tmp_path, f"first line\n{body}", given=given)
    assert fault.startswith("agents/x.md:5: the template cannot be rendered: ")
    assert given == [1]


@pytest.mark.parametrize("body", ["{{ open", "{% if x %}", "{% endif %}", "{{ a b }}", "{% nonsense %}", "{{ x | nofilter }}"])
def test_a_wrong_template_says_on_which_line(body: str, tmp_path: Path) -> None:
    agent = one(tmp_path, f"---\nname: x\n---\n\none\ntwo {body}")
    [fault] = said(tmp_path, template_faults(agent), level=False)
    assert re.match(r"agents/x\.md:6:\d+: the template is wrong: .+; ", fault), fault
    with pytest.raises(DeclarationError) as caught:
        render(agent, {"x": 1})
    assert said(tmp_path, caught.value.faults, level=False) == [fault]


def test_base_inserts_the_text_of_the_extended_agent(tmp_path: Path) -> None:
    agent = one(
        tmp_path,
        "---\nextends: y\n---\nBefore. {{ base }} After {{ who }}.",
        y="---\nextends: z\n---\n<{{ base }}>",
        z="---\n---\nbottom {{ who }}",
    )
    assert render(agent, {"who": "me"}) == "Before. <bottom me> After me."
    assert variables_of(agent) == {"who"}


def test_the_extended_text_counts_only_where_it_is_used(tmp_path: Path) -> None:
    agent = one(tmp_path, "---\nextends: y\n---\nalone", y="---\n---\n\n{{ unknown }}")
    assert render(agent, {}) == "alone"
    used = one(tmp_path, "---\nextends: y\n---\n{{ base }}", y="---\n---\n\n{{ unknown }}")
    with pytest.raises(DeclarationError, match=r"agents/y\.md:4:\d+: unknown variable 'unknown'"):
        render(used, {})


def test_base_without_an_extended_agent(tmp_path: Path) -> None:
    assert not_rendered(tmp_path, "one\n{{ base }}") == (
        "agents/x.md:5:4: '{{ base }}' stands for the extended agent's text, and this agent extends none"
    )


def test_an_inherited_body_keeps_its_own_place(tmp_path: Path) -> None:
    agent = one(tmp_path, "---\nextends: y\n---\n", y="---\nname: y\n---\n{{ nobody }}")
    with pytest.raises(DeclarationError, match=r"agents/y\.md:4:\d+: unknown variable 'nobody'"):
        render(agent, {})


def test_long_chains_of_extended_agents_are_read_once_each(tmp_path: Path) -> None:
    chain = {f"x{i}": f"---\nextends: x{i + 1}\n---\n{{{{ base }}}}{i % 10}" for i in range(60)}
    agent = one(tmp_path, "---\nextends: x0\ntier: budget\n---\n{{ base }}", **chain, x60="---\nconfig: {deep: 1}\n---\n.")
    assert agent.config == {"deep": 1}
    assert len(render(agent, {})) == 61


def test_bodies_of_other_tools_are_taken_literally(tmp_path: Path) -> None:
    body = "Use {{ braces }} and {% nonsense %} as you like"
    agent = one(tmp_path, f"---\nmeta: {{name: x, description: d}}\n---\n{body}")
    assert render(agent, {}) == body
    assert template_faults(agent) == []
    assert variables_of(agent) == frozenset()
