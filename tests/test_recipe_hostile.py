"""Answers of an enemy through every path of a recipe: shell, template, JSON, condition. Nothing runs, nothing expands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.recipe import PythonStep
from bundle_loader.errors import StepFailed, UnsafeValue
from bundle_loader.recipes.conditions import holds
from bundle_loader.recipes.python_step import call_function
from bundle_loader.recipes.shell import run_shell
from bundle_loader.recipes.shell_text import prepare
from bundle_loader.recipes.texts import fill, fill_value, render_prompt
from bundle_loader.recipes.values import Values

ANSWERS = {
    "substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "quotes": "'; touch pwned; '",
    "double": '"; touch pwned; "',
    "lines": "\ntouch pwned\n",
    "index": "a[$(touch pwned)]",
    "end": "x\nEOF\ntouch pwned\nEOF\n",
    "template": "{{secret}}{% set x=1 %}",
    "jinja": "{{ cycler.__init__.__globals__.os.popen('touch pwned').read() }}",
    "json": '{"a": "$(touch pwned)", "b": "{{secret}}"}',
    "condition": "' == '' or true or '",
    "python": "__import__('os').system('touch pwned')",
    "yaml": "bash: touch pwned\n- x: !!python/object/apply:os.system ['touch pwned']",
    "parameter": "${secret} $secret $((1+1)) \\$x",
    "glob": "* ~ {a,b} ?",
    "dash": "-rf /",
    "long": "$(touch pwned)`touch pwned`'\"\n{{secret}}" * 130_000,
}
SHOWN = [
    "printf '%s' {{x}}", "printf '%s' \"{{x}}\"", "printf '%s' '{{x}}'", "printf '%s' \"${nothing:-{{x}}}\"",
    "v={{x}}; printf '%s' \"$v\"",
    "printf '%s' \"$(printf '%s' '{{x}}'; printf .)\" | head -c -1", "head -c -1 <<EOF\n{{x}}\nEOF\n", "head -c -1 <<< {{x}}",
    "if [[ {{x}} == {{x}} && -n '{{x}}' ]]; then printf '%s' \"{{x}}\"; fi", "cat <(printf '%s' '{{x}}')",
]  # fmt: skip
ELSEWHERE = [
    "eval {{x}}", 'bash -c "echo {{x}}"', "python3 -c \"print('{{x}}')\"", "cat <<'EOF'\n{{x}}\nEOF", "echo $(({{x}} + 1))",
    "((n = {{x}}))",
    "[[ {{x}} -gt 0 ]]", "a[{{x}}]=1", "echo ${a[{{x}}]}", "echo `echo {{x}}`", "{{x}}", "echo {{x}} | bash",
    "bash <<EOF\n{{x}}\nEOF",
    "y={{x}}; echo $((y))", "echo {{x}} > f.sh; bash f.sh", "f() { eval \"$1\"; }; f {{x}}", "jq '{{x}}' f", "awk '{{x}}' f",
    "sed '{{x}}' f",
]  # fmt: skip
SECRET = "the secret"


def values(answer: Any) -> Values:
    return Values({"x": answer, "secret": SECRET, "o": {"text": answer, "list": [answer]}})


@pytest.mark.parametrize("name", ANSWERS)
async def test_through_the_shell(name: str, tmp_path: Path) -> None:
    answer = ANSWERS[name]
    env = {"secret": SECRET}
    commands = SHOWN if name != "long" else SHOWN[:7]
    assert name != "long" or len(answer) > 5_000_000
    for command in commands:
        done = await run_shell(prepare(command, values(answer), env=env), cwd=tmp_path, env=env, timeout=120)
        assert done.stdout == answer, command
    for command in ELSEWHERE:
        with pytest.raises(UnsafeValue):
            prepare(command, values(answer))
    if name != "long":
        own = {"T": fill("{{x}}", values(answer)), "secret": SECRET}
        done = await run_shell(prepare("printf '%s' \"$T\"", values(answer), env={"T": "{{x}}"}), cwd=tmp_path, env=own)
        assert done.stdout == answer
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ANSWERS)
async def test_through_templates_json_conditions_and_functions(name: str, tmp_path: Path) -> None:
    answer = ANSWERS[name]
    given = values(answer)
    place = ("r.yaml", 1, 1)
    assert fill("<{{x}}|{{o.text}}>", given) == f"<{answer}|{answer}>"
    assert render_prompt("<{{x}}>", given, place) == f"<{answer}>"
    if name == "long":
        with pytest.raises(StepFailed, match=r"r.yaml:1:1: .*more than"):
            render_prompt("{% if x %}{{ x }}{% endif %}", given, place)
    else:
        assert render_prompt("{% if x %}<{{ x }}>{{ o.list[0] }}{% endif %}", given, place) == f"<{answer}>{answer}"
        assert holds("{{ x | length }} > 0 and {{ o.text == x }}", given)
        assert not holds("'{{ x | upper }}' == 'y'", given)
    assert fill_value({"a": "{{x}}", "b": ["<{{x}}>"]}, given) == {"a": answer, "b": [f"<{answer}>"]}
    assert json.loads(fill("{{o}}", given)) == {"text": answer, "list": [answer]}
    assert holds("{{x}} == {{o.text}} and {{x}} != 'y' and {{x}} in {{o.list}}", given)
    assert not holds("{{x}} == 'y' or {{x}} == '' or '{{x}}' == 'y'", given)
    (tmp_path / "given_back.py").write_text("def back(**given): return given\n")
    step = PythonStep(module="given_back", function="back")
    assert await call_function(step, fill_value({"a": "{{x}}"}, given), cwd=tmp_path, trusted=True) == {"a": answer}
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["substitution", "quotes", "lines", "json", "long"])
async def test_as_the_output_of_a_command_that_is_used_again(name: str, tmp_path: Path) -> None:
    """What a command printed goes on as a value, as JSON too: the text comes back through as many steps as one likes."""
    answer = ANSWERS[name][:2_000_000]
    made = values(answer)
    for _ in range(3):
        done = await run_shell(prepare("cat <<EOF\n{{o}}\nEOF", made), cwd=tmp_path, timeout=120)
        made = Values({"o": json.loads(done.stdout)})
    assert made["o"] == {"text": answer, "list": [answer]}
    assert os.listdir(tmp_path) == []
