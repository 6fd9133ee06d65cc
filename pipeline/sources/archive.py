"""The videos of a zip, a tar or a folder: found by suffix at any nesting, read one at a time, never unpacked.

`open_videos(path)` lists them; a `VideoArchive` pickles as its path, so worker processes can be handed one.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.sources.members import READ_ERRORS, Container, Member, Rejected, natural_order

# Of two files of one name the first kind is the clip: a poster beside its video is no clip.
VIDEO_KINDS: tuple[tuple[str, ...], ...] = (
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".f4v", ".mkv", ".webm", ".avi", ".divx"),
        *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".flv", ".ogv", ".ogm"),
        *(".wmv", ".asf", ".mxf", ".h264", ".264", ".hevc", ".h265", ".265", ".ivf"),
    ),
    (".gif", ".webp", ".apng"),
    (".png", ".avif", ".jpg", ".jpeg"),
)
VIDEO_SUFFIXES = tuple(suffix for kind in VIDEO_KINDS for suffix in kind)
CAPTION_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
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
        self._turn = threading.Lock()  # a handle has one place at a time
        self.rejected: list[Rejected] = list(self.container.rejected)
        self._members: dict[str, Member] = {}
        self.others = [m.name for m in self.container.members if not is_clip_or_captions(m.name)]  # left out
        self.others += [name for name in self.container.hidden if is_video(name) and "/._" not in f"/{name}"]
        self.entries: list[VideoEntry] = self._find()

    def __reduce__(self) -> tuple[type[VideoArchive], tuple[Path]]:
        return VideoArchive, (self.path,)

    def read(self, entry: VideoEntry) -> bytes:
        """The clip's bytes. Raises ValueError with the archive's own words where they are damaged."""
        try:
            with self._turn, self.container.open(self._members[entry.name]) as stream:
                return stream.read()
        except READ_ERRORS as error:
            raise self._damaged(entry, error) from None

    def extract(self, entry: VideoEntry, folder: Path) -> Path:
        """Copy the clip into `folder` under a name made of its key's safe characters. Raises ValueError as `read`."""
        safe = re.sub(r"[^\w-]", "_", entry.key, flags=re.ASCII)[-100:]
        target = folder / (safe + PurePosixPath(entry.name).suffix.lower())
        with target.open("wb") as file:
            try:
                with self._turn, self.container.open(self._members[entry.name]) as stream:
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
        entries: dict[str, VideoEntry] = {}
        bare: dict[str, str] = {}  # a clip's path without suffix to its name
        for name, key, member in self._clips():
            path = str(PurePosixPath(name).with_suffix(""))
            if member.size == 0:
                self.rejected.append(Rejected(key, f"{name!r}: an empty file"))
            elif path in bare:
                self.rejected.append(Rejected(key, f"{name!r}: a second clip of this name; {bare[path]!r} is used"))
            elif key in entries:
                first = entries[key].name
                self.rejected.append(Rejected(key, f"{name!r}: a second clip of this name; {first!r} is used"))
            else:
                bare[path] = name
                entries[key] = VideoEntry(key, name, member.size)
                self._members[name] = member
        return sorted(entries.values(), key=lambda entry: natural_order(entry.key))

    def _clips(self) -> Iterator[tuple[str, str, Member]]:
        """Name, key and member of each clip: videos first, then what may be their posters."""
        videos = [member for member in self.container.members if is_video(member.name)]
        keys = _keys([member.name for member in videos])
        for member in sorted(videos, key=lambda member: kind_of(member.name)):
            yield member.name, keys[member.name], member


def open_videos(path: Path) -> VideoArchive:
    """List the videos of a zip, tar or folder. Raises ValueError where it is none of these or is not whole."""
    return VideoArchive(Path(path))


def is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_clip_or_captions(name: str) -> bool:
    return name.lower().endswith((*VIDEO_SUFFIXES, *CAPTION_SUFFIXES))


def kind_of(name: str) -> int:
    """The place of a clip's suffix in VIDEO_KINDS."""
    return next(place for place, kind in enumerate(VIDEO_KINDS) if name.lower().endswith(kind))


def _keys(names: list[str]) -> dict[str, str]:
    """Member name to clip key: the bare name, or the path without suffix where several of a kind share a bare name.

    MSR-VTT's own ids (video123) are global: a second one is a duplicate, whatever folder it is in.
    """
    keys: dict[str, str] = {}
    taken: set[str] = set()  # by a kind before
    for place in range(len(VIDEO_KINDS)):
        stems = {name: PurePosixPath(name).stem for name in names if kind_of(name) == place}
        shared = taken | {stem for stem, n in Counter(stems.values()).items() if n > 1}
        for name, stem in stems.items():
            is_bare = stem not in shared or MSRVTT_ID.fullmatch(stem)
            keys[name] = stem if is_bare else str(PurePosixPath(name).with_suffix(""))
        taken |= set(stems.values())
    return keys
