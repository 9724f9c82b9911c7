"""Hold PowerShell scripts against its grammar and Microsoft's reference of the Hyper-V module.

The grammar is tree-sitter's. The reference is read from ``../shared/data/hyperv/cmdlets.json`` beside the checkout: for
Windows Server 2016, 2019, 2022 and 2025 the parameter sets of each cmdlet.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from running import CHECKOUT

REFERENCE = CHECKOUT.parent / "shared" / "data" / "hyperv" / "cmdlets.json"
COMMON = {"ErrorAction", "Force"}  # of every cmdlet, and of Remove-Item


class Command(NamedTuple):
    """A command of a script: its name, its parameters, and what was given with each; a switch has ''."""

    name: str
    parameters: Dict[str, str]
    loose: int  # arguments without a name
    splats: bool


def reference() -> Dict[str, Any]:
    """The cmdlets by release; skips where the file is not there."""
    if not REFERENCE.exists():
        pytest.skip(f"there is no {REFERENCE.name} in ../shared/data/hyperv beside the checkout")
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def tree(script: str) -> Any:
    """The syntax tree of a script; skips where the grammar is not installed."""
    reason = "tree-sitter and tree-sitter-powershell are not installed"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    return parser.parse(script.encode()).root_node


def nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in node.children:
        yield from nodes(child)


def commands(script: str) -> List[Command]:
    """All commands of a script."""
    found = []
    for node in nodes(tree(script)):
        if node.type != "command":
            continue
        name = next(
            (child.text.decode() for child in node.children if child.type == "command_name"), ""
        )
        parameters: Dict[str, str] = {}
        last, loose = "", 0
        parts = [
            part
            for child in node.children
            if child.type == "command_elements"
            for part in child.children
            if part.type != "command_argument_sep"
        ]
        for part in parts:
            text = part.text.decode()
            if part.type == "command_parameter":
                last = text.lstrip("-")
                parameters[last] = ""
            elif last:
                parameters[last], last = text, ""
            else:
                loose += 1
        splats = any(part.text.decode().startswith("@") for part in parts)
        found.append(Command(name, parameters, loose, splats))
    return found


def mistakes(script: str, cmdlets: Dict[str, Any]) -> List[str]:
    """What is wrong with a script by the reference of one release."""
    return [
        f"{command.name}: {wrong}"
        for command in commands(script)
        if command.name in cmdlets
        for wrong in _wrong(command, cmdlets[command.name])
    ]


def _wrong(command: Command, entry: Dict[str, Any]) -> Iterator[str]:
    sets = [each["parameters"] for each in entry["sets"].values()]
    known = {name: details for each in sets for name, details in each.items()}
    given = {name for name in command.parameters if name not in COMMON or name in known}
    if command.loose or command.splats:
        yield "an argument has no name"
    for name in sorted(given - set(known)):
        yield f"no parameter -{name}"
    fitting = [each for each in sets if given <= set(each)]
    if not fitting:
        yield f"no parameter set has all of {', '.join(sorted(given))}"
    elif all(
        any(details.get("mandatory") and name not in given for name, details in each.items())
        for each in fitting
    ):
        yield "a mandatory parameter is missing"
    for name in sorted(given & set(known)):
        value, words = command.parameters[name], entry.get("values", {}).get(name)
        is_switch = known[name]["type"] == "SwitchParameter"
        if is_switch == bool(value):
            yield f"-{name} {'takes no value' if is_switch else 'needs a value'}"
        if words and value and not value.startswith("$") and value not in words:
            yield f"-{name} {value} is none of {', '.join(words)}"
