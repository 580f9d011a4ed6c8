"""Ways round: a value goes by variables, functions, lists, files and other programs, and is held to the rule where it arrives."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bundle_loader.errors import UnsafeValue
from bundle_loader.recipes.shell_text import prepare
from bundle_loader.recipes.values import Values

PLAIN = [
    'echo {{x}}; eval "$_"', 'select q in a; do eval "$REPLY"; done <<< {{x}}', 'c() { eval "$2"; }; mapfile -C c l <<< {{x}}',
    "bash -c 'eval \"$0\"' {{x}}", "bash -c 'for a; do $a; done' _ {{x}}", "y={{x}}; PS4='$(eval \"$y\")'; set -x; :",
    "V={{x}} make", "export V={{x}}; make -C d", "TAR_OPTIONS={{x}} tar cf a b", "tar -I {{x}} -cf a b", "git rebase -x {{x}} m",
    "git -c a=b clone -u {{x}} r", "split --filt {{x}} f", "tar --checkpoint-act=exec={{x}} f", "sed -l 5 's/a/{{x}}/' f",
    "gawk -i inplace '{{x}}' f", "node --title a -e {{x}}", "deno eval {{x}}", "hyperfine {{x}}", 'echo {{x}} > "$PWD/f"; bash f',
    "g() { echo {{x}}; }; g > f; bash f", "exec > f; echo {{x}}; bash f", "echo {{x}} | awk -f -", "sed --file=- f <<< {{x}}",
    "echo {{x}} | sed -f/dev/stdin f", "y={{x}}; env A=$y", 'echo {{x}} | sh -c "$(cat)"',
]  # fmt: skip
NUMBERS = [
    "y={{x}}; z=y; echo $((z))", "# declare -A m\nm=(); k={{x}}; m[$k]=1",
    "declare -A m; f() { local -a m; m[$k]=1; }; k={{x}}; f",
    "RANDOM={{x}}", "OPTIND={{x}}", "n={{x}}; read 'a[n]' <<< 1", "n={{x}}; printf -v 'a[n]' 1",
]  # fmt: skip
OPTIONS = [
    'y={{x}}; find "$y"', "y={{x}}; find $y", "find . -name {{y}} $(echo {{x}})", 'f() { sort "$1"; }; f {{x}}',
    'set -- {{x}}; sort "$@"', 'a=({{x}}); sort "${a[@]}"', "for o in {{x}}; do sort $o; done", 'sort "$(echo {{x}})"',
    'sort "${none:-{{x}}}"', "sort ''{{x}}", "sort $'{{x}}'", "sort {{y}}{{x}}", 'sort "$none{{x}}"', "echo {{x}} | xargs find",
    "echo {{x}} | xargs -n1 timeout 5 sort f",
]  # fmt: skip
ORDINARY = [
    'git add "{{p}}"; git commit -m "{{x}}"; git push -u origin "{{b}}"; gh pr create --title "{{b}}" --body "{{x}}"',
    'm="{{x}}"; git commit -m "$m"; a=(--title "{{x}}"); gh pr create "${a[@]}"; git log --since="{{n}} days ago" --format=%H',
    'd="{{p}}"; mkdir -p "$(dirname "$d")" && cd "$d" && echo "{{x}}" > "$d/a.md"; find "{{p}}" -name "{{p}}" -type f',
    "echo '{{j}}' | jq -r '.a[]' | while read -r f; do wc -l \"$f\"; done; echo '{{j}}' | jq -r '.a[]' | xargs -I{} echo {}",
    'n=$(echo "{{x}}" | wc -l); if [ "$n" -gt 3 ]; then echo "$((n + 1))"; fi; i=0; while [ $i -lt {{n}} ]; do i=$((i+1)); done',
    'node --no-warnings a.js "{{x}}"; python3 -u a.py "{{x}}" <<< "{{x}}"; node --no-warnings a.js <<< "{{x}}"',
    'f() { local a="$1" b="$2"; printf "%s %s" "$a" "$b"; }; f "{{x}}" "{{p}}"; export NOTE="{{x}}"; NOTE="{{x}}" python3 n.py',
    'x=$(echo "{{b}}" | tr "/" "-"); git checkout -b "$x"; y="{{b}}"; git checkout $y; git show "{{b}}:{{p}}"; rm -f "{{p}}.tmp"',
    'tar czf "o-{{b}}.tgz" -C "{{p}}" .; docker run -v "$PWD:/w" i "{{b}}"; make test; wg log "{{b}}" "{{x}}"',
    'm=$(mktemp); echo "{{x}}" > "$m"; gh issue create -F "$m"; rm "$m"; sed -n "1,20p" "{{p}}"; awk "{print}" "{{p}}"',
    'declare -A m; k="{{x}}"; m[$k]=1; if [[ "{{x}}" == *"odd"* ]]; then echo "${m[$k]}"; fi; grep -rn -- "{{x}}" | head -{{n}}',
]  # fmt: skip


def refused(command: str, value: str) -> str:
    with pytest.raises(UnsafeValue) as caught:
        prepare(command, Values({"x": value, "y": ""}))
    assert "{{x}}" in str(caught.value), command
    return str(caught.value)


@pytest.mark.parametrize("command", PLAIN)
def test_only_plain_values_arrive_where_they_are_read_once_more(command: str) -> None:
    for value in ("$(touch pwned)", "a b", "'", "\n"):
        assert "only letters" in refused(command, value)
    prepare(command, Values({"x": "a-1_b.c/d:e@f,g+h"}))


@pytest.mark.parametrize("command", NUMBERS)
def test_only_numbers_arrive_where_they_are_worked_out(command: str) -> None:
    for value in ("a[$(touch pwned)]", "x", ""):
        assert "number" in refused(command, value)
    prepare(command, Values({"x": "17"}))


@pytest.mark.parametrize("command", OPTIONS)
def test_options_come_by_no_way_round(command: str) -> None:
    assert "'-'" in refused(command, "-delete")
    prepare(command, Values({"x": "a/b-c.d", "y": ""}))


def test_where_bash_makes_words_of_a_text_each_may_be_an_option() -> None:
    for command in ("y={{x}}; find $y", "find $(echo {{x}})", "echo {{x}} | xargs find", "y={{x}}; find . ${y:+-name $y}"):
        assert "a word of it begins" in refused(command, ". -exec touch pwned ;")
        prepare(command, Values({"x": "a - b"}))
    for command in (
        'read -ra a <<< {{x}}; find "${a[@]}"',
        'mapfile -t a <<< {{x}}; find "${a[@]}"',
        'echo {{x}} | while read -r l; do find "$l"; done',
        'for w in $(echo {{x}}); do find "$w"; done',
        'y={{x}}; find "${y#* }"',
    ):
        assert "a word of it begins" in refused(command, ". -exec touch pwned ;")
    with pytest.raises(UnsafeValue, match="-- before it"):
        prepare('sort "$V"', Values({"x": "-o pwned"}), env={"V": "{{x}}"})


def test_lists_and_operators_are_not_read_out_of_values(tmp_path: Path) -> None:
    """`declare a="(...)"` is read once more where `a` is a list; elsewhere it is a text like any other."""
    for command in ('declare -a a; declare a="{{x}}"', "a=(1); y={{x}}; declare a=$y", 'f() { local -a a; local a="{{x}}"; }; f'):
        assert "as a list" in refused(command, "($(touch pwned))")
        prepare(command, Values({"x": "a (b)"}))
    prepared = prepare('declare s="{{x}}"; echo "$s"', Values({"x": "($(touch pwned))"}))
    env = {"PATH": os.environ["PATH"], **prepared.environment}
    done = subprocess.run(["bash", "-c", prepared.command], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert (done.stdout, list(tmp_path.iterdir())) == (b"($(touch pwned))\n", [])
    assert "operator" in refused('o=-v; [ "$o" "{{x}}" ]', "a[$(touch pwned)]")


def test_what_recipes_do_takes_any_text() -> None:
    text = 'It\'s a "summary" - with $(odd) text\n- a list\n--b'
    values = {"x": text, "p": "src/my file.py", "n": 3, "b": "feature/x-1", "j": {"a": ["b.py", "c - d"]}}
    for command in ORDINARY:
        prepare(command, Values(values))
