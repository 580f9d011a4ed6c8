"""Agent files of our own form: every key and every fault."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.routing.request import make_request
from tests.support.declared import agent_file, faults_of, load, pairs, refused, said, write

ALL_KEYS = """\
---
format: 1
name: git-ops
aliases: [git, commits]
description: Commits, branches, pull requests.
provider_preferences:
  - {provider: anthropic, model: claude-haiku-*}
  - openai/gpt-4o-mini
  - {provider: github-copilot, model: claude-haiku-*, config: {reasoning_effort: low}, optional: true}
tier: budget
tools: [read_file, mcp:github]
inherit_context: {depth: recent, turns: 7, scope: full}
config: {temperature: 0.2, max_tokens: 2000, stop: [no, "1"]}
limits: {max_turns: 20, timeout: 2m, max_cost: 0.05}
output_schema: {type: object, properties: {ok: {type: boolean}}}
on_broken_stream: continue
content_fallback: [google/gemini-*, {tier: budget}]
---
You are git-ops.
"""


def one(folder: Path, text: str, **files: str) -> Agent:
    """The agent `x` of a bundle with a tier `budget`."""
    bundle = "tiers: {budget: [p/m]}\nvars: {colour: red}\nagents: {include: ['agents/*.md']}\n"
    more = {f"agents/{name}.md": content for name, content in files.items()}
    return load(folder, "team.yaml", {"team.yaml": bundle, "agents/x.md": text, **more}).agent("x")


def test_every_key_of_an_agent(tmp_path: Path) -> None:
    bundle = load(
        tmp_path,
        "team.yaml",
        {"team.yaml": "tiers: {budget: [p/m]}\nagents: {include: ['*.md']}\n", "git-ops.md": ALL_KEYS},
        strict=True,
    )
    agent = bundle.agent("git-ops")
    assert agent.aliases == ("git", "commits")
    assert agent.description == "Commits, branches, pull requests."
    assert pairs(agent.preferences) == ["anthropic/claude-haiku-*", "openai/gpt-4o-mini", "github-copilot/claude-haiku-*"]
    assert agent.preferences[2].config == {"reasoning_effort": "low"}
    assert [preference.optional for preference in agent.preferences] == [False, False, True]
    assert (agent.tier, agent.slot) == ("budget", "list")
    assert agent.tools == ("read_file", "mcp:github")
    assert (agent.inherit_context.depth, agent.inherit_context.turns, agent.inherit_context.scope) == ("recent", 7, "full")
    assert agent.config == {"temperature": 0.2, "max_tokens": 2000, "stop": ["no", "1"]}
    assert (agent.limits.max_turns, agent.limits.timeout, agent.limits.max_cost) == (20, 120.0, Decimal("0.05"))
    assert agent.output_schema == {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    assert agent.on_broken_stream == "continue"
    assert pairs(agent.content_fallback) == ["google/gemini-*", "p/m"]
    assert agent.instruction == "You are git-ops."
    assert (agent.bundle, agent.form, agent.template, agent.body_line) == ("team", "own", True, 19)
    assert agent.file.endswith("git-ops.md")


def test_what_is_not_said_has_a_meaning(tmp_path: Path) -> None:
    agent = one(tmp_path, "---\n---\n")
    assert (agent.name, agent.description, agent.aliases) == ("x", "", ())
    assert (agent.preferences, agent.tier, agent.model_role, agent.slot) == ((), None, (), None)
    assert agent.tools is None
    assert agent.inherit_context.depth == "none"
    assert (agent.limits.max_turns, agent.limits.timeout, agent.limits.max_cost) == (None, None, None)
    assert (agent.config, agent.output_schema, agent.on_broken_stream, agent.content_fallback) == ({}, None, "fail", ())


def test_a_single_text_stands_for_a_list_of_one(tmp_path: Path) -> None:
    agent = one(tmp_path, "---\naliases: y\ntools: read_file\nmodel_role: fast\n---\n")
    assert (agent.aliases, agent.tools, agent.model_role) == (("y",), ("read_file",), ("fast",))


@pytest.mark.parametrize(
    ("written", "seconds"), [("120s", 120.0), ("2m", 120.0), ("500ms", 0.5), ("1h", 3600.0), ("90", 90.0), ("1.5 s", 1.5)]
)
def test_lengths_of_time(tmp_path: Path, written: str, seconds: float) -> None:
    assert one(tmp_path, f"---\nlimits: {{timeout: {written}}}\n---\n").limits.timeout == seconds


WRONG = [
    ("format: 2", "2:9: format: '2' is not read by this version, which reads format 1; write 1, or leave the key out"),
    ("name: [a]", "2:7: name: a list does not fit; write text"),
    ("name: two words", "2:7: name: 'two words' is not a name; use letters, digits, '-', '_' and '.'"),
    ("name: 'a:b'", "2:7: name: 'a:b' is not a name; use letters, digits, '-', '_' and '.'"),
    ("aliases: {a: b}", "2:10: aliases: a mapping does not fit; write a list"),
    ("aliases: [a, [b]]", "2:14: aliases[1]: a list does not fit; write text"),
    ("aliases: [a, a b]", "2:10: aliases: 'a b' is not a name; use letters, digits, '-', '_' and '.'"),
    ("description: [x]", "2:14: description: a list does not fit; write text"),
    ("provider_preferences: {a: b}", "2:23: provider_preferences: a mapping does not fit; write a list"),
    ("provider_preferences: anthropic/x", "2:23: provider_preferences: 'anthropic/x' does not fit; write a list"),
    (
        "provider_preferences: []",
        "2:23: provider_preferences: an empty list prefers nothing; leave the key out, or write null to remove what was"
        " inherited",
    ),
    (
        "provider_preferences: [claude]",
        "2:24: provider_preferences[0]: 'claude' is not 'provider/model-glob', such as anthropic/claude-haiku-*",
    ),
    (
        "provider_preferences: [{provider: p}]",
        "2:24: provider_preferences[0]: model missing; write {provider: anthropic, model: claude-haiku-*}",
    ),
    (
        "provider_preferences: [{config: {a: 1}}]",
        "2:24: provider_preferences[0]: provider and model missing; write {provider: anthropic, model: claude-haiku-*}",
    ),
    (
        "provider_preferences: [{tier: a, model: b}]",
        "2:24: provider_preferences[0]: an element is either {tier: name} or a provider and a model, not both",
    ),
    ("provider_preferences: [~]", "2:24: provider_preferences[0]: nothing does not fit; write 'key: value' lines"),
    (
        "provider_preferences: [{provider: p, model: m, optional: maybe}]",
        "2:58: provider_preferences[0].optional: 'maybe' does not fit; write true or false",
    ),
    (
        "provider_preferences: [{provider: p, model: m, config: x}]",
        "2:56: provider_preferences[0].config: 'x' does not fit; write 'key: value' lines",
    ),
    ("tier: [a]", "2:7: tier: a list does not fit; write text"),
    ("model_role: {a: b}", "2:13: model_role: a mapping does not fit; write a list"),
    ("extends: {}", "2:10: extends: a mapping does not fit; write text"),
    ("tools: {a: b}", "2:8: tools: a mapping does not fit; write a list"),
    ("tools: [~]", "2:9: tools[0]: nothing does not fit; write text"),
    ("inherit_context: all", "2:18: inherit_context: 'all' does not fit; write 'key: value' lines"),
    (
        "inherit_context: {depth: recnt}",
        "2:26: inherit_context.depth: 'recnt' is not one of none, recent, all; did you mean 'recent'?",
    ),
    (
        "inherit_context: {turns: 0}",
        "2:26: inherit_context.turns: '0' does not fit: input should be greater than or equal to 1",
    ),
    ("inherit_context: {scope: 1}", "2:26: inherit_context.scope: '1' is not one of conversation, agents, full"),
    ("config: [a]", "2:9: config: a list does not fit; write 'key: value' lines"),
    ("limits: 3", "2:9: limits: '3' does not fit; write 'key: value' lines"),
    ("limits: {max_turns: 1.5}", "2:21: limits.max_turns: '1.5' does not fit; write a whole number"),
    ("limits: {max_turns: true}", "2:21: limits.max_turns: 'true' does not fit; write a whole number"),
    ("limits: {timeout: soon}", "2:19: limits.timeout: write a length of time such as 120s, 2m or 500ms"),
    ("limits: {timeout: -1}", "2:19: limits.timeout: write a length of time such as 120s, 2m or 500ms"),
    ("limits: {timeout: 0s}", "2:19: limits.timeout: '0s' does not fit: input should be greater than 0"),
    ("limits: {max_cost: cheap}", "2:20: limits.max_cost: 'cheap' does not fit; write an amount such as 0.05"),
    ("limits: {max_cost: 0}", "2:20: limits.max_cost: '0' does not fit: input should be greater than 0"),
    ("limits: {max_cost: inf}", "2:20: limits.max_cost: 'inf' does not fit: input should be a finite number"),
    ("output_schema: text", "2:16: output_schema: 'text' does not fit; write 'key: value' lines"),
    ("on_broken_stream: maybe", "2:19: on_broken_stream: 'maybe' is not one of fail, continue"),
    ("content_fallback: a/b", "2:19: content_fallback: 'a/b' does not fit; write a list"),
]


@pytest.mark.parametrize(("header", "fault"), WRONG)
def test_a_wrong_type_says_where_and_what(header: str, fault: str) -> None:
    assert faults_of(header) == [fault]


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("descripton: x", "2:1: descripton: unknown key; did you mean 'description'?"),
        ("  ToolS: x", "2:3: ToolS: unknown key; did you mean 'tools'?"),
        ("zzz: 1", "2:1: zzz: unknown key"),
        ("limits: {timout: 1s}", "2:10: limits.timout: unknown key; did you mean 'timeout'?"),
        ("inherit_context: {trns: 1}", "2:19: inherit_context.trns: unknown key; did you mean 'turns'?"),
        (
            "provider_preferences:\n  - {provider: a, model: b}\n  - {provider: anthropic, modle: x}",
            "4:27: provider_preferences[1].modle: unknown key; did you mean 'model'?",
        ),
        ("content_fallback: [{teir: x}]", "2:21: content_fallback[0].teir: unknown key; did you mean 'tier'?"),
    ],
)
def test_an_unknown_key_gives_the_nearest_at_every_level(header: str, fault: str) -> None:
    assert faults_of(header) == [fault]


def test_all_faults_of_a_file_at_once() -> None:
    everything = "\n".join(header for header, _ in WRONG if header.split(":")[0] in ("format", "tier", "extends"))
    assert faults_of(everything + "\nnam: x\nlimits: {max_turns: x, timeout: y, bogus: 1}\ntools: [a, [b], ~]") == [
        "2:9: format: '2' is not read by this version, which reads format 1; write 1, or leave the key out",
        "3:7: tier: a list does not fit; write text",
        "4:10: extends: a mapping does not fit; write text",
        "5:1: nam: unknown key; did you mean 'name'?",
        "6:21: limits.max_turns: 'x' does not fit; write a whole number",
        "6:33: limits.timeout: write a length of time such as 120s, 2m or 500ms",
        "6:36: limits.bogus: unknown key",
        "7:12: tools[1]: a list does not fit; write text",
        "7:17: tools[2]: nothing does not fit; write text",
    ]


@pytest.mark.requirement("AGT-16")
def test_an_agent_with_faults_does_not_stop_the_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "team.yaml": "agents: {include: ['agents/*.md']}",
            "agents/a-unclosed.md": "---\nname: unclosed\n\nbody",
            "agents/b-modle.md": "---\nprovider_preferences:\n  - {provider: anthropic, modle: x}\ntools: 1\nbad: 1\n---\n",
            "agents/c-yaml.md": "---\ndescription: use it: now\n---\n",
            "agents/d-fine.md": "---\nprovider_preferences: [anthropic/claude-haiku-*]\n---\nfine",
            "agents/e-empty.md": "---\nprovider_preferences: []\n---\n",
        },
    )
    (tmp_path / "agents/f-latin.md").write_bytes(b"---\nname: f-latin\ndescription: caf\xe9\n---\n")
    faults = [
        "agents/a-unclosed.md:1:1: the header is not closed: write a line '---' after the last key",
        "agents/b-modle.md:3:27: provider_preferences[0].modle: unknown key; did you mean 'model'?",
        "agents/b-modle.md:5:1: bad: unknown key",
        "agents/c-yaml.md:2:20: not YAML: mapping values are not allowed in this context; put text that holds ': ' in quotes",
        "agents/e-empty.md:2:23: provider_preferences: an empty list prefers nothing; leave the key out, or write null to"
        " remove what was inherited",
        "agents/f-latin.md:3: byte 34 is not UTF-8; save the file as UTF-8",
    ]
    bundle = load(tmp_path, "team.yaml")
    assert said(tmp_path, bundle.problems, level=False) == faults
    assert list(bundle.agents) == ["d-fine"]
    assert bundle.agent("d-fine").instruction == "fine"
    assert sorted(bundle.broken) == ["a-unclosed", "b-modle", "c-yaml", "e-empty", "f-latin"]
    with pytest.raises(DeclarationError) as caught:
        bundle.agent("b-modle")
    assert said(tmp_path, caught.value.faults, level=False) == faults[1:3]
    assert refused(tmp_path, "team.yaml", strict=True) == faults
    with pytest.raises(DeclarationError):
        bundle.raise_problems()


def test_agents_are_reached_by_name_alias_and_bundle(tmp_path: Path) -> None:
    files = {
        "a.yaml": "bundle: {name: team}\nincludes: [./b.yaml]\nagents: {explorer: {tier: ~}}\n",
        "b.yaml": "bundle: {name: base}\nagents: {include: ['*.md']}\n",
        "explorer.md": "---\naliases: [scout]\n---\n",
        "git.md": "---\n---\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    for name in ("explorer", "scout", "base:explorer", "team:explorer"):
        assert bundle.agent(name).name == "explorer"
    for name, hint in [
        ("exploer", "did you mean 'explorer'?"),
        ("scuot", "did you mean 'scout'?"),
        ("EXPLORER", "did you mean 'explorer'?"),
        ("team:git", "did you mean 'git'?"),
        ("zzzzzz", "it has explorer, git"),
    ]:
        with pytest.raises(RequestError) as caught:
            bundle.agent(name)
        assert str(caught.value) == f"no agent '{name}' in bundle 'team'; {hint}"
    assert bundle.agent("self").slot is None


def test_an_alias_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    files = {
        "a.yaml": "agents: {include: ['*.md']}",
        "one.md": "---\naliases: [both, two]\n---\n",
        "two.md": "---\naliases: [both]\n---\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    assert (bundle.agent("both").name, bundle.agent("two").name) == ("one", "two")
    assert said(tmp_path, bundle.problems) == [
        "warning one.md:1:1: aliases: 'two' already reaches agent 'two'; the alias of 'one' is not used",
        "warning two.md:1:1: aliases: 'both' already reaches agent 'one'; the alias of 'two' is not used",
    ]


PROTECTED = [
    "api_key", "apiKey", "API-KEY", "x-api-key", "'api key'", "openai_api_key", "auth_token", "token", "hf_token",
    "Authorization",
    "base_url", "baseURL", "azure_endpoint", "endpoint", "api_base", "extra_headers", "headers", "default_headers", "http_proxy",
    "proxies", "proxy_url", "verify", "verify_ssl", "ssl_context", "tls", "client_cert", "http_client", "http_options",
    "credentials", "client_secret", "password", "organization", "ca_bundle", "private_key", "cookies", "key", "host", "url",
    "apikey", "APIKEY", "APIKey", "api.key", "__api__key__", "sslVerify", "httpAgent", "webhookUrl", "trust_env", "extra_query",
    "x-goog-api-key", "aws_secret_access_key", "authorization_token", "jwt", "no_proxy", "certfile", "organisation",
    "\uff41\uff50\uff49\uff3f\uff4b\uff45\uff59", "\u0430pi_key", "api\u200b_key", "\u00e1pi_k\u00e9y", "b\u03b1se_url",
    "api\u00a0key", "my_host_name2", "someUrl", "tls mode 2", "use_insecure_mode",
]  # fmt: skip


@pytest.mark.parametrize("key", PROTECTED)
def test_protected_keys_are_refused_in_every_spelling_and_depth(key: str, tmp_path: Path) -> None:
    name = key.strip("'")
    rest = "may not be set in a config: models, messages, keys and addresses are not a bundle's to set"
    for written, where in (
        (f"{{{key}: 1}}", name),
        (f"{{extra_body: {{deep: [1, {{{key}: 1}}]}}}}", f"extra_body.deep[1].{name}"),
    ):
        column = written.index(key)
        assert faults_of(f"config: {written}") == [f"2:{9 + column}: config: '{where}' {rest}"]
        assert faults_of(f"provider_preferences: [{{provider: p, model: m, config: {written}}}]") == [
            f"2:{56 + column}: provider_preferences[0].config: '{where}' {rest}"
        ]
        assert refused(tmp_path, "t.yaml", {"t.yaml": f"tiers: {{t: [{{provider: p, model: m, config: {written}}}]}}"}) == [
            f"t.yaml:1:{45 + column}: tiers.t[0].config: '{where}' {rest}"
        ]
    with pytest.raises(ValueError, match="may not be set in a config"):
        Preference(provider="p", model="m", config={"deep": [{name: 1}]})


@pytest.mark.parametrize("key", ["model", "messages", "stream", "system", "tools", "input", "contents"])
def test_a_config_is_not_a_request(key: str) -> None:
    [fault] = faults_of(f"config: {{{key}: x}}")
    assert f"'{key}' may not be set" in fault
    assert faults_of(f"config: {{deep: {{{key}: x}}}}") == []


def test_ordinary_settings_are_no_secrets() -> None:
    usual = (
        "temperature: 0.2, max_tokens: 10, max_completion_tokens: 5, top_p: 1, stop: [a], seed: 1, reasoning_effort: low,"
        " thinking: {type: enabled, budget_tokens: 100}, verbosity: low, service_tier: auto, presence_penalty: 0.1,"
        " max_output_tokens: 3, logit_bias: {'50256': -100}, response_format: {type: json_object}, keep_alive: 5m, num_ctx: 4096,"
        " metadata: {user_id: a}, safety_settings: [{category: c, threshold: t}], tool_choice: {type: auto}, stop_token: x,"
        " prompt_cache_key: k, stop_token_ids: [1], eos_token: y, min_tokens: 1, author: z, keywords: [a], certainty: 1,"
        " parallel_tool_calls: true, thinking_config: {thinking_budget: 1, include_thoughts: true}, monkey: 1, ghost: 1"
    )
    assert faults_of(f"config: {{{usual}}}") == []


def test_read_agents_are_frozen_and_equal_by_content(tmp_path: Path) -> None:
    first, second = one(tmp_path, ALL_KEYS.replace("git-ops", "x")), one(tmp_path, ALL_KEYS.replace("git-ops", "x"))
    assert first == second
    with pytest.raises(ValueError, match="frozen"):
        first.tier = "strong"  # type: ignore[misc]
    assert agent_file("name: x").written == agent_file("# a comment\nname:   x").written


def test_every_protected_key_of_a_config_is_named_at_its_place() -> None:
    rest = "may not be set in a config: models, messages, keys and addresses are not a bundle's to set"
    assert faults_of("config:\n  api_key: 1\n  extra:\n    - fine: 1\n      headers: {a: 1}\n  model: x\ntolos: [a]") == [
        f"3:3: config: 'api_key' {rest}",
        f"6:7: config: 'extra[0].headers' {rest}",
        f"7:3: config: 'model' {rest}",
        "8:1: tolos: unknown key; did you mean 'tools'?",
    ]


@pytest.mark.parametrize("config", [{"API-Key": "sk-x"}, {"extra": [{"base_url": "sk-x"}]}, {"model": "sk-x"}])
def test_a_caller_sets_no_protected_key_either(config: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="may not be set in a config") as caught:
        make_request(Agent(name="x"), config=config)
    assert "sk-x" not in str(caught.value)
