"""Keys from `.env` files: which file wins, what of it is taken, what is wrong with it, and that no key is ever said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle_loader import Host, load_bundle
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers.credentials import Layer, Variables, key_of
from bundle_loader.providers.env_files import with_env_files
from bundle_loader.providers.live import Missing, live_keys, live_providers
from bundle_loader.providers.table import rows
from tests.support.command import command
from tests.support.declared import write
from tests.support.vendors import World, served_in_thread

KEY = "sk-key-that-nobody-says-0001"
OTHER = "sk-key-that-nobody-says-0002"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".bundle-loader").mkdir(parents=True)
    return folder


def read(home: Path, here: Path, **more: str) -> Variables:
    named = {"HOME": str(home), "USERPROFILE": str(home), "BUNDLE_LOADER_HOME": str(home / "settings")}
    return with_env_files({**named, **more}, here)


def trust(home: Path, folder: Path) -> None:
    write(home, {"settings/settings.yaml": f"trust: {{folders: ['{folder}']}}\n"}, mark=False)


# --- which file


@pytest.mark.parametrize(
    ("process", "of_project", "of_home", "key", "where"),
    [
        ("p", "j", "h", "p", "OPENAI_API_KEY in the environment"),
        (None, "j", "h", "j", "OPENAI_API_KEY in ./.env"),
        (None, None, "h", "h", "OPENAI_API_KEY in ~/.env"),
        (None, None, None, None, None),
        # empty in the process says: no key, whatever the files say; a blank line of a file says nothing
        ("", "j", "h", None, None),
        (" ", "j", "h", None, None),
        (None, "", "h", "h", "OPENAI_API_KEY in ~/.env"),
        (None, "' '", "h", "h", "OPENAI_API_KEY in ~/.env"),
        (None, None, "' '", None, None),
        ("p", None, None, "p", "OPENAI_API_KEY in the environment"),
    ],
)
def test_the_process_wins_then_the_project_then_the_home_folder(
    home: Path,
    project: Path,
    process: str | None,
    of_project: str | None,
    of_home: str | None,
    key: str | None,
    where: str | None,
) -> None:
    for folder, value in ((project, of_project), (home, of_home)):
        if value is not None:
            (folder / ".env").write_text(f"OPENAI_API_KEY={value}\n", encoding="utf-8")
    found = read(home, project, **({} if process is None else {"OPENAI_API_KEY": process}))
    assert key_of(rows()["openai"], found) == key
    assert live_keys(found).get("openai") == where
    assert found.notes == ()


def test_of_two_variables_the_one_of_the_nearer_place_wins(home: Path, project: Path) -> None:
    (home / ".env").write_text("GEMINI_API_KEY=of-home\n", encoding="utf-8")
    assert live_keys(read(home, project, GOOGLE_API_KEY="p"))["google"] == "GOOGLE_API_KEY in the environment"
    assert key_of(rows()["google"], read(home, project, GOOGLE_API_KEY="p")) == "p"
    assert key_of(rows()["google"], read(home, project, GEMINI_API_KEY="", GOOGLE_API_KEY="p")) == "p"
    assert key_of(rows()["google"], read(home, project, GOOGLE_API_KEY="")) == "of-home"


def test_the_nearest_file_up_to_the_projects_root_counts(home: Path, project: Path, tmp_path: Path) -> None:
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=beyond\n", encoding="utf-8")
    assert (key_of(rows()["openai"], read(home, deep)), read(home, deep).notes) == (None, ())
    (project / ".env").write_text("OPENAI_API_KEY=root\n", encoding="utf-8")
    assert live_keys(read(home, deep))["openai"] == f"OPENAI_API_KEY in {os.path.join('..', '..', '.env')}"
    (project / "a" / ".env").write_text("OPENAI_API_KEY=near\n", encoding="utf-8")
    assert key_of(rows()["openai"], read(home, deep)) == "near"


def test_the_home_folder_is_the_environments(home: Path, project: Path) -> None:
    (home / ".env").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")
    assert "OPENAI_API_KEY" not in with_env_files({}, project)
    assert "OPENAI_API_KEY" not in with_env_files({"HOME": "", "USERPROFILE": ""}, project)
    assert "OPENAI_API_KEY" not in with_env_files({"HOME": "home", "USERPROFILE": "home"}, home.parent / "project")
    # standing at home it is the user's own, read once
    assert live_keys(read(home, home))["openai"] == "OPENAI_API_KEY in ~/.env"


# --- what is taken of it


def test_a_strangers_project_gives_keys_and_nothing_else(home: Path, project: Path) -> None:
    lines = ["OPENAI_API_KEY=of-project", "OPENAI_BASE_URL=http://stranger", "HTTPS_PROXY=http://stranger", "MY_KEY=1"]
    lines += ["BUNDLE_LOADER_HOME=/tmp/stranger", "AZURE_OPENAI_ENDPOINT=http://stranger", "OLLAMA_HOST=http://stranger"]
    (project / ".env").write_text("\n".join(lines), encoding="utf-8")
    found = read(home, project)
    assert dict(found.layers[1].values) == {"OPENAI_API_KEY": "of-project"}
    assert str(home) in found["BUNDLE_LOADER_HOME"]
    trust(home, project)
    trusted = read(home, project)
    assert trusted["OPENAI_BASE_URL"] == "http://stranger"
    assert trusted["MY_KEY"] == "1"


def test_the_users_own_file_may_say_addresses_and_no_file_touches_the_process(home: Path, project: Path) -> None:
    (home / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\nOPENAI_API_KEY=k\nNEW_VARIABLE=1\n", encoding="utf-8")
    provider = live_providers(read(home, project))["openai"]
    assert provider.base_url == "http://127.0.0.1:9/v1"  # type: ignore[union-attr]
    assert not {"NEW_VARIABLE", "OPENAI_API_KEY"} & set(os.environ)


def test_a_link_out_of_a_strangers_project_is_not_followed(home: Path, project: Path) -> None:
    (home / "secrets").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")
    (project / ".env").symlink_to(home / "secrets")
    found = read(home, project)
    assert "OPENAI_API_KEY" not in found
    assert found.notes == ("./.env is not read: it is a link that leads out of the project",)
    trust(home, project)
    assert read(home, project)["OPENAI_API_KEY"] == KEY


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("OPENAI_API_KEY=plain", "plain"),
        ("export OPENAI_API_KEY=exported", "exported"),
        ("  OPENAI_API_KEY  =  spaced  ", "spaced"),
        ("OPENAI_API_KEY='single $HOME \\n'", "single $HOME \\n"),
        ('OPENAI_API_KEY="double # no comment"', "double # no comment"),
        ("OPENAI_API_KEY=value # a comment", "value"),
        ("OPENAI_API_KEY=sk#no-comment", "sk#no-comment"),
        ("OPENAI_API_KEY=a=b==", "a=b=="),
        ("OPENAI_API_KEY=${HOME}$HOME", "${HOME}$HOME"),
        ("# OPENAI_API_KEY=no\nOPENAI_API_KEY=yes", "yes"),
        ("OPENAI_API_KEY=first\nOPENAI_API_KEY=last", "last"),
        ("\ufeffOPENAI_API_KEY=after-a-mark", "after-a-mark"),
        ("A=1\r\nOPENAI_API_KEY=with-returns\r\nB=2\r\n", "with-returns"),
        ("OPENAI_API_KEY=schlüssel", "schlüssel"),
        ("OPENAI_API_KEY", None),
        ("OPENAI_API_KEY=", None),
        ("openai_api_key=lower", None),
        ("", None),
    ],
)
def test_lines_are_read_as_people_write_them(home: Path, project: Path, line: str, value: str | None) -> None:
    (home / ".env").write_bytes(line.encode())
    found = read(home, project, OTHER="1")
    assert key_of(rows()["openai"], found) == value
    assert found.notes == ()


# --- what is wrong with it


def test_lines_that_cannot_be_read_are_told_by_number_and_leave_the_rest(home: Path, project: Path) -> None:
    lines = ["A=1", "=no name", f"{KEY} {KEY}", "OPENAI_API_KEY=good", "", "{not: env}", f"2BAD={KEY}"]
    (home / ".env").write_text("\n".join(lines), encoding="utf-8")
    found = read(home, project)
    assert found["OPENAI_API_KEY"] == "good"
    assert found.notes == ("~/.env: lines 2, 3, 6, ... cannot be read; write NAME=value",)
    (home / ".env").write_text(f"OPENAI_API_KEY='{KEY}\n", encoding="utf-8")
    (said,) = read(home, project).notes
    assert said == "~/.env: line 1 cannot be read; write NAME=value"


def _huge(path: Path) -> None:
    path.write_text("OPENAI_API_KEY=k\n" + "#" * 2_000_000, encoding="utf-8")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


_WRONG = {
    "a pipe": (_pipe, "is a device, pipe or socket"),
    "huge": (_huge, "is larger than"),
    "no text": (lambda path: path.write_bytes(b"OPENAI_API_KEY=\xff\xfe"), "byte 15 is not UTF-8"),
    "UTF-16": (lambda path: path.write_bytes("OPENAI_API_KEY=k".encode("utf-16")), "not UTF-8"),
    "a link to nothing": (lambda path: path.symlink_to(path.parent / "gone"), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
}


@pytest.mark.parametrize("kind", _WRONG)
@pytest.mark.parametrize("of", ["home", "project"])
def test_what_is_no_readable_file_is_a_note_and_nothing_else(home: Path, project: Path, kind: str, of: str) -> None:
    make, words = _WRONG[kind]
    make((home if of == "home" else project) / ".env")
    found = read(home, project)
    (note,) = found.notes
    assert note.startswith(f"{'~' if of == 'home' else '.'}/.env is not read: ")
    assert words in note
    missing = live_providers(found)["openai"]
    assert isinstance(missing, Missing)
    assert missing.reason == f"no key: set OPENAI_API_KEY ({note})"


def test_a_folder_of_that_name_is_no_file(home: Path, project: Path) -> None:
    (project / "a" / ".env" / "bin").mkdir(parents=True)
    (home / ".env").mkdir()
    (project / ".env").write_text("OPENAI_API_KEY=above\n", encoding="utf-8")
    found = read(home, project / "a")
    assert found["OPENAI_API_KEY"] == "above"
    assert found.notes == ()


def test_a_current_folder_that_is_gone_is_nothing(home: Path, tmp_path: Path) -> None:
    (home / ".env").write_text("OPENAI_API_KEY=of-home\n", encoding="utf-8")
    code = (
        "import os, sys; os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]);"
        "from bundle_loader.providers.env_files import with_env_files as read; print(read(os.environ)['OPENAI_API_KEY'])"
    )
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)}
    command_line = [sys.executable, "-c", code, str(tmp_path / "gone")]
    ran = subprocess.run(command_line, env=surroundings, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "of-home\n", ran.stderr


# --- nothing is said, nothing is read too early


def test_no_value_is_in_what_can_be_printed(home: Path, project: Path) -> None:
    (home / ".env").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")
    found = read(home, project, ANTHROPIC_API_KEY=OTHER)
    printed = f"{found!r}{found}{found.layers!r}{found.first(['OPENAI_API_KEY'])!r}{live_providers(found)!r}{live_keys(found)}"
    assert KEY not in printed
    assert OTHER not in printed
    assert "Layer(where='~/.env')" in repr(found)
    assert KEY not in repr(Layer("x", {"OPENAI_API_KEY": KEY}))


def test_commands_use_the_files_and_say_where_the_key_is(world: World, tmp_path: Path) -> None:
    world.vendor("openai").required_key = KEY
    with served_in_thread(world) as base:
        (tmp_path / ".env").write_text(f'export OPENAI_API_KEY="{KEY}"\nOPENAI_BASE_URL={base}/openai/v1\n', encoding="utf-8")
        told = command("models", "openai", home=tmp_path, cwd=tmp_path)
        as_json = command("models", "openai", "anthropic", "--json", home=tmp_path, cwd=tmp_path)
        answered = command("delegate", "self", "Hello.", "--prefer", "openai/gpt-4o-mini", home=tmp_path, cwd=tmp_path)
    assert told.code == answered.code == 0, told.err + answered.err
    assert "openai: its key is OPENAI_API_KEY in ~/.env" in told.err
    assert [provider["key"] for provider in as_json.json["providers"]] == ["OPENAI_API_KEY in ~/.env", None]
    assert all(KEY not in ran.out + ran.err for ran in (told, as_json, answered))
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".env" and KEY.encode() in path.read_bytes()
    ]


async def test_a_host_that_is_given_its_providers_reads_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    bundle = load_bundle(None, settings=())
    for more in ({"providers": {}}, {"simulate": True}):
        assert Host(bundle, environment={"HOME": str(tmp_path)}, ledger=tmp_path / "l.db", **more).keys == {}  # type: ignore[arg-type]


_WATCH = """
import sys
opened = []
def seen(event, given):
    if event == "open" and str(given[0]).endswith(".env"):
        opened.append(str(given[0]))
