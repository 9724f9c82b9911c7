"""The rooms of the package: which imports which. The plan is in DESIGN.md, "Rooms"."""

import ast
import re

from running import PROBES

PACKAGE = PROBES / "vmprobe"
# From the top to the ground: a room imports only from floors below its own.
FLOORS = [
    {"ctl"},
    {"cli"},
    {"checks"},
    {"report"},
    {"site"},
    {"drivers", "lease"},
    {"transport", "guest"},
    {"host"},
    {"core"},
]
BETWEEN_MANAGERS = {"vmprobe.drivers.openstack.keystone"}  # ooi asks Keystone for its tokens
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """``vmprobe.drivers.ec2.query`` -> ``drivers``; '' for the package itself."""
    return (module.split(".") + [""])[1]


def modules():
    """(dotted name, syntax tree) of each module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PROBES).with_suffix("").parts)
        yield name.replace(".__init__", ""), ast.parse(path.read_text())


def imported(module: str, tree: ast.AST):
    """What a module imports of the package: by statement, also inside functions, and by importlib."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vmprobe"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "vmprobe" else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("vmprobe"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"vmprobe(\.[a-z0-9_]*)+", node.value):
                yield node.value


def test_arrows_between_rooms_only_go_down():
    wrong = [
        f"{module} imports {other}"
        for module, tree in modules()
        for other in imported(module, tree)
        if room_of(module) != room_of(other) in FLOOR
        and FLOOR[room_of(module)] >= FLOOR[room_of(other)]
    ]

    assert sorted(set(wrong)) == []


def test_a_driver_imports_nothing_of_another_manager_s():
    wrong = [
        f"{module} imports {other}"
        for module, tree in modules()
        for other in imported(module, tree)
        if module.count(".") == 3
        and module.startswith("vmprobe.drivers.")
        and other.startswith("vmprobe.drivers.")
        and other.split(".")[2] != module.split(".")[2]
        and other not in BETWEEN_MANAGERS
    ]

    assert sorted(set(wrong)) == []


def test_modules_do_not_import_each_other_in_a_circle():
    trees = dict(modules())
    arrows = {
        module: {other for other in imported(module, tree) if other in trees and other != module}
        for module, tree in trees.items()
    }
    while leaves := {module for module, others in arrows.items() if not others & arrows.keys()}:
        arrows = {module: others for module, others in arrows.items() if module not in leaves}

    assert sorted(arrows) == []
