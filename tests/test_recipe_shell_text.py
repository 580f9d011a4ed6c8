"""Values in shell commands: real bash gives every value back exactly, runs none of it, and what is unsafe is refused."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.errors import UnknownVariable, UnsafeValue
from bundle_loader.recipes.shell_text import MAX_LITERAL, PreparedCommand, prepare
from bundle_loader.recipes.values import Values

MARK = "@K7q"
HOSTILE = (
    "$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "\ntouch pwned\n", "a[$(touch pwned)]",
    "EOF\ntouch pwned\nEOF\n", "}; touch pwned; {", ") touch pwned (", "\\", "\\'$(touch pwned)", "x\\\n$(touch pwned)",
    "* ? ~ {a,b} [a-z]", "-n -e", "<(touch pwned)", "))touch pwned;((", "# $(touch pwned)", "!!", "${x:=$(touch pwned)}",
    "{{x}} {{y.z}}", "\n\n", " ", "", "é\u2028\U0001f600\t", "%s%n\\x41",
)  # fmt: skip

PLACES = {
    "bare": "printf '%s' {{x}}",
    "in double quotes": "printf '%s' \"{{x}}\"",
    "in single quotes": "printf '%s' '{{x}}'",
    "in $'...'": "printf '%s' $'{{x}}'",
    "by a variable": "v={{x}}; printf '%s' \"$v\"",
    "by a quoted variable": "v='{{x}}'; printf '%s' \"${v}\"",
    "alternative": "printf '%s' \"${nothing:-{{x}}}\"",
    "bare alternative": "printf '%s' ${nothing:-{{x}}}",
    "nested quotes": "printf '%s' \"$(printf '%s' '{{x}}'; printf .)\" | head -c -1",
    "here-document": "head -c -1 <<EOF\n{{x}}\nEOF\n",
    "here-document with tabs": "head -c -1 <<-EOF\n{{x}}\n\tEOF\n",
    "two here-documents": "{ cat <&3 >/dev/null; head -c -1 <&4; } 3<<A 4<<B\n'\"\nA\n{{x}}\nB\n",
    "here-document in a substitution": "v=$(cat <<EOF\n{{x}}.\nEOF\n); printf '%s' \"${v%.}\"",
    "here-string": "head -c -1 <<< {{x}}",
    "function": "f() { printf '%s' \"$1\"; }; f {{x}}",
    "loop": "for i in {{x}}; do printf '%s' \"$i\"; done",
    "array": "a=(1 {{x}} '2'); printf '%s' \"${a[1]}\"",
    "case in a substitution": "printf '%s' \"$(case x in x) printf '%s.' \"{{x}}\" ;; (y) echo ')' ;; esac)\" | head -c -1",
    "process substitution": "cat <(printf '%s' {{x}})",
    "continued line": "printf \\\n  '%s' \\\n  {{x}}",
    "group": "{ ( printf '%s' {{x}} ); } | cat",
    "after a comment": "# it's a \"trap\" {{x}} $(\nprintf '%s' {{x}} # ' {{x}}",
    "after a # in a word": "v=a#b; printf '%s' {{x}}",
    "after a shift": "n=$(( 1 << 2 )); printf '%s' {{x}}",
    "after a pattern with a quote": "v=\"it's\"; v=${v#*\\'}; printf '%s' {{x}}",
    "test": "if [[ {{x}} == {{x}} && {{x}} = {{x}} ]]; then printf '%s' {{x}}; fi",
    "old test": "if [ {{x}} = {{x}} ]; then printf '%s' {{x}}; fi",
    "pattern of a case": "case {{x}} in {{x}}) printf '%s' {{x}} ;; esac",
    "an argument of python": "python3 -c 'import os, sys; os.write(1, os.fsencode(sys.argv[1]))' {{x}}",
    "the input of python": "printf '%s' {{x}} | python3 -c 'import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())'",
    "an argument of a shell": "bash -euo pipefail -c 'printf %s \"$1\"' _ {{x}}",
    "the environment": "V={{x}} bash -c 'printf %s \"$V\"'",
    "a command in a list": "c=(printf '%s'); c+=({{x}}); \"${c[@]}\"",
    "beside a target": "d=.; cat > \"$d/{{y}}\" << 'EOF'\nit's\nEOF\nrm -- {{y}}; printf '%s' {{x}}",
    "xargs": "printf '%s\\0' {{x}} | xargs -0 printf '%s'",
}
SLOW = ("an argument of python", "the input of python")
REFUSED = [
    "eval {{x}}", "bash -c {{x}}", 'bash -c "echo {{x}}"', 'bash -e -c "{{x}}"', 'bash -euo pipefail -c "{{x}}"',
    "python3 -c 'print(\"{{x}}\")'", 'python3 -W ignore -c "{{x}}"', 'python3 <<EOF\nprint("{{x}}")\nEOF', "perl -e '{{x}}'",
    "node -e '{{x}}'", "cat <<'EOF'\n{{x}}\nEOF", "cat <<\\EOF\n{{x}}\nEOF", "jq '{{x}}' f", "awk '{{x}}' f",
    'sed "s/a/{{x}}/" f',
    "ssh h {{x}}", "make X={{x}}", "trap {{x}} EXIT", 'trap "echo {{x}}" EXIT', "source <(echo {{x}})", "echo `echo {{x}}`",
    "{{x}} a", "sudo {{x}}", "sudo -u bob {{x}}", "timeout -s KILL 5 {{x}}", "timeout 5 bash -c {{x}}", "env {{x}}", "npx {{x}}",
    "echo {{x}} | bash", "echo {{x}} | (cat | (bash))", "bash <<EOF\n{{x}}\nEOF", "bash <<< {{x}}", "{ bash; } <<< {{x}}",
    "f() { bash; }; echo {{x}} | f", "f() { echo {{x}}; }; f | bash", "source /dev/stdin <<< {{x}}", "exec > >(bash); echo {{x}}",
    "exec < <(echo {{x}}); bash", "cat <(bash <<< {{x}})", "echo {{x}} | xargs -I % % a", "xargs -I{} sh -c '{}' <<< {{x}}",
    'find . -exec sh -c "echo {{x}}" \\;', 'docker exec c bash -c "{{x}}"', "git -c {{x}} log", "git bisect run {{x}}",
    'y={{x}}; z=$y; eval "$z"', 'f() { eval "$1"; }; f {{x}}', 'f() { local q=$1; eval "$q"; }; f {{x}}',
    'f() { "$@"; }; f {{x}}',
    'set -- {{x}}; bash -c "$1"', "bash -c 'eval \"$1\"' _ {{x}}", "Y={{x}} bash -c 'eval \"$Y\"'",
    "export Y={{x}}\nbash <<'EOF'\neval \"$Y\"\nEOF", "y={{x}}; trap 'eval \"$y\"' EXIT", "y=(a); y+=({{x}}); ${y[1]}",
    'echo {{x}} | while read -r l; do eval "$l"; done', 'while read -r l; do bash -c "$l"; done <<EOF\n{{x}}\nEOF',
    'mapfile -t l <<< {{x}}; eval "${l[0]}"', "printf -v y '%s' {{x}}; eval $y", 'y=$(cat <<EOF\n{{x}}\nEOF\n)\neval "$y"',
    "echo {{x}} > s.sh; bash s.sh", "echo {{x}} > s.sh; . ./s.sh", 't=$(mktemp); echo {{x}} > "$t"; bash "$t"',
    "echo {{x}} | tee s.sh; sh s.sh", "cat > s.sh <<EOF\n{{x}}\nEOF\nchmod +x s.sh\n./s.sh", "echo {{x}} > s; cat s | bash",
    "echo {{x}} > s; bash < s", 'y=eval; $y {{x}}', 'c=(bash -c); "${c[@]}" {{x}}',
    'c=({{x}} a); "${c[@]}"', 'c=(bash); c+=(-c); c+=({{x}}); "${c[@]}"', 'c=(a); c[0]={{x}}; "${c[@]}"',
    "$NOTHING {{x}}", '"$@" {{x}}',
    "y={{x}}; $y a",
    "{bash,-c} {{x}}", "PATH={{x}} ls", "export PATH={{x}}", "read -r PATH <<< {{x}}", "PS4={{x}}; set -x; :", "IFS={{x}}",
    "unset {{x}}", "read {{x}}", "printf -v {{x}} a", "export {{x}}", "declare -n r={{x}}", "test -v {{x}}", "[[ -v {{x}} ]]",
    "echo ${!x} ${{{x}}}", "echo ${{x}}", "y={{x}}; echo ${!y}", 'y={{x}}; echo "${y@P}"', "echo ${y#{{x}}}",
    "echo ${y//{{x}}/a}",
    "\\{{x}}", 'echo "\\{{x}}"', "echo $'\\{{x}}'", "cmd <<{{x}}\na\nEOF", "echo \"${y:-'{{x}}'}\"",
    "shopt -s extglob; echo @({{x}})",
    "coproc bash; echo {{x}}", "echo $[{{x}}]", "compgen -W {{x}}", "echo 'not closed {{x}}", "echo $(echo {{x}}",
    "echo a{{x}}(b",
    'y=eval; "$y" {{x}}', 'y={{y}}; "$y" {{x}}',
    "builtin eval {{x}}", "command eval {{x}}", "\\eval {{x}}", "'ev'al {{x}}", "$(echo eval) {{x}}", "env -S 'bash -c' {{x}}",
    "tar --to-command={{x}} f", "python3 -m timeit {{x}}", "npm exec -- {{x}}", "docker exec c {{x}}",
    "kubectl exec p -- ls {{x}}",
    "cat > f.py <<EOF\n{{x}}\nEOF\npython3 f.py", "echo {{x}} > f.pl; perl f.pl", 'declare "y=$(echo {{x}})"; eval "$y"',
    "select q in {{x}}; do eval $q; done", "case a in a) eval {{x}};; esac", "if ! {{x}}; then :; fi", "time {{x}}",
]  # fmt: skip
NUMBERS = [
    "echo $(({{x}}))", "((n={{x}}))", "let {{x}}", "let n={{x}}+1", "for ((i={{x}};i<3;i++)); do :; done", "a[{{x}}]=1",
    "a=([{{x}}]=1)", "echo ${a[{{x}}]}", "echo ${y:{{x}}}", "echo ${y:0:{{x}}}", "[[ {{x}} -gt 1 ]]", "[[ 1 -lt {{x}} ]]",
    "declare -i n={{x}}", "declare -i n; n={{x}}", "y={{x}}; echo $((y+1))", "y={{x}}; ((y))", "y={{x}}; let z=y+1",
    "y={{x}}; [[ $y -eq 1 ]]", "y={{x}}; [[ y -gt 1 ]]", "y={{x}}; echo ${a[$y]}", "y={{x}}; echo ${a[y]}", "y={{x}}; a[y]=1",
    "[[ $(echo {{x}}) -gt 1 ]]", "a[$(echo {{x}})]=1", "echo ${a[$(echo {{x}})]}",
    "for i in {{x}}; do ((i)); done", "(( $(echo {{x}}) ))", "y={{x}}; declare -i z; z=y", "y={{x}}; echo ${z:y}",
    'n=$(echo {{x}} | jq -r .n); echo $((n + 1))', "Y={{x}} bash -c '((Y))'",
]  # fmt: skip


def bash(prepared: PreparedCommand, folder: Path) -> bytes:
    """What bash writes for a prepared command; it fails where anything of a value has run."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **prepared.environment}
    argv = ["bash", "--norc", "-c", "--", prepared.command]
    done = subprocess.run(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert not (folder / "pwned").exists(), prepared.command
    return done.stdout


def refused(command: str, value: str) -> UnsafeValue:
    with pytest.raises(UnsafeValue) as caught:
        prepare(command, Values({"x": value, "y": "y"}), ("r.yaml", 7, 3))
    return caught.value


def all_places(places: dict[str, str]) -> str:
    """One command that shows the value in each place, a zero byte behind each."""
    return "\n".join(f"( {command}\n); printf '\\0'" for command in places.values())


def check_places(places: dict[str, str], value: str, folder: Path) -> None:
    found = bash(prepare(all_places(places), Values({"x": value, "y": "t b.json"})), folder).split(b"\0")
    assert dict(zip(places, (part.decode() for part in found), strict=False)) == dict.fromkeys(places, value)


@pytest.mark.parametrize("place", PLACES)
def test_hostile_values_come_back_exactly(place: str, tmp_path: Path) -> None:
    values = HOSTILE if place not in SLOW else HOSTILE[:6]
    script = []
    variables = {"y": "t b.json"}
    for number, value in enumerate(values):
        variables[f"v{number}"] = value
        script.append(f"( {PLACES[place].replace('{{x}}', f'{{{{v{number}}}}}')}\n); printf '\\0'")
    found = bash(prepare("\n".join(script), Values(variables)), tmp_path).split(b"\0")
    assert [part.decode() for part in found[:-1]] == list(values)
    assert list(tmp_path.iterdir()) == []


TEXTS = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`(){}[]<>|&;#!*?~-=% \n\t\r"), st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(TEXTS)
def test_any_value_comes_back_exactly_from_every_place(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    check_places({name: command for name, command in PLACES.items() if name not in SLOW}, value, tmp_path_factory.mktemp("bash"))


@pytest.mark.parametrize("command", REFUSED)
def test_only_plain_values_stand_where_no_quoting_is_safe(command: str, tmp_path: Path) -> None:
    for value in ("$(touch pwned)", "a b", "a;b", "'", '"', "\n", "{x}"):
        error = refused(command, value)
        lines = [line for line, text in enumerate(command.split("\n")) if "{{x}}" in text]
        assert error.place[0] == "r.yaml"
        assert error.place[1] - 7 in lines
        assert "{{x}}" in str(error)
    prepare(command, Values({"x": "a-1_b.c/d:e@f,g+h", "y": "y"}))


@pytest.mark.parametrize("command", NUMBERS)
def test_only_numbers_stand_where_bash_works_them_out(command: str) -> None:
    for value in ("a[$(touch pwned)]", "x", "1+1", "1 2", "", "0x1f", "1e3", "9" * 30):
        assert "number" in str(refused(command, value))
    for value in ("0", "17", "-3"):
        prepare(command, Values({"x": value}))
    prepare(command, Values({"x": 17}))


def test_numbers_are_worked_out(tmp_path: Path) -> None:
    command = (
        'echo $(({{x}} + 1)) $(( 2 * ({{x}}) )); [[ {{x}} -ge 4 ]] && echo yes; a=(a b c d e); echo "${a[{{x}}]}" ${#a[{{x}}]}'
    )
    assert bash(prepare(command, Values({"x": 4})), tmp_path) == b"5 8\nyes\ne 1\n"


TRAPS = [
    'echo "a $(echo "b {{x}} $(echo \'c {{x}}\')" {{x}}) \' {{x}}"',
    "v=$(case a in\n a) echo ')' ;; # ) ' \"\n (b|c) echo 'x' ;;\nesac); echo \"$v\" {{x}}",
    "echo a#b'#'\"#\" # {{x}} '\necho {{x}}",
    "cat <<A; cat <<'B'; cat <<-C\n{{x}} ' \" $(echo \"{{x}}\")\nA\n$(x) ' \"\nB\n\t{{x}}\n\tC\necho {{x}}",
    "v=$(cat <<EOF\n) ' \" {{x}}\nEOF\n)\necho \"$v\" {{x}}",
    "echo $(( 1 << 2 )) $((3<<1)) {{x}}\n((4 << 1)); echo {{x}}",
    "v=abc; echo ${v#'a'} ${v%\"c\"} ${v/b/\\}} \"${v#*b}\" \"${v//\\\"/}\" {{x}}",
    "echo \"${v:-a}\" ${v:-'}'} \"${v:-\\}}\" ${#v} $# {{x}}",
    "cat <(echo '{{x}}') <(echo \"{{x}}\") > >(cat >&2); echo {{x}}",
    "echo a \\\n b \\\n  {{x}} &&\\\n echo {{x}} |\\\n cat",
    "echo 'it'\\''s' {{x}} \"it's\" '\"' {{x}}",
    "echo $'it\\'s {{x}} \\\\' '{{x}}'",
    "echo {a,{{x}},b}{1..2} a={{x}} ~ {{x}}/*",
    "if true; then echo {{x}}; elif false; then :; else echo; fi; for i in 1; do echo {{x}}; done; while false; do :; done",
    "f() { echo \"$1\" {{x}}; }\nfunction g { f {{x}}; }\ng | { cat; echo {{x}}; } && ( echo {{x}} )",
    "[[ {{x}} =~ ^(a|b|@.*)$ && -n {{x}} || ! -f {{x}} ]] && echo yes {{x}}",
    "a=( 'x y' # {{x}} '\n {{x}} \"$v\" ); echo \"${a[@]}\" \"${#a[@]}\" {{x}}",
    "echo a >/dev/null 2>&1 {{x}}; echo {{x}} 2>/dev/null >&1; echo b &>/dev/null {{x}}; echo c",
    "echo \"`echo 'a b'`{{x}}\" `echo \\`echo c\\``{{x}}",
    "! false && time -p true 2>/dev/null; echo {{x}}; { echo {{x}}; } 2>/dev/null",
    "case {{x}} in [a-z]*) echo no ;; \"{{x}}\") echo {{x}} ;& *) echo more ;; esac",
    "v=1; echo $v{{x}} \"${v}{{x}}\" $?{{x}} $1{{x}}",
    "docker() { echo \"$@\"; }; docker ps --format '{{.Names}}' {{x}} {{ '{{' }}",
    "echo one;\n\n# {{x}}\n  # '\necho {{x}};:",
    "echo {{x}}{{x}}'{{x}}'\"{{x}}\"",
    "x='{\"a\": \"{{x}}\", \"b\": [1, \"{{x}}\"]}'; echo \"$x\"",
]  # fmt: skip


@pytest.mark.parametrize("command", TRAPS)
def test_the_structure_is_what_bash_sees(command: str, tmp_path: Path) -> None:
    """With a harmless value the command does what it does with that value written into it; no other value changes more."""
    written = re.sub(r"\{\{ '\{\{' \}\}", "{{", command).replace("{{x}}", MARK)
    expected = bash(PreparedCommand(written), tmp_path)
    assert expected.count(MARK.encode()) > 0
    prepared = prepare(command, Values({"x": MARK}))
    assert MARK not in prepared.command
    assert bash(prepared, tmp_path) == expected
    for value in HOSTILE:
        assert prepare(command, Values({"x": value})).command == prepared.command
    if "[[" not in command:
        value = "$(touch pwned)'\"`touch pwned`\n;*"
        assert bash(prepare(command, Values({"x": value})), tmp_path) == expected.replace(MARK.encode(), value.encode())


def random_word(chance: random.Random, depth: int) -> str:
    simple = [
        "{{x}}", "'a {{x}} #\"'", '"b {{x}} \\" \' #"', "a#{{x}}", "lit", "\"$v\"{{x}}", "$'q\\'{{x}}'", "{{x}}{{x}}",
    "a\\ {{x}}",
        "'it'\\''s'{{x}}", '"\\$(echo {{x}})"', "{{{x},b}", "`echo a`{{x}}",
    ]  # fmt: skip
    if depth <= 0 or chance.random() < 0.4:
        return chance.choice(simple)
    inner = random_script(chance, depth - 1)
    return chance.choice(
        [
            f'"$({inner})"',
            f"$({inner})",
            '"${v:-a {{x}}}"',
            "${v:-" + random_word(chance, depth - 1) + "}",
            f'"({{{{x}}}}$({inner})\'"',
            "$(( 1 + 2 ))",
            f"$(case a in a) {inner};; (b) echo ')' ;; esac)",
            f"<({inner})",
            f"$(# ' \" )\n{inner})",
            f'"$(cat <<EOF\n{{{{x}}}} \' " )\n$({inner})\nEOF\n)"',
        ]
    )


def random_script(chance: random.Random, depth: int) -> str:
    def word() -> str:
        return random_word(chance, depth - 1)

    simple = chance.choice(
        [
            f"printf '<%s>' {word()} {word()}",
            f"w={word()}; printf '[%s]' \"$w\"",
            f"echo {word()} # it's {{{{x}}}} \" (",
            f"cat <<< {word()}",
        ]
    )
    if depth <= 0 or chance.random() < 0.4:
        return simple + "\n"
    return chance.choice(
        [
            f"{simple}\n{simple}\n",
            f"if [[ {word()} == {word()} ]]; then {simple}\nelse {simple}\nfi",
            f"( {simple}\n) && {{ {simple}\n}}",
            f"case {word()} in ({{{{x}}}}) {simple}\n;; *) {simple}\nesac",
            f"for i in {word()}; do printf '%s' \"$i\"; {simple}\ndone",
            f"f() {{ {simple}\n}}\nf {word()}",
            f"cat <<EOF\n{{{{x}}}} $({simple}\n) ' \" \\$ (\nEOF\n{simple}\n",
        ]
    )


def test_random_commands_are_read_as_bash_reads_them(tmp_path: Path) -> None:
    chance = random.Random(8)
    compared = 0
    for _ in range(120):
        command = random_script(chance, chance.randint(1, 3))
        prepared = prepare(command, Values({"x": MARK}))
        if MARK not in prepared.command:
            compared += 1
            assert bash(prepared, tmp_path) == bash(PreparedCommand(command.replace("{{x}}", MARK)), tmp_path), command
        for value in chance.sample(HOSTILE, 2):
            try:
                bash(prepare(command, Values({"x": value})), tmp_path)
            except UnsafeValue:
                continue
    assert compared > 40


def test_what_is_asked_of_a_command_with_options(tmp_path: Path) -> None:
    """A value at the beginning of a word is no option of a command whose options write, delete or run something."""
    for command in (
        "tar cf a.tar {{x}}",
        "git log {{x}}",
        "rm -f {{x}}",
        "sort {{x}}",
        "find {{x}}",
        "grep {{x}} f",
        "cat '{{x}}'",
    ):
        assert "--" in str(refused(command, "--checkpoint-action=exec=sh"))
        prepare(command, Values({"x": "a --b"}))
    for command in (
        "git log -- {{x}}",
        "git commit -m {{x}}",
        "rm ./{{x}}",
        "gh issue create --body {{x}}",
        "wg log {{x}}",
        "echo {{x}}",
    ):
        prepare(command, Values({"x": "--checkpoint-action=exec=sh"}))
    assert "operator" in str(refused("[ {{x}} {{x}} ]", "-v"))
    assert "%s" in str(refused("printf {{x}}", "%n"))
    prepare("printf '{{x}}'; [ {{x}} -gt 3 ] || [ -n {{x}} ]", Values({"x": "$(touch pwned) -v"}))


def test_counting_is_no_way_out() -> None:
    """What only numbers come out of may be counted with; a function of that name is another matter."""
    prepare(
        "n=$(echo {{x}} | wc -l); echo $((n + 1)); ((n)); m=$(jq '.a | length' <<< {{x}}); [[ $m -gt 0 ]]", Values({"x": "a b"})
    )
    refused("wc() { cat; }; n=$(echo {{x}} | wc -l); echo $((n + 1))", "a b")
    prepare(
        'a=({{x}}); for i in "${!a[@]}"; do echo "${a[$i]}"; done; for ((i=0;i<${#a[@]};i++)); do :; done', Values({"x": "a b"})
    )


def test_keys_of_associative_lists_are_plain_text(tmp_path: Path) -> None:
    command = 'declare -A m; m[{{x}}]=1; k={{y}}; m[$k]=2; echo "${m[{{x}}]} ${m[$k]} ${#m[@]}"'
    assert bash(prepare(command, Values({"x": "a.b", "y": "any $(touch pwned)"})), tmp_path) == b"1 2 2\n"
    refused(command, "$(touch pwned)")


def test_values_of_the_steps_own_environment_count_too() -> None:
    for command in ('eval "$V"', "echo $((V))", 'bash -c "$V"', "bash -c 'eval \"$V\"'", "[[ $V -gt 1 ]]"):
        with pytest.raises(UnsafeValue, match=r"\{\{x\}\}"):
            prepare(command, Values({"x": "a[$(touch pwned)]"}), env={"V": "{{x}}"})
    with pytest.raises(UnsafeValue, match="BASH_ENV"):
        prepare("ls", Values({"x": "$(touch pwned)"}), env={"BASH_ENV": "{{x}}"})
    assert prepare('echo "$V"', Values({"x": "a b"}), env={"V": "{{x}}", "PS4": "+"}).environment == {}


def test_a_plain_value_does_not_end_a_here_document() -> None:
    command = "cat <<'EOF'\n{{x}}\ntouch pwned\nEOF\n"
    assert "end the here-document" in str(refused(command, "EOF"))
    assert "end the here-document" in str(refused("cat <<-'EOF'\n\t{{x}}OF\nEOF\n", "E"))
    assert "end the here-document" in str(refused("cat <<'EOF'; echo @(a)\n{{x}}\nEOF\n", "EOF"))
    assert prepare(command, Values({"x": "EO"})).command == "cat <<'EOF'\nEO\ntouch pwned\nEOF\n"


def test_each_value_has_one_variable_whose_name_is_free() -> None:
    prepared = prepare("echo {{x}} '{{a.b}}' \"{{x}}\" $BL_1", Values({"x": "1", "a": {"b": [1, "two"]}}))
    assert prepared.command == 'echo "${BL__1}" \'\'"${BL__2}"\'\' "${BL__1}" $BL_1'
    assert prepared.environment == {"BL__1": "1", "BL__2": '[1,"two"]'}
    assert prepare("echo '{{ '{{' }}'", Values({})).command == "echo '{{'"


def test_what_no_command_takes_is_refused_with_its_place() -> None:
    assert "zero byte" in str(refused("echo a\necho {{x}}", "a\0b"))
    assert "half of a character" in str(refused("echo {{x}}", "\ud800"))
    assert "longer" in str(refused("cat <<'E'\n{{x}}\nE", "a" * (MAX_LITERAL + 1)))
    error = refused("echo a\n  eval {{x}}", "a b")
    assert error.place == ("r.yaml", 8, 10)
    assert str(error).startswith("r.yaml:8:10: the value of {{x}} may not stand in what 'eval' reads as code: only letters")
    with pytest.raises(UnknownVariable, match=r"r.yaml:8:8: \{\{nobody\}\}: nobody has set 'nobody'"):
        prepare("echo a\necho {{nobody}}", Values({}), ("r.yaml", 7, 3))


def test_time_grows_with_the_length_of_a_command() -> None:
    line = 'for i in {{x}}; do if [ "$i" = \'{{x}}\' ]; then echo "$(echo {{x}} | cat)"; fi; done\n'
    prepared = prepare(line * 300, Values({"x": "$(touch pwned)"}))
    assert prepared.command.count("BL_1") == 900
    deep = "echo " + "$(echo " * 3000 + "{{x}}" + ")" * 3000
    assert "certainty" in str(refused(deep, "a b"))
