"""Files and classes are short, or their docstring says why they are not."""

import ast

import pytest

from running import CHECKOUT, PROBES

LONGEST_FILE, LONGEST_CLASS = 400, 250  # lines
SOURCES = sorted(
    path
    for path in [*PROBES.rglob("*"), *(CHECKOUT / "tests").rglob("*.py")]
    if path.suffix == ".py" or path.parent == PROBES and path.is_file()
)


def says_why(node, limit):
    """Whether the docstring of a module or a class has a line ``Above <limit> lines: <reason>``."""
    lines = (ast.get_docstring(node) or "").splitlines()
    return any(
        line.startswith(f"Above {limit} lines: ") and not line.endswith("lines: ") for line in lines
    )


def too_long(text):
    """What is too long in the text of a module, without a reason: ``file``, or the names of classes."""
    tree = ast.parse(text)
    lengths = {"file": (tree, len(text.splitlines()), LONGEST_FILE)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            lengths[node.name] = (node, node.end_lineno - node.lineno + 1, LONGEST_CLASS)
    return [
        name
        for name, (node, length, limit) in lengths.items()
        if length > limit and not says_why(node, limit)
    ]


def test_no_file_and_no_class_is_too_long_without_a_reason():
    found = {str(path.relative_to(CHECKOUT)): too_long(path.read_text()) for path in SOURCES}

    assert len(found) > 300
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "docstring, names",
    [
        ("A module.", ["file", "Long"]),
        ("A module.\n\nAbove 400 lines: it is a table.\n", ["Long"]),
        ("A module.\n\nAbove 400 lines: \n", ["file", "Long"]),
    ],
)
def test_a_reason_is_a_line_of_the_docstring(docstring, names):
    text = f'"""{docstring}"""\n\nclass Long:\n' + "    x = 1\n" * 400

    assert too_long(text) == names
