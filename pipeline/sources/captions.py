"""Captions of clips, loose or in an archive: a table (JSON, CSV …), lists of lines, or x.txt beside each clip.

Every caption of a clip is kept, in file order, and what else a table says of the clip as its attributes. A caption
that is empty or no text is named in `rejected`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from pipeline.sources.archive import VideoArchive, is_video
from pipeline.sources.caption_files import (
    ROW,
    CaptionFile,
    OtherTableError,
    clip_key,
    decode_text,
    looks_delimited,
    read_table,
)
from pipeline.sources.caption_set import CaptionSet
from pipeline.sources.members import READ_ERRORS, Member, Rejected, natural_order
from pipeline.sources.splits import SPLITS, more_held_back, split_named, split_told_by

TABLE_SUFFIXES = (".json", ".csv", ".tsv", ".jsonl", ".ndjson")
LISTS_OF_CAPTIONS = ("prompts", "prompt", "captions", "caption", "texts", "text", "labels")  # beside a list of videos
MAX_CAPTION_CHARACTERS = 5000


@dataclass
class _Reading:
    """The captions read so far."""

    captions: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    split_by_file: dict[str, str] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    test_1k_a: set[str] = field(default_factory=set)

    def hold_back(self, splits: dict[str, str], key: str, split: str | None) -> None:
        if split is not None:
            splits[key] = more_held_back(splits.get(key), split)


def read_captions(path: Path) -> CaptionSet:
    """Captions of a table or .txt file, or of a folder or archive of them.

    In a folder or archive the tables count; where there is none, a list of captions beside a list of videos
    (prompts.txt and videos.txt); else the .txt files, each the captions, one a line, of the clip beside it.
    Raises ValueError where nothing can be read.
    """
    path = Path(path)
    reading = _Reading()
    if path.suffix.lower() in (*TABLE_SUFFIXES, ".txt") and path.is_file():
        _add_file(reading, path.name, path.read_bytes())
    else:
        _add_container(reading, path)
    if not reading.captions:
        raise ValueError(_nothing_in(path, reading.rejected))
    keys = sorted(reading.captions, key=natural_order)
    return CaptionSet(
        captions={key: tuple(reading.captions[key]) for key in keys},
        rejected=tuple(reading.rejected),
        attributes={key: reading.attributes[key] for key in keys if key in reading.attributes},
        split=reading.split,
        split_by_file=reading.split_by_file,
        test_1k_a=frozenset(reading.test_1k_a),
    )


def _nothing_in(path: Path, rejected: Sequence[Rejected]) -> str:
    why = f"; first of {len(rejected)} rejected: {rejected[0].key}: {rejected[0].reason}" if rejected else ""
    return f"{path}: no caption found; give CSV (video_id,caption), JSON, JSONL or x.txt beside each clip{why}"


def _add_container(reading: _Reading, path: Path) -> None:
    archive = VideoArchive(path)
    keys = {PurePosixPath(entry.name).stem for entry in archive.entries}
    seen: set[bytes] = set()
    others: list[OtherTableError] = []
    for member in _members(archive, TABLE_SUFFIXES):
        data = _read_member(archive, member)
        digest = hashlib.sha256(data).digest()
        if digest in seen:  # a mirror may hold the same file twice
            continue
        seen.add(digest)
        try:
            _add_file(reading, member.name, data, keys)
        except OtherTableError as other:
            others.append(other)
    if not reading.captions:
        _add_lists(reading, archive)
    if not reading.captions:
        _add_texts(reading, archive)
    if not reading.captions and others:
        raise ValueError(f"{path}: {others[0]}")
    if not reading.captions:
        reading.rejected += archive.container.rejected
    reading.rejected += [Rejected("captions", str(other)) for other in others]


def _members(archive: VideoArchive, suffixes: tuple[str, ...]) -> list[Member]:
    found = (member for member in archive.container.members if member.name.lower().endswith(suffixes))
    return sorted(found, key=lambda member: natural_order(member.name))


def _read_member(archive: VideoArchive, member: Member) -> bytes:
    try:
        with archive.container.open(member) as stream:
            return stream.read()
    except READ_ERRORS as error:
        raise ValueError(f"{archive.path}: {member.name} is damaged ({error}); get the archive anew") from None


# Tables


def _add_file(reading: _Reading, name: str, data: bytes, clips: Collection[str] = ()) -> None:
    if name.lower().endswith(".txt") and not looks_delimited(name, data):
        _add_lines(reading, clip_key(PurePosixPath(name).stem), data)
        return
    table = read_table(name, data, clips)
    told = split_told_by(name)
    keys = set(table.rows["key"])
    reading.test_1k_a |= table.test_1k_a
    if told == "test" and re.search("1k|jsfusion", name, re.IGNORECASE):
        reading.test_1k_a |= keys
    for key in keys:
        reading.hold_back(reading.split_by_file, key, told)
    _add_rows(reading, name, table)
    _add_attributes(reading, name, table.attributes)
    for key in table.clips - keys:
        reading.rejected.append(Rejected(key, f"no caption in {name}"))


def _add_rows(reading: _Reading, name: str, table: CaptionFile) -> None:
    earlier = set(reading.captions)
    again: Counter[str] = Counter()
    for key, caption, named, where, fault in table.rows[list(ROW)].itertuples(index=False, name=None):
        split = split_named(named)
        fault = fault or caption_fault(caption)
        if fault is None and named is not None and split is None:
            fault = f"split {named!r} is none of {', '.join(SPLITS)}"
        if fault is not None:
            reading.rejected.append(Rejected(key, f"{where}: {fault}"))
            continue
        if split is not None:
            reading.hold_back(reading.split, key, split)
        if key in earlier:
            again[key] += 1
        else:
            reading.captions.setdefault(key, []).append(one_line(caption))
    for key, count in again.items():
        reading.rejected.append(Rejected(key, f"{name}: a second file gives this clip captions ({count} left out)"))


def _add_attributes(reading: _Reading, name: str, table: pd.DataFrame) -> None:
    """Attributes on which all rows of a clip agree; a column on which they differ is no attribute of that clip."""
    for column in table.columns:
        values = table[column].dropna()
        n_values = values.groupby(level=0).nunique()
        parted = n_values.index[n_values > 1]
        if len(parted):
            words = f"{name}: column {column!r} differs between the captions of {len(parted)} clips, such as this one"
            reading.rejected.append(Rejected(str(parted[0]), f"{words}; left out for them"))
        for key, value in values[~values.index.isin(parted)].items():
            reading.attributes.setdefault(str(key), {}).setdefault(str(column), value)


# Text files


def _add_lists(reading: _Reading, archive: VideoArchive) -> None:
    """A list of videos, and in the same folder a list of as many captions: line by line."""
    texts = {member.name: member for member in _members(archive, (".txt",))}
    for name, member in texts.items():
        videos = _lines(name, _read_member(archive, member))
        if not videos or not all(is_video(line) for line in videos):
            continue
        for other in texts:
            if PurePosixPath(other).parent != PurePosixPath(name).parent or not _is_list_of_captions(other):
                continue
            captions = _lines(other, _read_member(archive, texts[other]))
            if len(captions) != len(videos):
                raise ValueError(
                    f"{archive.path}: {name} has {len(videos)} lines and {other} {len(captions)}; give a line for each"
                )
            for number, (video, caption) in enumerate(zip(videos, captions, strict=True), start=1):
                _add_caption(reading, clip_key(video), caption, f"{other} line {number}")


def _is_list_of_captions(name: str) -> bool:
    return PurePosixPath(name).stem.lower() in LISTS_OF_CAPTIONS


def _add_texts(reading: _Reading, archive: VideoArchive) -> None:
    keys = {str(PurePosixPath(entry.name).with_suffix("")): entry.key for entry in archive.entries}
    for member in _members(archive, (".txt",)):
        bare = str(PurePosixPath(member.name).with_suffix(""))
        if keys and bare not in keys:
            continue  # a readme
        key = keys.get(bare, PurePosixPath(bare).name)
        _add_lines(reading, key, _read_member(archive, member))
        if key in reading.captions:
            reading.hold_back(reading.split_by_file, key, split_told_by(str(PurePosixPath(bare).parent)))


def _add_lines(reading: _Reading, key: str, data: bytes) -> None:
    try:
        lines = [line.strip() for line in decode_text("its .txt", data).splitlines() if line.strip()]
    except ValueError as error:
        reading.rejected.append(Rejected(key, str(error)))
        return
    for number, line in enumerate(lines or [""], start=1):
        _add_caption(reading, key, line, f"caption {number} of its .txt")


def _lines(name: str, data: bytes) -> list[str]:
    """Lines without the blank ones at the end."""
    return [line.strip() for line in decode_text(name, data).rstrip().splitlines()]


def _add_caption(reading: _Reading, key: str, caption: str, where: str) -> None:
    fault = caption_fault(caption)
    if fault is not None:
        reading.rejected.append(Rejected(key, f"{where}: {fault}"))
    else:
        reading.captions.setdefault(key, []).append(one_line(caption))


# One caption


def caption_fault(caption: object) -> str | None:
    """Why this is no caption, or None: it must be a string with a letter or digit and no control characters."""
    if not isinstance(caption, str):
        return f"a caption that is no text ({type(caption).__name__})"
    if not caption.strip():
        return "an empty caption"
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return f"a caption of {len(caption)} characters; at most {MAX_CAPTION_CHARACTERS} are read"
    if caption.isascii() and caption.isprintable():
        return None if any(map(str.isalnum, caption)) else f"a caption with no letter or digit ({caption[:20]!r})"
    if any(unicodedata.category(c) in ("Cc", "Cs") and not c.isspace() for c in caption) or "\ufffd" in caption:
        return f"a caption that is no text ({caption[:20]!r})"
    return None if any(map(str.isalnum, caption)) else f"a caption with no letter or digit ({caption[:20]!r})"


def one_line(caption: str) -> str:
    """The caption as written, but for line breaks and tabs."""
    return caption if caption.isprintable() else " ".join(caption.split())
