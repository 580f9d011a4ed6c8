"""`models` and `resolve` as processes over the loopback vendors: filters, prices and who says them, age of each list."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ran, command
from tests.support.vendors import Fault, World, served_in_thread

Run = Callable[..., Ran]


@pytest.fixture
def world() -> World:
    world = World()
    world.vendor("anthropic").models[0] |= {
        "capabilities": {"image_input": {"supported": True}, "structured_outputs": {"supported": False}},
    }
    relay = world.vendor("openrouter")
    relay.models[2] |= {"pricing": {"prompt": "0", "completion": "0"}}
    relay.models += [
        {"id": "vendor/untold", "created": 1_790_000_000},
        {"id": "vendor/dear", "context_length": 2_000_000, "pricing": {"prompt": "0.00002", "completion": "0.0001"}},
        {"id": "vendor/ending", "expiration_date": (datetime.now(UTC) + timedelta(days=40)).date().isoformat()},
        {"id": "vendor/ended", "expiration_date": "2026-01-02"},
        {"id": "vendor/odd-name", "architecture": {"output_modalities": ["image"]}},
    ]
    return world


@pytest.fixture
def run(tmp_path: Path, world: World) -> Iterator[Run]:
    """The command in an environment where five vendors are on."""
    project = tmp_path / "project"
    project.mkdir()
    with served_in_thread(world) as base:
        environment = {
            **world.environment(base),
            "OPENROUTER_BASE_URL": world.url(base, "openrouter"),
            "OPENROUTER_API_KEY": "k",
            "LLAMACPP_BASE_URL": world.url(base, "llamacpp"),
            "LMSTUDIO_BASE_URL": "http://127.0.0.1:9/v1",
            "VLLM_BASE_URL": "http://127.0.0.1:9/v1",
        }

        def go(*arguments: str, **options: Any) -> Ran:
            more = {**environment, **options.pop("environment", {})}
            return command(*arguments, home=tmp_path, cwd=project, environment=more, **options)

        yield go


def lines(ran: Ran) -> dict[str, str]:
    """Model -> its line."""
    head, *rest = ran.out.splitlines()
    assert head.split()[:2] == ["provider", "model"]
    return {line.split()[1]: line for line in rest}


def cells(ran: Ran, model: str) -> dict[str, str]:
    """The cells of one model by their headers, cut where the headers begin."""
    head = ran.out.splitlines()[0]
    line = next(line for line in ran.out.splitlines() if f" {model} " in line)
    names = ["provider", "model", *(["kind"] if " kind " in head else []), "created", "window", "output", "capabilities", "stage"]
    names += ["in $/M", "out $/M", "price by"]
    starts = [head.index(name) for name in names]
    ends = [*starts[1:], len(line)]
    return {name: line[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)}


def test_all_providers_stand_side_by_side_with_what_is_known_of_each_model(run: Run, world: World) -> None:
    ran = run("models")
    assert ran.code == 0
    assert {line.split()[0] for line in ran.out.splitlines()[1:]} == {
        "anthropic", "openai", "google", "ollama", "openrouter", "llama.cpp"
    }  # fmt: skip
    shown = cells(ran, "claude-sonnet-4-6")
    assert shown == {
        "provider": "anthropic", "model": "claude-sonnet-4-6", "kind": "chat", "created": "2026-02-17", "window": "200000",
        "output": "64000", "capabilities": "reasoning, tools, vision", "stage": "stable", "in $/M": "3", "out $/M": "15",
        "price by": "public",
    }  # fmt: skip
    assert cells(ran, "text-embedding-3-small")["kind"] == "embedding"
    dear, free, untold = (cells(ran, name) for name in ("vendor/dear", "qwen3:8b", "vendor/untold"))
    assert (dear["in $/M"], dear["out $/M"], dear["price by"]) == ("20", "100", "listed")
    assert (free["in $/M"], free["out $/M"], free["price by"]) == ("0", "0", "free")
    assert (untold["in $/M"], untold["out $/M"], untold["price by"]) == ("unknown", "unknown", "-")
    assert (untold["window"], untold["capabilities"], untold["stage"]) == ("-", "-", "-")
    assert cells(ran, "vendor/ended")["stage"] == "retired since 2026-01-02"
    assert cells(ran, "vendor/ending")["stage"].startswith("deprecated until 20")
    for provider in ("anthropic", "openrouter"):
        assert re.search(rf"^{provider}: live, asked \d+ s ago$", ran.err, re.M)
    assert "groq: no key: set GROQ_API_KEY\n" in ran.err
    assert "lmstudio: its list of models could not be fetched" in ran.err
    assert "prices: genai-prices " in ran.err


def test_a_pipe_gets_one_whole_line_for_each_model(run: Run, world: World) -> None:
    name = "vendor/" + "x" * 400
    world.vendor("openrouter").models.append({"id": name})
    ran = run("models", "openrouter")
    found = ran.out.splitlines()
    assert len(found) == 1 + len(world.vendor("openrouter").models)
    assert any(name in line for line in found)
    assert "\x1b" not in ran.out
    assert "vendor/odd-name" in ran.out


@pytest.mark.parametrize(
    ("arguments", "models"),
    [
        (["anthropic", "--match", "claude-SONNET-*"], ["claude-sonnet-4-6", "claude-sonnet-4-5-20250929"]),
        (["--match", "claude-opus-4-6", "--match", "qwen3:*"], ["claude-opus-4-6", "qwen3:8b"]),
        (["--kind", "embedding"], ["text-embedding-3-small", "gemini-embedding-001"]),
        (["--kind", "image"], ["vendor/odd-name"]),
        (["google", "--stage", "preview"], ["gemini-3-pro-preview", "gemini-3-flash-preview"]),
        (["--stage", "deprecated"], ["vendor/ending"]),
        (["openrouter", "--stage", "retired"], ["vendor/ended"]),
        (["openrouter", "--stage", "stable", "--match", "vendor/[ue]*"], ["vendor/untold"]),
        (["--local"], ["qwen3:8b", "llama3.2:3b", "gemma3:4b", "tiny-llama"]),
        (["ollama", "anthropic", "--cloud", "--match", "*4-6"], ["claude-sonnet-4-6", "claude-opus-4-6"]),
        (["openrouter", "--free"], ["qwen/qwen3-coder:free"]),
        (["--min-window", "1500000"], ["vendor/dear"]),
        (["anthropic", "--max-price", "5"], ["claude-haiku-4-5-20251001"]),
        (["anthropic", "--max-price", "4.99"], []),
        (["anthropic", "--needs", "vision", "--needs", "structured"], [
            "claude-opus-4-6", "claude-opus-4-5-20251101", "claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929"
        ]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_filters(run: Run, arguments: list[str], models: list[str]) -> None:
    ran = run("models", *arguments)
    assert sorted(lines(ran) if ran.out else []) == sorted(models)
    assert ran.code == (0 if models else 4)
    if not models:
        assert "none of 5 models fits" in ran.err


def test_what_is_not_known_fits_no_bound_and_is_counted(run: Run) -> None:
    ran = run("models", "openrouter", "--min-window", "1", "--max-price", "1000")
    assert "vendor/untold" not in ran.out
    assert "left out: 4 of which no window is known" in ran.err
    found = run("models", "openrouter", "--max-price", "1000", "--json").json
    assert found["left_out_as_unknown"] == {"price": 4}
    assert "vendor/untold" not in json.dumps(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stage", "stabel"], "error: --stage: 'stabel' is no stage; did you mean 'stable'?\n"),
        (["--kind", "embeding"], "error: --kind: 'embeding' is no kind; did you mean 'embedding'?\n"),
        (["--kind", "q"], "'q' is no kind; write one of audio, chat, "),
        (["--needs", "tool"], "error: needs: 'tool' is no capability; did you mean 'tools'?\n"),
        (["--max-price", "cheap"], "error: --max-price cheap: write US dollars for a million tokens, such as 2.50\n"),
        (["--max-price", "-1"], "write US dollars"),
        (["antropic"], "error: no provider 'antropic' is mounted; did you mean 'anthropic'?\n"),
    ],
)
def test_what_makes_no_sense_is_said(run: Run, arguments: list[str], said: str) -> None:
    ran = run("models", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err


def test_age_and_source_of_each_list(run: Run, world: World) -> None:
    assert "anthropic: live, asked " in run("models", "anthropic").err
    asked = len(world.lists("anthropic"))
    again = run("models", "anthropic")
    assert again.err.startswith("anthropic: saved ")
    assert len(world.lists("anthropic")) == asked, "a young list is read from this machine's disk"
    world.vendor("anthropic").offer("claude-new-1")
    renewed = run("models", "anthropic", "--refresh")
    assert list(lines(renewed)) == ["claude-new-1"]
    assert "anthropic: live, asked " in renewed.err
    world.vendor("anthropic").fault = Fault.list(Fault.status(503))
    old = run("models", "anthropic", "--refresh")
    assert (old.code, list(lines(old))) == (0, ["claude-new-1"])
    assert "anthropic: stale, saved " in old.err
    assert "the newest try failed (" in old.err
    entry = run("models", "anthropic", "--json", "--refresh").json["providers"][0]
    assert (entry["source"], entry["age_seconds"] < 60, "503" in entry["stale"]) == ("saved", True, True)
    shipped = run("models", "anthropic", "--simulate").err
    assert "simulated: these are the shipped, dated lists\nanthropic: simulated, shipped list of 20" in shipped


def test_json_has_everything(run: Run) -> None:
    found = run("models", "openrouter", "ollama", "groq", "--json").json
    relay, local, groq = found["providers"]
    assert [entry["provider"] for entry in found["providers"]] == ["openrouter", "ollama", "groq"]
    assert (groq["reason"], groq["models"], groq["source"]) == ("no key: set GROQ_API_KEY", [], None)
    assert (local["local"], local["models"][0]["shown"]["local"], relay["kind"]) == (True, True, "openrouter")
    by_id = {model["id"]: model for model in relay["models"]}
    dear = by_id["vendor/dear"]
    assert dear["price"] == {
        "per_million": {"input": [{"above": 0, "usd": "20"}], "output": [{"above": 0, "usd": "100"}]},
        "source": "listed", "note": None,
    }  # fmt: skip
    assert by_id["vendor/untold"]["price"] == {"per_million": None, "source": None, "note": None}
    assert (by_id["vendor/ended"]["shown"]["stage"], by_id["vendor/ended"]["retires"]) == ("retired", "2026-01-02T00:00:00+00:00")
    assert found["prices"].startswith("genai-prices ")


SEVERAL = """---
includes: [foundation]
providers:
  here: {{kind: ollama, base_url: "{here}"}}
  there: {{kind: ollama, base_url: "{there}"}}
