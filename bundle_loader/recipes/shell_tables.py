"""Programs and commands of the shell by what they do with their words."""

from __future__ import annotations

import re
from typing import Final


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


SHELLS: Final = _words("bash sh dash ash ksh mksh zsh rbash fish csh tcsh")
PYTHONS: Final = re.compile(r"(?:python|pypy)[0-9.]*")
SCRIPTED: Final = _words("node nodejs deno bun")
FILTERS: Final = _words("awk gawk mawk nawk sed gsed jq jaq gojq")
LANGUAGES: Final = _words(
    "perl ruby php lua luajit tclsh wish expect osascript pwsh powershell cmd Rscript R julia octave gnuplot groovy scala "
    "ghci runghc elixir erl iex swift ts-node tsx m4 bc dc ed ex vi vim nvim emacs gdb lldb make gmake cmake ninja just task "
    "sqlite3 psql mysql mariadb duckdb redis-cli mongosh yq xq ssh scp sftp rsync rsh mosh su runuser at batch crontab "
    "parallel watch script tmux screen systemd-run nix-shell xterm hyperfine concurrently nodemon entr socat lftp ftp adb "
    "ansible pssh fzf mongo jshell xonsh nu guile sbcl clisp racket clojure ocaml"
)
"""Programs of which every word, and what they read, may be code."""
SHELL_CODE: Final = _words("eval trap source . alias bind complete compgen enable fc mapfile readarray hash")
"""Commands of the shell that read their words once more, as commands or as file names of commands."""
NAMES: Final = _words("read unset getopts wait shopt set let coproc")
"""Commands of the shell whose words are names of variables or settings; an index in a name is worked out."""
WRAPPERS: Final = _words(
    "env sudo doas nohup nice ionice time timeout stdbuf setsid command builtin exec xargs chroot strace busybox unbuffer "
    "npx pipx uvx bunx flock"
)
"""Commands that run the command that follows."""
DATA: Final = _words(
    "echo printf test [ : true false cat grep egrep fgrep rg mkdir basename dirname wc head tail cut tr uniq wg which type"
)
"""Commands whose words are never commands, whatever they are."""
OPTIONS_ACT: Final = _words(
    "git gh tar find sort rsync zip unzip curl wget rm rmdir mv cp ln chmod chown dd install tee split truncate patch man "
    "less more "
    "gcc cc clang pip pip3 uv npm npx yarn pnpm cargo go pytest docker podman kubectl helm terraform grep egrep fgrep rg cat "
    "ls cd pushd mkdir touch head tail wc cut tr diff sed gsed awk gawk mawk uniq tail du df kill pkill sudo apt brew"
)
"""Commands whose options write, delete or run something, or at least do something else than what is written."""
VALUE_OPTIONS: Final = _words(
    "-m --message -b -B --branch --body --title --author --date -H --header -d --data --data-raw --data-binary "
    "--data-urlencode "
    "-X -l --label -n --lines -e --regexp --arg --argjson --name --assignee --reviewer --base --head --milestone"
)
"""Options of those that take the next word, whatever it begins with."""
PYTHON_CODE: Final = re.compile(r"-[A-Za-z]{0,6}[cm]")
PYTHON_TAKES: Final = _words("-W -X -Q --check-hash-based-pycs")
NODE_CODE: Final = re.compile(r"-[pe]{1,2}|--eval|--print")
NODE_TAKES: Final = _words("-r --require --import -C --conditions --loader --experimental-loader --env-file --test-name-pattern")
STARTS: Final = _words("run exec x dlx bisect filter-branch foreach")
"""Words behind which a program takes a command of its own."""
CHECKSUMS: Final = _words("cksum md5sum sha1sum sha256sum sha512sum shasum b2sum")
CODE_OPTIONS: Final = _words(
    "--eval --exec --execute --command --expression --print --run -exec -execdir -ok -okdir --to-command --use-compress-program "
    "--checkpoint-action --compress-program --rsh --upload-pack --receive-pack --open-files-in-pager --exec-path --ssh-command "
    "--shell --pager --editor --init-command --filter --pre --split-string"
)
CODE_BEHIND: Final[dict[str, frozenset[str]]] = {
    "tar": _words("-I -F"),
    "zip": _words("-TT"),
    "fd": _words("-x -X"),
    "git rebase": _words("-x"),
    "git clone": _words("-u"),
    "git difftool": _words("-x"),
}
"""Short options behind which a command stands, by program (and for git by its command)."""
FILTER_TAKES: Final = _words("-l --line-length -i --include --load")
"""Options of awk and sed that take the next word."""
MAKES: Final = _words("make gmake")
"""Programs for which every variable of the environment is a part of their code."""
CONTAINERS: Final = _words("docker podman nerdctl kubectl oc lxc crictl vagrant")
"""Programs that run whatever stands behind `run` or `exec` elsewhere."""
CODE_MODULES: Final = _words("timeit IPython pdb cProfile profile trace code runpy")
"""Modules of Python that take code as an argument."""
CODE_LETTERS: Final = re.compile(r"-[A-Za-z]{0,3}[ce]")
NO_LETTERS: Final = _words("-name -type -size -node -file -mode -date -time -base -line -None -none")
"""Options of one dash that are words, as those of find."""
GLUED: Final = re.compile(r"-[A-Za-z][^A-Za-z].*")
"""A short option with what it takes."""
ASSIGNS: Final = re.compile(r"([A-Za-z_]\w*)\+?=", re.ASCII)
AMOUNT: Final = re.compile(r"[0-9.]+[smhdKMG]?")
BINARY: Final = _words("= == != < > -eq -ne -lt -le -gt -ge -nt -ot -ef")
UNARY: Final = re.compile(r"-[a-zA-Z]")
GUARDED: Final = re.compile(
    r"PATH|IFS|ENV|BASH_ENV|BASH_.*|PS[0-4]|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|SHELL|CDPATH|FPATH|HOME|LD_.*|DYLD_.*|PYTHON.*|NODE_.*"
    r"|PERL.*|RUBY.*|GIT_.*|EDITOR|VISUAL|PAGER|MANPAGER|BROWSER|LESSOPEN|LESSCLOSE|.*_COMMAND|.*_ASKPASS|MAKEFLAGS|JAVA_TOOL_OPTIONS"
    r"|TAR_OPTIONS|RSYNC_RSH|CVS_RSH|SVN_SSH|GOFLAGS|RUSTC.*|CARGO_.*|.*JAVA_OPTIONS|DOTNET_STARTUP_HOOKS|ZDOTDIR|GCONV_PATH"
    r"|MAKEFILES|GNUMAKEFLAGS|MFLAGS|VIMINIT|EXINIT|LESS|(?i:npm_config_.*)"
)
"""Variables that make programs run something, or find other programs."""
COUNTED: Final = _words("RANDOM SRANDOM BASHPID HISTCMD OPTIND SECONDS EPOCHSECONDS LINENO")
"""Variables of which bash works out what is put into them."""