sys.addaudithook(seen)
sys.argv = ["bundle-loader", *{arguments!r}]
import bundle_loader
from bundle_loader.__main__ import main
try:
    {run}
except SystemExit:
    pass
print("OPENED", opened, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [None, ["--help"], ["models", "--help"], ["agents"], ["schema", "agent"], ["models", "--simulate"]]
)
def test_what_needs_no_key_reads_no_file(tmp_path: Path, arguments: list[str] | None) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=k\n", encoding="utf-8")
    code = _WATCH.format(arguments=arguments or [], run="main()" if arguments is not None else "pass")
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path / "data")}
    surroundings["PYTHONPATH"] = str(Path(__file__).parent.parent)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr.splitlines()[-1] == "OPENED []", ran.stderr


# --- keys that are none


def test_a_stranger_names_no_file_for_a_key(home: Path, project: Path) -> None:
    lines = ["GOOGLE_APPLICATION_CREDENTIALS=./evil.json", "CLOUDSDK_AUTH_ACCESS_TOKEN=./evil.JSON", "OPENAI_API_KEY=k/ey"]
    (project / ".env").write_text("\n".join(lines), encoding="utf-8")
    found = read(home, project)
    assert dict(found.layers[1].values) == {"OPENAI_API_KEY": "k/ey"}
    assert found.notes == tuple(
        f"./.env: {name} is not taken: it names a file, and the settings do not trust this project"
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN")
    )
    settings = {"v": ProviderSettings(kind="vertex", project="p", region="eu")}
    missing = live_providers(found, settings)["v"]
    assert isinstance(missing, Missing)
    assert "GOOGLE_APPLICATION_CREDENTIALS is not taken" in missing.reason
    trust(home, project)
    assert not isinstance(live_providers(read(home, project), settings)["v"], Missing)
    own = read(home, project, GOOGLE_APPLICATION_CREDENTIALS="/a file/é.json")
    assert not isinstance(live_providers(own, settings)["v"], Missing), "a name of a file is no header"


@pytest.mark.parametrize("key", ["sk-a\nx: y", "sk-a b", "sk-\x7f", "sk-é", "sk-ключ", "sk-\u200bx", "sk-\ud800"])
@pytest.mark.parametrize("id", ["anthropic", "openai", "google", "openrouter", "ollama"])
def test_a_key_that_no_header_may_have_is_a_reason(home: Path, project: Path, key: str, id: str) -> None:
    name = rows()[id].key_variables[0]
    missing = live_providers(read(home, project, **{name: key}))[id]
    assert isinstance(missing, Missing)
    assert missing.reason == f"the key in {name} has a character that no header may have; it was read from the environment"
    assert not isinstance(live_providers(read(home, project, **{name: " sk-a\n"}))[id], Missing), "what is around it is left out"
