"""One captions file to records: MSR-VTT's JSON, a JSON list, JSONL or CSV. Says what is there; judges nothing.

The file must have the form; a single bad caption is still a record, for the caller to reject by its clip's key.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

COLUMNS_1K_A = {"key", "vid_key", "video_id", "sentence"}
FORMS = "an object with `videos` and `sentences` (MSR-VTT), or records with video_id and caption"
csv.field_size_limit(2**24)


class OtherTableError(ValueError):
    """Healthy JSON or CSV that is no captions file; one line."""


class CaptionRecord(NamedTuple):
    """One caption as found. `where` places it in its file; `fault` is set where the record itself is broken."""

    key: str
    caption: Any
    split: Any
    where: str
    fault: str | None = None


@dataclass(frozen=True)
class CaptionFile:
    """A file's records, the clips it lists (where it does), and the test ids where it is the 1k-A list."""

    records: list[CaptionRecord]
    clips: frozenset[str] = frozenset()
    test_1k_a: frozenset[str] = frozenset()


def read_table(name: str, data: bytes) -> CaptionFile:
    """Parse a .json, .jsonl or .csv file.

    Raises ValueError, one line, where it is damaged, and OtherTableError where it has not the form.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".csv":
        return _read_csv(name, text)
    if suffix == ".jsonl":
        return CaptionFile(list(_from_lines(name, text)))
    tree = _parse(name, text)
    if isinstance(tree, dict) and isinstance(tree.get("sentences"), list) and isinstance(tree.get("videos"), list):
        return _read_msrvtt(name, tree)
    if isinstance(tree, list):
        return CaptionFile([r for n, item in enumerate(tree, start=1) for r in _from_item(f"{name} item {n}", item)])
    raise OtherTableError(f"{name}: not a captions file; expected {FORMS}")


def _parse(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: not whole JSON ({error}); get the file anew") from None


def _read_msrvtt(name: str, tree: dict[str, Any]) -> CaptionFile:
    splits = {v["video_id"]: v.get("split") for v in tree["videos"] if isinstance(v, dict) and _is_key(v)}
    records = []
    for number, sentence in enumerate(tree["sentences"], start=1):
        if not isinstance(sentence, dict) or not _is_key(sentence):
            records.append(CaptionRecord("", None, None, f"{name} sentence {number}", "no video_id"))
            continue
        key = sentence["video_id"]
        where = f"{name} sen_id {sentence.get('sen_id', number)}"
        fault = None if key in splits else "its clip is not in the file's `videos`"
        records.append(CaptionRecord(key, sentence.get("caption"), splits.get(key), where, fault))
    return CaptionFile(records, clips=frozenset(splits))


def _is_key(record: dict[str, Any]) -> bool:
    return isinstance(record.get("video_id"), str) and bool(record["video_id"])


def _from_lines(name: str, text: str) -> Iterator[CaptionRecord]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield from _from_item(f"{name} line {number}", _parse(f"{name} line {number}", line))


def _from_item(where: str, item: Any) -> Iterator[CaptionRecord]:
    """A record of `caption` (or `captions`, a list), and perhaps `split`."""
    if not isinstance(item, dict) or not _is_key(item) or not {"caption", "captions"} & item.keys():
        raise OtherTableError(f"{where}: not a record of video_id (text) and caption")
    captions = item["captions"] if "captions" in item else item["caption"]
    if not isinstance(captions, list):
        captions = [captions]
    for caption in captions or [None]:
        yield CaptionRecord(item["video_id"], caption, item.get("split"), where)


def _read_csv(name: str, text: str) -> CaptionFile:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = {column.strip() for column in reader.fieldnames or []}
    reader.fieldnames = [column.strip() for column in reader.fieldnames or []]
    if columns >= COLUMNS_1K_A:
        return CaptionFile([], test_1k_a=frozenset(row["video_id"] for row in reader if row["video_id"]))
    if not columns >= {"video_id", "caption"}:
        found = ", ".join(reader.fieldnames) or "none"
        raise OtherTableError(f"{name}: columns {found}; a captions CSV has video_id and caption, and may have split")
    records = []
    for row in reader:
        where = f"{name} line {reader.line_num}"
        key = (row["video_id"] or "").strip()
        fault = None if key else "no video_id"
        if row.get(None):  # type: ignore[call-overload]
            fault = "more fields than columns; put a caption with commas in quotes"
        records.append(CaptionRecord(key, row["caption"] or "", row.get("split") or None, where, fault))
    return CaptionFile(records)
