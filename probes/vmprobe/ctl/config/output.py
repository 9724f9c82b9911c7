"""A directory of generated files: only what changed is written, only what was written here is removed.

What lies there is known from a manifest, ``.vmprobe-TARGET.json``, which is written last. Each file is replaced whole.
``.vmprobe-TARGET.reload`` is there while what reads the files has not been told of a change.
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

_LARGEST = 2**30  # bytes of a generated file; there is one of all sites


class Tree:
    """The files of one target below a directory. Made by ``opened``, which keeps two runs apart."""

    def __init__(self, directory: str, target: str):
        self.directory = directory
        self._manifest = os.path.join(directory, f".vmprobe-{target}.json")
        self._debt = os.path.join(directory, f".vmprobe-{target}.reload")
        held = _load(self._manifest)
        self.remembered: Dict[str, Any] = held.get("remembered", {})  # for whoever makes the files
        self._sums: Dict[str, str] = {
            path: words for path, words in held.get("files", {}).items() if _is_below(path)
        }
        self._wrote = bool(held)

    def changes(self, wanted: Mapping[str, str]) -> List["Change"]:
        """What has to happen so that ``wanted`` lies there; ClientError for a file in the way that is not ours."""
        found = []
        for path, text in sorted(wanted.items()):
            lying = self._read(path)
            if lying is not None and path not in self._sums:
                raise ClientError(
                    f"{self._full(path)} was not written by vmprobectl; move it out of the way"
                )
            if lying != text.encode():
                found.append(Change(path, lying, text))
        for path in sorted(set(self._sums) - set(wanted)):
            lying = self._read(path)
            if lying is not None:
                found.append(Change(path, lying, None))
        return found

    def apply(self, wanted: Mapping[str, str], changes: List["Change"], remember: Any) -> None:
        """Make it so. When this is cut off, the next run finds what was written and goes on from there."""
        if changes:  # before anything lies there: it is ours, come what may
            self._save(
                {**self._sums, **{change.path: "" for change in changes if change.new is not None}},
                self.remembered,
            )
        made = {""}
        for change in changes:
            path, folder = self._full(change.path), os.path.dirname(change.path)
            if change.new is None:
                os.unlink(path)
                with contextlib.suppress(OSError):  # another file is in it still
                    os.removedirs(os.path.dirname(path))
            else:
                if folder not in made:
                    files.make_public_directory(os.path.dirname(path))
                    made.add(folder)
                _replace(path, change.new.encode())
        sums = {path: self._sums.get(path, "") for path in wanted}
        sums.update(
            {
                change.path: hashlib.sha256(change.new.encode()).hexdigest()
                for change in changes
                if change.new is not None
            }
        )
        if changes or not self._wrote or sums != self._sums or remember != self.remembered:
            self._save(sums, remember)

    def owe(self) -> None:
        """What reads these files has to be told, by this run or by a later one."""
        _replace(self._debt, b"")

    @property
    def owes(self) -> bool:
        """Whether it has not been told of a change."""
        return os.path.exists(self._debt)

    def settle(self) -> None:
        """It has been told."""
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            os.unlink(self._debt)

    def _save(self, sums: Mapping[str, str], remember: Any) -> None:
        _replace(
            self._manifest,
            json.dumps({"files": sums, "remembered": remember}, separators=(",", ":")).encode(),
        )

    def _full(self, path: str) -> str:
        return os.path.join(self.directory, path)

    def _read(self, path: str) -> Any:
        try:
            with files.open_regular(self._full(path), _LARGEST) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as failed:
            raise ClientError(
                f"{self._full(path)}: {failed.strerror}; move it out of the way"
            ) from None


class Change:
    """A file before and after; None: it is not there."""

    def __init__(self, path: str, old: Optional[bytes], new: Optional[str]):
        self.path, self.old, self.new = path, old, new

    @property
    def word(self) -> str:
        return "removed" if self.new is None else "changed" if self.old is not None else "new"

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff."""
        sides = [
            (self.old or b"").decode("utf-8", "replace").splitlines(),
            (self.new or "").splitlines(),
        ]
        names = ["/dev/null" if side is None else self.path for side in (self.old, self.new)]
        return difflib.unified_diff(*sides, *names, lineterm="")


@contextlib.contextmanager
def opened(directory: str, target: str, write: bool) -> Iterator[Tree]:
    """The tree in a directory, which is made when it is to be written; ClientError while another run writes it.

    A directory that is a link is what it leads to.
    """
    try:
        if write:
            files.make_public_directory(directory)
        if not os.path.isdir(directory):
            yield Tree(directory, target)
            return
        with held(directory):
            yield Tree(directory, target)
    except OSError as failed:
        raise ClientError(f"{failed.filename or directory}: {failed.strerror}") from None


@contextlib.contextmanager
def held(directory: str) -> Iterator[None]:
    """A directory in which no other run of vmprobectl writes meanwhile; ClientError when one does, OSError as it comes."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClientError(f"{directory}: another run of vmprobectl writes here") from None
        yield
    finally:
        os.close(descriptor)


def write_all(directory: str, wanted: Mapping[str, str]) -> None:
    """All files into an empty directory, for a daemon to look at, which is another user; OSError as it comes."""
    for path, text in wanted.items():
        full = os.path.join(directory, path)
        files.make_public_directory(os.path.dirname(full))
        _replace(full, text.encode("utf-8", "surrogateescape"))


def _replace(path: str, content: bytes) -> None:
    """Replace a file whole. Anybody may read it, whatever the caller's umask is: a monitoring daemon is another user."""
    temporary = f"{path}.vmprobe-new"
    with contextlib.suppress(FileNotFoundError):  # of a run that was cut off
        os.unlink(temporary)
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
    )
    try:
        try:
            os.fchmod(descriptor, 0o644)
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _load(path: str) -> Dict[str, Any]:
    try:
        with files.open_regular(path, _LARGEST) as file:
            held = json.load(file)
        if not isinstance(held, dict) or not all(
            isinstance(held[word], dict) for word in ("files", "remembered")
        ):
            raise ValueError
        return held
    except FileNotFoundError:
        return {}
    except OSError as failed:
        raise ClientError(f"{path}: {failed.strerror}") from None
    except (ValueError, KeyError, RecursionError):
        raise ClientError(
            f"{path}: is damaged; remove it together with the files that were generated beside it"
        ) from None


def _is_below(path: str) -> bool:
    return (
        not os.path.isabs(path)
        and os.path.normpath(path) == path
        and ".." not in path.split(os.sep)
    )
