"""Faults of every stage at once, where settings and templates have a part in them; lint beside errors; pins with `base`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.routing.lint import lint
from bundle_loader.routing.request import make_request
from bundle_loader.routing.select import select
from bundle_loader.sources.load import Examined, examine_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.command import command
from tests.support.declared import pairs, said, write

SITE, HOME = "site/settings.yaml", "home/settings.yaml"
AGENT = "agents: {x: {description: x, tier: strong}}\n"


def examined(folder: Path, files: Mapping[str, str]) -> Examined:
    """The bundle `project/b.yaml` under the settings among `files`."""
    here = write(folder, files, mark=False) / "project"
    places = {"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}
    return examine_bundle(here / "b.yaml", settings=find_settings(places, here))


def texts(folder: Path, files: Mapping[str, str]) -> list[str]:
    return said(folder, examined(folder, files).faults)


def bundle_of(folder: Path, files: Mapping[str, str]) -> Bundle:
    found = examined(folder, files)
    assert found.bundle is not None
    assert found.usable, found.faults
    return found.bundle


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("providers: {openai: {api_key: q}}", "providers.openai.api_key: unknown key"),
        ("providers: {openai: {headers: {}}}", "providers.openai.headers: unknown key"),
        ("providers: {openai: {base_url: nope}}", "providers.openai.base_url:"),
        ("agents: {x: {}}", "agents.x: a pin has one of"),
        ('bundle: ""', "settings.yaml:1:9: bundle: is empty; write a name"),
        ('default: " "', "settings.yaml:1:10: default: is empty; write a name"),
        ('provider_order: [openai, ""]', "settings.yaml:1:26: provider_order: is empty; write a name"),
        ("zzzzzz: 1", "zzzzzz: unknown key"),
    ],
)
def test_faulty_settings_put_no_fault_into_right_files(settings: str, fault: str, tmp_path: Path) -> None:
    files = {"project/b.yaml": f"tiers: {{strong: [openai/gpt-4o]}}\n{AGENT}", HOME: settings}
    found = examined(tmp_path, files)
    assert not found.usable
    [text] = said(tmp_path, found.faults)
    assert fault in text
    assert text.startswith("error home/settings.yaml:1:")


def test_faulty_settings_show_what_they_name_too(tmp_path: Path) -> None:
    files = {
        "project/b.yaml": f"tiers: {{strong: [openai/gpt-4o]}}\n{AGENT}",
        HOME: "agents: {x: {tier: stron}}\ndefault: nope\nzzzzzz: 1\n",
    }
    assert texts(tmp_path, files) == [
        "warning home/settings.yaml:1:20: agents.x.tier: no tier 'stron' in this bundle; did you mean 'strong'?; "
        "the pin is left out",
        "warning home/settings.yaml:2:10: default: no tier 'nope' in this bundle",
        "error home/settings.yaml:3:1: zzzzzz: unknown key",
    ]


def test_settings_that_remove_a_tier_are_named(tmp_path: Path) -> None:
    files = {"project/b.yaml": f"tiers: {{strong: [p/m]}}\n{AGENT}", HOME: "vars: {a: b}\ntiers: {strong: null}\n"}
    [fault] = [text for text in texts(tmp_path, files) if text.startswith("error")]
    assert fault == "error b.yaml:2:36: tier: no tier 'strong'; it is removed at home/settings.yaml:2".replace(
        "b.yaml", "project/b.yaml", 1
    )


def test_a_pin_with_base_keeps_what_the_agent_would_follow(tmp_path: Path) -> None:
    project = (
        "tiers: {low: [p/low]}\nroles: {judge: [p/judge]}\ndefault: low\nagents:\n"
        "  l: {description: l, provider_preferences: [p/own]}\n  t: {description: t, tier: low}\n"
        "  r: {description: r, model_role: judge}\n  n: {description: n}\n"
    )
    pin = "{provider_preferences: [openai/o3, base]}"
    user = f"agents: {{l: {pin}, t: {pin}, r: {pin}, n: {pin}}}\n"
    bundle = bundle_of(tmp_path, {"project/b.yaml": project, HOME: user})
    assert not bundle.problems
    followed = {name: pairs(select(bundle, make_request(bundle.agent(name))).preferences)[1:] for name in "ltrn"}
    assert followed == {"l": ["p/own"], "t": ["p/low"], "r": ["p/judge"], "n": ["p/low"]}

    site = "agents: {l: {provider_preferences: [base, p/site]}, t: {tier: low}}\n"
    bundle = bundle_of(tmp_path, {"project/b.yaml": project, HOME: user, SITE: site})
    assert pairs(bundle.pins["l"].preferences) == ["openai/o3", "p/own", "p/site"], "the user's base is the organisation's list"
    assert pairs(bundle.pins["t"].preferences) == ["openai/o3", "p/low"]


def test_a_pin_with_base_over_nothing_is_told(tmp_path: Path) -> None:
    files = {"project/b.yaml": "agents: {n: {description: n}}\n", HOME: "agents: {n: {provider_preferences: [base]}}\n"}
    [fault] = texts(tmp_path, files)
    assert "nothing is inherited here" in fault
    broken = {"project/b.yaml": "agents: {n: {description: n, tier: nope}}\n", HOME: files[HOME]}
    assert [text for text in texts(tmp_path, broken) if "home" in text] == [], "what n follows is not known"


def test_check_shows_lint_and_templates_beside_errors(tmp_path: Path) -> None:
    files = {
        "b.yaml": "agents: {include: [ag/*.md, none/*.md], git-op: null}\nzzzzzz: 1\n",
        "ag/x.md": "---\nextends: onne\nprovider_preferences: [opneai/o3, {tier: stron}]\n---\n\n{{ base }} {{ 1 | nofil }}\n"
        "@top:missing.md\n",
        "ag/y.md": "---\nprovider_preferences: [anthropik/claude-*]\n---\n",
    }
    write(tmp_path, files)
    ran = command("check", "--bundle", "b.yaml", home=tmp_path / "home", cwd=tmp_path)
    lines = [line for line in ran.out.splitlines() if line.startswith(("b.yaml", "ag/"))]
    assert ran.code == 1
    for part in (
        "b.yaml:1:29: agents.include: 'none/*.md' matches no file",
        "b.yaml:1:49: agents.git-op: removes an agent that is not there",
        "b.yaml:2:1: zzzzzz: unknown key",
        "ag/x.md:2:10: extends: no agent 'onne'",
        "ag/x.md:3:24: provider_preferences[0]: no provider is called 'opneai'",
        "ag/x.md:3:35: provider_preferences[1].tier: no tier 'stron'",
        "no filter is called 'nofil'",
        "ag/x.md:7:1: '@top:missing.md': no bundle 'top'",
        "ag/y.md:2:24: provider_preferences[0]: no provider is called 'anthropik'",
    ):
        assert any(part in line for line in lines), (part, ran.out)
    assert len(lines) == 9, ran.out
    assert "stands for the extended agent's text" not in ran.out


def test_the_note_of_a_role_that_no_table_has_stands_at_the_role(tmp_path: Path) -> None:
    files = {
        "b.yaml": "agents: {include: ['*.md'], z: {extends: x}}\n",
        "x.md": "---\ndescription: x\nextends: y\nmodel_role: [nope]\n---\n",
        "y.md": "---\ndescription: y\n---\ntext\n",
    }
    write(tmp_path, files)
    out = command("check", "--bundle", "b.yaml", home=tmp_path / "home", cwd=tmp_path).out
    assert "x.md:4:1: model_role: no table has the role nope, so agent 'x'" in out.replace("note ", "")
    assert "x.md:4:1: model_role: no table has the role nope, so agent 'z'" in out.replace("note ", "")
    assert "y.md:1:1: provider_preferences: agent 'y'" in out.replace("note ", "")


def test_agents_with_faults_are_made_as_far_as_they_go_and_never_given(tmp_path: Path) -> None:
    files = {
        "project/b.yaml": "tiers: {strong: [p/m]}\nagents: {include: ['*.md']}\n",
        "project/x.md": "---\nname: x\ntier: strong\nteir: y\n---\n{{ base }}\n",
        "project/y.md": "---\nextends: x\n---\n",
    }
    found = examined(tmp_path, files)
    assert found.bundle is not None
    assert (found.usable, found.bundle.agents, sorted(found.bundle.broken)) == (True, {}, ["x", "y"])
    assert found.bundle.flawed["x"].tier == "strong"
    assert found.bundle.flawed["y"].instruction == "{{ base }}", "as far as it goes"


FAULTY = "{provider: a, modle: b}"
CUT = {
    "a tier and a cell": {"project/b.yaml": f"tiers: {{strong: [{FAULTY}]}}\nprofiles: {{p: {{default: strong}}}}\n"},
    "a tier and a role": {"project/b.yaml": f"tiers: {{cheap: [{FAULTY}]}}\nroles: {{r: cheap}}\n"},
    "a tier of a tier": {
        "project/b.yaml": f"tiers: {{s: [{FAULTY}], t: [{{tier: s}}]}}\nprofiles: {{p: {{default: [{{tier: t}}]}}}}\n"
    },
    "a cell": {"project/b.yaml": f"profiles: {{p: {{default: [{FAULTY}]}}}}\n"},
    "settings": {
        "project/b.yaml": "bundle: {name: b}\n",
        HOME: f"tiers: {{bad: [{FAULTY}]}}\ndefault: bad\nprofiles: {{p: {{default: bad}}}}\n",
    },
    "an included file": {
        "project/b.yaml": "includes: [./low.yaml]\nprofiles: {p: {default: strong}}\nroles: {r: strong}\n",
        "project/low.yaml": "tiers: {strong: [a/b\n",
    },
}


@pytest.mark.parametrize("case", CUT)
def test_what_a_fault_took_out_is_not_told_to_be_empty(case: str, tmp_path: Path) -> None:
    found = examined(tmp_path, CUT[case])
    assert found.bundle is not None
    assert [fault.rule for fault in lint(found.bundle, {}, {"a": "a"}) if fault.rule == "names-nothing"] == []
    assert {fault.rule for fault in found.faults} <= {"declaration", "unreadable", "syntax"}
    assert not found.usable
