"""The files inside a zip, a tar or a folder, read in place: nothing is unpacked and no name ever becomes a path.

Whatever in an archive could reach outside (`../`, absolute names, links, devices), blow up (a zip bomb, a sparse or
overlapping member) or hide another file (a name given twice) is not a member but a line in `rejected`. A folder is the
user's own: its links are followed. Names are Unicode in composed form (NFC), however they were stored.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import stat
import struct
import tarfile
import unicodedata
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

BOMB_RATIO = 100  # no video and no caption file deflates by more
BOMB_BYTES = 16 * 2**20  # … and below this size it does no harm
UTF8_FLAG = 0x800  # of a zip member's name (APPNOTE 4.4.4, bit 11)
UNICODE_PATH = 0x7075  # Info-ZIP's extra field
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
SPLIT_PART = re.compile(r"\.(z\d\d|\d{3})$", re.IGNORECASE)
JOIN_PARTS = (
    "a part of a split archive; join its parts first (zip -s 0 x.zip --out whole.zip; cat x.zip.0* > whole.zip)"
)
READ_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """One readable file; `index` is its place in the container's own listing."""

    name: str
    size: int  # bytes, unpacked
    index: int


@dataclass(frozen=True)
class Rejected:
    """A clip, caption or member left out. `key` names the clip."""

    key: str
    reason: str


class Container:
    """A zip, tar or folder. Pickles as its path; each process opens its own handle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: zipfile.ZipFile | tarfile.TarFile | None = None
        self._infos: list[Any] = []
        self.members: list[Member] = []
        self.rejected: list[Rejected] = []
        self.hidden: list[str] = []  # names that begin with a dot, and what macOS adds
        self._open()
        self._sort_out()

    def __reduce__(self) -> tuple[type[Container], tuple[Path]]:
        return Container, (self.path,)

    def open(self, member: Member) -> IO[bytes]:
        """A stream of the member's bytes; it never yields more than `member.size`. Read errors are READ_ERRORS."""
        info = self._infos[member.index]
        if isinstance(self._handle, zipfile.ZipFile):
            return self._handle.open(info)
        if isinstance(self._handle, tarfile.TarFile):
            stream = self._handle.extractfile(info)
            assert stream is not None, member
            return stream
        return info.open("rb")

    @property
    def modified_ns(self) -> int:
        """When the archive, or of a folder its newest file, was last written."""
        files = [self._infos[member.index] for member in self.members] if self.path.is_dir() else []
        return max(file.stat().st_mtime_ns for file in files or [self.path])

    def _open(self) -> None:
        path = self.path
        if path.is_dir():
            self._infos = list(_walk(path))
            return
        if not path.is_file():
            raise ValueError(f"{path}: no such file or folder; give a zip, a tar or a folder that exists")
        if SPLIT_PART.search(path.name) or _is_split_zip(path):
            raise ValueError(f"{path}: {JOIN_PARTS}")
        try:
            if zipfile.is_zipfile(path):
                self._handle = zipfile.ZipFile(path)
                self._infos = self._handle.infolist()
            else:
                self._handle = tarfile.open(path)  # noqa: SIM115 (kept open for reading members)
                weakref.finalize(self, self._handle.close)
                self._infos = self._handle.getmembers()
        except (*READ_ERRORS, UnicodeDecodeError) as error:
            words = "" if isinstance(error, tarfile.ReadError) else f" ({' '.join(str(error).split())})"
            raise ValueError(f"{path}: not a whole zip or tar archive{words}; get it anew, or give a folder") from None

    def _sort_out(self) -> None:
        seen: set[str] = set()
        overlapping = _overlapping(self._infos) if isinstance(self._handle, zipfile.ZipFile) else set()
        for index, info in enumerate(self._infos):
            name, size, trick = self._describe(info)
            reason = _name_trick(name) or trick
            if reason is None and index in overlapping:
                reason = "overlaps another member of the archive (a zip bomb)"
            if reason is None and (name.endswith("/") or _is_junk(name)):
                self.hidden += [] if name.endswith("/") else [name]
                continue
            if reason is None and name in seen:
                reason = "a second file of this name; the first is used"
            if reason is not None:
                self.rejected.append(Rejected(_key_for_people(name), f"{name!r}: {reason}"))
                continue
            seen.add(name)
            self.members.append(Member(name, size, index))

    def _describe(self, info: Any) -> tuple[str, int, str | None]:
        """Name with forward slashes (a folder's ends in one), bytes, and what is wrong with the member, if anything."""
        if isinstance(info, zipfile.ZipInfo):
            return readable(_zip_name(info)).replace("\\", "/"), info.file_size, _zip_trick(info)
        if isinstance(info, tarfile.TarInfo):
            return readable(info.name) + ("/" if info.isdir() else ""), info.size, _tar_trick(info)
        name = readable(info.relative_to(self.path).as_posix())
        try:
            found = info.stat()
        except OSError:
            return name, 0, "a link that leads nowhere"
        if stat.S_ISDIR(found.st_mode):
            return name, 0, "a link to a folder that it lies in"
        return name, found.st_size, None if stat.S_ISREG(found.st_mode) else "not a plain file"


