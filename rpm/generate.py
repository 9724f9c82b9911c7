"""Write man pages or bash completions from the parsers of all executables.

generate.py man|completion DIRECTORY
"""

import argparse
import ast
import importlib
import os
import re
import sys

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROBES = os.path.join(CHECKOUT, "probes")
sys.path.insert(0, PROBES)
sys.dont_write_bytecode = True

from vmprobe import __version__  # noqa: E402
from vmprobe.ctl import main as ctl  # noqa: E402


def main(kind, directory):
    """Write the files of ``kind``, man or completion, into ``directory``."""
    os.makedirs(directory, exist_ok=True)
    for name, text in {"man": man_pages, "completion": completions}[kind]():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def programs():
    """For each executable, its parser and its description in one line."""
    for name in sorted(os.listdir(PROBES)):
        path = os.path.join(PROBES, name)
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8") as file:
            about = ast.get_docstring(ast.parse(file.read())).partition(".")[0]
        if name.startswith("check_vm_"):
            yield (
                importlib.import_module(
                    f"vmprobe.checks.{name[len('check_vm_') :]}.command"
                ).parser(),
                about,
            )
        else:
            yield ctl.parser(), about


def options(parser):
    """The options and positional arguments of a parser, without its sub-commands."""
    return [
        action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)
    ]


def commands(parser):
    """The parsers of the sub-commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


# --- man pages ------------------------------------------------------------------------------------

STATES = """\
.SH EXIT STATUS
0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, and no other. Usage errors and
.B \\-\\-help
exit with 3.
.SH FILES
.TP
.I /etc/vmprobe/sites/NAME.ini
The site file of
.BR "\\-\\-site NAME" ;
see
.BR vmprobe\\-site (5).
.TP
.I /var/lib/vmprobe
The ledgers, and results that wait for a monitoring server. For a user who cannot write there:
.IR ~/.local/state/vmprobe ,
or without a home
.IR /var/tmp/vmprobe\\-UID .
.SH ENVIRONMENT
.TP
.B VMPROBE_STATE
Use this directory for the state instead.
"""
EXITS = """\
.SH EXIT STATUS
0 on success, 1 on a failure, 2 on a usage error;
.B conform
exits with 1 if a requirement is not met, and with 3 if that could not be tried.
"""


def man_pages():
    """(file name, text) of each man page."""
    executables = list(programs())
    names = [parser.prog for parser, _ in executables]
    for parser, about in executables:
        text = (
            _head(parser.prog, 1)
            + f".SH NAME\n{roff(parser.prog)} \\- {roff(about[0].lower() + about[1:])}\n"
        )
        text += f".SH SYNOPSIS\n{roff(_usage(parser))}\n"
        text += f".SH DESCRIPTION\n{roff(parser.description or '')}\n"
        text += (
            ".SH OPTIONS\n"
            + _options(parser)
            + "".join(_command(each) for each in commands(parser).values())
        )
        notes = parser.notes() if hasattr(parser, "notes") else parser.epilog
        text += f".SH NOTES\n{roff(notes)}\n" if notes else ""
        text += STATES if parser.prog.startswith("check_") else EXITS
        others = [f".BR {roff(name)} (1)" for name in names if name != parser.prog] + [
            ".BR vmprobe\\-site (5)"
        ]
        yield f"{parser.prog}.1", text + ".SH SEE ALSO\n" + ",\n".join(others) + "\n"
    with open(os.path.join(CHECKOUT, "etc", "sites", "example.ini"), encoding="utf-8") as file:
        example = roff(file.read().rstrip())
    yield (
        "vmprobe-site.5",
        (
            _head("vmprobe-site", 5) + ".SH NAME\nvmprobe\\-site \\- a site file of vmprobe\n"
            ".SH DESCRIPTION\nOne endpoint as one project sees it. An unknown key is an error.\n"
            f".SH EXAMPLE\n.nf\n{example}\n.fi\n"
        ),
    )


def _head(name, section):
    return (
        f'.TH {roff(name.upper())} {section} "" "vmprobe {__version__}" "Monitoring plug\\-ins"\n'
    )


def _usage(parser):
    return re.sub(r"\s+", " ", parser.format_usage()).replace("usage: ", "").strip()


def _options(parser):
    text = ""
    for action in options(parser):
        value = (
            f" {action.metavar or ','.join(map(str, action.choices or ()))}".rstrip()
            if action.nargs != 0
            else ""
        )
        words = roff(", ".join(action.option_strings) + value) or roff(
            str(action.metavar or action.dest)
        )
        text += f".TP\n.B {words}\n{roff(_help(parser, action))}\n"
    return text


def _command(parser):
    inner = "".join(_command(each) for each in commands(parser).values())
    return f".SS {roff(parser.prog)}\n{roff(parser.description or '')}\n{_options(parser)}{inner}"


def _help(parser, action):
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def roff(text):
    """Escape a text so that roff prints it as it is."""
    text = text.strip("\n").replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


# --- completion -----------------------------------------------------------------------------------

FORM = """\
# bash completion of {name}, written by rpm/generate.py
_{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= each
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$command/$each" in
        {nested}) command=$command/$each ;;
        esac
    done
    case "$command $before" in
{values}
    esac
    case $command in
{words}
    esac
}}
complete -F _{name} {name}
"""
SITES = (
    "$(compgen -W \"$(cd /etc/vmprobe/sites 2>/dev/null && ls | sed -n 's/[.]ini$//p')\""
    ' -- "$word") $(compgen -f -- "$word")'
)


def completions():
    """(file name, text) of the bash completion of each executable."""
    for parser, _ in programs():
        tree = dict(_tree(parser, ""))
        nested = "|".join(path for path in tree if path) or "''"
        values = [
            f'    "{path} {word}") COMPREPLY=({reply}); return ;;'
            for path, each in tree.items()
            for action in options(each)
            if action.nargs != 0
            for word in action.option_strings
            for reply in [_values(action)]
        ]
        words = [
            f"    '{path}') COMPREPLY=({_among([*commands(each), *_long_options(each)])}) ;;"
            for path, each in tree.items()
        ]
        yield (
            parser.prog,
            FORM.format(
                name=parser.prog, nested=nested, values="\n".join(values), words="\n".join(words)
            ),
        )


def _tree(parser, path):
    """The parser and those of all its sub-commands, each with its path, such as /sites/import."""
    yield path, parser
    for name, each in commands(parser).items():
        yield from _tree(each, f"{path}/{name}")


def _long_options(parser):
    return [
        word
        for action in options(parser)
        for word in action.option_strings
        if word.startswith("--")
    ]


def _values(action):
    """What the shell evaluates to complete the value of an option."""
    if action.choices:
        return _among(action.choices)
    known = {"SITE": SITES, "FILE": '$(compgen -f -- "$word")', "DIR": '$(compgen -d -- "$word")'}
    return known.get(action.metavar, "")


def _among(words):
    return f'$(compgen -W "{" ".join(map(str, words))}" -- "$word")'


if __name__ == "__main__":
    main(*sys.argv[1:])
