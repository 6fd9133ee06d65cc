"""Captions and splits in MSR-VTT's ways: its JSON, CSV, JSONL, or an x.txt beside each clip; loose, or in an archive.

Every caption of a clip is kept, in file order. A caption that is empty or no text is named in `rejected`. Two rules of
splitting exist and exclude each other: the official one, and 1k-A, which trains on clips of the official test split.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.sources.archive import VideoArchive, is_video
from pipeline.sources.caption_files import CaptionRecord, OtherTableError, read_table
from pipeline.sources.members import READ_ERRORS, Container, Rejected, natural_order

SPLITS = ("train", "validate", "test")
SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **{"training": "train", "val": "validate", "valid": "validate", "validation": "validate", "testing": "test"},
}
VALIDATE_SHARE = 0.1  # of clips that come without any split
TABLE_SUFFIXES = (".json", ".csv", ".jsonl")
MAX_CAPTION_CHARACTERS = 5000


@dataclass(frozen=True)
class CaptionSet:
    """Captions and split by clip key, in natural order of the keys."""

    captions: dict[str, tuple[str, ...]]
    split: dict[str, str]  # official names: train | validate | test
    rejected: tuple[Rejected, ...]
    split_rule: str  # official | by hash (no file named a split)
    test_1k_a: frozenset[str] = field(default=frozenset())  # ids of the 1k-A test list, where such a file came along

    def split_by(self, rule: str) -> dict[str, str]:
        """Split by clip key under `rule`, 'official' or '1k-A'; raises ValueError where 1k-A cannot be had."""
        assert rule in ("official", "1k-A"), rule
        if rule == "official":
            return dict(self.split)
        if not self.test_1k_a:
            raise ValueError(
                "split=1k-A: its list of 1,000 test ids is not among the captions; put MSRVTT_JSFUSION_test.csv "
                "(columns key, vid_key, video_id, sentence) beside them, or use split=official"
            )
        if not self.test_1k_a & self.captions.keys():
            raise ValueError(
                "split=1k-A: none of its 1,000 test clips (of the official test split, video7010 to video9999) has "
                "captions here; add the official test set's captions and clips, or use split=official"
            )
        return {key: "test" if key in self.test_1k_a else "train" for key in self.captions}


@dataclass
class _Reading:
    """What has been read so far."""

    captions: dict[str, list[str]] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    test_1k_a: set[str] = field(default_factory=set)


def read_captions(path: Path) -> CaptionSet:
    """Captions of a .json, .csv, .jsonl or .txt file, or of a folder or archive of them.

    In a folder or archive the tables (JSON, CSV, JSONL) count; only where there is none, the .txt files do, each
    the captions, one a line, of the clip beside it. Raises ValueError where nothing can be read.
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
    named = bool(reading.split)
    split = reading.split if named else split_by_hash(keys)
    return CaptionSet(
        captions={key: tuple(reading.captions[key]) for key in keys},
        split={key: split.get(key, "train") for key in keys},
        rejected=tuple(reading.rejected),
        split_rule="official" if named else "by hash",
        test_1k_a=frozenset(reading.test_1k_a),
    )


def split_by_hash(keys: list[str]) -> dict[str, str]:
    """One clip in ten, at least one of two, to validate: by a hash of its key, the same on each machine."""
    ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    n_validate = max(1, int(len(keys) * VALIDATE_SHARE)) if len(keys) > 1 else 0
    chosen = set(ranked[:n_validate])
    return {key: "validate" if key in chosen else "train" for key in keys}


def _nothing_in(path: Path, rejected: list[Rejected]) -> str:
    why = f"; first of {len(rejected)} rejected: {rejected[0].key}: {rejected[0].reason}" if rejected else ""
    return f"{path}: no caption found; give MSR-VTT JSON, CSV (video_id,caption), JSONL or x.txt beside each clip{why}"


def _add_container(reading: _Reading, path: Path) -> None:
    archive = VideoArchive(path)
    container = archive.container
    tables = [m for m in container.members if m.name.lower().endswith(TABLE_SUFFIXES)]
    seen: set[bytes] = set()
    others: list[OtherTableError] = []
    for member in sorted(tables, key=lambda m: natural_order(m.name)):
        data = _read_member(container, member, path)
        digest = hashlib.sha256(data).digest()
        if digest in seen:  # a mirror may hold the same file twice
            continue
        seen.add(digest)
        try:
            _add_file(reading, member.name, data)
        except OtherTableError as other:
            others.append(other)
    if not reading.captions:
        _add_texts(reading, archive)
    if not reading.captions and others:
        raise ValueError(f"{path}: {others[0]}")


def _add_texts(reading: _Reading, archive: VideoArchive) -> None:
    texts = {m.name[:-4]: m for m in archive.container.members if m.name.lower().endswith(".txt")}
    keys = {entry.name[: -len(PurePosixPath(entry.name).suffix)]: entry.key for entry in archive.entries}
    for bare, member in sorted(texts.items(), key=lambda item: natural_order(item[0])):
        if keys and bare not in keys:
            continue  # a readme
        key = keys.get(bare, PurePosixPath(bare).name)
        _add_lines(reading, key, _read_member(archive.container, member, archive.path))
        folders = {part.lower() for part in PurePosixPath(bare).parts[:-1]} & SPLIT_NAMES.keys()
        if len(folders) == 1 and key in reading.captions:
            reading.split[key] = SPLIT_NAMES[folders.pop()]


def _read_member(container: Container, member: Any, path: Path) -> bytes:
    try:
        with container.open(member) as stream:
            return stream.read()
    except READ_ERRORS as error:
        raise ValueError(f"{path}: {member.name} is damaged ({error}); get the archive anew") from None


def _add_file(reading: _Reading, name: str, data: bytes) -> None:
    if name.lower().endswith(".txt"):
        _add_lines(reading, PurePosixPath(name).stem, data)
        return
    table = read_table(name, data)
    reading.test_1k_a |= table.test_1k_a
    earlier = set(reading.captions)
    for record in table.records:
        _add_record(reading, record, earlier)
    for key in table.clips - {record.key for record in table.records}:
        reading.rejected.append(Rejected(key, f"no caption in {name}"))


def _add_record(reading: _Reading, record: CaptionRecord, earlier: set[str]) -> None:
    key = str(PurePosixPath(record.key).with_suffix("")) if is_video(record.key) else record.key
    if key in earlier:
        reading.rejected.append(Rejected(key, f"{record.where}: a second file gives this clip captions"))
        return
    fault = record.fault or caption_fault(record.caption)
    split = None if record.split is None else SPLIT_NAMES.get(str(record.split).strip().lower())
    if fault is None and record.split is not None and split is None:
        fault = f"split {record.split!r} is none of {', '.join(SPLITS)}"
    if fault is not None:
        reading.rejected.append(Rejected(key, f"{record.where}: {fault}"))
        return
    reading.captions.setdefault(key, []).append(one_line(record.caption))
    if split is not None:
        reading.split[key] = split


def _add_lines(reading: _Reading, key: str, data: bytes) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        reading.rejected.append(Rejected(key, "its .txt is not UTF-8 text"))
        return
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines or [""], start=1):
        fault = caption_fault(line)
        if fault is not None:
            reading.rejected.append(Rejected(key, f"caption {number} of its .txt: {fault}"))
        else:
            reading.captions.setdefault(key, []).append(one_line(line.strip()))


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
