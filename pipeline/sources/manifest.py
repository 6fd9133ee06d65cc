"""The outputs of the download stage in data/raw: the videos' archive, the captions, and manifest.json that names both.

The user's own archive or folder may stay where it is; then the manifest alone stands for it, and knows it again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.runtime.files import own_path, write_json
from pipeline.sources.archive import VideoArchive, open_videos
from pipeline.sources.captions import read_captions
from pipeline.sources.members import Container


@dataclass(frozen=True)
class Manifest:
    """Paths are relative to the manifest's folder; `captions` equals `videos` where they lie beside the clips.

    In place, `videos` is the user's path as params name it.
    """

    source: str  # sample | emoji | kaggle | local
    origin: dict[str, str]  # where each came from: a slug, a file name, "drawn"
    videos: str
    captions: str
    files: dict[str, dict[str, int | str]]  # path -> {"bytes", "sha256"}, in place "modified_ns" as well
    clips: int
    captioned_clips: int
    captions_read: int
    rejected: int  # members and captions; transcode names each in rejected.csv
    left_out: dict[
        str, str
    ]  # files that came along and are neither clip nor captions, and why; transcode names them too

    @property
    def in_place(self) -> bool:
        """Whether the videos stay where the user has them."""
        return "modified_ns" in self.files[self.videos]

    def path(self, folder: Path, name: str) -> Path:
        """The path of `videos` or `captions`; `folder` is the manifest's."""
        return own_path(name) if self.in_place and name == self.videos else folder / name

    def require_same(self, folder: Path) -> None:
        """Raise ValueError, one line, where an archive in place is gone or is another by now.

        Its time is the sign: where that has changed the SHA-256 decides.
        """
        path, noted = self.path(folder, self.videos), self.files[self.videos]
        if not self.in_place:
            return
        if not path.exists():
            raise ValueError(
                f"{path}: gone; it was taken in place (download.in_place) and nothing else holds its clips: bring it "
                "back, or name another in download.path and run `dvc repro`"
            )
        facts = _facts_in_place(path, is_same_as=noted)
        if facts["sha256"] != noted["sha256"]:
            raise ValueError(
                f"{path}: not what it was when it was taken in place (download.in_place): {noted['bytes']} bytes with "
                f"SHA-256 {str(noted['sha256'])[:12]}… then, {facts['bytes']} with {str(facts['sha256'])[:12]}… now; "
                "bring it back, or take it anew by `dvc repro -f download`"
            )


def describe(
    folder: Path,
    *,
    source: str,
    origin: dict[str, str],
    videos: str,
    captions: str,
    left_out: dict[str, str] | None = None,  # what a user's folder had besides
    in_place: bool = False,  # the videos lie where the path `videos` says
) -> Manifest:
    """Look into what was fetched, write manifest.json beside it and return it.

    Raises ValueError where there is no clip, no caption, or no clip that has one.
    """
    where = {name: own_path(name) if in_place and name == videos else folder / name for name in {videos, captions}}
    archive = videos_of(where[videos], origin["videos"])
    captioned = read_captions(where[captions]).matched(archive.entries)
    n_both = sum(entry.key in captioned.captions for entry in archive.entries)
    if n_both == 0:
        raise ValueError(
            f"none of the {len(archive.entries)} clips of {origin['videos']} (such as {archive.entries[0].key!r}) has "
            f"a caption in {origin['captions']} (such as {next(iter(captioned.captions))!r}); the names must agree"
        )
    manifest = Manifest(
        source=source,
        origin=origin,
        videos=videos,
        captions=captions,
        files={name: _facts(where[name], in_place and name == videos) for name in sorted(where)},
        clips=len(archive.entries),
        captioned_clips=n_both,
        captions_read=sum(map(len, captioned.captions.values())),
        rejected=len(archive.rejected) + len(captioned.rejected),
        left_out=left_out or left_out_of(archive),
    )
    write_json(folder / "manifest.json", asdict(manifest))
    return manifest


def videos_of(path: Path, name: str) -> VideoArchive:
    """`open_videos`, and a ValueError that calls it `name` and says what it holds where it holds no clip."""
    archive = open_videos(path)
    if not archive.entries:
        members, rejected = archive.container.members, archive.rejected
        found = [f"{len(members)} files, such as {members[0].name!r}"] if members else []
        if rejected:
            found.append(f"{len(rejected)} refused, the first: {rejected[0].reason}")
        words = "; ".join(found) or "it is empty"
        raise ValueError(f"{name}: no video in it ({words}); give an archive or folder of mp4, mkv, webm, gif … files")
    return archive


def left_out_of(archive: VideoArchive) -> dict[str, str]:
    """Files that are neither clips nor captions, and of a folder also those that cannot be read."""
    others = dict.fromkeys(archive.others, "by its name neither a video nor captions")
    if archive.path.is_dir():
        others |= {rejected.key: rejected.reason for rejected in archive.container.rejected}
    return others


def read_manifest(folder: Path) -> Manifest:
    """The manifest of data/raw. Raises ValueError where there is none."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(f"{path}: no manifest; run `dvc repro download` first")
    return Manifest(**json.loads(path.read_text(encoding="utf-8")))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(path: Path, in_place: bool) -> dict[str, int | str]:
    return _facts_in_place(path) if in_place else {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _facts_in_place(path: Path, is_same_as: dict[str, int | str] | None = None) -> dict[str, int | str]:
    """Bytes, time and SHA-256 of an archive or, of its members' names and contents, of a folder.

    With bytes and time as noted, the noted SHA-256 is taken for its own.
    """
    container = Container(path)
    files = sorted(container.members, key=lambda member: member.name)
    n_bytes = path.stat().st_size if path.is_file() else sum(member.size for member in files)
    facts: dict[str, int | str] = {"bytes": n_bytes, "modified_ns": container.modified_ns}
    if is_same_as is not None and facts.items() <= is_same_as.items():
        return is_same_as
    if path.is_file():
        return facts | {"sha256": sha256_of(path)}
    digest = hashlib.sha256()
    for member in files:
        with container.open(member) as file:
            digest.update(f"{member.name}\0{hashlib.sha256(file.read()).hexdigest()}\0".encode())
    return facts | {"sha256": digest.hexdigest()}
