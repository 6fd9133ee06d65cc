"""Archives, annotations and params of the user's own clips, for tests."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from pipeline.config.data import DownloadParams


def make_zip(path: Path, files: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def local_params(path: Path, captions: Path | None = None) -> DownloadParams:
    return DownloadParams(
        source="local",
        path=str(path),
        in_place=False,
        captions_path=str(captions) if captions else None,
        videos_slug="owner/videos",
        captions_slug="owner/captions",
        videos_sha256=None,
        captions_sha256=None,
        sample_clips=4,
        seed=0,
    )


def msrvtt_json(captions: list[tuple[str, Any]], splits: dict[str, str]) -> bytes:
    return json.dumps(
        {
            "info": {},
            "videos": [{"video_id": key, "split": split, "start time": 0.0} for key, split in splits.items()],
            "sentences": [{"sen_id": n, "video_id": key, "caption": text} for n, (key, text) in enumerate(captions)],
        }
    ).encode()
