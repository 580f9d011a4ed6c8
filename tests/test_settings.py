"""Settings: where they lie, what each key does, who overrides whom, what is mandatory, and what a stranger's may not say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.schema import settings_schema
from bundle_loader.errors import DeclarationError, Forbidden
from bundle_loader.host import Host
from bundle_loader.providers.live import aliases
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.explain import verdicts
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import DecidedBy, make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.routing.select import Selection, select
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.command import command
from tests.support.declared import pairs, said, write

BUNDLE = """\
bundle: {name: team}
tiers: {low: [a/low, b/low, c/low], high: [a/high, b/high]}
tier_order: [low, high]
roles: {judge: [c/judge]}
agents:
  include: ["*.md"]
"""
AGENT = "---\nname: x\nprovider_preferences: [a/own, b/own, a/own2]\ntier: low\n---\nx\n"
SITE, HOME, PROJECT = "site/settings.yaml", "home/settings.yaml", "project/.bundle-loader/settings.yaml"
TEAM = {"project/team.yaml": BUNDLE, "project/x.md": AGENT}


def settled(folder: Path, files: Mapping[str, str], name: str | None = "team.yaml", *, at: str = "project") -> Bundle:
    """The bundle under the settings among `files`, as somebody who stands in `at` loads it."""
    here = write(folder, {**TEAM, **files}, mark=False) / at
    found = find_settings({"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}, here)
    return load_bundle(None if name is None else (here / name if name.endswith("yaml") else name), settings=found)


def wrong(folder: Path, files: Mapping[str, str]) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        settled(folder, files)
    return [text.replace("project/", "") for text in said(folder, caught.value.faults, level=False)]


def warned(folder: Path, bundle: Bundle) -> list[str]:
    return [str(text) for text in said(folder, bundle.problems)]


def chosen(bundle: Bundle, agent: str = "x", **choice: object) -> Selection:
    return select(bundle, make_request(bundle.agent(agent), **choice), dict(aliases()))  # type: ignore[arg-type]


def routed(bundle: Bundle, agent: str = "x", **choice: object) -> Route:
    models = {"a": "own own2 low high", "b": "own low high", "c": "low judge judge-20250101"}
    listed = {id: Offer(id, Catalogue(id, tuple(map(ModelInfo, names.split())), version=1)) for id, names in models.items()}
    listed["b"] = Offer("b", Catalogue("b", (*listed["b"].catalogue.models, ModelInfo("b-embed", kind="embedding")), version=1))
    request = make_request(bundle.agent(agent), **choice)  # type: ignore[arg-type]
    return route(bundle, request, Offers(listed, {}), Resolver())


# --- files


def test_missing_files_are_nothing(tmp_path: Path) -> None:
    bundle = settled(tmp_path, {})
    assert bundle == load_bundle(tmp_path / "project" / "team.yaml", settings=())
    assert find_settings({"BUNDLE_LOADER_SITE": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path)}, tmp_path) == ()


def test_the_user_overrides_the_project_and_that_the_organisation(tmp_path: Path) -> None:
    layers = {SITE: "vars: {a: site, b: site, c: site}", PROJECT: "vars: {b: project, c: project}", HOME: "vars: {c: user}"}
    assert settled(tmp_path, layers).vars == {"a": "site", "b": "project", "c": "user"}
    nearest = {**layers, "project/sub/.bundle-loader/settings.yaml": "vars: {b: nearer}", "project/sub/deep/keep": ""}
    write(tmp_path, {"project/sub/deep/team.yaml": BUNDLE, "project/sub/deep/x.md": AGENT}, mark=False)
    assert settled(tmp_path, nearest, at="project/sub/deep").vars == {"a": "site", "b": "nearer", "c": "user"}


def test_settings_with_faults_stop_loading_with_all_of_them(tmp_path: Path) -> None:
    files = {
        SITE: "teirs: {}\nagents:\n  x: {tier: low, model_role: judge}\n",
        PROJECT: "provider_order: [{a: b}]\n",
        HOME: "tiers:\n  low:\n    - {provider: a, modle: m}\ntrust: {folders: [.]}\n",
        "project/team.yaml": BUNDLE + "tets: 1\n",
    }
    found = wrong(tmp_path, files)
    assert [line.split(": ")[0] for line in found] == [
        ".bundle-loader/settings.yaml:1:18",
        "home/settings.yaml:3:21",
        "home/settings.yaml:4:8",
        "team.yaml:7:1",
        "site/settings.yaml:1:1",
        "site/settings.yaml:3:6",
    ]
    text = "\n".join(found)
    assert "teirs: unknown key; did you mean 'tiers'?" in text
    assert "a pin has one of tier, provider_preferences and model_role" in text
    assert "modle: unknown key; did you mean 'model'?" in text
    assert "write whole paths" in text


@pytest.mark.parametrize("text", ["- a\n", "a: [", "bundle: x\nbundle: y\n", "just words\n"])
def test_what_is_no_mapping_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, {HOME: text})
    assert found
    assert all(line.startswith("home/settings.yaml:") for line in found)


# --- tiers, defaults, bundle


@pytest.mark.requirement("AGT-50")
@pytest.mark.parametrize("file", [SITE, PROJECT, HOME])
def test_tiers_can_be_redefined_for_shipped_agents_too(file: str, tmp_path: Path) -> None:
    bundle = settled(tmp_path, {file: "tiers: {budget: [ollama/qwen*, base], mine: [{tier: strong}, p/m]}"}, "foundation")
    plain = load_bundle("foundation", settings=())
    git = chosen(bundle, "git-ops")
    assert bundle.agent("git-ops").preferences == plain.agent("git-ops").preferences, "the file still has its own list"
    assert pairs(git.preferences) == ["ollama/qwen*", *pairs(plain.tiers["budget"])]
    assert pairs(bundle.tiers["mine"]) == [*pairs(plain.tiers["strong"]), "p/m"]
    strong = next(name for name, agent in plain.agents.items() if agent.tier == "strong")
    assert chosen(bundle, strong) == chosen(plain, strong), "a tier that nobody redefined stays as it is"


def test_tier_order_profiles_vars_and_providers_are_laid_over_the_bundle(tmp_path: Path) -> None:
    text = (
        "format: 1\ntier_order: [high, low]\n"
        "profiles: {cheap: {default: low, stage_profiles: {summary: cheap}, local_first: yes}}\ndefault_profile: cheap\n"
        "vars: {team: us}\nproviders: {a: {base_url: 'http://localhost:1'}}\n"
    )
    bundle = settled(tmp_path, {HOME: text})
    assert bundle.tier_order == ("high", "low")
    assert chosen(bundle, profile="cheap").preferences == bundle.tiers["low"]
    assert (bundle.default_profile, bundle.local_first) == ("cheap", ("cheap",))
    assert bundle.stage_profiles == {"cheap": {"summary": "cheap"}}
    assert (bundle.vars, bundle.providers["a"].base_url) == ({"team": "us"}, "http://localhost:1")


def test_the_bundle_of_whoever_names_none(tmp_path: Path) -> None:
    assert settled(tmp_path, {}, None).name == "foundation"
    assert settled(tmp_path, {SITE: "bundle: dev"}, None).name == "dev"
    assert settled(tmp_path, {PROJECT: "bundle: ../team.yaml"}, None).name == "team", "relative to the file that says it"
    assert settled(tmp_path, {HOME: "bundle: dev"}, None).name == "dev", "the user's goes before"
    assert settled(tmp_path, {}, "foundation").name == "foundation", "a name that is given goes before"


# --- the order of providers


@pytest.mark.requirement("AGT-49")
def test_providers_are_reordered_for_all_tiers_by_one_setting(tmp_path: Path) -> None:
    bundle = settled(tmp_path, {SITE: "provider_order: [c]", HOME: "provider_order: [c, b]"})
    assert pairs(chosen(bundle).preferences) == ["b/own", "a/own", "a/own2"], "stable"
    assert pairs(chosen(bundle, tier="low").preferences) == ["c/low", "b/low", "a/low"]
    assert pairs(chosen(bundle, tier="high").preferences) == ["b/high", "a/high"]
    own = ["a/own", "b/own", "c/low"]
    assert pairs(chosen(bundle, preferences=own).preferences) == own, "never the caller's own list"
    parent = [("a", "own"), ("b", "own")]
    assert pairs(chosen(bundle, "self", parent=parent).preferences) == ["a/own", "b/own"], "nor what the parent runs on"
    assert [str(one) for one in routed(bundle).candidates] == ["b/own", "a/own", "a/own2"]


# --- pins


@pytest.mark.requirement("AGT-53")
def test_agents_of_another_bundle_are_pinned_without_editing_their_files(tmp_path: Path) -> None:
    files = {
        "project/mine.yaml": "includes: [./team.yaml]\nagents: {y: {description: y, tier: low}, z: {description: z, tier: low}}",
        HOME: "agents:\n  x: {tier: high}\n  y: {provider_preferences: [b/only, {tier: high}]}\n  z: {model_role: [no, judge]}\n",
    }
    bundle = settled(tmp_path, files, "mine.yaml")
    place = f"{tmp_path}/home/settings.yaml"
    assert [(str(said.decided_by), said.tier, pairs(said.preferences)) for said in (chosen(bundle, name) for name in "xyz")] == [
        ("pin", "high", ["a/high", "b/high"]),
        ("pin", None, ["b/only", "a/high", "b/high"]),
        ("pin", None, ["c/judge"]),
    ]
    assert chosen(bundle).decision == f"agents.x in the user's settings ({place}:2), tier high"
    assert (tmp_path / "project" / "x.md").read_text() == AGENT
    assert not bundle.problems


def test_the_user_pins_over_the_organisation_and_null_unpins(tmp_path: Path) -> None:
    site = {SITE: "agents: {x: {tier: high}}"}
    assert chosen(settled(tmp_path, site)).tier == "high"
    assert pairs(chosen(settled(tmp_path, {**site, HOME: "agents: {x: {model_role: judge}}"})).preferences) == ["c/judge"]
    assert chosen(settled(tmp_path, {**site, HOME: "agents: {x: null}"})).decided_by is DecidedBy.AGENT


def test_a_setting_that_reaches_nothing_is_a_warning(tmp_path: Path) -> None:
    text = "default: lwo\nagents:\n  xx: {tier: low}\n  x: {tier: hihg}\n"
    bundle = settled(tmp_path, {SITE: "default: low", HOME: text})
    found = [fault for fault in bundle.problems if fault.rule == "settings"]
    assert [(fault.line, fault.key, fault.level) for fault in found] == [
        (1, "default", "warning"),
        (3, "agents.xx", "warning"),
        (4, "agents.x.tier", "warning"),
    ]
    assert ["did you mean 'low'" in found[0].message, "did you mean 'x'" in found[1].message] == [True, True]
    assert "did you mean 'high'" in found[2].message
    assert chosen(bundle).decided_by is DecidedBy.AGENT
    assert bundle.settings_default == "low", "what stands below it stays"
    role = settled(tmp_path, {HOME: "agents: {x: {model_role: gone}}"})
    assert "no table of this bundle has the role gone" in role.problems[0].message


# --- what the organisation makes mandatory

MANDATE = {SITE: "agents:\n  x: {tier: high, mandatory: true}\n"}


@pytest.mark.requirement("AGT-51")
async def test_the_organisation_is_below_the_user_unless_it_says_mandatory(tmp_path: Path) -> None:
    free = settled(tmp_path, {SITE: "agents: {x: {tier: high}}", HOME: "agents: {x: {tier: low}}"})
    assert [str(one) for one in routed(free).candidates] == ["a/low", "b/low", "c/low"]
    bundle = settled(tmp_path, {**MANDATE, HOME: "agents: {x: {tier: low}}"})
    setting = f"agents.x in the organisation's settings ({tmp_path}/site/settings.yaml:2)"
    found = routed(bundle)
    assert (found.candidates, found.decision.endswith("tier low")) == ((), True), "the user's choice stands, and is refused"
    assert {item.reason for item in found.rejections} == {f"forbidden: {setting} allows only a/high, b/high"}
    async with Host(bundle, simulate=True) as host:
        with pytest.raises(Forbidden) as caught:
            await host.delegate("x", "work", preferences=["openai/*"])
    assert setting in str(caught.value)


@pytest.mark.parametrize(
    "choice",
    [
        {"preferences": ["a/own", "c/low"]},
        {"model": "a/own*"},
        {"model": "*", "provider": "c"},
        {"tier": "low"},
        {"role": "judge"},
        {"preferences": ["b/[bo]*"]},
    ],
)
def test_a_mandate_is_a_gate_on_every_choice(choice: dict[str, object], tmp_path: Path) -> None:
    bundle = settled(tmp_path, MANDATE)
    found = routed(bundle, **choice)
    assert not found.candidates
    assert all(item.reason.startswith("forbidden: agents.x in the organisation's settings") for item in found.rejections)
    assert [str(one) for one in routed(bundle).candidates] == ["a/high", "b/high"], "without a choice it is a pin"


def test_a_mandate_never_replaces_the_callers_list(tmp_path: Path) -> None:
    found = routed(settled(tmp_path, MANDATE), preferences=["b/high", "a/own", "a/high"])
    assert [str(one) for one in found.candidates] == ["b/high", "a/high"]
    assert found.decided_by is DecidedBy.CALLER


def test_a_mandate_holds_for_what_the_parent_runs_on_and_after_null(tmp_path: Path) -> None:
    site = {SITE: "agents:\n  self: {tier: high, mandatory: true}\n", HOME: "agents: {self: null}"}
    bundle = settled(tmp_path, site)
    assert [str(one) for one in routed(bundle, "self", parent=[("a", "own"), ("b", "high")]).candidates] == ["b/high"]


def test_a_mandate_takes_a_snapshot_for_its_alias(tmp_path: Path) -> None:
    bundle = settled(tmp_path, {SITE: "agents: {x: {provider_preferences: [c/judge], mandatory: true}}"})
    assert [str(one) for one in routed(bundle, model="c/judge-20250101").candidates] == ["c/judge-20250101"]


@pytest.mark.parametrize("file", [PROJECT, HOME])
def test_only_the_organisation_makes_anything_mandatory(file: str, tmp_path: Path) -> None:
    bundle = settled(tmp_path, {file: MANDATE[SITE]})
    assert ["only the organisation's settings can be mandatory" in one.message for one in bundle.problems] == [True]
    assert not bundle.mandates
    assert [str(one) for one in routed(bundle, model="a/own").candidates] == ["a/own"]


# --- precedence

LADDER = [
    "caller",
    "pin of the user",
    "pin of the organisation",
    "patch of the derived bundle",
    "patch of the base bundle",
    "agent file",
    "default of the bundle",
    "parent",
    "default of settings",
]


def rung(folder: Path, speaking: set[str]) -> tuple[str, str]:
    """Who decides, and the first preference, when these speak and nobody else does."""
    says = {name: f"p/{index}" for index, name in enumerate(LADDER)}

    def patch(name: str) -> str:
        return f"agents: {{x: {{provider_preferences: [{says[name]}]}}}}\n" if name in speaking else ""

    listed = f"provider_preferences: [{says['agent file']}]\n" if "agent file" in speaking else ""
    base = "tiers: {bundled: [p/6], settled: [p/8]}\nagents:\n  include: ['*.md']\n"
    if "patch of the base bundle" in speaking:
        base += "  x: {provider_preferences: [p/4]}\n"
    files = {
        "project/x.md": f"---\nname: x\n{listed}---\nx\n",
        "project/base.yaml": base + ("default: bundled\n" if "default of the bundle" in speaking else ""),
        "project/top.yaml": "includes: [./base.yaml]\n" + patch("patch of the derived bundle"),
        SITE: patch("pin of the organisation") + ("default: settled\n" if "default of settings" in speaking else ""),
        HOME: patch("pin of the user"),
    }
    bundle = settled(folder, files, "top.yaml")
    choice: dict[str, object] = {"preferences": [says["caller"]]} if "caller" in speaking else {}
    if "parent" in speaking:
        choice["parent"] = says["parent"]
    said = chosen(bundle, **choice)
    request = make_request(bundle.agent("x"), **choice)  # type: ignore[arg-type]
    printed = [str(verdict) for verdict in verdicts(bundle, request) if verdict.decides]
    assert len(printed) == 1
    assert printed[0].startswith(f"{said.decided_by.number} {said.decided_by}: decides: ")
    return LADDER[int(said.preferences[0].model)], printed[0][0]


NUMBERS = dict(zip(LADDER, "133444566", strict=True))
PAIRS = [(high, low) for index, high in enumerate(LADDER) for low in LADDER[index + 1 :]]


@pytest.mark.requirement("AGT-52")
@pytest.mark.parametrize(("high", "low"), PAIRS)
def test_precedence_pair_by_pair(high: str, low: str, tmp_path: Path) -> None:
    assert rung(tmp_path, {high, low}) == (high, NUMBERS[high])
    assert rung(tmp_path, {low}) == (low, NUMBERS[low])


def test_precedence_with_everybody_speaking(tmp_path: Path) -> None:
    for index, name in enumerate(LADDER):
        assert rung(tmp_path, set(LADDER[index:])) == (name, NUMBERS[name])


@pytest.mark.requirement("AGT-31")
@pytest.mark.parametrize("own", ["tier: low", "provider_preferences: [a/own]", "model_role: judge"])
def test_the_caller_goes_before_everybody(own: str, tmp_path: Path) -> None:
    files = {
        "project/x.md": f"---\nname: x\n{own}\n---\nx\n",
        "project/team.yaml": BUNDLE + "default: low\nprofiles: {dear: {default: high}}\n",
        SITE: "default: low\nagents: {x: {tier: low}}\ntiers: {low: [b/low]}",
        HOME: "agents: {x: {provider_preferences: [c/low]}}",
    }
    bundle = settled(tmp_path, files)
    choices: dict[str, tuple[dict[str, object], list[str]]] = {
        "preferences": ({"preferences": ["a/asked", "b/asked"]}, ["a/asked", "b/asked"]),
        "model": ({"model": "asked", "provider": "a"}, ["a/asked"]),
        "tier": ({"tier": "high"}, ["a/high", "b/high"]),
        "role": ({"role": "judge"}, ["c/judge"]),
        "profile": ({"profile": "dear"}, ["a/high", "b/high"]),
    }
    for choice, expected in choices.values():
        said = chosen(bundle, **choice, parent="a/parent")
        assert (said.decided_by, pairs(said.preferences)) == (DecidedBy.CALLER, expected)
    assert pairs(chosen(bundle, parent="a/parent").preferences) == ["c/low"]


# --- trust

ELSEWHERE = "providers: {anthropic: {base_url: 'http://stranger.example'}}\n"


def test_a_project_says_where_providers_listen_only_when_the_user_trusts_its_folder(tmp_path: Path) -> None:
    bundle = settled(tmp_path, {PROJECT: ELSEWHERE + "vars: {kept: yes}\n"})
    assert (dict(bundle.providers), bundle.vars) == ({}, {"kept": "yes"})
    [fault] = bundle.problems
    assert (fault.line, fault.key, fault.level, fault.rule) == (1, "providers", "warning", "not-from-here")
    other = settled(tmp_path, {HOME: f"trust: {{folders: [{tmp_path}/other, {tmp_path}]}}"})
    assert not other.providers, "another folder, be it above, is not this one"
    trusted = settled(tmp_path, {HOME: f"trust: {{folders: [{tmp_path}/project]}}"})
    assert trusted.providers["anthropic"].base_url == "http://stranger.example"
    assert not trusted.problems


def test_nor_does_a_bundle_that_only_the_project_chose(tmp_path: Path) -> None:
    files = {PROJECT: "bundle: ../team.yaml", "project/team.yaml": BUNDLE + ELSEWHERE}
    assert not settled(tmp_path, files, None).providers
    assert settled(tmp_path, files, "team.yaml").providers, "somebody named it"
    assert settled(tmp_path, {**files, HOME: f"trust: {{folders: [{tmp_path}/project]}}"}, None).providers


@pytest.mark.parametrize("file", [PROJECT, SITE])
def test_trust_is_the_users_own_to_give(file: str, tmp_path: Path) -> None:
    bundle = settled(tmp_path, {PROJECT: ELSEWHERE, file: ELSEWHERE + f"trust: {{folders: [{tmp_path}/project]}}"})
    refused = [one for one in bundle.problems if one.key == "trust"]
    assert [(one.level, one.rule) for one in refused] == [("warning", "not-from-here")]
    assert bool(bundle.providers) == (file == SITE), "the organisation itself may say where providers listen"


@pytest.mark.parametrize("link", [".bundle-loader", ".bundle-loader/settings.yaml"])
def test_project_settings_behind_a_link_out_of_it_are_left_out(link: str, tmp_path: Path) -> None:
    write(tmp_path, {"other/settings.yaml": "vars: {secret: word}\nsecret words: yes\n"}, mark=False)
    path = tmp_path / "project" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "other" / ("settings.yaml" if link.endswith("yaml") else ""))
    bundle = settled(tmp_path, {HOME: f"trust: {{folders: [{tmp_path}/project, {tmp_path}/other]}}"})
    assert not bundle.vars
    assert [(one.level, "secret" in one.message) for one in bundle.problems] == [("warning", False)]


# --- the command line and the schema


def test_the_command_line_reads_them(tmp_path: Path) -> None:
    write(tmp_path, {"data/settings.yaml": "agents: {git-ops: {tier: frontier}}\n", "site/settings.yaml": "bundle: dev\n"})
    ran = command(
        "explain",
        "git-ops",
        "--simulate",
        home=tmp_path,
        cwd=tmp_path,
        environment={"BUNDLE_LOADER_SITE": str(tmp_path / "site")},
    )
    assert "-> 3 pin: decides: agents.git-ops in the user's settings (data/settings.yaml:1), tier frontier" in ran.out
    assert "of the bundles foundation, then dev" in ran.out


def test_the_schema_takes_what_settings_may_say() -> None:
    schema = Draft202012Validator(settings_schema())
    good = {"format": 1, "bundle": "dev", "tiers": {"t": ["base", "p/m"]}, "agents": {"x": {"tier": "t"}, "y": None}}
    assert not list(schema.iter_errors({**good, "provider_order": "a", "trust": {"folders": ["/srv"]}}))
    assert list(schema.iter_errors({"agents": {"x": {"teir": "t"}}}))
    assert list(schema.iter_errors({"teirs": {}}))
