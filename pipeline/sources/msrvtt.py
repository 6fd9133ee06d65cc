"""MSR-VTT from Kaggle: the videos and the captions of two data sets, as they are."""

from __future__ import annotations

import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from pipeline.config.data import DownloadParams
from pipeline.runtime.files import link_or_copy
from pipeline.sources import kaggle, local
from pipeline.sources.captions import read_captions
from pipeline.sources.manifest import Manifest, describe

VIDEO_PATTERN = "video*.mp4"


def fetch(params: DownloadParams, out: Path) -> Manifest:
    """Videos and captions of the two slugs, as they are, into `out`; the captions first, for they are small.

    A `captions_path` of the user's own stands in for the captions' slug. Raises ValueError, one line.
    """
    if params.captions_path is None:
        archive = kaggle.download(params.captions_slug, sha256=params.captions_sha256, param="download.captions_slug")
        read_captions(archive)
        captions, captions_origin = "captions.zip", params.captions_slug
        link_or_copy(archive, out / captions)
    else:
        captions, captions_origin = local.bring_captions(params.captions_path, out), Path(params.captions_path).name
    archive = kaggle.download(params.videos_slug, sha256=params.videos_sha256, param="download.videos_slug")
    _require_videos(archive, params.videos_slug)
    link_or_copy(archive, out / "videos.zip")
    origin = {"videos": params.videos_slug, "captions": captions_origin}
    return describe(out, source="kaggle", origin=origin, videos="videos.zip", captions=captions)


def _require_videos(archive: Path, slug: str) -> None:
    with zipfile.ZipFile(archive) as zipped:
        names = [name for name in zipped.namelist() if not name.endswith("/")]
    if not any(fnmatch(PurePosixPath(name).name.lower(), VIDEO_PATTERN) for name in names):
        example = f", such as {names[0]!r}" if names else ""
        raise ValueError(
            f"{slug}: its archive holds no {VIDEO_PATTERN} ({len(names)} files{example}); "
            "set download.videos_slug to a data set that holds MSR-VTT's videos"
        )
