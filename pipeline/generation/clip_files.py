"""Clips on disk: names that never collide, and an index that says how each clip was made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SLUG_BYTES = 120  # file systems take 255 for a name, of which seed, counter and suffix need some
INDEX_FILE = "prompts.jsonl"


def slug(prompt: str) -> str:
    """A file name's part out of a prompt: letters and digits of any script, the rest as hyphens."""
    name = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-").encode()[:SLUG_BYTES].decode(errors="ignore")
    return name.strip("-") or "prompt"


def reserve(folder: Path, name: str, format_: str) -> Path:
    """A new path without its suffix, claimed on disk so that no other run, now or later, gets it."""
    folder.mkdir(parents=True, exist_ok=True)
    counter = 1
    while True:
        numbered = name + (f"-{counter}" if counter > 1 else "")
        try:
            if format_ == "png":
                (folder / numbered).mkdir()
            else:
                (folder / f"{numbered}.{format_}").touch(exist_ok=False)
            return folder / numbered
        except FileExistsError:
            counter += 1


def record(path: Path, facts: dict[str, Any]) -> None:
    """Append how a clip was made to its folder's index, so that it can be made again."""
    with (path.parent / INDEX_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"file": path.name, **facts}, ensure_ascii=False) + "\n")
