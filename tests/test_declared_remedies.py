"""What an author is told where a file is nearly right: aliases, templates, tools, schemas of answers, files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.delegation.template_lint import undefined_variables
from bundle_loader.errors import Fault
from bundle_loader.routing.lint import lint
from tests.support.command import command
from tests.support.declared import faults_of, load, refused, said, write

X = "---\ndescription: d\naliases: [y]\ntools: [a]\n---\nx\n"


def test_a_patch_by_an_alias_names_the_agent(tmp_path: Path) -> None:
    files = {"x.md": X, "b.yaml": "agents: {include: [x.md], y: {tools: [b]}}\n"}
    assert refused(tmp_path, "b.yaml", files) == ["b.yaml:1:27: agents.y: 'y' is an alias of 'x'; patch 'x'"]
    bundle = load(tmp_path, "b.yaml", {"b.yaml": "agents: {include: [x.md], y: null}\n"})
    assert "'y' is an alias of 'x': remove 'x'" in str(bundle.problems[0])


def test_an_alias_can_be_extended(tmp_path: Path) -> None:
    bundle = load(tmp_path, "b.yaml", {"x.md": X, "b.yaml": "agents: {include: [x.md], z: {description: e, extends: y}}\n"})
    assert bundle.agent("z").tools == ("a",)
    assert faults_of("extends: ''") == [
        "2:10: extends: names no agent; write the name of the agent to inherit from, or leave the key out"
    ]


@pytest.mark.parametrize("word", ["yes", "true", "on", "Y", "1", '"true"'])
def test_what_a_flag_takes_for_yes_removes(word: str, tmp_path: Path) -> None:
    tests = f"[{{name: a, agent: x, expect: {{tier: t}}}}, {{name: b, agent: x, remove: {word}}}]"
    bundle = load(tmp_path, "b.yaml", {"x.md": X, "b.yaml": f"agents: {{include: [x.md]}}\ntests: {tests}\n"})
    assert [test.name for test in bundle.tests] == ["a"]


def test_files_that_are_none_are_named_and_the_others_load(tmp_path: Path) -> None:
    write(tmp_path, {"ag/x.md": X, "ag/dir.md/keep": ""})
    (tmp_path / "ag/gone.md").symlink_to("nowhere")
    (tmp_path / "ag/zero.md").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "ag/pipe.md")
    bundle = load(tmp_path, "b.yaml", {"b.yaml": "agents: {include: ['ag/*.md']}\n"})
    assert list(bundle.agents) == ["x"]
    found = said(tmp_path, bundle.problems)
    assert [line.partition("'ag/*.md': ")[2].partition(",")[0] for line in found] == [
        "ag/dir.md is a folder",
        "ag/gone.md is a link to nothing",
        "ag/pipe.md is a device",
        "ag/zero.md is a device",
    ]
    assert all(line.startswith("warning b.yaml:1:20: agents.include:") for line in found)


def template(folder: Path, body: str) -> list[Fault]:
    agent = load(folder, "x.md", {"x.md": f"---\nname: x\n---\n{body}"}).agent("x")
    return sorted([*template_faults(agent), *undefined_variables(agent, ())])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{{ date.__class__ }}", "4:9: the sandbox refuses the attribute '__class__'"),
        ("{{ date['__mro__'] }}", "4:10: the sandbox refuses the attribute '__mro__'"),
        ("{{ date | attr('__init__') }}", "4:17: the sandbox refuses the attribute '__init__'"),
        ("{{ '{0.__class__}'.format(date) }}", "4:8: the sandbox refuses the attribute '__class__' in a format"),
        ("{{ date.gi_frame }}", "4:9: the sandbox refuses the attribute 'gi_frame'"),
        ("{{ date._x }}", "4:9: the sandbox refuses attributes that begin with '_'"),
        ("{% set a = [] %}{{ a.append(1) }}", "4:22: the sandbox lets nothing change"),
        ("{{ date | uper }}", "4:11: the template is wrong: no filter is called 'uper'; did you mean 'upper'?"),
        (
            "{% if date is defind %}x{% endif %}",
            "4:15: the template is wrong: no test is called 'defind'; did you mean 'defined'?",
        ),
        ("a\n {% fro x in y %}", "5:5: the template is wrong: Encountered unknown tag 'fro'; did you mean 'for'?"),
        ("{{ a b }}", "4:6: the template is wrong: expected token 'end of print statement', got 'b'; put braces"),
        ("one\n'team' {{ 'team' }} {{ team }}", "5:24: nobody defines 'team'"),
    ],
)
def test_a_template_says_line_and_column(body: str, expected: str, tmp_path: Path) -> None:
    found = said(tmp_path, template(tmp_path, body), level=False)
    assert found
    assert found[0].removeprefix("x.md:").startswith(expected), found


def test_all_of_a_template_is_said_at_once(tmp_path: Path) -> None:
    found = said(tmp_path, template(tmp_path, "{{ one | nofilter }} {{ two }}\n{{ three | uper }}"), level=False)
    assert [line.split(": ")[0] for line in found] == ["x.md:4:4", "x.md:4:10", "x.md:4:25", "x.md:5:4", "x.md:5:12"]


def test_what_a_later_list_really_adds_is_named(tmp_path: Path) -> None:
    files = {
        "inc/x.md": "---\ndescription: d\ntools: [a]\n---\nx\n",
        "inc/w.md": "---\ndescription: d\ntools: [a]\n---\nx\n",
        "inc.yaml": "agents: {include: ['inc/*.md']}\n",
        "own/x.md": "---\ndescription: d\n---\nx\n",
        "own/z.md": "---\ndescription: d\nextends: inc:w\ntools: [a, b]\n---\nx\n",
        "b.yaml": "includes: [./inc.yaml]\nagents: {include: ['own/*.md'], x: {tools: [a, q]}}\n",
    }
    found = [fault for fault in lint(load(tmp_path, "b.yaml", files), {}, {}) if fault.rule == "widened-tools"]
    assert [line.partition(", which")[0] for line in said(tmp_path, found)] == [
        "warning b.yaml:2:37: agents.x.tools: allows q",
        "warning own/z.md:4:1: tools: allows b",
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("{type: objekt}", ["2:17: output_schema: type: 'objekt' is no type"]),
        ("{type: 5}", ["2:17: output_schema: type: '5' is no type"]),
        (
            "{properties: {a: {type: strng}, b: [1]}, required: a}",
            ["output_schema: properties.a.type:", "properties.b:", "required:"],
        ),
        ("{items: {minLength: -1, pattern: '('}}", ["items.minLength: write a whole number", "items.pattern: is no regular"]),
        ("{proprties: {}}", ["did you mean 'properties'?"]),
        ("{type: [string, 'null'], enum: [1, null], x-own: 1, properties: {type: {type: string}}, pattern: '\\p{L}'}", []),
    ],
)
def test_the_schema_of_an_answer_is_checked(schema: str, expected: list[str]) -> None:
    found = faults_of(f"output_schema: {schema}")
    assert len(found) == len(expected), found
    assert all(part in line for part, line in zip(expected, found, strict=True)), found


@pytest.mark.parametrize(
    "key", ["client", "user_agent", "azure_ad_token_provider", "extra_body: {model: m}", "extra_body: {Messages: []}"]
)
def test_keys_that_move_a_request_are_refused(key: str) -> None:
    entry = key if ":" in key else f"{key}: x"
    assert any("may not be set in a config" in line for line in faults_of(f"config: {{{entry}}}"))


def test_keys_that_only_look_like_it_are_taken() -> None:
    assert faults_of("config: {client_tag: x, metadata: {model: x}, extra_body: {metadata: {model: x}}}") == []


def test_check_takes_any_file_and_an_untrusted_project_is_told_what_to_write(tmp_path: Path) -> None:
    bundle = "bundle: {name: b}\nproviders: {openai: {base_url: 'http://localhost:1'}}\n"
    write(tmp_path, {"b.yaml": bundle, "x.md": X, ".bundle-loader/settings.yaml": "bundle: ../b.yaml\n"})
    chosen = command("check", home=tmp_path / "home", cwd=tmp_path)
    assert f"write 'trust: {{folders: [{tmp_path.resolve()}]}}' in your own settings" in chosen.out
    named = command("check", "b.yaml", "--strict", home=tmp_path / "home", cwd=tmp_path)
    assert (named.code, "b: 0 agents" in named.out) == (0, True)
    assert "x: 1 agent" in command("check", "x.md", home=tmp_path / "home", cwd=tmp_path).out
    assert command("check", "x.md", "--bundle", "b.yaml", home=tmp_path / "home", cwd=tmp_path).code == 2
