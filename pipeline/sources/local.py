"""Clips that the user has: a zip, a tar or a folder, and their captions (see captions.py for the forms).

An archive is copied as it is. A folder, links followed, and a compressed tar become one plain tar: one file to hash,
and each clip can be read without unpacking the rest. Or nothing is copied: then the user's own is read where it is.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from pipeline.config.data import DownloadParams
from pipeline.runtime.files import own_path
from pipeline.sources.archive import CAPTION_SUFFIXES, VideoArchive, is_clip_or_captions, is_video, kind_of, open_videos
from pipeline.sources.captions import TABLE_SUFFIXES, read_captions
from pipeline.sources.manifest import Manifest, describe, left_out_of, videos_of
from pipeline.sources.members import natural_order

SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


def fetch(params: DownloadParams, out: Path) -> Manifest:
    """Bring `params.path` and `params.captions_path` into `out`. Raises ValueError, one line."""
    assert params.path is not None, "checked by DownloadParams"
    source = _videos_in(_existing(params.path, "download.path"))
    if source.is_file() and is_video(source.name):
        raise ValueError(f"download.path: {source} is one video; give the folder it is in, or a zip or tar of clips")
    archive = videos_of(source, source.name)
    left_out = left_out_of(archive) if source.is_dir() else {}
    given = params.captions_path or str(_captions_of(source, own_path(params.path)))
    if params.in_place:
        _require_plain(source)
        videos = str(Path(params.path, *source.relative_to(own_path(params.path)).parts))
    else:
        videos = _bring(source, out, "videos")
    captions = videos if own_path(given) == source else bring_captions(given, out)
    origin = {"videos": source.name, "captions": Path(given).name}
    return describe(
        out,
        source="local",
        origin=origin,
        videos=videos,
        captions=captions,
        left_out=left_out,
        in_place=params.in_place,
    )


def bring_captions(text: str, out: Path) -> str:
    """Copy or pack the captions at `download.captions_path` into `out`; the new file's name."""
    return _bring(_existing(text, "download.captions_path"), out, "captions")


def _videos_in(path: Path) -> Path:
    """The path itself; or, for a folder with no video but one archive of videos in it, that archive."""
    if not path.is_dir() or any(kind_of(entry.name) < 2 for entry in open_videos(path).entries):
        return path
    found = [file for file in sorted(path.iterdir()) if _is_archive(file) and open_videos(file).entries]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"download.path: {path} holds several archives of videos ({names}); give one of them")
    return found[0] if found else path


def _captions_of(videos: Path, given: Path) -> Path:
    """Captions when `captions_path` is null: among the videos, or in the only other file of their folder."""
    try:
        read_captions(videos)
        return videos
    except ValueError as error:
        beside = given.iterdir() if given.is_dir() and given != videos else ()
        found = [f for f in sorted(beside) if f != videos and (_is_archive(f) or f.suffix.lower() in TABLE_SUFFIXES)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(file.name for file in found)
        also = f" (one of {names})" if found else ""
        raise ValueError(f"{error}, and name it in download.captions_path{also}") from None


def _is_archive(path: Path) -> bool:
    return path.is_file() and (zipfile.is_zipfile(path) or _is_tar(path))


def _existing(text: str, param: str) -> Path:
    path = own_path(text)
    if not path.exists():
        raise ValueError(f"{param}: {path} does not exist (looked from {Path.cwd()}); set it in params.yaml")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{param}: {path} is an empty file; get it anew")
    return path


def _bring(source: Path, out: Path, name: str) -> str:
    """Copy or pack into `out`; the new file's name."""
    if source.is_dir():
        pack_folder(open_videos(source), out / f"{name}.tar")
        return f"{name}.tar"
    if source.suffix.lower() in SPREADSHEETS:
        raise ValueError(f"{source}: a spreadsheet; save it as CSV (UTF-8) and give that")
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


def _require_plain(source: Path) -> None:
    """Raise ValueError where clips cannot be read in place."""
    if source.is_file() and not zipfile.is_zipfile(source):
        try:
            tarfile.open(source, "r:").close()
        except tarfile.ReadError:
            raise ValueError(
                f"download.in_place: {source} is a compressed tar, which has to be unwrapped before a clip is read; "
                "give a zip, a plain tar or a folder, or set it to false"
            ) from None


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


def pack_folder(folder: VideoArchive, target: Path) -> None:
    """The folder's clips and caption files as one tar of fixed order, owner and dates."""
    members = [member for member in folder.container.members if is_clip_or_captions(member.name)]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in sorted(members, key=lambda member: natural_order(member.name)):
            info = tarfile.TarInfo(member.name)
            info.mode, info.size = 0o644, member.size
            with folder.container.open(member) as file:
                archive.addfile(info, file)
