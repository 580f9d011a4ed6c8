"""What looks like a key is left out of everything that is said; names, model ids and paths are not."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import pytest

from bundle_loader.errors import Fault, RequestError
from bundle_loader.masking import LEFT_OUT, masked
from bundle_loader.sources.files import shipped_folder
from tests.support.command import command
from tests.support.declared import write

HEX, LETTERS = "0123456789abcdef", string.ascii_letters + string.digits


def made(alphabet: str, length: int, seed: int = 1) -> str:
    """A key-like text that is no key and stands in no file."""
    chance = random.Random(seed)
    return "".join(chance.choice(alphabet) for _ in range(length))


KEYS = {
    "slack": "xox" + "b-123456789012-abcdefghijklmnop",
    "slack app": "xapp" + "-1-A0123456-" + made(HEX, 20),
    "github": "gh" + "p_" + made(LETTERS, 36),
    "github fine-grained": "github" + "_pat_" + made(LETTERS, 40),
    "gitlab": "gl" + "pat-" + made(LETTERS, 20),
    "aws": "AKI" + "A" + made(string.ascii_uppercase, 16),
    "aws secret": made(LETTERS + "+/", 40),
    "google": "AIz" + "a" + made(LETTERS, 35),
    "hugging face": "h" + "f_" + made(string.ascii_letters, 34),
    "stripe": "sk" + "_live_" + made(LETTERS, 24),
    "anthropic": "sk" + "-ant-" + "some-words-only",
    "openai": "sk" + "-proj-" + made(LETTERS, 40),
    "groq": "gs" + "k_" + made(LETTERS, 40),
    "xai": "xa" + "i-" + made(LETTERS, 60),
    "perplexity": "ppl" + "x-" + made(LETTERS, 48),
    "azure": made(HEX, 32, 3),
    "mistral": made(LETTERS, 32, 4),
    "token": "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + made(LETTERS, 30),
    "private key": "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIB\nabc\n-----END RSA PRIVATE KEY-----",
    "address": "https://me:" + "hunter2@host/x",
}
NAMES = (
    "claude-opus-4-1-20250805",
    "gemini-2.5-flash-preview-09-2025",
    "pplx-embed-v1-0.6b",
    "sk-learn-helper",
    "xai-grok-4-fast-reasoning",
    "hf-model-reviewer",
    "key-rotation-agent",
    "123e4567-e89b-12d3-a456-426614174000",
    "hf.co/bartowski/Qwen2.5-Coder-32B-Instruct-GGUF:Q4_K_M",
    "/home/somebody/projects/2026/bundle_loader/agents/release-notes-for-the-team.md",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "TemporaryDirectoryForIntegrationTests2",
    "https://host:8080/v1",
)


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_a_known_kind_is_left_out(kind: str) -> None:
    key = KEYS[kind]
    for text in (key, f"no tier '{key}' in this bundle", f"{key}: unknown key"):
        assert LEFT_OUT in masked(text)
        assert key[12:] not in masked(text)
    assert key[12:] not in str(Fault("a.md", 1, 1, f"config.{key}", f"'{key}' does not fit"))
    assert key[12:] not in str(RequestError(f"no agent '{key}'"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_said_whole(name: str) -> None:
    assert masked(f"no model '{name}'; did you mean '{name}'?") == f"no model '{name}'; did you mean '{name}'?"


def test_no_model_and_no_agent_is_taken_for_a_key() -> None:
    folder = Path(__file__).parent.parent / "bundle_loader" / "providers"
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json")]
    ids = {item for text in texts for item in _texts(json.loads(text)) if " " not in item}
    assert len(ids) > 100
    agents = {path.stem for path in (shipped_folder() / "agents").glob("*.md")}
    assert [name for name in ids | agents if masked(name) != name] == []


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), *_texts(item))]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def test_random_words_of_any_alphabet_are_left_out() -> None:
    for alphabet in (HEX, LETTERS, string.ascii_lowercase + string.digits, LETTERS + "-_"):
        kept = sum(LEFT_OUT not in masked(made(alphabet, 48, seed)) for seed in range(200))
        assert kept < 10, alphabet


def test_no_command_prints_a_key_that_stands_in_the_wrong_place(tmp_path: Path) -> None:
    key = KEYS["anthropic"]
    tail = key[8:]
    agent = f"---\nname: x\ndescription: use {key}\ntier: low\n---\n{key}\n"
    bundle = "bundle: {name: b}\ntiers: {low: [openai/gpt-4o-mini]}\nagents: {include: ['*.md']}\n"
    write(
        tmp_path,
        {"b.yaml": bundle, "x.md": agent, "wrong.yaml": f"default: {key}\n{key}: 1\nagents: {{{key}: {{tools: [a]}}}}\n"},
    )
    for words in (
        ("explain", "x", "--bundle", "b.yaml", "--simulate", "--json"),
        ("explain", "x", "--bundle", "b.yaml", "--simulate"),
        ("explain", key, "--bundle", "b.yaml", "--simulate"),
        ("agents", "--bundle", "b.yaml", "--json"),
        ("check", "--bundle", "wrong.yaml"),
        ("check", "--bundle", "wrong.yaml", "--json"),
    ):
        ran = command(*words, home=tmp_path, cwd=tmp_path)
        assert tail not in ran.out + ran.err, words
