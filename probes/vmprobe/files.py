"""Files that are written whole or not at all, for this user only."""

from __future__ import annotations

import os
import tempfile


def replace(path: str, text: str) -> str:
    """Put ``text`` in the place of what is at ``path``, and return the path; OSError as it comes.

    Who reads meanwhile has the old text or the new one. A symbolic link is replaced and not followed.
    """
    directory = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".vmprobe-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
