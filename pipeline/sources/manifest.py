"""What the download stage leaves in data/raw: the videos' archive, the captions, and manifest.json that names both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.runtime.files import write_json
from pipeline.sources.archive import VideoArchive, open_videos
from pipeline.sources.captions import read_captions


@dataclass(frozen=True)
class Manifest:
    """Paths are relative to the manifest's folder; `captions` equals `videos` where they lie beside the clips."""

    source: str  # sample | emoji | kaggle | local
    origin: dict[str, str]  # where each came from: a slug, a file name, "drawn"
    videos: str
    captions: str
    files: dict[str, dict[str, int | str]]  # relative path -> {"bytes", "sha256"}
    clips: int
    captioned_clips: int
    captions_read: int
    rejected: int  # members and captions; transcode names each in rejected.csv
    left_out: dict[
        str, str
    ]  # files that came along and are neither clip nor captions, and why; transcode names them too


def describe(
    folder: Path,
    *,
    source: str,
    origin: dict[str, str],
    videos: str,
    captions: str,
    left_out: dict[str, str] | None = None,  # what a user's folder had besides
) -> Manifest:
    """Look into what was fetched, write manifest.json beside it and return it.

    Raises ValueError where there is no clip, no caption, or no clip that has one.
    """
    archive = videos_of(folder / videos, origin["videos"])
    captioned = read_captions(folder / captions).matched(archive.entries)
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
        files={name: _file_facts(folder / name) for name in sorted({videos, captions})},
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


def _file_facts(path: Path) -> dict[str, int | str]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
