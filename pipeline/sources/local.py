"""Clips that the user has: a zip, a tar or a folder, and their captions (see msrvtt.py for the forms).

An archive is copied as it is. A folder, and a compressed tar, become one plain tar: one file to hash, and each clip
can be read without unpacking the rest.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from pipeline.config.params import DownloadParams
from pipeline.sources.archive import VIDEO_SUFFIXES, is_video, open_videos
from pipeline.sources.manifest import Manifest, describe, videos_of
from pipeline.sources.members import natural_order
from pipeline.sources.msrvtt import read_captions

CAPTION_SUFFIXES = (".json", ".jsonl", ".csv", ".txt")


def fetch(params: DownloadParams, out: Path) -> Manifest:
    """Bring `params.path` and `params.captions_path` into `out`. Raises ValueError, one line."""
    assert params.path is not None, "checked by DownloadParams"
    source = _videos_in(_existing(params.path, "download.path"))
    if source.is_file() and is_video(source.name):
        raise ValueError(f"download.path: {source} is one video; give the folder it is in, or a zip or tar of clips")
    videos_of(source, source.name)
    given = params.captions_path or str(_captions_of(source, Path(params.path).expanduser()))
    videos = _bring(source, out, "videos")
    captions = videos if Path(given) == source else bring_captions(given, out)
    origin = {"videos": source.name, "captions": Path(given).name}
    return describe(out, source="local", origin=origin, videos=videos, captions=captions)


def bring_captions(text: str, out: Path) -> str:
    """Copy or pack the captions at `download.captions_path` into `out`; the new file's name."""
    return _bring(_existing(text, "download.captions_path"), out, "captions")


def _videos_in(path: Path) -> Path:
    """The path itself; or, for a folder with no video but one archive of videos in it, that archive."""
    if not path.is_dir() or open_videos(path).entries:
        return path
    found = [file for file in sorted(path.iterdir()) if _is_archive(file) and open_videos(file).entries]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"download.path: {path} holds several archives of videos ({names}); give one of them")
    return found[0] if found else path


def _captions_of(videos: Path, given: Path) -> Path:
    """Where captions are when `captions_path` is null: among the videos, or in the only other file of their folder."""
    try:
        read_captions(videos)
        return videos
    except ValueError as error:
        beside = given.iterdir() if given.is_dir() and given != videos else ()
        found = [f for f in sorted(beside) if f != videos and (_is_archive(f) or f.suffix in CAPTION_SUFFIXES[:3])]
        if len(found) == 1:
            return found[0]
        names = ", ".join(file.name for file in found)
        also = f" (one of {names})" if found else ""
        raise ValueError(f"{error}, and name it in download.captions_path{also}") from None


def _is_archive(path: Path) -> bool:
    return path.is_file() and (zipfile.is_zipfile(path) or _is_tar(path))


def _existing(text: str, param: str) -> Path:
    path = Path(text).expanduser()
    if not path.exists():
        raise ValueError(f"{param}: {path} does not exist (looked from {Path.cwd()}); set it in params.yaml")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{param}: {path} is an empty file; get it anew")
    return path


def _bring(source: Path, out: Path, name: str) -> str:
    """Copy or pack into `out`; the new file's name."""
    if source.is_dir():
        pack_folder(source, out / f"{name}.tar")
        return f"{name}.tar"
    if source.suffix.lower() in CAPTION_SUFFIXES:
        target = out / (name + source.suffix.lower())
    elif zipfile.is_zipfile(source):
        target = out / f"{name}.zip"
    elif _is_tar(source):
        target = out / f"{name}.tar"
        _copy_tar(source, target)
        return target.name
    else:
        raise ValueError(f"{source}: neither a whole zip or tar archive nor a folder; get it anew or unpack it")
    shutil.copyfile(source, target)
    return target.name


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError):  # a compressed tar cut in its first block
        return False


def _copy_tar(source: Path, target: Path) -> None:
    """A tar as it is; a gzip, bzip2 or xz one unwrapped to a plain tar, as far as the disk has room."""
    with tarfile.open(source) as archive:
        stream = archive.fileobj
        assert stream is not None
        stream.seek(0)
        with target.open("wb") as file:
            try:
                _copy_within_room(stream, file, target)
            except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
                raise ValueError(f"{source}: a damaged archive ({error}); get it anew") from None


def _copy_within_room(stream, file, target: Path) -> None:  # type: ignore[no-untyped-def]
    room = shutil.disk_usage(target.parent).free
    while block := stream.read(2**20):
        room -= len(block)
        if room < 0:
            raise ValueError(f"{target.parent}: no room to unwrap the archive; free space, or give a plain tar")
        file.write(block)


def pack_folder(folder: Path, target: Path) -> None:
    """The folder's videos and caption files as one tar of fixed order, owner and dates. Links go in as links."""
    wanted = (*VIDEO_SUFFIXES, *CAPTION_SUFFIXES)
    paths = [Path(root) / name for root, _, names in os.walk(folder, followlinks=False) for name in names]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(paths, key=lambda path: natural_order(path.relative_to(folder).as_posix())):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.mode = 0o644
            if not path.name.lower().endswith(wanted):
                continue
            if path.is_symlink():
                info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(info)
            elif path.is_file():
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(info, file)
