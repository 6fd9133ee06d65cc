"""The videos of a zip, a tar or a folder: found by suffix at any nesting, read one at a time, never unpacked.

`open_videos(path)` lists them; a `VideoArchive` pickles as its path, so worker processes can be handed one.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.sources.members import READ_ERRORS, Container, Member, Rejected, natural_order

VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".flv",
    ".3gp",
    ".ogv",
    ".wmv",
)
MSRVTT_ID = re.compile(r"video[0-9]+")


@dataclass(frozen=True)
class VideoEntry:
    """One clip of an archive. `key` is its file name without suffix ('video123'), or its path where that is no name."""

    key: str
    name: str  # inside the archive
    size: int  # bytes


class VideoArchive:
    """Videos in natural order of their keys (`entries`), and what was left out and why (`rejected`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.container = Container(path)
        self.rejected: list[Rejected] = list(self.container.rejected)
        self._members: dict[str, Member] = {}
        self.entries: list[VideoEntry] = self._find()

    def __reduce__(self) -> tuple[type[VideoArchive], tuple[Path]]:
        return VideoArchive, (self.path,)

    def read(self, entry: VideoEntry) -> bytes:
        """The clip's bytes. Raises ValueError with the archive's own words where they are damaged."""
        try:
            with self.container.open(self._members[entry.name]) as stream:
                return stream.read()
        except READ_ERRORS as error:
            raise self._damaged(entry, error) from None

    def extract(self, entry: VideoEntry, folder: Path) -> Path:
        """Copy the clip into `folder` under a name made of its key's safe characters. Raises ValueError as `read`."""
        safe = re.sub(r"[^\w-]", "_", entry.key, flags=re.ASCII)[-100:]
        target = folder / (safe + PurePosixPath(entry.name).suffix.lower())
        with target.open("wb") as file:
            try:
                with self.container.open(self._members[entry.name]) as stream:
                    shutil.copyfileobj(stream, file, 2**20)
            except READ_ERRORS as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's error, not the archive's
                raise self._damaged(entry, error) from None
        return target

    def _damaged(self, entry: VideoEntry, error: Exception) -> ValueError:
        words = " ".join(str(error).split()) or type(error).__name__
        return ValueError(f"{entry.name}: damaged inside {self.path.name}: {words}")

    def _find(self) -> list[VideoEntry]:
        videos = [member for member in self.container.members if is_video(member.name)]
        keys = _keys([member.name for member in videos])
        entries: dict[str, VideoEntry] = {}
        for member in videos:
            key = keys[member.name]
            if member.size == 0:
                self.rejected.append(Rejected(key, f"{member.name!r}: an empty file"))
            elif key in entries:
                first = entries[key].name
                self.rejected.append(Rejected(key, f"{member.name!r}: a second clip of this name; {first!r} is used"))
            else:
                entries[key] = VideoEntry(key, member.name, member.size)
                self._members[member.name] = member
        return sorted(entries.values(), key=lambda entry: natural_order(entry.key))


def open_videos(path: Path) -> VideoArchive:
    """List the videos of a zip, tar or folder. Raises ValueError where it is none of these or is not whole."""
    return VideoArchive(Path(path))


def is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES)


def _keys(names: list[str]) -> dict[str, str]:
    """Member name to clip key: the bare name, or the path without suffix where several folders share a bare name.

    MSR-VTT's own ids (video123) are global: a second one is a duplicate, whatever folder it is in.
    """
    stems = {name: PurePosixPath(name).stem for name in names}
    shared = {stem for stem, n in Counter(stems.values()).items() if n > 1 and not MSRVTT_ID.fullmatch(stem)}
    return {name: str(PurePosixPath(name).with_suffix("")) if stem in shared else stem for name, stem in stems.items()}
