"""The command line, run as a process: what it prints, its exit codes, and its words for bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_loader.cli.main import COMMANDS
from tests.support.command import Ran, command
from tests.support.vendors import World, served_in_thread

Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "project").mkdir()

    def go(*arguments: str, **options: object) -> Ran:
        return command(*arguments, home=home, **{"cwd": tmp_path / "project", **options})  # type: ignore[arg-type]

    return go


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


AGENT = "---\nname: {name}\nprovider_preferences: [anthropic/claude-haiku-*]\n---\nYou are {{{{ agent }}}}.\n"


# --- help and usage


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert all(f"  {name}" in ran.out for name in COMMANDS)
    assert "Exit codes: 0 fine, 1 faults in your input" in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_and_json(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert COMMANDS[name].split(".")[0].split(":")[0] in " ".join(ran.out.split())


def test_version(run: Run) -> None:
    ran = run("--version")
    assert (ran.code, ran.out) == (0, "0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("delegat", "x"), "Did you mean 'delegate'?"),
        (("delegate", "git-ops"), "Missing argument"),
        (("check", "--nope"), "No such option: --nope"),
    ],
)
def test_usage_errors_are_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert said in ran.err


def test_usage_errors_are_json_too(run: Run) -> None:
    ran = run("delegate", "git-ops", "x", "--timeout", "soon", "--json")
    assert ran.code == 2
    assert ran.json["exit_code"] == 2
    assert "Invalid value for '--timeout': Input should be a valid number" in ran.json["error"]["message"]


# --- verify


@pytest.mark.requirement("AGT-41", "AGT-42", "AGT-43", "AGT-44", "AGT-45", "AGT-46", "AGT-47")
def test_verify_ends_every_agent_on_its_recorded_model(run: Run) -> None:
    rows = {row["agent"]: row for row in run("verify", "--json").json["rows"]}
    haiku, sonnet, opus = "claude-haiku-4-5-20251001", "claude-sonnet-4-6", "claude-opus-4-6"
    assert {name: (row["tier"], row["used"]) for name, row in rows.items()} == {
        "git-ops": ("Budget", haiku),
        "amplifier-smoke-test": ("Budget", haiku),
        "explorer": ("Strong", sonnet),
        "ecosystem-expert": ("Strong", sonnet),
        "bug-hunter": ("Strong-Code", sonnet),
        "zen-architect": ("Frontier", opus),
        "self": ("Inherit", opus),
    }


@pytest.mark.requirement("AGT-48")
def test_verify_prints_expected_and_used_and_fails_when_they_differ(run: Run, tmp_path: Path) -> None:
    good = run("verify")
    assert good.code == 0
    assert good.out.splitlines()[0].split() == ["agent", "expected", "tier", "expected", "used"]
    assert good.out.splitlines()[-1] == "7/7 correct, 0 errors, all globs resolved"
    changed = write(
        tmp_path,
        "project/mine.md",
        "---\nincludes: [foundation]\nagents:\n  explorer: {tier: frontier}\n  bug-hunter: null\n---\n",
    )
    bad = run("verify", "--bundle", str(changed))
    assert bad.code == 1
    assert "WRONG" in bad.out
    assert "no agent 'bug-hunter'" in bad.out
    assert bad.out.splitlines()[-1] == "5/7 correct, 1 errors, 1 globs not resolved"


def test_verify_live_checks_models_against_tiers(run: Run) -> None:
    world = World()
    with served_in_thread(world) as base:
        ran = run("verify", "--live", environment=world.environment(base))
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "7/7 correct, 0 errors, all globs resolved")
    assert not world.chats("anthropic")


# --- check


def test_check_of_the_shipped_bundles_is_clean_and_names_what_matches_nothing(run: Run) -> None:
    for bundle in ("foundation", "dev"):
        ran = run("check", "--bundle", bundle, "--strict")
        assert ran.code == 0, ran.out
        assert "'gpt-5-opus-*' matches none of" in ran.out
        assert "(note)" in ran.out
        assert "without preferences: self" in ran.out.splitlines()[-1]


def test_check_reports_every_fault_of_every_file_at_once(run: Run, tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, "agents/a.md", "---\nname: a\nteir: budget\nlimits: {max_turns: many}\n---\nx\n")
    write(project, "agents/b.md", "---\nname: b\n")
    write(project, "agents/c.md", AGENT.format(name="c") + "{% if %}\n")
    write(project, "b.md", '---\nbundle: {name: b}\nagents: {include: ["agents/*.md"]}\n---\n')
    ran = run("check", "--bundle", "b.md")
    assert ran.code == 1
    assert ran.out.splitlines()[:4] == [
        "agents/a.md:3:1: teir: unknown key; did you mean 'tier'?",
        "agents/a.md:4:21: limits.max_turns: 'many' does not fit; write a whole number",
        "agents/b.md:1:1: the header is not closed: write a line '---' after the last key",
        "agents/c.md:6:1: the template is wrong: Expected an expression, got 'end of statement block'; put braces that are"
        " plain text between {% raw %} and {% endraw %}",
    ]


def test_check_json_gives_places_and_strict_turns_warnings_into_failure(run: Run, tmp_path: Path) -> None:
    write(
        tmp_path / "project", "a.md", "---\nname: a\nprovider_preferences: [anthropic/claude-nope-*, antropic/claude-*]\n---\nx\n"
    )
    lax, strict = run("check", "--bundle", "a.md"), run("check", "--bundle", "a.md", "--strict", "--json")
    assert lax.code == 0
    assert strict.code == 1
    assert not strict.json["ok"]
    first, second = strict.json["faults"]
    assert (first["file"], first["line"], first["column"], first["level"]) == ("a.md", 3, 24, "warning")
    assert "no provider is called 'antropic'; did you mean 'anthropic'?" in second["message"]


# --- bad input


@pytest.mark.parametrize("name", ["check", "agents", "models", "resolve", "verify"])
def test_a_missing_bundle_file_is_named(run: Run, name: str) -> None:
    ran = run(name, "--bundle", "nowhere.md")
    assert ran.code == 1
    assert "nowhere.md: no such file" in ran.out + ran.err


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        (".", "is a directory; name the bundle file in it, such as broken.md"),
        ("founation", "no bundle of that name; did you mean 'foundation'?"),
        ("broken.md", "broken.md:1:1: the header is not closed"),
        ("latin.md", "byte 15 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_bundle_that_cannot_be_read(run: Run, tmp_path: Path, bundle: str, said: str) -> None:
    project = tmp_path / "project"
    write(project, "here.md", "---\nbundle: {name: here}\n---\n")
    write(project, "broken.md", "---\nbundle: {name: b}\n")
    (project / "latin.md").write_bytes(b"---\nname: caf\xc3\xa9\xe9\n---\n")
    ran = run("delegate", "git-ops", "hi", "--bundle", bundle)
    assert ran.code == 1
    assert said in ran.err


def test_an_unknown_agent_gives_the_nearest_names(run: Run) -> None:
    ran = run("delegate", "gitops", "hi", "--simulate")
    assert (ran.code, ran.err) == (1, "error: no agent 'gitops' in bundle 'foundation'; did you mean 'git-ops'?\n")


def test_an_unknown_provider_is_a_reason_with_the_nearest(run: Run) -> None:
    ran = run("delegate", "git-ops", "hi", "--simulate", "--prefer", "antropic/claude-*")
    assert ran.code == 4
    assert "antropic/claude-*: no provider 'antropic' is mounted; did you mean 'anthropic'?" in ran.err
    listed = run("models", "antropic")
    assert (listed.code, listed.err) == (1, "error: no provider 'antropic' is mounted; did you mean 'anthropic'?\n")


def test_no_key_anywhere_says_what_to_set_and_how_to_try_without(run: Run) -> None:
    ran = run("delegate", "git-ops", "hi")
    assert ran.code == 4
    assert "set one of the keys below, or try it without any: --simulate" in ran.err
    for variable in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY or GOOGLE_API_KEY"):
        assert f"no key: set {variable}" in ran.err
    assert "github-copilot/claude-haiku-*: no key: set COPILOT_GITHUB_TOKEN or GH_TOKEN or GITHUB_TOKEN" in ran.err


def test_a_glob_that_matches_nothing_is_a_reason(run: Run) -> None:
    ran = run("resolve", "git-ops", "--simulate", "--prefer", "anthropic/claude-nope-*")
    assert ran.code == 4
    assert "'claude-nope-*' matches none of" in ran.out
    alone = run("resolve", "anthropic/claude-nope-*", "--simulate")
    assert alone.code == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--fault", "anthropic=503"), 1, "faults are for simulated providers"),
        (("--simulate", "--fault", "anthropic"), 1, "write --fault PROVIDER=KIND"),
        (("--simulate", "--fault", "antropic=503"), 1, "did you mean 'anthropic'?"),
        (("--simulate", "--fault", "anthropic=timout"), 1, "timeout"),
        (("--simulate", "--var", "x"), 1, "write --var NAME=VALUE"),
        (("--simulate", "--prefer", "claude"), 1, "write 'provider/glob'"),
        (("--simulate", "--model", "claude-haiku-4-5"), 1, "names no provider"),
        (("--simulate", "--tier", "budgt"), 1, "no tier 'budgt' in bundle 'foundation'; did you mean 'budget'?"),
        (("--simulate", "--timeout", "0"), 1, "timeout must be more than 0"),
    ],
)
def test_wrong_options_of_delegate(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = run("delegate", "git-ops", "hi", *arguments)
    assert ran.code == code
    assert said in ran.err


def test_input_that_is_not_text_is_named(run: Run) -> None:
    ran = run("delegate", "git-ops", "-", "--simulate", given=b"a\xffb")
    assert (ran.code, ran.err) == (1, "error: standard input: byte 1 is not UTF-8\n")


def test_errors_are_json_too(run: Run) -> None:
    ran = run("delegate", "git-ops", "hi", "--json")
    assert ran.code == 4
    assert ran.json["error"]["kind"] == "NoCandidate"
    assert len(ran.json["error"]["rejections"]) == 4
    assert ran.json["exit_code"] == 4


def test_a_corrupt_ledger_is_refused_and_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "project" / "ledger.db"
    path.write_text("this is not a database, but it is long enough to be read as a broken one " * 20)
    before = path.read_bytes()
    ran = run("delegate", "git-ops", "hi", "--simulate", "--ledger", str(path))
    assert ran.code == 1
    assert "is not a ledger that can be read" in ran.err
    assert path.read_bytes() == before


# --- the main job


def test_delegate_falls_back_prints_the_answer_and_who_gave_it(run: Run) -> None:
    ran = run("delegate", "git-ops", "Commit the staged files", "--simulate", "--fault", "anthropic=503")
    assert ran.code == 0
    assert ran.out == "[simulated openai/gpt-4o-mini] would answer: Commit the staged files\n"
    assert "git-ops -> openai/gpt-4o-mini [simulated]" in ran.err
    assert "decided by agent (4): git-ops, its own list, tier budget" in ran.err
    assert "failed: busy 503" in ran.err
    ledger = run("ledger", "--simulated", "--json").json["delegations"]
    assert [(row["agent"], row["provider"], row["model"], row["outcome"]) for row in ledger] == [
        ("git-ops", "openai", "gpt-4o-mini", "answered")
    ]
    assert run("ledger", "--json").json["delegations"] == []
    sums = run("ledger", "--simulated", "--by", "provider", "--json").json["totals"]
    assert {row["name"]: row["calls"] for row in sums} == {"openai": 1, "anthropic": 1}


def test_delegate_reads_standard_input_and_takes_variables(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "project", "a.md", "---\nname: a\nprovider_preferences: [anthropic/claude-haiku-*]\n---\nOn {{ branch }}.\n")
    ran = run(
        "delegate", "a", "-", "--bundle", "a.md", "--simulate", "--var", "branch=main", "--dry-run", "--json", given="do it"
    )
    assert ran.code == 0
    assert (ran.json["instruction"], ran.json["task"]) == ("On main.", "do it")
    without = run("delegate", "a", "x", "--bundle", "a.md", "--simulate")
    assert without.code == 1
    assert without.err.startswith("a.md:5:7: unknown variable 'branch'; give vars=")


def test_dry_run_sends_nothing_and_shows_the_worst_cost(run: Run) -> None:
    world = World()
    with served_in_thread(world) as base:
        ran = run("delegate", "git-ops", "Commit", "--dry-run", environment=world.environment(base))
    assert ran.code == 0
    assert "worst cost of one call: $0." in ran.out
    assert "--- system\nYou are git-ops." in ran.out
    assert not any(world.chats(vendor) for vendor in ("anthropic", "openai", "google"))


def test_delegate_over_a_real_socket(run: Run) -> None:
    world = World()
    world.vendor("anthropic").answer = "done, three files"
    with served_in_thread(world) as base:
        ran = run("delegate", "git-ops", "Commit", "--json", environment=world.environment(base))
    assert ran.code == 0
    assert (ran.json["text"], ran.json["provider"], ran.json["simulated"]) == ("done, three files", "anthropic", False)
    assert ran.json["usage"]["input_tokens"] > 0
    [chat] = world.chats("anthropic")
    assert chat.body_json["model"] == ran.json["model"]


def test_the_callers_own_list_wins(run: Run) -> None:
    ran = run(
        "delegate", "git-ops", "x", "--simulate", "--json", "--prefer", "openai/gpt-nope-*", "--prefer", "google/gemini-2.5-flash"
    )
    assert (ran.json["provider"], ran.json["model"], ran.json["decided_by"]) == ("google", "gemini-2.5-flash", "caller")


def test_ledger_of_one_bundle(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "project", "mine.yaml", "bundle: {name: mine}\nincludes: [foundation]\n")
    run("delegate", "git-ops", "x", "--simulate")
    run("delegate", "git-ops", "y", "--simulate", "--bundle", "mine.yaml")
    rows = run("ledger", "--simulated", "--bundle", "mine.yaml", "--json").json["delegations"]
    assert [row["bundle"] for row in rows] == ["mine"]
    [total] = run("ledger", "--simulated", "--by", "agent", "--bundle", "mine.yaml", "--json").json["totals"]
    assert total["calls"] == 1
    assert len(run("ledger", "--simulated", "--json").json["delegations"]) == 2


# --- looking


def test_agents_models_resolve_and_explain(run: Run) -> None:
    agents = run("agents", "--json").json["agents"]
    assert len([agent for agent in agents if agent["preferences"]]) >= 16
    models = run("models", "anthropic", "--simulate", "--json").json["providers"]
    assert [entry["provider"] for entry in models] == ["anthropic"]
    assert models[0]["simulated"]
    resolved = run("resolve", "--simulate", "--json").json["resolved"]
    assert {entry["name"] for entry in resolved} == {agent["name"] for agent in agents}
    both = run("resolve", "git-ops", "anthropic/claude-opus-*", "--simulate", "--json").json["resolved"]
    assert both[0]["decided_by"] == "agent (4)"
    assert both[1]["matches"][0] == both[1]["model"]


def test_explain_shows_who_set_a_field_and_who_lost(run: Run) -> None:
    ran = run("explain", "explorer", "--bundle", "dev", "--simulate")
    assert ran.code == 0
    assert "tier = budget" in ran.out
    assert "(bundle dev)" in ran.out
    lost = [line for line in ran.out.splitlines() if "tier = strong" in line]
    assert len(lost) == 1
    assert "lost to" in lost[0]
    assert "-> 4 agent: decides: explorer, tier budget (" in ran.out
    assert run("explain", "route", "self", "--simulate").code == 1
    assert run("explain", "route", "self", "--simulate", "--parent", "anthropic/claude-opus-5").code == 0
    assert run("explain", "a", "b", "c").code == 2


def test_models_without_a_key_is_no_answer(run: Run) -> None:
    ran = run("models", "anthropic")
    assert (ran.code, ran.err) == (4, "anthropic: no key: set ANTHROPIC_API_KEY\n")
