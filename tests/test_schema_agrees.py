"""The JSON Schemas and the loader take and refuse the same values, key by key."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
import yaml
from jsonschema import Draft202012Validator

from bundle_loader.declared.agent import WrittenAgent
from bundle_loader.declared.frontmatter import read_document, read_yaml_document
from bundle_loader.declared.layer import read_agent, read_layer
from bundle_loader.declared.schema import SCHEMAS
from bundle_loader.declared.settings import WrittenSettings, read_settings
from bundle_loader.declared.tables import WrittenBundle


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read it."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for tag, pattern, first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))

VALUES = """
x | "" | null | true | yes | YES | no | "true" | maybe | 1 | "1" | 0 | -1 | 1.5 | "5" | 5M | 5m | 0s | 500ms | 0.05 | $5 | 80%
[] | [x] | [null] | [[x]] | [base] | [openai] | [openai/o3] | [a b] | {} | {a: 1} | {a: x} | {a: null} | {a: []} | {a: [x]}
[{provider: openai}] | [{provider: openai, model: m}] | [{tier: t}] | [{tier: t, config: {a: 1}}] | [{}] | {a: [openai/o3]}
[{provider: a, model: b, optional: yes}] | [{provider: a, model: b, optional: jes}] | [{provider: "", model: b}]
a | A_B | base | ANTHROPIC_API_KEY | http://x | ftp://x | https://me:secret@host | {include: x} | {include: [x]}
{a: {b: 1}} | {a: {b: x}} | inf | 200k | day | refuse
"""
WRITTEN = [value.strip() for line in VALUES.strip().splitlines() for value in line.split(" | ")]
FIELDS = {
    "agent": [
        *(key for key in WrittenAgent.model_fields),
        *(f"limits.{key}" for key in ("max_turns", "timeout", "max_cost")),
        *(f"inherit_context.{key}" for key in ("turns", "depth", "scope")),
    ],
    "bundle": [
        *WrittenBundle.model_fields,
        *("bundle.name", "bundle.version", "agents.include", "agents.x", "agents.x.tools", "agents.x.limits.timeout"),
        *("agents.x.aliases", "tiers.t", "profiles.p", "profiles.p.s", "roles.r", "context.include", "recipes.include"),
        *(f"profiles.p.{key}" for key in ("stage_profiles", "stage_profiles.s", "local_first", "default")),
        *(f"providers.openai.{key}" for key in ("key_variable", "base_url", "requests_per_minute")),
        *(f"tests.[].{key}" for key in ("name", "remove", "agent", "preferences")),
        *(f"budgets.b.{key}" for key in ("money", "tokens", "per", "alert_at", "throttle_at", "unknown_price", "mandatory")),
        *(f"prices.p.{key}" for key in ("input", "request", "service_tiers.x")),
    ],
    "settings": [
        *WrittenSettings.model_fields,
        *("agents.x", "agents.x.tier", "agents.x.provider_preferences", "trust.folders", "providers.openai.key_variable"),
    ],
}


def refused(kind: str, text: str) -> list[str]:
    if kind == "agent":
        faults = read_agent(read_document(f"---\n{text}\n---\nx", "a.md")).faults
    elif kind == "bundle":
        faults = read_layer(read_yaml_document(text, "b.yaml")).faults
    else:
        faults = list(read_settings(read_yaml_document(text, "s.yaml"), "user").faults)
    return [str(fault) for fault in faults if fault.level == "error"]


def header(path: str, value: str) -> str:
    for key in reversed(path.split(".")):
        value = f"[{value}]" if key == "[]" else f"{{{key}: {value}}}"
    return value[1:-1]


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields])
def test_schema_and_loader_agree(kind: str, field: str) -> None:
    validator = Draft202012Validator(SCHEMAS[kind]())
    for value in WRITTEN:
        text = header(field, value)
        wrong = refused(kind, text)
        assert validator.is_valid(yaml.load(text, Core)) is not bool(wrong), (text, wrong)


@pytest.mark.parametrize("value", ["null", "{}", "{tier: t}"])
def test_a_test_without_an_expectation_is_refused(value: str) -> None:
    validator = Draft202012Validator(SCHEMAS["bundle"]())
    assert validator.is_valid(yaml.load(f"tests: [{{agent: x, expect: {value}}}]", Core)) is (value != "null")
