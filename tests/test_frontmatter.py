"""Text to values: every fault of a file at once, with its place, and nothing let pass in silence."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bundle_loader.declared.frontmatter import MAX_HEADER, read_document, read_yaml_document
from bundle_loader.declared.layer import AgentFile
from bundle_loader.declared.tree import core_scalar
from tests.support.declared import agent_file, faults_of


def only_fault(text: str) -> str:
    document = read_document(text, "a.md")
    assert document.values is None
    [fault] = document.faults
    return str(fault)


def config(written: str) -> Any:
    found = agent_file(f"config: {{x: {written}}}")
    assert found.faults == []
    assert found.written is not None
    assert found.written.config is not None
    return found.written.config["x"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "a.md:1:1: no header: the first line must be '---', followed by the keys and another '---'"),
        ("\n\nYou are x.\n", "a.md:3:1: no header: the first line must be '---', followed by the keys and another '---'"),
        ("----\nname: x\n----\n", "a.md:1:1: no header: the first line must be '---', followed by the keys and another '---'"),
        ("---\nname: x\n\nbody\n", "a.md:1:1: the header is not closed: write a line '---' after the last key"),
        ("---\nname: x\n --- \nbody", "a.md:1:1: the header is not closed: write a line '---' after the last key"),
        ("\n\n---\nname: x\n", "a.md:3:1: the header is not closed: write a line '---' after the last key"),
        ("---", "a.md:1:1: the header is not closed: write a line '---' after the last key"),
        ("---\n- name\n---\n", "a.md:2:1: the header must be 'key: value' lines"),
        ("---\n\n  just text\n---\n", "a.md:3:3: the header must be 'key: value' lines"),
        ("---\nname: x\nrole: a\0b\n---\n", "a.md:3:8: a NUL byte: this is not a text file"),
        ("---\nname: a\n\ttools: x\n---\n", "a.md:3:1: not YAML: ...; indent with spaces, not tabs"),
        ("---\ndescription: use when: it fails\n---\n", "a.md:2:22: not YAML: ...; put text that holds ': ' in quotes"),
        ("---\nname: [a\ntools: b\n---\n", "a.md:3:6: not YAML: ..."),
        ("---\nname: 'a\n---\n", "a.md:...: not YAML: ..."),
        ("---\nname: *nobody\n---\n", "a.md:2:7: not YAML: ..."),
        ("---\nname: a\x01b\n---\n", "a.md:2:1: not YAML: ...control characters are not allowed..."),
    ],
)
def test_a_header_that_cannot_be_read(text: str, fault: str) -> None:
    found = only_fault(text)
    position = 0
    for part in fault.split("..."):
        position = found.find(part, position)
        assert position >= 0, found
    assert found.startswith(fault.split("...")[0])


def test_a_repeated_key_names_both_lines() -> None:
    assert faults_of("name: x\ntools: [a]\nlimits:\n  max_turns: 1\n  timeout: 1s\n  max_turns: 2\nname: y") == [
        "7:3: max_turns: written twice; the first is on line 5",
        "8:1: name: written twice; the first is on line 2",
    ]


def test_a_repeated_key_stands_beside_all_other_faults() -> None:
    assert faults_of("name: x\nname: y\ntolos: [a]\nlimits: {max_turns: many}") == [
        "3:1: name: written twice; the first is on line 2",
        "4:1: tolos: unknown key; did you mean 'tools'?",
        "5:21: limits.max_turns: 'many' does not fit; write a whole number",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n\n \n", "\ufeff\n"])
def test_line_ends_marks_and_blank_lines_change_no_place(end: str, before: str) -> None:
    lines = before.replace("\n", end) + end.join(["---", "name: x", "limits:", "  max_trns: 3", "---", "", "one", "two", ""])
    first = 1 + before.count("\n")
    document = read_document(lines, "a.md")
    assert document.body == "one\ntwo"
    assert document.body_line == first + 6
    tree = document.header
    assert tree.keys == {"name": (first + 1, 1), "limits": (first + 2, 1)}
    limits = tree.entries["limits"]
    assert (limits.line, limits.column) == (first + 3, 3)


def test_columns_count_characters() -> None:
    assert faults_of("limits: {'größe': 1, max_turns: 0}\ndescription: ü\nconfig: {ä: [1, {api_key: x}]}") == [
        "2:10: limits.größe: unknown key",
        "2:33: limits.max_turns: '0' does not fit: input should be greater than or equal to 1",
        "4:18: config: 'ä[1].api_key' may not be set in a config: models, messages, keys and addresses are not a bundle's to set",
    ]


@pytest.mark.parametrize(
    ("body", "expected", "line"),
    [
        ("", "", 3),
        ("\n\n", "", 5),
        ("\n\n  one", "one", 6),
        ("one\n---\ntwo: 2\n---\nthree", "one\n---\ntwo: 2\n---\nthree", 4),
        ("one\0two", "one\0two", 4),
        ("a\tb\n", "a\tb", 4),
    ],
)
def test_bodies(body: str, expected: str, line: int) -> None:
    document = read_document(f"---\nname: x\n---\n{body}", "a.md")
    assert document.faults == []
    assert document.body == expected
    if expected:
        assert document.body_line == line


def test_an_empty_header_is_a_header() -> None:
    for text in ("---\n---\n", "---\n# only this\n---\n", "---   \n---\t\n"):
        document = read_document(text, "a.md")
        assert (document.values, document.faults) == ({}, [])


def test_text_stays_text_where_text_is_due() -> None:
    found = agent_file("name: no\ndescription: 1.10\naliases: [on, 2024-01-01, 0x1F]\ntier: true\ntools: [1e3, 12:30]")
    assert found.faults == []
    written = found.written
    assert written is not None
    assert (written.name, written.description, written.tier) == ("no", "1.10", "true")
    assert written.aliases == ["on", "2024-01-01", "0x1F"]
    assert written.tools == ["1e3", "12:30"]
    assert found.name == "no"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("'~'", "~"),
        ("'true'", "true"),
        ("'1'", "1"),
        ("1", 1),
        ("-7", -7),
        ("010", 10),
        ("0o10", 8),
        ("0x1f", 31),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("[1, [no]]", [1, ["no"]]),
        ("{a: {1: 2}}", {"a": {"1": 2}}),
    ],
)
def test_fields_without_a_type_take_the_core_schema(written: str, value: object) -> None:
    found = config(f"[{written}]")[0]
    assert found == value
    assert type(found) is type(value)


def test_what_python_cannot_read_as_a_number_stays_text() -> None:
    assert core_scalar("1" * 5000) == "1" * 5000


def test_tags_and_merge_keys_are_refused() -> None:
    assert faults_of(
        "name: !!python/object/apply:os.system [x]\ntools: !mine [a]\nconfig: &c {a: 1}\noutput_schema: {<<: *c}\n"
        "vars: !!binary aGk=\n? [a]\n: 1\ndescription: !!str fine"
    ) == [
        "2:7: name: the tag tag:yaml.org,2002:python/object/apply:os.system is not used here; write a plain value",
        "2:7: name: a list does not fit; write text",
        "3:8: tools: the tag !mine is not used here; write a plain value",
        "5:17: <<: merge keys are not read; write the keys out, or use 'extends'",
        "6:1: vars: unknown key",
        "6:7: vars: the tag tag:yaml.org,2002:binary is not used here; write a plain value",
        "7:3: a key must be a word",
    ]


def test_an_alias_stands_for_its_value() -> None:
    assert agent_file("config: {a: &x [1, 2], b: *x}").written == agent_file("config: {a: [1, 2], b: [1, 2]}").written


def bomb() -> str:
    lines = ["config:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (bomb(), "an alias used more than 100 times"),
        ("config: {x: &a [1], y: [" + ", ".join(["*a"] * 150) + "]}", "an alias used more than 100 times"),
        ("config: &a {x: *a}", "nested deeper than 64 levels"),
        ("config: " + "[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ("config: " + "[" * 900 + "]" * 900, "nested deeper than 64 levels"),
        ("config: [" + ",".join(["1"] * 60_000) + "]", "more than 50000 values"),
        ("config: {" + ",".join(f"a{i}: 1" for i in range(25_000)) + ", b: [" + "1," * 25_000 + "]}", "larger than 256 KiB"),
        ("description: " + "x" * MAX_HEADER, "the header is larger than 256 KiB; move text into the body"),
    ],
    ids=["bomb", "aliases", "recursive", "deep", "deeper", "values", "large", "long"],
)
def test_runaway_headers_are_refused_quickly(header: str, message: str) -> None:
    began = time.process_time()
    found: AgentFile = agent_file(header)
    assert time.process_time() - began < 5
    assert found.written is None
    assert message in str(found.faults[-1])
    assert found.faults[-1].line > 1


@pytest.mark.parametrize("opener", ["[", "{a: ", "- ", "? ", "[\n"])
def test_nesting_without_end_does_not_take_the_process_down(opener: str) -> None:
    document = read_yaml_document(opener * (MAX_HEADER // len(opener) - 1), "a.yaml")
    assert document.values is None
    assert "nested deeper than 64 levels" in str(document.faults[0])


@pytest.mark.parametrize("count", [49_990, 49_995, 49_998, 49_999, 50_000, 50_001])
def test_what_passes_the_limit_can_be_read_again(count: int) -> None:
    # the quick reading and the one that keeps places must agree, or a later look at the places fails
    document = read_document("---\nconfig: {a: [" + ",".join("1" * count) + "], b: {c: 1}}\n---\n", "a.md")
    if document.values is not None:
        assert "config" in document.header.entries
    assert (document.values is None) == (count >= 49_995 + 1)


def test_yaml_files_have_no_body() -> None:
    document = read_yaml_document("\ufeff# a comment\r\nname: x\r\nname: y\r\n", "a.yaml")
    assert [str(fault) for fault in document.faults] == ["a.yaml:3:1: name: written twice; the first is on line 2"]
    assert read_yaml_document("", "a.yaml").values == {}
    [fault] = read_yaml_document("---\na: 1\n---\nb: 2\n", "a.yaml").faults
    assert (fault.line, "document" in fault.message) == (3, True)
