"""A directory of generated files: only changed files are written, only our own are removed.

A manifest, ``.vmprobe-TARGET.json``, lists the files that were written; it is written last. Each
file is replaced as a whole. ``.vmprobe-TARGET.reload`` exists while a reload is due.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional

from vmprobe.core.errors import ClientError
from vmprobe.host import files

_LARGEST = 2**30  # bytes of a generated file; some targets have one for all sites


@contextlib.contextmanager
def open_tree(directory: str, target: str, write: bool) -> Iterator[Tree]:
    """The generated files of ``target`` in a directory, which is created if it is to be written.

    ClientError while another run writes there. A directory that is a link is followed.
    """
    try:
        if write:
            files.make_public_directory(directory)
        if not os.path.isdir(directory):
            yield Tree(directory, target)
            return
        with locked(directory):
            yield Tree(directory, target)
    except OSError as error:
        raise ClientError(f"{error.filename or directory}: {error.strerror}") from None


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Keep other runs of vmprobectl from writing in a directory; ClientError if one does already.

    Raises OSError if the directory cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClientError(f"{directory}: another run of vmprobectl writes here") from None
        yield
    finally:
        os.close(descriptor)


class Tree:
    """The generated files of one target below a directory. Made by ``open_tree``."""

    def __init__(self, directory: str, target: str):
        self.directory = directory
        self._manifest = os.path.join(directory, f".vmprobe-{target}.json")
        self._reload_due = os.path.join(directory, f".vmprobe-{target}.reload")
        manifest = _load(self._manifest)
        self.remembered: Dict[str, Any] = manifest.get("remembered", {})  # for the inventory
        self._sums: Dict[str, str] = {  # SHA-256 by path, '' for a file that is being written
            path: digest for path, digest in manifest.get("files", {}).items() if _is_below(path)
        }
        self._has_manifest = bool(manifest)

    def changes(self, texts: Mapping[str, str]) -> List[Change]:
        """What has to change so that the directory has ``texts``, by path.

        ClientError if a file is in the way that vmprobectl did not write.
        """
        changes = []
        for path, text in sorted(texts.items()):
            current = self._read(path)
            if current is not None and path not in self._sums:
                raise ClientError(
                    f"{self._full(path)} was not written by vmprobectl; move it out of the way"
                )
            if current != text.encode():
                changes.append(Change(path, current, text))
        for path in sorted(set(self._sums) - set(texts)):
            current = self._read(path)
            if current is not None:
                changes.append(Change(path, current, None))
        return changes

    def apply(
        self, texts: Mapping[str, str], changes: List[Change], remember: Dict[str, Any]
    ) -> None:
        """Make the changes. If this is interrupted, the next run finds what was written."""
        if changes:  # list the files before they exist, so that they are ours in any case
            written = {change.path: "" for change in changes if change.new is not None}
            self._save({**self._sums, **written}, self.remembered)
        made = {""}
        for change in changes:
            path, folder = self._full(change.path), os.path.dirname(change.path)
            if change.new is None:
                os.unlink(path)
                with contextlib.suppress(OSError):  # the directory is not empty
                    os.removedirs(os.path.dirname(path))
            else:
                if folder not in made:
                    files.make_public_directory(os.path.dirname(path))
                    made.add(folder)
                _replace(path, change.new.encode())
        sums = {path: self._sums.get(path, "") for path in texts}
        for change in changes:
            if change.new is not None:
                sums[change.path] = hashlib.sha256(change.new.encode()).hexdigest()
        is_saved = self._has_manifest and sums == self._sums and remember == self.remembered
        if changes or not is_saved:
            self._save(sums, remember)

    def request_reload(self) -> None:
        """Note that a reload is due; this run or a later one does it."""
        _replace(self._reload_due, b"")

    @property
    def is_reload_due(self) -> bool:
        """Whether files have changed since the last successful reload."""
        return os.path.exists(self._reload_due)

    def reloaded(self) -> None:
        """Note that the reload is done."""
        with contextlib.suppress(FileNotFoundError):  # another run did it, too
            os.unlink(self._reload_due)

    def _save(self, sums: Mapping[str, str], remember: Dict[str, Any]) -> None:
        document = {"files": sums, "remembered": remember}
        _replace(self._manifest, json.dumps(document, separators=(",", ":")).encode())

    def _full(self, path: str) -> str:
        return os.path.join(self.directory, path)

    def _read(self, path: str) -> Optional[bytes]:
        """The content of a file, None if there is none."""
        try:
            with files.open_regular(self._full(path), _LARGEST) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ClientError(
                f"{self._full(path)}: {error.strerror}; move it out of the way"
            ) from None


class Change:
    """A file before and after; None means that it does not exist."""

    def __init__(self, path: str, old: Optional[bytes], new: Optional[str]):
        self.path, self.old, self.new = path, old, new

    @property
    def word(self) -> str:
        """``new``, ``changed`` or ``removed``."""
        return "removed" if self.new is None else "changed" if self.old is not None else "new"

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff."""
        old = (self.old or b"").decode("utf-8", "replace").splitlines()
        new = (self.new or "").splitlines()
        old_name = "/dev/null" if self.old is None else self.path
        new_name = "/dev/null" if self.new is None else self.path
        return difflib.unified_diff(old, new, old_name, new_name, lineterm="")


def write_all(directory: str, texts: Mapping[str, str]) -> None:
    """Write all files into an empty directory, readable by a daemon's user; raises OSError."""
    for path, text in texts.items():
        full = os.path.join(directory, path)
        files.make_public_directory(os.path.dirname(full))
        _replace(full, text.encode("utf-8", "surrogateescape"))


def _replace(path: str, content: bytes) -> None:
    """Replace a file as a whole, readable by everybody: a monitoring daemon is another user.

    It does not wait for the disk, because there may be ten thousand files. The temporary file has a
    fixed name, so that the next run removes what a killed run has left.
    """
    files.replace(path, content, 0o644, sync=False, temporary=f"{path}.vmprobe-new")


def _load(path: str) -> Dict[str, Any]:
    """The manifest, {} if there is none; ClientError if it is damaged."""
    try:
        with files.open_regular(path, _LARGEST) as file:
            document = json.load(file)
        if not isinstance(document, dict) or not all(
            isinstance(document[key], dict) for key in ("files", "remembered")
        ):
            raise ValueError
        return document
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, RecursionError):
        raise ClientError(
            f"{path}: is damaged; remove it together with the generated files next to it"
        ) from None


def _is_below(path: str) -> bool:
    """Whether a path in a manifest stays below its directory."""
    return (
        not os.path.isabs(path)
        and os.path.normpath(path) == path
        and ".." not in path.split(os.sep)
    )
