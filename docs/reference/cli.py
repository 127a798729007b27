#!/usr/bin/env python3
"""Writes cli.md from the program's own --help: docs/reference/cli.py target/debug/placet > docs/reference/cli.md"""
import re
import subprocess
import sys

PLACET = sys.argv[1]

HEAD = """# The command line

Written by `docs/reference/cli.py` from `placet … --help`; a test sees to it that every verb's help has an example.

**Exit status** everywhere: **0** yes (permitted, passed, done), **1** no (denied, failed, refused), **2** it could not
be done (usage, unreadable, unreachable), with one message and, where there is one, a remedy on standard error.

**Common options**, left out below:

| option | in | means |
|---|---|---|
| `--format text\\|json` | verbs that print an answer | for people, or one JSON document |
| `--server URL` (`PLACET_SERVER`) | verbs that act on a server | the administrators' listener, exactly as its `server.admin_url`; by default `http://127.0.0.1:8718` |
| `--key FILE` (`PLACET_KEY`) | the same | the private key that signs the request; by default `data/keys/operator.pem` |
| `--as HUMAN` (`PLACET_AS`) | the same | act as this person, with their key, instead of as the operator |
| `-h`, `--help`; `-V`, `--version` | all | |

`connect` and `tool-proxy` are servers of their own, with options of their own; `audit` reads a data directory and talks
to nobody.
"""


def help_of(path, short=False):
    return subprocess.run([PLACET, *path, "-h" if short else "--help"], capture_output=True, text=True, check=True).stdout


def section(text, name):
    found = re.search(rf"^{name}:\n((?:(?:  .*)?\n)*)", text, re.M)
    return found.group(1) if found else ""


def subcommands(path):
    lines = section(help_of(path), "Commands").splitlines()
    return [line.split()[0] for line in lines if re.match(r"  \w", line) and line.split()[0] != "help"]


def options(text):
    """The entries of an `Options:` or `Arguments:` list: (flags, words)."""
    entries = []
    for line in text.splitlines():
        if re.match(r"\s{2,6}(-|<|\[)", line) and not re.match(r"\s+\[(env|default|possible)", line):
            flags, _, words = line.strip().partition("  ")
            entries.append([flags, words.strip()])
        elif entries and line.strip():
            entries[-1][1] += " " + line.strip()
    return [(flags, re.sub(r"\[env: (\w+)=?\]", r"[env: `\1`]", re.sub(r"\s+", " ", words)).strip()) for flags, words in entries]


def one(path, out):
    text = help_of(path)
    name = " ".join(path)
    out.append(f"\n{'#' * (1 + len(path))} {name}\n\n{text.split(chr(10), 1)[0]}.\n")
    subs = subcommands(path)
    if subs:
        for sub in subs:
            one([*path, sub], out)
        return
    usage = re.search(r"^Usage: (.*(?:\n {7}.*)*)", text, re.M).group(1)
    out.append(f"```text\n{re.sub(chr(10) + ' +', ' ', usage)}\n```\n")
    short = help_of(path, short=True)
    rows = options(section(short, "Arguments")) + [
        entry for entry in options(section(short, "Options"))
        if not entry[0].startswith(("-h,", "-V,", "--as ", "--format "))
        and not (entry[0].startswith("--server ") and "administrators" in entry[1])
        and not (entry[0].startswith("--key ") and "private key that signs: the operator" in entry[1])
    ]
    if rows:
        cell = lambda text: text.replace("|", "\\|")
        out.append("| | |\n|---|---|")
        out.extend(f"| `{cell(flags)}` | {cell(words)} |" for flags, words in rows)
        out.append("")
    example = text[text.index("Example"):] if "Example" in text else ""
    blocks = [block for block in re.split(r"\n\n", example) if block.strip()]
    for block in blocks:
        title, _, code = block.partition("\n")
        code = "\n".join(line.removeprefix("  ") for line in code.splitlines())
        fence = f"```{'json' if code.startswith('{') else 'sh'}\n{code.rstrip()}\n```\n"
        out.append(fence if title.strip() in ("Example:", "Examples:") else f"{title.strip()}\n\n{fence}")


parts = [HEAD]
for verb in subcommands([]):
    one([verb], parts)
print(re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip())
