"""Ids of tests: a few words each."""

import re


def pytest_make_parametrize_id(config, val, argname):
    """Shorten a parameter's value to a few words for the test's id.

    pytest hands the id to every child process, in its environment. Ids that a test gives itself stay
    as they are.
    """
    if getattr(val, "__name__", "") == "<lambda>":
        return argname
    if isinstance(val, bytes):
        return words_of(val.decode("ascii", "replace")) or argname
    if isinstance(val, str) or isinstance(val, (int, float)) and len(str(val)) > LONGEST_WORDS:
        return words_of(str(val)) or argname
    return None


LONGEST_WORDS = 30


def words_of(text, longest=LONGEST_WORDS):
    """The first words of a text, joined by hyphens; '' if it has none, or begins with one that is too long."""
    found = re.sub(r"[^A-Za-z0-9._]+", "-", text[:1000]).strip("-.")
    return found if len(found) <= longest else found[:longest].rpartition("-")[0]
