#!/usr/bin/env python3
"""Manual pages and completions of bash, zsh and fish, from the option tables that --help prints:
manual.py BINADE VERSION DIR COMMAND...

Writes DIR/binade.1, DIR/binade-COMMAND.1, DIR/binade.bash, DIR/_binade and DIR/binade.fish. `binade COMMAND --describe` prints a
table as JSON."""
import json
import os
import re
import subprocess
import sys


def describe(binade, command):
    return json.loads(subprocess.run([binade, command, "--describe"], check=True, capture_output=True, text=True).stdout)


def roff(text):
    """Text as roff prints it: no escapes, no requests."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def verbatim(text):
    return ".nf\n" + roff(text.rstrip("\n")) + "\n.fi\n"


def header(name, version):
    return f'.TH {name.upper()} 1 "" "binade {version}" "Binade"\n'


def page(table, version):
    name = f"binade-{table['command']}"
    lines = [header(name, version), ".SH NAME\n", roff(f"{name} - {summary(table).rstrip('.')}") + "\n", ".SH SYNOPSIS\n",
             f".B binade {table['command']}\n", roff(table["usage"]) + "\n", ".SH DESCRIPTION\n", roff(table["about"]) + "\n",
             ".SH OPTIONS\n"]
    for option in table["options"]:
        argument = f"=\\fI{roff(option['argument'])}\\fR" if option["argument"] else ""
        short = f"\\fB\\-{option['short_name']}\\fR, " if option["short_name"] else ""
        lines += [".TP\n", f"{short}\\fB\\-\\-{roff(option['name'])}\\fR{argument}\n", roff(option["help"]) + "\n"]
    lines += [".TP\n", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR\n", "show the options and examples\n", ".SH EXAMPLES\n",
              verbatim(table["examples"]), ".SH EXIT STATUS\n",
              roff(table["exits"]), ".SH SEE ALSO\n", ".BR binade (1)\n"]
    return "".join(lines)


def overview(binade, tables, version):
    text = subprocess.run([binade, "--help"], check=True, capture_output=True, text=True).stdout
    return "".join([header("binade", version), ".SH NAME\n", "binade \\- trains neural networks on any GPU, in any number format\n",
                    ".SH SYNOPSIS\n", ".B binade\n", roff("COMMAND [OPTION]...") + "\n", ".SH DESCRIPTION\n", verbatim(text),
                    ".SH SEE ALSO\n", ",\n".join(f".BR binade\\-{t['command']} (1)" for t in tables).replace(",\n", "\n") + "\n"])


def summary(table):
    return table["about"].split("\n")[0]


def choices(option):
    return option["argument"].split("|") if option["kind"] == "choice" else []


def is_path(option):
    return option["argument"] in ("DIR", "FILE", "DATA")


def bash(tables):
    lines = ["# bash completion of binade\n_binade()\n{\n", '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n',
             '    [ "$word" != = ] || word=\n', '    [ "$before" != = ] || before=${COMP_WORDS[COMP_CWORD - 2]}\n',
             "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" = 1 ]; then\n",
             f"        COMPREPLY=($(compgen -W '{' '.join(t['command'] for t in tables)} --help --version' -- \"$word\"))\n        return\n    fi\n",
             "    case ${COMP_WORDS[1]}:$before in\n"]
    for t in tables:
        for o in t["options"]:
            if choices(o):
                lines.append(f"    {t['command']}:--{o['name']}) COMPREPLY=($(compgen -W '{' '.join(choices(o))}' -- \"$word\")) ;;\n")
            elif is_path(o):
                lines.append(f"    {t['command']}:--{o['name']}) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n")
            elif o["kind"] != "flag":
                lines.append(f"    {t['command']}:--{o['name']}) ;;\n")
        names = " ".join(f"--{o['name']}" for o in t["options"])
        lines.append(f"    {t['command']}:*) COMPREPLY=($(compgen -W '{names} --help' -- \"$word\")) ;;\n")
    lines.append("    esac\n}\ncomplete -F _binade binade\n")
    return "".join(lines)


def zsh_text(text):
    return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def zsh(tables):
    lines = ["#compdef binade\n", "if (( CURRENT == 2 )); then\n    _values command " +
             " ".join(f"'{t['command']}[{zsh_text(summary(t))}]'" for t in tables) + "\n    return\nfi\n",
             "local command=$words[2]\nshift words\n(( CURRENT-- ))\ncase $command in\n"]
    for t in tables:
        lines.append(f"{t['command']})\n    _arguments \\\n")
        for o in t["options"]:
            action = ""
            if choices(o):
                action = f":{o['name']}:({' '.join(choices(o))})"
            elif is_path(o):
                action = f":{o['name']}:_files"
            elif o["kind"] != "flag":
                action = f":{zsh_text(o['argument'])}:"
            lines.append(f"        '--{o['name']}{'=' if action else ''}[{zsh_text(o['help'])}]{action}' \\\n")
        lines.append("        '--help[show the options]' ;;\n")
    lines.append("esac\n")
    return "".join(lines)


def fish(tables):
    quote = lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    lines = ["complete -c binade -f\n"]
    for t in tables:
        lines.append(f"complete -c binade -n __fish_use_subcommand -a {t['command']} -d {quote(summary(t))}\n")
        for o in t["options"]:
            more = "" if o["kind"] == "flag" else " -r -F" if is_path(o) else " -x" # -x: no file names
            more += f" -a {quote(' '.join(choices(o)))}" if choices(o) else ""
            lines.append(f"complete -c binade -n '__fish_seen_subcommand_from {t['command']}' -l {o['name']}{more} -d {quote(o['help'])}\n")
    return "".join(lines)


def main(binade, version, folder, commands):
    tables = [describe(binade, command) for command in commands]
    files = {f"binade-{t['command']}.1": page(t, version) for t in tables}
    files.update({"binade.1": overview(binade, tables, version), "binade.bash": bash(tables), "_binade": zsh(tables),
                  "binade.fish": fish(tables)})
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
