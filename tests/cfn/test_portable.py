"""The scripts of cfn/ run with bash 3.2 and the tools of macOS.

Here: none of the constructs that bash 3.2 or BSD's tools do not know. All other tests of the scripts run them with tools that refuse
what BSD's refuse (stub.py), and with the bash that CFN_BASH names: with a real 3.2, that is the proof.
"""

from __future__ import annotations

import re

import modes
import pytest
from stub import stub  # noqa: F401

SCRIPTS = sorted(p for p in modes.CFN.rglob("*") if p.is_file() and p.suffix in ("", ".sh"))

# What is newer than bash 3.2 (its CHANGES), and what it parses wrongly.
BASH = {
    "associative array (4.0)": r"\b(declare|local|typeset)\s+-[a-zA-Z]*A",
    "name reference (4.3)": r"\b(declare|local|typeset)\s+-[a-zA-Z]*n\b",
    "case modification (4.0)": r"\$\{[A-Za-z_0-9@*\[\]]+(,,?|\^\^?)[^}]*\}",
    "transformation (4.4)": r"\$\{[A-Za-z_0-9@*\[\]]+@[QEPAaKkULu]\}",
    "mapfile (4.0)": r"\b(mapfile|readarray|coproc)\b",
    "|& and &>> (4.0)": r"\|&|&>>",
    "fall through in case (4.0)": r";;?&",
    "negative index (4.3)": r"\$\{[A-Za-z_0-9]+\[-[0-9]",
    "[ -v ] (4.2)": r"\[\[?\s+-v\s",
    "time format of printf (4.2)": r"printf\s+.*%\([^)]*\)T",
    "EPOCHSECONDS (5.0)": r"\bEPOCH(SECONDS|REALTIME)\b|\bSRANDOM\b",
    "wait -n (4.3)": r"\bwait\s+-n",
    "globstar, lastpipe, inherit_errexit": r"\bshopt\b.*\b(globstar|lastpipe|inherit_errexit)\b",
    "fraction in read -t (4.0)": r"\bread\b.*-t\s*0?\.",
    "step or leading zero in {a..b} (4.0)": r"\{0[0-9]+\.\.|\.\.[0-9]+\.\.",
    # set -u takes an empty array for unset until 4.4.
    "array that may be empty": r'(?<!\+)"\$\{[A-Za-z_0-9]+\[@\]\}"',
    # Its backslash stays in "${x:-{\\}}" until 4.3.
    "} in a default": r"\$\{[A-Za-z_0-9]+:?[-=+?][^}]*\\\}",
    # A pattern without its ( ends a $( ) until 4.0.
    "case in $( )": r"\$\([^()]*\bcase\b(?!.*\(.*\)\s*$)",
}
# What GNU's tools know and BSD's do not.
TOOLS = {
    "mktemp": r"\bmktemp\s+(--|-p|-d\s*(\)|$)|\))",
    "stat, realpath, readlink -f": r"\b(stat|realpath)\s+[-\"$]|\breadlink\s+-f",
    "sha256sum alone": r"^(?!.*\b(command -v|sum=)).*\bsha256sum\b",
    "date -d, -I, --": r"\bdate\s+(-d|-I|--)",
    "sed -i, -r, -z, or } without ;": r"\bsed\s+-(i|r|z|s|-)|\bsed\b.*[a-z]\}[^'\"]*'",
    "grep -P": r"\bgrep\s+-[a-zA-Z]*P",
    "sort -z, -V": r"\bsort\s+-[a-zA-Z]*[zV]",
    "xargs -r, -d": r"\bxargs\s+-[a-zA-Z0-9]*[rd]",
    "head -n -N": r"\bhead\s+(-n\s*)?-[0-9]",
    "find -printf": r"-printf\b|-regextype\b",
    "cp, install with long options": r"\b(cp|install|ln|touch|tail|wc|cut)\s+--[a-z]",
    "timeout, tac, nproc, seq": r"(^|[|;&(]\s*)(timeout|tac|nproc|numfmt|seq)\s",
}
# Arrays that always hold something.
NEVER_EMPTY = {"arguments[@]", "names[@]"}


def code_of(path):
    """Lines without comments; the filters of jq and awk are no shell, but none of the patterns is in them."""
    return [(n, line) for n, line in enumerate(path.read_text().splitlines(), 1) if not re.match(r"\s*#", line)]


def found(path):
    for number, line in code_of(path):
        for what, pattern in (BASH | TOOLS).items():
            for hit in re.finditer(pattern, line):
                if what.startswith("array") and hit[0].strip('"${}') in NEVER_EMPTY:
                    continue
                yield f"{path.name}:{number}: {what}: {line.strip()}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_nothing_is_newer_than_bash_3_2_or_only_gnu(path):
    assert list(found(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "declare -A DESCRIBED=()", 'echo "${side,,}"', "mapfile -t x < y", 'for p in "${given[@]}"; do', "packaged=$(mktemp --suffix .yaml)", "work=$(mktemp -d)", '[ "$(stat -c %s "$file")" -le 4 ]',
        "find . -print0 | sort -z | xargs -0 sha256sum", 'file=$(realpath "$1")', "sed -n '2,/^[^#]/{/^#/{s/^# //p}}' x", "foo |& tee x", "x=${a[-1]}", "date -d yesterday", 'printf "%(%F)T" -1', "a=$(case $x in y) echo 1 ;; esac)", 'jq . <<<"${answer:-{\\}}"',
    ],
)  # fmt: skip
def test_what_the_scripts_once_had_is_found(line, tmp_path):
    path = tmp_path / "script"
    path.write_text(f"#!/usr/bin/env bash\n{line}\n")
    assert list(found(path)) != []


@pytest.mark.parametrize("script", [p.name for p in SCRIPTS if p.suffix == "" and p.parent == modes.CFN])
def test_help_is_the_header(stub, script):  # noqa: F811
    done = stub.run(script, "--help")
    header = [line[2:] for line in (modes.CFN / script).read_text().split("set -euo")[0].splitlines()[1:]]
    assert done.stdout.splitlines() == header and len(header) > 3
    assert done.returncode == (2 if script in ("scan", "keep") else 0)
    assert not stub.calls()
    # Nothing of it stays behind.
    assert not list(stub.directory.glob("latticegate.*"))
