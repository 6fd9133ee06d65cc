"""Data sets from Kaggle by the real client: resumed after a kill, verified, never unpacked, and lost by no failure.

A download lives in `.scratch/download/kaggle-…/`, and stays there, once whole, as a second name of the same bytes.
The client checks no content, so that is done here: a damaged archive is set aside, and the next run downloads anew.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from pathlib import Path

from pipeline.runtime.progress import Progress
from pipeline.runtime.scratch import claim_folder, scratch_folder
from pipeline.sources.kaggle_client import download_files
from pipeline.sources.members import READ_ERRORS

log = logging.getLogger("t2v")

SLUG = re.compile(r"[\w.-]+/[\w.-]+(/[0-9]+)?")


def download(slug: str, *, sha256: str | None, param: str) -> Path:
    """The verified zip of `owner/name[/version]`, in the scratch folder. `param` is the params key that names it.

    Raises ValueError, one line, saying what happened and what to do; a rerun continues.
    """
    if not SLUG.fullmatch(slug):
        raise ValueError(f"{param}: {slug!r} is no Kaggle data set; write owner/name or owner/name/version")
    folder = scratch_folder("download", "kaggle-" + slug.replace("/", "__"))
    target = folder / f"{slug.split('/')[1]}.zip"
    with claim_folder(folder, wait=True):
        if sha256 is not None and not target.exists():
            _take_back(target, sha256)
        log.info("downloading %s from Kaggle into %s", slug, folder)
        md5 = download_files(slug, target, param)
        _verify(target, slug, md5=md5, sha256=sha256, sha256_param=param.replace("_slug", "_sha256"))
    log.info("%s: %d bytes, whole", slug, target.stat().st_size)
    return target


def _verify(target: Path, slug: str, *, md5: str | None, sha256: str | None, sha256_param: str) -> None:
    """The declared MD5, the wanted SHA-256, and each member's CRC; a file that fails is set aside."""
    if not target.is_file():
        raise ValueError(f"{slug}: the client left no {target.name}; run the same command again")
    digests = _digests(target)
    fault = f"its MD5 is {digests['md5']}, declared was {md5}" if md5 not in (None, digests["md5"]) else None
    if fault is None and sha256 is not None and sha256.strip().lower() != digests["sha256"]:
        fault = f"its sha256 is {digests['sha256']}, {sha256_param} says {sha256} (mend that if it is wrong)"
    fault = fault or _archive_fault(target)
    if fault is not None:
        aside = _set_aside(target, digests["sha256"])
        raise ValueError(f"{slug}: what came is damaged: {fault}; set aside as {aside}, run again to download it anew")


def _digests(path: Path) -> dict[str, str]:
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file, _bar(path.stat().st_size, "hashing") as bar:
        while block := file.read(2**20):
            for digest in digests.values():
                digest.update(block)
            bar.update(len(block))
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _archive_fault(path: Path) -> str | None:
    """Why the zip is not whole, or None; every member is read against its CRC."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            _bar(sum(i.compress_size for i in archive.infolist()), "checking") as bar,
        ):
            for info in archive.infolist():
                with archive.open(info) as stream:
                    while stream.read(2**20):
                        pass
                bar.update(info.compress_size)
    except READ_ERRORS as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _set_aside(target: Path, sha256: str) -> Path:
    """Out of the client's sight, under its digest; an earlier one of the same data set goes."""
    for older in target.parent.glob(f"{target.name}.damaged-*"):
        older.unlink()
    aside = target.with_name(f"{target.name}.damaged-{sha256}")
    target.replace(aside)
    return aside


def _take_back(target: Path, sha256: str) -> None:
    """A file set aside for a wrong params value is the wanted one once that is mended."""
    aside = target.with_name(f"{target.name}.damaged-{sha256.strip().lower()}")
    if aside.is_file():
        aside.replace(target)


def _bar(total: int, words: str) -> Progress:
    return Progress(total=total, desc=words, unit="B", unit_scale=True)
