"""Templates of an enemy: none leaves the sandbox, none takes the machine's time or memory, none is rendered twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.instruction import render
from bundle_loader.delegation.sandbox import MAX_TAGS, MAX_VALUE
from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.delegation.template_lint import undefined_variables
from tests.test_hostile import ROOT

MAX_SECONDS = 2.0
MAX_MEBIBYTES = 100.0
DOUBLED = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"

COSTLY = {
    "text times a number": "{{ 'a' * 10 ** 9 }}",
    "a number times text": "{{ 10 ** 9 * 'a' }}",
    "a list times a number": "{{ [1] * 10 ** 9 }}",
    "a power": "{{ 7 ** (10 ** 7) }}",
    "a power of powers": "{{ ((9 ** 999) ** 999) ** 999 }}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a wide column": "{{ '%1000000000d' % 1 }}",
    "a wide column, given": "{{ '%*d' % (10 ** 9, 1) }}",
    "a wide column by filter": "{{ '%1000000000d' | format(1) }}",
    "a wide column by method": "{{ '{:1000000000}'.format(1) }}",
    "a wide column, nested": "{{ '{:{w}}'.format(1, w=10 ** 9) }}",
    "a wide column of a mapping": "{{ '{a:{w}}'.format_map({'a': 1, 'w': 10 ** 9}) }}",
    "center": "{{ 'a' | center(10 ** 9) }}",
    "center by method": "{{ 'a'.center(10 ** 9) }}",
    "zeros": "{{ 'a'.zfill(10 ** 9) }}",
    "tabs": "{{ ('\\t' * 9999).expandtabs(10 ** 6) }}",
    "indent": "{{ ('a\\n' * 99999) | indent(99999) }}",
    "a longer word": "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
    "a longer word by method": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "join": "{{ (['a'] * 99999) | join('b' * 99999) }}",
    "join by method": "{{ ('b' * 99999).join(['a'] * 99999) }}",
    "batch": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "slice": "{{ [1] | slice(10 ** 9) | list }}",
    "bytes": "{{ (1).to_bytes(10 ** 9) }}",
    "json": "{{ {'a': 1} | tojson(indent=10 ** 9) }}",
    "words without meaning": "{{ lipsum(n=10 ** 7) }}",
    "text that doubles": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "text that doubles by plus": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "text that doubles in a block": "{% set x = 'a' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "a list that doubles, shown": DOUBLED + "{{ ns.x }}",
    "a list that doubles, as text": DOUBLED + "{{ ns.x | string | length }}",
    "a list that doubles, joined": DOUBLED + "{{ 'a' ~ ns.x }}",
    "a list that doubles, as JSON": DOUBLED + "{{ ns.x | tojson }}",
    "much text": "{% for a in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
    "a long look through a list": "{% for a in range(99999) %}{% if -1 in range(99999) | list %}{% endif %}{% endfor %}",
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "lists in lists": "{{ " + "[" * 300 + "1" + "]" * 300 + " }}",
    "blocks in blocks": "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "a long sum": "{{ " + " + ".join(["1"] * 9000) + " }}",
    "many filters": "{{ 1" + " | string" * 9000 + " }}",
    "a long number": "{{ " + "1" * 9000 + " }}",
    "many tags": "{{ 1 }}" * (MAX_TAGS + 1),
}
ALONE = """
import json, resource, sys, time
from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.instruction import render, variables_of
from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.delegation.template_lint import undefined_variables
from bundle_loader.errors import DeclarationError
from tests.support.hostile import peak
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
render(Agent(name="y", instruction="{{ 1 }}"), {})
found = {}
before = peak()
for name, text in json.load(sys.stdin).items():
    agent = Agent(name="x", instruction=text, file="x.md", body_line=5)
    began = time.process_time()
    try:
        template_faults(agent), undefined_variables(agent, ()), variables_of(agent)
        said = render(agent, {})
    except DeclarationError as error:
        said = str(error)
    found[name] = [said[:500], time.process_time() - began, (peak() - before) / 2 ** 20]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def taken() -> dict[str, tuple[str, float, float]]:
    """What each costly template said and took, one after the other in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE], input=json.dumps(COSTLY), capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr[-500:]
    found: dict[str, tuple[str, float, float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", COSTLY)
def test_a_costly_template_is_refused_at_once(case: str, taken: dict[str, tuple[str, float, float]]) -> None:
    said, seconds, mebibytes = taken[case]
    assert said.startswith("x.md:5:")
    assert seconds < MAX_SECONDS
    assert mebibytes < MAX_MEBIBYTES


def one(body: str, **more: Any) -> Agent:
    return Agent(name="x", instruction=body, file="x.md", **more)


def test_ordinary_templates_of_an_ordinary_size_are_rendered() -> None:
    long = "line of text\n" * 20_000
    body = (
        "{% for name, size in sizes | dictsort %}{{ loop.index }}. {{ name | upper }}: {{ '%03d' % size }}"
        " {{ '{:>5}'.format(size) }}\n"
        "{% endfor %}{{ long | indent(2) | trim | length }} {{ ['a', 'b'] | join(', ') }} {{ 'ab' * 3 ~ 1 ~ none }} {{ 7 % 3 }}"
        " {{ range(3) | map('string') | list }} {{ [1, 2, 3] | batch(2) | list }} {{ 2 ** 10 }} {{ (1.5 + 2) | round }}"
        "{% macro m(a, b=2) %}<{{ a }}{{ b }}>{% endmacro %}{{ m(1) }}"
        "{% set y %}t{{ 1 }}{% endset %}{{ y }} {{ 'a-b'.split('-') }}"
    )
    assert render(one(body), {"sizes": {"b": 2, "a": 1}, "long": long}) == (
        "1. A: 001     1\n2. B: 002     2\n299997 a, b ababab1None 1 ['0', '1', '2'] [[1, 2], [3]] 1024 4.0<12>t1 ['a', 'b']"
    )
    assert len(render(one("{{ x }}"), {"x": "a" * (MAX_VALUE - 10)})) == MAX_VALUE - 10


def test_what_is_filled_in_is_never_rendered_again() -> None:
    inner = "{{ secret }}{% for a in range(10) %}x{% endfor %}"
    assert render(one("<{{ given }}>"), {"given": inner, "secret": "word"}) == f"<{inner}>"
    below = one("{{ given }}")
    assert render(one("{{ base }}!", parent_instruction=below), {"given": inner, "secret": "word"}) == f"{inner}!"
    literal = one(inner, template=False)
    assert render(one("{{ base }}!", parent_instruction=literal), {"secret": "word"}) == f"{inner}!"


def test_looking_at_a_template_renders_nothing() -> None:
    touched: list[str] = []
    agent = one("{{ touch('x') }}{{ 'a' * 10 ** 9 }}{{ 'a'.center(10 ** 9) }}")
    assert template_faults(agent) == []
    assert [fault.rule for fault in undefined_variables(agent, ())] == ["undefined-variable"]
    assert touched == []


def test_no_file_is_read_by_a_template(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("word")
    for body in (
        "{% include 'secret.txt' %}",
        "{% import 'secret.txt' as s %}",
        "{% from 'secret.txt' import s %}",
        "{% extends 'secret.txt' %}",
    ):
        with pytest.raises(Exception, match="cannot be rendered") as caught:
            render(one(body), {"workdir": str(tmp_path)})
        assert "word" not in str(caught.value)
