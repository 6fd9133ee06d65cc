"""Files of a run by their path: of the working tree, or of any revision that Git and the DVC cache hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A tree of files, by path from the repository's root."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it is missing."""


@dataclass(frozen=True)
class FolderFiles:
    """The working tree, or any folder laid out like it."""

    root: Path

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it is missing."""
        place = self.root / folder
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


class RevisionFiles:
    """A commit, branch, tag or experiment: files out of Git and the DVC cache."""

    def __init__(self, revision: str, root: Path = Path()) -> None:
        """Raises ValueError where there is no such revision."""
        from dvc.api import DVCFileSystem
        from dvc.scm import RevError, resolve_rev

        repo = DVCFileSystem(str(root.resolve())).repo
        try:
            commit = resolve_rev(repo.scm, revision)
        except RevError:
            raise ValueError(f"{revision!r} is no commit, branch, tag or experiment here; see dvc exp show") from None
        self.fs = DVCFileSystem(str(root.resolve()), rev=commit, subrepos=True)
        self.folder = root.resolve().relative_to(repo.scm.root_dir)  # of a larger Git repository

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""
        try:
            return self.fs.cat_file((self.folder / path).as_posix())
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it is missing."""
        try:
            return sorted(Path(name).name for name in self.fs.ls((self.folder / folder).as_posix(), detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
