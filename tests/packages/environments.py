"""Virtual environments with given versions; each is made once, and kept in the checkout's cache."""

import subprocess

from running import CHECKOUT


def environment(name, python, requirements):
    """The interpreter of an environment of ``python`` with these requirements (pip's syntax)."""
    folder = CHECKOUT / ".cache" / name
    done = folder / "done"
    if not done.exists() or done.read_text() != " ".join(requirements):
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [
                str(folder / "bin/pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *requirements,
            ],
            check=True,
        )
        done.write_text(" ".join(requirements))
    return folder / "bin" / "python"
