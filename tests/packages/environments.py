"""Environments with certain versions in them; each is made once, and kept in the checkout's cache."""

import subprocess

from running import CHECKOUT


def environment(name, python, words):
    """The interpreter of an environment of ``python`` in which pip has installed these ``words``."""
    place = CHECKOUT / ".cache" / name
    done = place / "done"
    if not done.exists() or done.read_text() != " ".join(words):
        subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run(
            [str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *words],
            check=True,
        )
        done.write_text(" ".join(words))
    return place / "bin" / "python"