def natural_order(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts video9 before video10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"([0-9]+)", text) if part)


def readable(name: str) -> str:
    """The name in composed form (NFC); bytes that are no UTF-8 are read as Latin-1, so that any file can write it."""
    with contextlib.suppress(UnicodeEncodeError):
        name.encode()
        return unicodedata.normalize("NFC", name)
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("latin-1"))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as its writer meant it: without the flag it is code page 437 by the standard, and UTF-8 by habit."""
    if info.flag_bits & UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    with contextlib.suppress(UnicodeDecodeError):
        return _unicode_path(info.extra, raw) or raw.decode()
    return info.orig_filename


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in Info-ZIP's extra field, where it belongs to the name `raw`."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and body[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return body[5:].decode()
    return None


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files in order of name, links followed; of a link that leads back up, itself."""
    above = above | {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.resolve() not in above:
            yield from _walk(path, above)
        else:
            yield path


def _name_trick(name: str) -> str | None:
    if "\0" in name:
        return "a name with a NUL character"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name):
        return "an absolute path"
    if ".." in re.split(r"[\\/]", name):
        return "a path that climbs out with '..'"
    return None


def _is_split_zip(path: Path) -> bool:
    """Whether the end of the archive says that it is not its first disk (APPNOTE 4.3.16)."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 2**16 + 22), os.SEEK_END)
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    return end >= 0 and len(tail) >= end + 22 and struct.unpack_from("<H", tail, end + 4)[0] not in (0, 0xFFFF)


def _zip_trick(info: zipfile.ZipInfo) -> str | None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link" if stat.S_ISLNK(mode) else "not a plain file"
    if info.flag_bits & 0x1:
        return "encrypted; pack it without a password"
    if info.compress_type not in ZIP_METHODS:
        return f"compressed by a method that Python cannot read ({info.compress_type}); pack it stored or deflated"
    if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * info.compress_size:
        return f"a zip bomb ({info.compress_size} bytes that say they unpack to {info.file_size})"
    return None


def _tar_trick(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "a link"
    if info.issparse():
        return "a sparse file"
    return None if info.isfile() or info.isdir() else "not a plain file"


def _overlapping(infos: Iterable[zipfile.ZipInfo]) -> set[int]:
    """Members whose bytes begin inside an earlier member's."""
    found, end = set(), -1
    for start, index, length in sorted((i.header_offset, n, i.compress_size) for n, i in enumerate(infos)):
        if start < end:
            found.add(index)
        end = max(end, start + 30 + length)  # 30: the fixed part of a local header
    return found


def _is_junk(name: str) -> bool:
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _key_for_people(name: str) -> str:
    return re.split(r"[\\/]", name.rstrip("/\\"))[-1].rsplit(".", 1)[0] or name