---
"""


def test_a_kind_means_all_its_instances(run: Run, tmp_path: Path, world: World) -> None:
    with served_in_thread(World("ollama")) as other:
        text = SEVERAL.format(here=f"{other}/ollama", there=f"{other}/ollama")
        (tmp_path / "project" / "two.md").write_text(text, encoding="utf-8")
        nobody = {"OLLAMA_HOST": "http://127.0.0.1:9"}
        ran = run("models", "here", "there", "--bundle", "two.md", environment=nobody)
        assert {line.split()[0] for line in ran.out.splitlines()[1:]} == {"here", "there"}
        found = run("resolve", "here/qwen3:*", "--bundle", "two.md", "--json", environment=nobody).json["resolved"][0]
        assert (found["model"], found["matches"]) == ("here/qwen3:8b", ["here/qwen3:8b"])


# --- resolve


def test_a_pattern_gives_what_passes_the_gates_and_says_why_the_rest_does_not(run: Run) -> None:
    ran = run("resolve", "openrouter/vendor/end*")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split()[:2] == ["openrouter/vendor/end*", "openrouter/vendor/ending"]
    assert "note: openrouter/vendor/ending is deprecated and ends on 20" in ran.out
    gone = run("resolve", "openrouter/vendor/ended", "--json")
    assert gone.code == 4
    assert gone.json["resolved"][0]["rejections"] == ["openrouter/vendor/ended: vendor/ended is retired since 2026-01-02"]


def test_needs_choose_another_model(run: Run) -> None:
    assert run("resolve", "anthropic/claude-*-4-6", "--json").json["resolved"][0]["model"] == "anthropic/claude-sonnet-4-6"
    able = run("resolve", "anthropic/claude-*-4-6", "--needs", "tools,structured", "--json").json["resolved"][0]
    assert able["model"] == "anthropic/claude-opus-4-6"
    none = run("resolve", "git-ops", "--prefer", "anthropic/claude-sonnet-4-6", "--needs", "structured")
    assert (none.code, "claude-sonnet-4-6 gives no structured output" in none.out) == (4, True)
    explained = run("explain", "route", "git-ops", "--prefer", "anthropic/claude-sonnet-4-6", "--needs", "structured")
    assert "claude-sonnet-4-6 gives no structured output" in explained.out
    done = run("delegate", "git-ops", "Hi.", "--prefer", "anthropic/claude-*-4-6", "--needs", "structured", "--json").json
    assert done["model"] == "claude-opus-4-6"
    wrong = run("resolve", "git-ops", "--needs", "sight")
    assert (wrong.code, wrong.err) == (
        1, "error: needs: 'sight' is no capability; write of tools, vision, structured, reasoning\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["models", "antropic"], 1, "error: no provider 'antropic' is mounted; did you mean 'anthropic'?\n"),
        (["models", "nosuch"], 1, "error: no provider 'nosuch' is mounted; mounted are anthropic, "),
        (["models", "--min-window", "-5"], 2, "--min-window"),
        (["explain", "model"], 2, "write 'explain model PATTERN'"),
        (["resolve", "nosuch/x*"], 4, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_has_a_remedy(run: Run, arguments: list[str], code: int, said: str) -> None:
    ran = run(*arguments)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_an_agent_that_is_called_model_is_explained(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "model.md").write_text("---\nname: model\nprovider_preferences: [openai/gpt-4o]\n---\nWork.\n")
    assert "agent model" in run("explain", "model", "--bundle", "model.md").out


def test_an_agent_without_a_model_has_the_first_reason_beside_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "a.md").write_text("---\nname: a\nprovider_preferences: [openai/nothing-*, xai/grok-*]\n---\nWork.\n")
    ran = run("resolve", "--bundle", "a.md")
    assert ran.code == 4
    line = next(line for line in ran.out.splitlines() if line.startswith("a "))
    assert "no preference can be met: openai/nothing-*: 'nothing-*' matches none of" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "model", "openrouter/vendor/\x1b[2Jodd*"],
        ["resolve", "openrouter/vendor/\x1b[2Jodd*"],
        ["lock", "openrouter/vendor/\x1b[2Jodd*", "--dry-run"],
        ["explain", "route", "a", "--bundle", "odd.md"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_others_write_moves_no_cursor(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    text = '---\nname: a\nprovider_preferences: [{provider: openrouter, model: "vendor/\\e[2Jodd*"}]\n---\nWork.\n'
    (tmp_path / "project" / "odd.md").write_text(text)
    ran = run(*arguments)
    assert "\x1b" not in ran.out + ran.err
    assert "[2Jodd" in ran.out + ran.err


@pytest.mark.parametrize(
    "arguments",
    [["models", "--simulate"], ["check"], ["--help"], ["check", "--json"], ["resolve", "nosuch", "--json"]],
    ids=" ".join,
)
def test_an_output_that_nobody_takes(tmp_path: Path, arguments: list[str]) -> None:
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path)}
    code = [sys.executable, "-m", "bundle_loader", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            code, cwd=tmp_path, env=own, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: no space left on device\n")
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run(code, cwd=tmp_path, env=own, stdout=there, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(there)
    assert done.returncode == 0
    assert not [word for word in ("BrokenPipe", "Traceback", "fault of") if word in done.stderr]
